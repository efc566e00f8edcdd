"""Writes MatConvNet's .mat files of tiny networks with SciPy, and one of version 7.3.

Writes weights/testdata/mat/*.mat and, beside each, a .safetensors with its tensors as
(out,in,height,width) and the logits and posteriors of tiny.py's images, which numpy
computes in float64 from the same weights. The layouts are those of the releases at
https://www.vlfeat.org/matconvnet/pretrained: the first one (filters, biases, classes,
normalization) and the later one (weights, meta). MATLAB writes version 7.3 itself;
v73.mat is written by h5py in its layout: a user block, MATLAB_class, cells and structs by
references, columns first.

full FILE writes VGG-16 of full size in the later layout, with a 16th of the values drawn.

Needs numpy, SciPy and h5py (made with 2.4.6, 1.17.1 and 3.16.0).
"""
import json
import pathlib
import struct
import sys

import h5py
import numpy as np
import scipy.io

from pack import packed

FOLDER = pathlib.Path(__file__).parents[2] / "weights/testdata/mat"
SIDE, WIDTH = 64, 64
ROWS = {
    "A": [[64], [128], [256, 256], [512, 512], [512, 512]],
    "small": [[64]],
    "D": [[64, 64], [128, 128], [256] * 3, [512] * 3, [512] * 3],
}
LABELS = ["kit fox, Vulpes macrotis", "English setter", "Siberian husky", "tench, Tinca tinca", "Ménière's fox"]
SYNSETS = ["n02119789", "n02100735", "n02110185", "n01440764", "n00000001"]
MEAN = [123.68, 116.779, 103.939]


def image(n=2, side=SIDE):
    """tiny.image()."""
    i = np.arange(n * 3 * side * side, dtype=np.int64)
    return (i * 40503 % 65536 // 256 - 128).astype("f8").reshape(n, 3, side, side)


def draw(config, seed, bn=False, side=SIDE):
    """The layers of a network: (kind, name, tensors)."""
    rng = np.random.default_rng(seed)
    layers, channels = [], 3
    normal = lambda shape, scale: (rng.standard_normal(shape) * scale).astype("f4")
    for block, row in enumerate(ROWS[config.split("-")[0]], 1):
        for i, k in enumerate(row, 1):
            k //= WIDTH
            w = normal((k, channels, 3, 3), (2 / (9 * channels)) ** 0.5)
            b = normal(k, 0.5) + np.float32(0.5)
            if (block, i) == (2, 1):
                b = np.array([1, 2], "f4")  # whole numbers, which MATLAB stores as such
            layers.append(("conv", f"conv{block}_{i}", {"weight": w, "bias": b}))
            channels = k
            if bn:
                layers.append(("bnorm", f"bn{block}_{i}", {
                    "scale": normal(k, 0.2) + 1, "shift": normal(k, 0.5) + 0.5, "mean": normal(k, 1),
                    "sigma": (rng.random(k) * 30 + 20 if block == 1 else rng.random(k) + 0.5).astype("f4")}))
            layers.append(("relu", f"relu{block}_{i}", {}))
            if config == "A-LRN" and block == 1:
                layers.append(("lrn", "norm1", {}))
        layers.append(("pool", f"pool{block}", {}))
    side >>= len(ROWS[config.split("-")[0]])
    for name, shape in [("fc6", (8, channels, side, side)), ("fc7", (8, 8, 1, 1)), ("fc8", (5, 8, 1, 1))]:
        fan = np.prod(shape[1:])
        layers.append(("conv", name, {"weight": normal(shape, (2 / fan) ** 0.5), "bias": normal(shape[0], 0.1)}))
        if name != "fc8":
            layers.append(("relu", "relu" + name[2:], {}))
            layers.append(("dropout", "dropout" + name[2:], {}))
    layers.append(("softmax", "prob", {}))
    return layers


def forward(layers, x):
    """The logits and the posteriors."""
    for kind, name, t in layers:
        t = {k: v.astype("f8") for k, v in t.items()}
        if kind == "conv":
            pad = 0 if name.startswith("fc") else 1
            x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
            windows = np.lib.stride_tricks.sliding_window_view(x, t["weight"].shape[2:], (2, 3))
            x = np.einsum("nchwij,kcij->nkhw", windows, t["weight"]) + t["bias"][:, None, None]
        elif kind == "bnorm":
            at = lambda v: t[v][:, None, None]
            x = at("scale") * (x - at("mean")) / at("sigma") + at("shift")
        elif kind == "relu":
            x = np.maximum(x, 0)
        elif kind == "lrn":  # α is not divided by n
            squares = np.pad(x**2, ((0, 0), (2, 2), (0, 0), (0, 0)))
            around = sum(squares[:, i:i + x.shape[1]] for i in range(5))
            x = x / (2 + 1e-4 * around) ** 0.75
        elif kind == "pool":
            n, c, h, w = x.shape
            x = x.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))
    logits = x.reshape(len(x), -1)
    e = np.exp(logits - logits.max(1, keepdims=True))
    return logits, e / e.sum(1, keepdims=True)


def golden(name, layers, meta, side=SIDE):
    logits, posteriors = forward(layers, image(2, side))
    assert np.abs(logits).max() > 0.1 and np.abs(logits[0] - logits[1]).max() > 1e-2, logits
    named = {"logits": logits, "posteriors": posteriors}
    for _, layer, t in layers:
        named |= {f"{layer}/{role}": v for role, v in t.items()}
    header, data = {"__metadata__": {k: json.dumps(v) for k, v in meta.items()}}, b""
    for key, values in named.items():
        raw = np.ascontiguousarray(values, "<f4").tobytes()
        header[key] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    (FOLDER / (name + ".safetensors")).write_bytes(struct.pack("<Q", len(text)) + text + data)


def cells(values):
    """A cell array 1×N."""
    c = np.empty((1, len(values)), dtype=object)
    for i, v in enumerate(values):
        c[0, i] = v
    return c


def columns(w):
    """(out,in,height,width) as MATLAB has it, (height,width,in,out), without a last axis of length 1."""
    w = w.transpose(2, 3, 1, 0)
    return w.reshape(w.shape[:3]) if w.shape[3] == 1 else w


def chain(layers, new, across=False, bare=False):
    """The cells of layers. Biases are rows, or columns if across. bare leaves out fields that no reader needs."""
    out = []
    for kind, name, t in layers:
        l = {"name": name, "type": {"lrn": "lrn" if new else "normalize"}.get(kind, kind)}
        if bare and kind == "dropout":
            continue
        if kind == "conv":
            bias = t["bias"].reshape(-1, 1) if across else t["bias"].reshape(1, -1)
            if new:
                l["weights"] = cells([columns(t["weight"]), bias])
            else:
                l["filters"], l["biases"] = columns(t["weight"]), bias
            if new and not bare:
                l["size"], l["dilate"], l["opts"] = np.array(t["weight"].shape[:1:-1], "f8"), 1.0, np.empty((1, 0), object)
            pad = 0.0 if name.startswith("fc") else 1.0
            l["pad"], l["stride"] = (np.full((1, 4), pad), np.ones((1, 2))) if new else (pad, 1.0)
        elif kind == "bnorm":
            moments = np.stack([t["mean"], t["sigma"]], 1)
            l["weights"], l["epsilon"] = cells([t["scale"].reshape(-1, 1), t["shift"].reshape(-1, 1), moments]), 1e-4
        elif kind == "pool":
            l |= {"method": "max", "pool": np.array([[2.0, 2.0]]), "stride": np.array([[2.0, 2.0]]) if new else 2.0,
                  "pad": np.array([[0.0, 1, 0, 1]]) if new else 0.0}
        elif kind == "lrn":
            l["param"] = np.array([[5, 2, 1e-4, 0.75]])
        elif kind == "dropout":
            l["rate"] = 0.5
        elif kind == "relu" and new and not bare:
            l["leak"] = 0.0
        if new and not bare:
            l["precious"] = False
        out.append(l)
    return cells(out)


def mean_image():
    """An image of (height,width,3) with the mean MEAN."""
    ramp = (np.arange(SIDE) - (SIDE - 1) / 2)[:, None, None] / 4
    return (np.array(MEAN)[None, None, :] + ramp + np.zeros((SIDE, SIDE, 3))).astype("f4")


def new_meta(side=SIDE, **more):
    return {"inputs": {"name": "data", "size": np.array([[side, side, 3, 10.0]])},
            "classes": {"name": cells(SYNSETS), "description": cells(LABELS)},
            "normalization": {"imageSize": np.array([[side, side, 3, 10.0]]), "keepAspect": 1.0, "border": np.array([[8.0, 8.0]]),
                              "averageImage": mean_image(), "interpolation": "bicubic", **more}}


def old_meta():
    """The variables beside the layers in the first layout."""
    return {"classes": {"name": cells(SYNSETS), "description": cells(LABELS)},
            "normalization": {"imageSize": np.array([[SIDE, SIDE, 3.0]]), "keepAspect": 1.0, "border": np.array([[8.0, 8.0]]),
                              "averageImage": np.array(MEAN, "f4").reshape(1, 1, 3), "interpolation": "bilinear"}}


def v73(path, variables):
    """Version 7.3: HDF5 after a block of 512 bytes. What cells and structs hold is under #refs#."""
    with h5py.File(path, "w", userblock_size=512) as f:
        count = 0

        def put(group, name, v):
            nonlocal count
            if isinstance(v, dict):
                g = group.create_group(name)
                g.attrs["MATLAB_class"] = np.bytes_("struct")
                for k, x in v.items():
                    put(g, k, x)
                return g
            if isinstance(v, str):
                d = group.create_dataset(name, data=np.array([[ord(c)] for c in v], "u2"))
                d.attrs["MATLAB_class"] = np.bytes_("char")
                d.attrs["MATLAB_int_decode"] = np.int32(2)
                return d
            v = np.atleast_2d(np.asarray(v))
            if v.size == 0:
                d = group.create_dataset(name, data=np.array(v.shape, "u8"))
                d.attrs["MATLAB_empty"] = np.uint8(1)
                d.attrs["MATLAB_class"] = np.bytes_("cell" if v.dtype == object else "double")
                return d
            if v.dtype == object:
                refs = np.empty(v.T.shape, h5py.ref_dtype)
                for i, x in np.ndenumerate(v.T):
                    count += 1
                    refs[i] = put(f.require_group("#refs#"), f"x{count}", x).ref
                d = group.create_dataset(name, data=refs, dtype=h5py.ref_dtype)
                d.attrs["MATLAB_class"] = np.bytes_("cell")
                return d
            if v.dtype == bool:
                v = v.astype("u1")
            d = group.create_dataset(name, data=v.T, **(dict(chunks=True, compression="gzip") if v.size > 256 else {}))
            d.attrs["MATLAB_class"] = np.bytes_({"f": {4: "single", 8: "double"}}.get(v.dtype.kind, {}).get(v.dtype.itemsize, "logical"))
            return d

        for k, v in variables.items():
            put(f, k, v)
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Sat Nov 28 00:00:00 2015 HDF5 schema 1.00 ."
    with open(path, "r+b") as f:
        f.write(text.ljust(116) + bytes(8) + b"\x00\x02IM")


def without_date(path):
    """SciPy writes the time into the header."""
    b = path.read_bytes()
    path.write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64, Created on: Sat Nov 28 00:00:00 2015".ljust(116) + b[116:])


def mat(name, variables, compressed=True):
    path = FOLDER / (name + ".mat")
    scipy.io.savemat(path, variables, do_compression=compressed)
    without_date(path)


def make():
    meta = {"classes": LABELS, "mean": MEAN}

    d = draw("D", 1)
    mat("d_old", {"layers": chain(d, False), **old_meta()})
    golden("d_old", d, meta)

    a = draw("A", 2)
    mat("a_plain", {"net": {"layers": chain(a, False, True), **old_meta()}}, compressed=False)
    golden("a_plain", a, meta)

    a = draw("A", 3)
    mat("a_new", {"layers": chain(a, True, True), "meta": new_meta()})
    golden("a_new", a, meta)

    lrn = draw("A-LRN", 4)
    mat("a-lrn_old", {"layers": chain(lrn, False), **old_meta()})
    golden("a-lrn_old", lrn, meta)

    bn = draw("D-BN", 5, bn=True)
    mat("d-bn_new", {"layers": chain(bn, True), "meta": new_meta(averageImage=np.array(MEAN, "f4").reshape(3, 1))})
    golden("d-bn_new", bn, meta)

    small = draw("small", 6, side=16)
    v73(FOLDER / "v73.mat", {"layers": chain(small, True, True, bare=True), "meta": new_meta(16, averageImage=np.array(MEAN, "f4").reshape(1, 1, 3))})
    golden("v73", small, meta, 16)

    # The way of SciPy: arrays as loadmat gives them.
    arrays = {}
    for kind, name, t in d:
        if kind == "conv":
            arrays[name + "_W"] = t["weight"].transpose(2, 3, 1, 0)
            arrays[name + "_b"] = t["bias"].reshape(-1, 1) if name < "conv3" else t["bias"].reshape(1, -1)
    np.savez(FOLDER / "d_loadmat.npz", **arrays)
    mat("d_arrays", arrays)

    # What isn't read: CNN-F, and a directed graph.
    rng = np.random.default_rng(7)
    for name, first, stride in [("cnn_f", 11, 4), ("cnn_m", 7, 2)]:
        w = rng.standard_normal((first, first, 3, 4)).astype("f4")
        second = rng.standard_normal((5, 5, 4, 4)).astype("f4")
        conv = lambda n, w, s: {"type": "conv", "name": n, "filters": w, "biases": np.zeros((1, 4), "f4"), "pad": 0.0, "stride": float(s)}
        mat(name, {"layers": cells([conv("conv1", w, stride), {"type": "relu", "name": "relu1"}, conv("conv2", second, 2 if name == "cnn_m" else 1)])})
    mat("dagnn", {
        "vars": cells([{"name": "x0"}]),
        "params": cells([{"name": "conv1f", "value": w}]),
        "layers": np.array([("conv1", "dagnn.Conv")], dtype=[("name", object), ("type", object)]),
        "meta": new_meta()})


def full(path):
    rng = np.random.default_rng(16)
    layers, channels = [], 3
    draw = lambda shape: np.resize(rng.standard_normal(max(1, int(np.prod(shape)) // 16)).astype("f4") / np.float32(np.prod(shape[:-1])) ** 0.5, shape)
    shapes = [(f"conv{b}_{i}", (3, 3, k)) for b, row in enumerate(ROWS["D"], 1) for i, k in enumerate(row, 1)]
    for name, shape in shapes + [("fc6", (7, 7, 4096)), ("fc7", (1, 1, 4096)), ("fc8", (1, 1, 1000))]:
        pad = 0.0 if name.startswith("fc") else 1.0
        layers.append({"type": "conv", "name": name, "weights": cells([draw((*shape[:2], channels, shape[2])), draw((1, shape[2]))]),
                       "pad": pad, "stride": 1.0})
        channels = shape[2]
        if name != "fc8":
            layers.append({"type": "relu", "name": "relu" + name[2:]})
        if name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"):
            layers.append({"type": "pool", "name": "pool" + name[4], "method": "max", "pool": np.array([[2.0, 2.0]]), "stride": 2.0, "pad": 0.0})
    layers.append({"type": "softmax", "name": "prob"})
    scipy.io.savemat(path, {"layers": cells(layers), "meta": {"normalization": {
        "averageImage": np.array(MEAN).reshape(1, 1, 3), "imageSize": np.array([[224.0, 224, 3]]), "keepAspect": 1.0, "border": np.array([[32.0, 32]]), "interpolation": "bilinear"}}},
        do_compression="compressed" in sys.argv)


if sys.argv[1:2] == ["full"]:
    full(sys.argv[2])
else:
    with packed(FOLDER):
        make()

#!/usr/bin/python3
"""Writes a full-size VGG-16 with random weights in other tools' formats (0.55 GB each).

    fullsize.py DIR FORMAT …    pth safetensors h5 caffemodel onnx npz

torch.save writes the .pth, h5py the .h5 in the layout of keras-applications. This script
writes the wire format of Caffe and ONNX itself, because protobuf's encoder would hold the
file in memory several times. Weights are drawn layer by layer. If the .pth is made,
DIR/logits.json has PyTorch's scores of one image.
"""
import json
import os
import struct
import sys

import numpy as np

ROW = "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M".split()


def layers():
    """(name, index of torchvision, shape (K,C,3,3) or (out,in)), first to last."""
    out, c, block, conv, index = [], 3, 1, 1, 0
    for word in ROW:
        if word == "M":
            block, conv, index = block + 1, 1, index + 1
            continue
        k = int(word)
        out.append((f"conv{block}_{conv}", f"features.{index}", (k, c, 3, 3)))
        c, conv, index = k, conv + 1, index + 2
    for i, (k, n) in enumerate([(4096, 512 * 49), (4096, 4096), (1000, 4096)]):
        out.append((f"fc{6 + i}", f"classifier.{3 * i}", (k, n)))
    return out


def weight(i, shape):
    rng = np.random.default_rng(i)
    w = rng.standard_normal(shape, dtype="f4")
    w *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
    return w


def bias(i, shape):
    return (0.1 * np.random.default_rng(1000 + i).standard_normal(shape[0], dtype="f4")).astype("f4")


def hwio(w):
    """As TensorFlow has it: fc6 over (H,W,C)."""
    if w.ndim == 4:
        return np.ascontiguousarray(w.transpose(2, 3, 1, 0))
    if w.shape[1] == 512 * 49:
        w = w.reshape(-1, 512, 7, 7).transpose(0, 2, 3, 1).reshape(-1, 512 * 49)
    return np.ascontiguousarray(w.T)


def pth(path):
    import torch
    from collections import OrderedDict

    state = OrderedDict()
    for i, (_, name, shape) in enumerate(layers()):
        state[name + ".weight"], state[name + ".bias"] = torch.from_numpy(weight(i, shape)), torch.from_numpy(bias(i, shape))
    torch.save(state, path)
    n = np.arange(3 * 224 * 224, dtype=np.int64)
    x = torch.from_numpy((n * 40503 % 65536 // 256 - 128).astype("f4").reshape(1, 3, 224, 224))
    with torch.no_grad():
        at = iter(layers())
        for word in ROW:
            if word == "M":
                x = torch.nn.functional.max_pool2d(x, 2)
            else:
                name = next(at)[1]
                x = torch.relu(torch.nn.functional.conv2d(x, state[name + ".weight"], state[name + ".bias"], padding=1))
        x = x.flatten(1)
        for _, name, _ in at:
            x = torch.nn.functional.linear(x, state[name + ".weight"], state[name + ".bias"])
            x = torch.relu(x) if name != "classifier.6" else x
    with open(os.path.join(os.path.dirname(path), "logits.json"), "w") as f:
        json.dump(x.flatten().tolist(), f)


def safetensors(path):
    header, at = {}, 0
    for i, (_, name, shape) in enumerate(layers()):
        for role, s in (("weight", shape), ("bias", shape[:1])):
            n = 4 * int(np.prod(s))
            header[f"{name}.{role}"] = {"dtype": "F32", "shape": list(s), "data_offsets": [at, at + n]}
            at += n
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for i, (_, _, shape) in enumerate(layers()):
            f.write(weight(i, shape).tobytes() + bias(i, shape).tobytes())


def h5(path):
    import h5py

    names = []
    with h5py.File(path, "w") as f:
        block = {f"fc{n}": k for n, k in zip((6, 7, 8), ("fc1", "fc2", "predictions"))}
        for i, (name, _, shape) in enumerate(layers()):
            layer = block.get(name) or "block{}_conv{}".format(*name.removeprefix("conv").split("_"))
            names.append(layer)
            g = f.create_group(layer)
            g.attrs["weight_names"] = [f"{layer}_W_1:0".encode(), f"{layer}_b_1:0".encode()]
            g.create_dataset(f"{layer}_W_1:0", data=hwio(weight(i, shape)))
            g.create_dataset(f"{layer}_b_1:0", data=bias(i, shape))
        f.attrs["layer_names"] = [n.encode() for n in names]
        f.attrs["keras_version"], f.attrs["backend"] = b"1.0.5", b"tensorflow"


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def integer(number, n):
    return varint(number << 3) + varint(n)


def caffemodel(path):
    """NetParameter with LayerParameters, as BVLC/caffe's caffe.proto numbers them."""
    def layer(f, name, kind, bottom, top, rest=b""):
        f.write(field(100, field(1, name.encode()) + field(2, kind.encode()) + field(3, bottom.encode()) + field(4, top.encode()) + rest))

    def blob(a, shape):
        return field(5, a.tobytes()) + field(7, field(1, b"".join(map(varint, shape))))

    with open(path, "wb") as f:
        f.write(field(1, b"VGG_ILSVRC_16_layers"))
        at, bottom, block = enumerate(layers()), "data", 1
        for word in ROW + ["FC", "FC", "FC"]:
            if word == "M":
                layer(f, f"pool{block}", "Pooling", bottom, f"pool{block}", field(121, integer(1, 0) + integer(2, 2) + integer(3, 2)))
                bottom, block = f"pool{block}", block + 1
                continue
            i, (name, _, shape) = next(at)
            own = field(106, integer(1, shape[0]) + integer(3, 1) + integer(4, 3)) if len(shape) == 4 else field(117, integer(1, shape[0]))
            layer(f, name, "Convolution" if len(shape) == 4 else "InnerProduct", bottom, name,
                  field(7, blob(weight(i, shape), shape)) + field(7, blob(bias(i, shape), shape[:1])) + own)
            bottom = name
            if name != "fc8":
                layer(f, "relu" + name, "ReLU", name, name)


def onnx(path):
    """ModelProto with opset 13, as onnx.proto numbers its fields."""
    def ints(name, values):
        return field(5, field(1, name.encode()) + b"".join(integer(8, v) for v in values) + integer(20, 7))

    def node(op, inputs, output, attributes=b""):
        return field(1, b"".join(field(1, i.encode()) for i in inputs) + field(2, output.encode()) + field(3, output.encode()) + field(4, op.encode()) + attributes)

    def value(name, dims):
        shape = b"".join(field(1, integer(1, d)) for d in dims)
        return field(1, name.encode()) + field(2, field(1, integer(1, 1) + field(2, shape)))

    nodes, x, at, block = b"", "input", iter(layers()), 1
    for word in ROW + ["FC", "FC", "FC"]:
        if word == "M":
            nodes += node("MaxPool", [x], f"pool{block}", ints("kernel_shape", [2, 2]) + ints("strides", [2, 2]))
            x, block = f"pool{block}", block + 1
            continue
        name, _, shape = next(at)
        inputs = [x, name + ".w", name + ".b"]
        if len(shape) == 4:
            nodes += node("Conv", inputs, name, ints("kernel_shape", [3, 3]) + ints("pads", [1, 1, 1, 1]))
        else:
            if name == "fc6":
                nodes += node("Flatten", [x], "flat")
                inputs[0] = "flat"
            nodes += node("Gemm", inputs, name, field(5, field(1, b"transB") + integer(3, 1) + integer(20, 2)))
        x = name
        if name != "fc8":
            nodes += node("Relu", [name], name + "_relu")
            x = name + "_relu"
    ends = field(2, b"vgg16") + field(11, value("input", [1, 3, 224, 224])) + field(12, value(x, [1, 1000]))
    heads = []
    for i, (name, _, shape) in enumerate(layers()):
        for role, s in (("w", shape), ("b", shape[:1])):
            n = 4 * int(np.prod(s))
            body = b"".join(integer(1, d) for d in s) + integer(2, 1) + field(8, f"{name}.{role}".encode()) + varint(9 << 3 | 2) + varint(n)
            heads.append((i, role, s, varint(5 << 3 | 2) + varint(len(body) + n) + body, n))
    length = len(nodes) + len(ends) + sum(len(h[3]) + h[4] for h in heads)
    with open(path, "wb") as f:
        f.write(integer(1, 7) + varint(7 << 3 | 2) + varint(length) + nodes)
        for i, role, s, head, _ in heads:
            f.write(head + (weight(i, s) if role == "w" else bias(i, s)).tobytes())
        f.write(ends + field(8, field(1, b"") + integer(2, 13)))


def npz(path):
    arrays = {}
    for i, (name, _, shape) in enumerate(layers()):
        arrays[name + "_W"], arrays[name + "_b"] = hwio(weight(i, shape)), bias(i, shape)
    np.savez(path, **arrays)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    for kind in sys.argv[2:]:
        globals()[kind](os.path.join(sys.argv[1], "vgg16." + kind))

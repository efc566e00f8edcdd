#!/usr/bin/python3
"""Makes the fixture of package eval with plain PyTorch and PIL.

    eval.py            writes eval/testdata/oracle.json
    eval.py --weights D.safetensors [--scales 256] [--images 20] [--crops 2] --out F

The photographs are validation images of the embedded sample: the first two of each of its
ten classes. The network is configuration D with an eighth of its channels, 64 units in fc6
and fc7 and ten classes. Its weights are not stored: this script and the test compute them,
weight i of a tensor by the hash below. With --weights the network is that of the file, of
any width, and the output goes to F: a comparison at full size, which is too large to keep.
It takes a minute per image with all its crops. F is written after each image, and a run that
was stopped continues with it.

`go run ./tools/oracle/decode` decodes the photographs, so that the rounding of JPEG decoders
has no part in the comparison.

The fixture has, for each image and Q = 224, 256, 384, 512, the posteriors of the dense pass
and of that over the mirror image. The first two images also have the posteriors of the 5x5
grid of crops, of the image and of its mirror image, and for Q = 256 those of torchvision's
ten crops. The first has its class score maps.
"""
import argparse
import json
import math
import pathlib
import struct
import subprocess
import tempfile
import zipfile

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms.functional import ten_crop

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "eval" / "testdata" / "oracle.json"
D = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
WIDTH, FC, CLASSES, SIDE = 8, 64, 10, 224
SCALES = [224, 256, 384, 512]
MEAN = torch.tensor([123.68, 116.779, 103.939]).reshape(1, 3, 1, 1)


def hashed(name, n):
    """Returns n numbers in [-1, 1): number i is splitmix64's ith, seeded by FNV-1a of the
    name."""
    seed = 0xCBF29CE484222325
    for b in name.encode():
        seed = ((seed ^ b) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def hashed_weights():
    shapes, c, block, i = {}, 3, 1, 1
    for k in D:
        if k == "M":
            block, i = block + 1, 1
            continue
        shapes[f"conv{block}_{i}"] = (k // WIDTH, c, 3, 3)
        c, i = k // WIDTH, i + 1
    shapes["fc6"], shapes["fc7"], shapes["fc8"] = (FC, c * 49), (FC, FC), (CLASSES, FC)
    p = {}
    for name, shape in shapes.items():
        n = math.prod(shape)
        bound = math.sqrt(6 / (n // shape[0]))
        if name == "conv1_1":
            bound /= 64  # its input is grey levels
        if name == "fc8":
            bound *= 1.5
        p[name + ".weight"] = torch.from_numpy((hashed(name + ".weight", n) * bound).astype(np.float32)).reshape(shape)
        p[name + ".bias"] = torch.from_numpy((hashed(name + ".bias", shape[0]) * 0.1).astype(np.float32))
    return p


def photographs(count, folder):
    """Returns the names and images of count photographs: the first of each class, then the
    second of each, and so on. Their files are written to the folder."""
    with zipfile.ZipFile(ROOT / "dataset" / "sample" / "caltech101.zip") as sample:
        names = sorted(n for n in sample.namelist() if n.startswith("val/") and n.endswith(".jpg"))
        classes = sorted({n.split("/")[1] for n in names})
        of = {c: [n for n in names if n.split("/")[1] == c] for c in classes}
        names = [name for row in zip(*(of[c] for c in classes)) for name in row][:count]
        for name in names:
            sample.extract(name, folder)
    images = {}
    for c in classes:  # class by class: two classes have files of the same name
        paths = [pathlib.Path(folder) / name for name in names if name.split("/")[1] == c]
        if paths:
            subprocess.run(["go", "run", "./tools/oracle/decode", folder, *paths], cwd=ROOT, check=True)
        for path in paths:
            images[path] = Image.open(pathlib.Path(folder) / (path.name + ".ppm")).copy()
    return names, [images[pathlib.Path(folder) / name] for name in names]


def read_safetensors(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = np.frombuffer(f.read(), np.uint8)
    return {name: torch.from_numpy(data[slice(*e["data_offsets"])].view(np.float32).reshape(e["shape"]).copy())
            for name, e in header.items() if name != "__metadata__"}


def activations(p, x):
    """Yields the name and activation (N, C, H, W) of every layer on preprocessed images,
    before the rectification where there is one."""
    block, i = 1, 1
    for k in D:
        if k == "M":
            x = F.max_pool2d(x, 2)
            yield f"pool{block}", x
            block, i = block + 1, 1
            continue
        x = F.conv2d(x, p[f"conv{block}_{i}.weight"], p[f"conv{block}_{i}.bias"], padding=1)
        yield f"conv{block}_{i}", x
        x, i = F.relu(x), i + 1
    r = 7
    for name in ("fc6", "fc7", "fc8"):
        w = p[name + ".weight"]
        x, r = F.conv2d(x, w.reshape(w.shape[0], -1, r, r), p[name + ".bias"]), 1
        yield name, x
        x = F.relu(x)


def score_map(p, x):
    """Returns the class score maps (N, K, OH, OW) of preprocessed images."""
    for _, y in activations(p, x):
        pass
    return y


def tensor(images):
    x = np.stack([np.asarray(im, np.float32) for im in images]).transpose(0, 3, 1, 2)
    x = torch.from_numpy(x.copy()) - MEAN
    return x.contiguous(memory_format=torch.channels_last)  # a fifth faster


def posterior(p, im):
    """Averages the class score map over space and applies the soft-max."""
    return F.softmax(score_map(p, tensor([im]))[0].mean((1, 2)), 0)


def rescale(im, q):
    w, h = im.size
    size = (q, int(q * h / w)) if w <= h else (int(q * w / h), q)
    return im.resize(size, Image.BILINEAR)


def grid(w, h):
    """Returns the corners of the 5x5 grid; round() rounds halves to even."""
    return [(round(j * (w - SIDE) / 4), round(i * (h - SIDE) / 4)) for i in range(5) for j in range(5)]


def crops(im):
    return [im.crop((x, y, x + SIDE, y + SIDE)) for x, y in grid(*im.size)]


def mean_posterior(p, images):
    """Averages the crops' posteriors. Ten crops at a time bound the memory; where the
    shorter side is 224, five crops are the same and one of them is computed."""
    distinct = {im.tobytes(): im for im in images}
    some = list(distinct.values())
    scores = [score_map(p, tensor(some[i:i + 10]))[:, :, 0, 0] for i in range(0, len(some), 10)]
    scores = dict(zip(distinct, torch.cat(scores)))
    return F.softmax(torch.stack([scores[im.tobytes()] for im in images]), 1).mean(0)


def rounded(t):
    return [float(f"{v:.6g}") for v in t.flatten().tolist()]


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--weights")
    a.add_argument("--scales", type=int, nargs="+", default=SCALES)
    a.add_argument("--images", type=int, default=20)
    a.add_argument("--crops", type=int, default=2, help="number of images with multi-crop posteriors")
    a.add_argument("--threads", type=int, default=1)
    a.add_argument("--out", type=pathlib.Path, default=OUT)
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    p = read_safetensors(a.weights) if a.weights else hashed_weights()
    out = {"torch": torch.__version__, "grids": {}, "images": []}
    if a.weights and a.out.exists():
        out = json.loads(a.out.read_text())
    with torch.no_grad(), tempfile.TemporaryDirectory() as decoded:
        for n, (name, im) in list(enumerate(zip(*photographs(a.images, decoded))))[len(out["images"]):]:
            row = {"file": name, "views": []}
            for q in a.scales:
                seen = rescale(im, q)
                mirrored = seen.transpose(Image.FLIP_LEFT_RIGHT)
                view = {"scale": q, "dense": rounded(posterior(p, seen)), "dense_flip": rounded(posterior(p, mirrored))}
                if n < a.crops:
                    view["grid"] = rounded(mean_posterior(p, crops(seen)))
                    view["grid_flip"] = rounded(mean_posterior(p, crops(mirrored)))
                    if q == 256:
                        view["ten"] = rounded(mean_posterior(p, ten_crop(seen, SIDE)))
                out["grids"]["x".join(map(str, seen.size))] = grid(*seen.size)
                if n == 0 and not a.weights:
                    view["map"] = rounded(F.softmax(score_map(p, tensor([seen]))[0], 0))
                row["views"].append(view)
            out["images"].append(row)
            if a.weights:
                write(a.out, out)
            print(name, flush=True)
    out["grids"] = dict(sorted(out["grids"].items())[:12])
    write(a.out, out)


def write(path, out):
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(out, separators=(",", ":")).replace('{"file"', '\n{"file"') + "\n")
    part.replace(path)


if __name__ == "__main__":
    main()

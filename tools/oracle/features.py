#!/usr/bin/python3
"""Fixture of package transfer: descriptors by plain PyTorch and PIL.

    features.py SAMPLE            writes transfer/testdata/features.json
    features.py SAMPLE --weights D.safetensors [--images 2] [--scales 256 384] --out F

SAMPLE is a folder of ImageNet photographs, of which the first four by name are taken. The
network is eval.py's, whose weights both sides compute, or with --weights that of a file.

For every image: fc7, rectified, averaged over space and with the mirror image's, at each Q;
these divided by their norm and stacked, the whole divided by its norm; and their mean,
divided by its norm. For the first image at the first Q also other layers, before and after
the rectification, averaged and with the greatest activation over space.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

import torch
import torch.nn.functional as F
from PIL import Image

from eval import ROOT, activations, hashed_weights, read_safetensors, rescale, rounded, tensor

OUT = ROOT / "transfer" / "testdata" / "features.json"
SCALES = [256, 384, 512, 640, 768]
OTHERS = ["conv1_1", "conv3_3", "conv5_3", "pool5", "fc6", "fc8"]


def layers(p, im, names):
    return {name: y[0] for name, y in activations(p, tensor([im])) if name in names}


def both(p, im, name, reduce):
    """The mean of what reduce makes of the image's activation and the mirror image's."""
    mirrored = im.transpose(Image.FLIP_LEFT_RIGHT)
    return (reduce(layers(p, im, [name])[name]) + reduce(layers(p, mirrored, [name])[name])) / 2


def average(y):
    return y.mean((1, 2))


def greatest(y):
    return y.amax((1, 2))


def main():
    a = argparse.ArgumentParser()
    a.add_argument("sample", type=pathlib.Path)
    a.add_argument("--weights")
    a.add_argument("--scales", type=int, nargs="+", default=SCALES)
    a.add_argument("--images", type=int, default=4)
    a.add_argument("--out", type=pathlib.Path, default=OUT)
    a = a.parse_args()
    torch.set_num_threads(1)
    p = read_safetensors(a.weights) if a.weights else hashed_weights()
    out = {"scales": a.scales, "images": []}
    paths = sorted(a.sample.glob("*.JPEG"))[:a.images]
    with torch.no_grad(), tempfile.TemporaryDirectory() as decoded:
        subprocess.run(["go", "run", "./tools/oracle/decode", decoded, *(str(f.resolve()) for f in paths)], cwd=ROOT, check=True)
        for path in paths:
            im = Image.open(pathlib.Path(decoded) / (path.name + ".ppm"))
            raw = [both(p, rescale(im, q), "fc7", lambda y: average(F.relu(y))) for q in a.scales]
            unit = [d / d.norm() for d in raw]
            stacked, mean = torch.cat(unit), torch.stack(unit).mean(0)
            row = {"file": path.name, "raw": [rounded(d) for d in raw],
                   "stacked": rounded(stacked / stacked.norm()), "averaged": rounded(mean / mean.norm())}
            if not out["images"] and not a.weights:
                seen = rescale(im, a.scales[0])
                row["others"] = {}
                for name in OTHERS:
                    relu = (lambda y: y) if name in ("pool5", "fc8") else F.relu
                    row["others"][name] = {
                        "average": rounded(both(p, seen, name, lambda y: average(relu(y)))),
                        "average unrectified": rounded(both(p, seen, name, average)),
                        "max": rounded(both(p, seen, name, lambda y: greatest(relu(y)))),
                        "max unrectified": rounded(both(p, seen, name, greatest)),
                    }
            out["images"].append(row)
            print(path.name, flush=True)
    a.out.parent.mkdir(exist_ok=True)
    a.out.write_text(json.dumps(out, separators=(",", ":")).replace('{"file"', '\n{"file"') + "\n")


main()

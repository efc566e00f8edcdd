#!/usr/bin/python3
"""Makes the fixture of package transfer, descriptors, with plain PyTorch and PIL.

    features.py            writes transfer/testdata/features.json
    features.py --weights D.safetensors [--images 2] [--scales 256 384] --out F

The photographs are the first four of eval.py. The network is eval.py's, whose weights this
script and the test compute, or with --weights that of a file.

The fixture has, for each image and Q, fc7 after its rectification, averaged over space and
with that of the mirror image; these divided by their norms and stacked, and the whole divided
by its norm; and their mean, divided by its norm. The first image at the first Q also has other
layers, before and after the rectification, averaged over space and at their maximum.
"""
import argparse
import json
import pathlib
import tempfile

import torch
import torch.nn.functional as F
from PIL import Image

from eval import ROOT, activations, hashed_weights, photographs, read_safetensors, rescale, rounded, tensor

OUT = ROOT / "transfer" / "testdata" / "features.json"
SCALES = [256, 384, 512, 640, 768]
OTHERS = ["conv1_1", "conv3_3", "conv5_3", "pool5", "fc6", "fc8"]


def layers(p, im, names):
    return {name: y[0] for name, y in activations(p, tensor([im])) if name in names}


def both(p, im, name, reduce):
    """Returns the mean of reduce() of the image's activation and of the mirror image's."""
    mirrored = im.transpose(Image.FLIP_LEFT_RIGHT)
    return (reduce(layers(p, im, [name])[name]) + reduce(layers(p, mirrored, [name])[name])) / 2


def average(y):
    return y.mean((1, 2))


def greatest(y):
    return y.amax((1, 2))


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--weights")
    a.add_argument("--scales", type=int, nargs="+", default=SCALES)
    a.add_argument("--images", type=int, default=4)
    a.add_argument("--out", type=pathlib.Path, default=OUT)
    a = a.parse_args()
    torch.set_num_threads(1)
    p = read_safetensors(a.weights) if a.weights else hashed_weights()
    out = {"scales": a.scales, "images": []}
    with torch.no_grad(), tempfile.TemporaryDirectory() as decoded:
        for name, im in zip(*photographs(a.images, decoded)):
            raw = [both(p, rescale(im, q), "fc7", lambda y: average(F.relu(y))) for q in a.scales]
            unit = [d / d.norm() for d in raw]
            stacked, mean = torch.cat(unit), torch.stack(unit).mean(0)
            row = {"file": name, "raw": [rounded(d) for d in raw],
                   "stacked": rounded(stacked / stacked.norm()), "averaged": rounded(mean / mean.norm())}
            if not out["images"] and not a.weights:
                seen = rescale(im, a.scales[0])
                row["others"] = {}
                for layer in OTHERS:
                    relu = (lambda y: y) if layer in ("pool5", "fc8") else F.relu
                    row["others"][layer] = {
                        "average": rounded(both(p, seen, layer, lambda y: average(relu(y)))),
                        "average unrectified": rounded(both(p, seen, layer, average)),
                        "max": rounded(both(p, seen, layer, lambda y: greatest(relu(y)))),
                        "max unrectified": rounded(both(p, seen, layer, greatest)),
                    }
            out["images"].append(row)
            print(name, flush=True)
    a.out.parent.mkdir(exist_ok=True)
    a.out.write_text(json.dumps(out, separators=(",", ":")).replace('{"file"', '\n{"file"') + "\n")


main()

#!/usr/bin/python3
"""Makes the fixture of package explain, saliency and Grad-CAM, with plain PyTorch and PIL.

    explain.py             writes explain/testdata/oracle.json

The network and the photographs, the first and the fourth, are eval.py's. Neither has a
background of one colour, where maxima are equal and rounding decides which gets the gradient.
Each photograph is rescaled to smallest side Q and run densely; the class score is the mean of
the class score map, before the soft-max. Saliency is the maximum over the channels of the
image's absolute gradient (Simonyan et al. 2013): the maximum of each square of 16 by 16
pixels. Grad-CAM is the rectified sum of a layer's channels, after the rectification, each
times the mean of the score's gradient with respect to it (Selvaraju et al. 2017). It computes
in float64.
"""
import json
import tempfile

import torch
import torch.nn.functional as F

from eval import D, ROOT, hashed_weights, photographs, rescale, tensor

OUT = ROOT / "explain" / "testdata" / "oracle.json"
LAYERS = ["pool4", "conv5_3", "pool5"]
CELL = 16


def rounded(t):
    return [float(f"{v:.5g}") for v in t.flatten().tolist()]


def run(p, x):
    """Returns the class scores and the activations of LAYERS, rectified."""
    kept, block, i = {}, 1, 1
    for k in D:
        if k == "M":
            x, name = F.max_pool2d(x, 2), f"pool{block}"
            block, i = block + 1, 1
        else:
            name = f"conv{block}_{i}"
            x, i = F.relu(F.conv2d(x, p[name + ".weight"], p[name + ".bias"], padding=1)), i + 1
        if name in LAYERS:
            x.retain_grad()
            kept[name] = x
    for name, r in (("fc6", 7), ("fc7", 1), ("fc8", 1)):
        w = p[name + ".weight"]
        x = F.conv2d(x, w.reshape(w.shape[0], -1, r, r), p[name + ".bias"])
        x = F.relu(x) if name != "fc8" else x
    return x.mean((0, 2, 3)), kept


def main():
    torch.set_num_threads(1)
    p = {name: w.double() for name, w in hashed_weights().items()}
    rows = []
    with tempfile.TemporaryDirectory() as decoded:
        for name, im, q, some in zip(*(part[::3] for part in photographs(4, decoded)), (224, 256), ([0, 7], [3])):
            seen = rescale(im, q)
            for c in some:
                x = tensor([seen]).double().requires_grad_()
                scores, kept = run(p, x)
                scores[c].backward()
                s = x.grad[0].abs().amax(0)
                row = {"file": name, "scale": q, "class": c, "score": scores[c].item(), "posterior": F.softmax(scores, 0)[c].item(),
                       "cells": rounded(F.max_pool2d(s[None], CELL, ceil_mode=True)), "cams": {}}
                for layer in LAYERS:
                    a, d = kept[layer], kept[layer].grad
                    row["cams"][layer] = rounded(F.relu((a * d.mean((2, 3), keepdim=True)).sum(1)))
                rows.append(row)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")


if __name__ == "__main__":
    main()

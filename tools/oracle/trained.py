#!/usr/bin/python3
"""Makes the fixture of TestTrainedOnTheSample with plain PyTorch and PIL.

    trained.py            writes testdata/trained/pytorch.json

The network is testdata/trained/sample.safetensors, which vgg trained on the embedded
photographs in half a minute:

    vgg train --recipe testdata/trained/recipe.yaml --out run
    vgg convert run/best.safetensors testdata/trained/sample.safetensors --dtype f16

The fixture has, for each of the hundred validation images, the class probabilities of the
central crop, computed in float64, and the error that follows from them.
"""
import json
import struct
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.transforms.functional import center_crop

from eval import ROOT, photographs, rescale

FOLDER = ROOT / "testdata" / "trained"
EPS = 1e-5  # of batch normalisation


def read(path):
    """Returns the tensors of a safetensors file, as float64, and its metadata."""
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    meta = header.pop("__metadata__")
    tensors = {}
    for name, e in header.items():
        begin, end = e["data_offsets"]
        values = np.frombuffer(data[begin:end], {"F16": "<f2", "F32": "<f4"}[e["dtype"]])
        tensors[name] = torch.from_numpy(values.astype(np.float64)).reshape(e["shape"])
    return tensors, {k: json.loads(v) for k, v in meta.items()}


def scores(p, row, x):
    """Computes the class scores (N, K) by a row of layers such as "12bn M FC32 FC"."""
    block, i, n = 1, 1, 0
    layers = row.split()
    for layer in layers:
        n += layer != "M"
        if layer == "M":
            x = F.max_pool2d(x, 2)
            block, i = block + 1, 1
        elif layer.startswith("FC"):
            x = F.linear(x.flatten(1), p[f"fc{n}.weight"], p[f"fc{n}.bias"])
            x = x if n == sum(other != "M" for other in layers) else F.relu(x)
        else:
            name = f"conv{block}_{i}"
            x = F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=1)
            bn = [p[f"{name}.bn.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
            x, i = F.relu(F.batch_norm(x, *bn, eps=EPS)), i + 1
    return x


def main():
    torch.set_num_threads(1)
    p, meta = read(FOLDER / "sample.safetensors")
    spec, classes = meta["vgg.preprocess"], meta["vgg.classes"]
    side, mean, std = spec["crop"], np.array(spec["mean"]), np.array(spec["std"])
    with tempfile.TemporaryDirectory() as decoded:
        names, images = photographs(100, decoded)
    out = {"torch": torch.__version__, "images": []}
    wrong = {1: 0, 5: 0}
    for name, im in zip(names, images):
        im = rescale(im, spec["resize"])
        pixels = np.asarray(center_crop(im, [side, side]), np.float64)
        z = torch.from_numpy((pixels * spec["scale"] - mean) / std).permute(2, 0, 1)[None]
        posterior = F.softmax(scores(p, meta["vgg.options"]["config"], z)[0], 0)
        truth = classes.index(name.split("/")[1])
        rank = int((posterior > posterior[truth]).sum())
        for k in wrong:
            wrong[k] += rank >= k
        out["images"].append({"file": name, "posteriors": [round(v, 6) for v in posterior.tolist()]})
    out["top1_error"], out["top5_error"] = wrong[1] / len(names), wrong[5] / len(names)
    text = json.dumps(out, separators=(",", ":")).replace('{"file"', '\n{"file"') + "\n"
    (FOLDER / "pytorch.json").write_text(text)
    print(out["top1_error"], out["top5_error"])


if __name__ == "__main__":
    main()

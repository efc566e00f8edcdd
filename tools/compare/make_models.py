#!/usr/bin/env python3
"""make_models.py CONFIG FOLDER: writes VGG with random He weights in every form that a peer reads.

    weights.f32           weights and bias of every layer, one after another, little-endian
    crop.onnx, dense.onnx for ONNX Runtime, OpenVINO and MNN; the batch is free, and height and
                          width are, too, when dense
    crop.param, dense.param, ncnn.bin for ncnn, whose converter reads no such ONNX file

All are of the same numbers, so that all give the same scores.
"""
import struct
import sys
import warnings
from pathlib import Path

import torch
from torch import nn

from network import CROP, vgg


def onnx(network, path, dense):
    axes = {0: "n", 2: "h", 3: "w"} if dense else {0: "n"}
    with torch.no_grad():
        torch.onnx.export(
            network, torch.zeros(1, 3, CROP, CROP), path, opset_version=13, dynamo=False,
            input_names=["x"], output_names=["y"], dynamic_axes={"x": axes, "y": axes},
        )


def ncnn_param(network, path):
    """The layers in ncnn's text format, rectification fused."""
    lines, blob = [], "x"
    steps = [m for m in network if not isinstance(m, (nn.Dropout, nn.Flatten))]
    for i, m in enumerate(steps):
        relu = i + 1 < len(steps) and isinstance(steps[i + 1], nn.ReLU)
        if isinstance(m, nn.ReLU):
            continue
        last = i + 1 + relu == len(steps)
        out = "y" if last else f"b{i}"
        if isinstance(m, nn.Conv2d):
            kind = "Convolution"
            spec = f"0={m.out_channels} 1={m.kernel_size[0]} 4={m.padding[0]} 5=1 6={m.weight.numel()}"
        elif isinstance(m, nn.Linear):
            kind = "InnerProduct"
            spec = f"0={m.out_features} 1=1 2={m.weight.numel()}"
        else:
            kind, spec = "Pooling", "0=0 1=2 2=2"
        lines.append(f"{kind} l{i} 1 1 {blob} {out} {spec}" + (" 9=1" if relu else ""))
        blob = out
    lines.insert(0, "Input x 0 1 x")
    path.write_text("\n".join(["7767517", f"{len(lines)} {len(lines)}", *lines]) + "\n")


config, folder = sys.argv[1], Path(sys.argv[2])
warnings.simplefilter("ignore")  # the tracer's, on operators that are constant here
crop, dense = vgg(config).eval(), vgg(config, dense=True).eval()
layers = [m for m in crop if isinstance(m, (nn.Conv2d, nn.Linear))]
with torch.no_grad(), open(folder / "weights.f32", "wb") as raw, open(folder / "ncnn.bin", "wb") as ncnn:
    for a, b in zip(layers, (m for m in dense if isinstance(m, nn.Conv2d)), strict=True):
        b.weight.copy_(a.weight.reshape(b.weight.shape))
        b.bias.copy_(a.bias)
        w, bias = a.weight.numpy().tobytes(), a.bias.numpy().tobytes()
        raw.write(w + bias)
        ncnn.write(struct.pack("<i", 0) + w + bias)  # 0: float32
for network, name in (crop, "crop"), (dense, "dense"):
    onnx(network, folder / f"{name}.onnx", name == "dense")
    ncnn_param(network, folder / f"{name}.param")

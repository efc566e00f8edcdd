#!/usr/bin/env python3
"""make_onnx.py CONFIG crop|dense FILE: writes VGG with random He weights for ort_vgg.js.

The batch size is free; height and width are, too, when dense.
"""
import sys
import warnings

import torch

from network import CROP, vgg

config, mode, path = sys.argv[1:]
dense = mode == "dense"
axes = {0: "n", 2: "h", 3: "w"} if dense else {0: "n"}
warnings.simplefilter("ignore")  # the tracer's, on operators that are constant here
with torch.no_grad():
    torch.onnx.export(
        vgg(config, dense).eval(), torch.zeros(1, 3, CROP, CROP), path, opset_version=13,
        input_names=["x"], output_names=["y"], dynamic_axes={"x": axes, "y": axes},
    )

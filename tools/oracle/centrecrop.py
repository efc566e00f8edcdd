#!/usr/bin/env python3
"""Prints where Hugging Face's Transformers begins a central crop of an odd margin, and values of
testdata/foreign/photo.png so cropped: the numbers of TestCentreFloor and TestTransformersCrop.

Needs transformers (4.46.3), numpy and Pillow.
"""
import pathlib

import numpy as np
from PIL import Image
from pack import packed
from transformers import CLIPImageProcessor
from transformers.image_transforms import center_crop

ROOT = pathlib.Path(__file__).resolve().parents[2]

for w, h, crop in [(256, 256, 224), (341, 256, 224), (343, 257, 224), (224, 225, 224), (227, 224, 224), (301, 299, 224)]:
    y, x = np.mgrid[0:h, 0:w]
    out = center_crop(np.stack([x, y, 0 * x]), (crop, crop), input_data_format="channels_first")
    print((w, h, crop), out[0, 0, 0], out[1, 0, 0])

processor = CLIPImageProcessor(size={"shortest_edge": 239}, crop_size={"height": 224, "width": 224}, image_mean=[0.5, 0.45, 0.4], image_std=[0.3, 0.31, 0.32], resample=2)
with packed(ROOT / "testdata/foreign") as folder:
    v = processor(Image.open(folder / "photo.png").convert("RGB"), return_tensors="np")["pixel_values"][0]
for c, y, x in [(0, 0, 0), (1, 10, 200), (2, 223, 5), (0, 100, 117)]:
    print((c, y, x), v[c, y, x])

#!/usr/bin/python3
"""Makes nn/testdata/adaptive.json and testdata/adaptive/ with PyTorch.

nn/testdata/adaptive.json has AdaptiveAvgPool2d of small maps, and its gradient. testdata/adaptive
has the state dict of a narrow VGG with torchvision's modules and names (features, avgpool to 7x7,
classifier), and its posteriors of a picture at several sides.
"""
import json
import pathlib

import torch
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parents[2]


def pools():
    cases = []
    for h, w, side in [(4, 4, 7), (5, 3, 7), (10, 7, 7), (6, 9, 3), (1, 2, 4), (7, 7, 7), (8, 5, 1)]:
        x = torch.randn(1, 2, h, w, requires_grad=True)
        y = nn.AdaptiveAvgPool2d(side)(x)
        dy = torch.randn_like(y)
        y.backward(dy)
        flat = lambda t: [round(float(v), 7) for v in t.flatten()]
        cases.append({"h": h, "w": w, "side": side, "x": flat(x), "y": flat(y), "dy": flat(dy), "dx": flat(x.grad)})
    (ROOT / "nn/testdata").mkdir(exist_ok=True)
    (ROOT / "nn/testdata/adaptive.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


class VGG(nn.Module):
    """torchvision.models.VGG with narrow layers."""

    def __init__(self, channels, units, classes):
        super().__init__()
        layers, c = [], 3
        for k in channels:
            layers += [nn.Conv2d(c, k, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2, 2)]
            c = k
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(c * 49, units), nn.ReLU(True), nn.Dropout(), nn.Linear(units, units), nn.ReLU(True), nn.Dropout(),
            nn.Linear(units, classes))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def picture(side):
    """Pixels (3,side,side) from 0 to 255, that the test computes too."""
    c, y, x = torch.meshgrid(torch.arange(3), torch.arange(side), torch.arange(side), indexing="ij")
    return (c * 67 + y * 13 + x * 29 + y * x * 5) % 256


def main():
    torch.manual_seed(4)
    pools()
    net = VGG([4, 6, 6, 8, 8], 16, 5).eval()
    for p in net.parameters():
        p.data *= 2  # so that posteriors differ
    out = ROOT / "testdata/adaptive"
    out.mkdir(exist_ok=True)
    torch.save(net.state_dict(), out / "state.pth")
    posteriors = {}
    with torch.no_grad():
        for side in (32, 64, 128, 160, 192, 224, 255, 320):
            posteriors[side] = [float(v) for v in torch.softmax(net(picture(side)[None] / 255), 1)[0]]
    (out / "posteriors.json").write_text(json.dumps(posteriors) + "\n")


main()

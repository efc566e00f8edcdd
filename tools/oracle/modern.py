#!/usr/bin/env python3
"""Writes what the newest PyTorch and timm write: testdata/modern.

ONNX graphs by torch.onnx.export(dynamo=True), the default since PyTorch 2.9: VGGs with and without
batch normalisation, with heads, with external data, with preprocessing in the graph, and what
can't be followed. timm's VGG as a state dict, a whole module and TorchScript. expected.json has
the posteriors of image(side) by ONNX Runtime or PyTorch, or the error.

Needs torch, torchvision, onnxscript, onnxruntime and timm (made with 2.15, 0.30, 0.5, 1.23 and 1.0.31).
"""
import json

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from timm.models import vgg as timm_vgg
from torch import nn

from modules import MEAN, STD, features, image, lean, randomise, vgg
from nn import ROOT
from pack import renewed

OUT = ROOT / "testdata/modern"
expected = {}


class Gap(nn.Module):
    def __init__(self, bn):
        super().__init__()
        self.features, self.pool, self.fc = features(bn=bn), nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3)

    def forward(self, x):
        x = self.pool(self.features(x))
        return self.fc(x.view(x.size(0), -1))


class Before(nn.Module):
    def __init__(self, net, before):
        super().__init__()
        self.net, self.before = net, before

    def forward(self, x):
        return self.net(self.before(x))


def onnx(name, net, side=224, error="", batch=False, external=False, **more):
    randomise(net, len(expected))
    x, path = image(side).float(), OUT / f"{name}.onnx"
    torch.onnx.export(net, (torch.cat([x, x]) if batch else x,), path, dynamo=True, external_data=external, verbose=False,
                      dynamic_shapes=({0: torch.export.Dim.DYNAMIC},) if batch else None)
    if error:
        expected[path.name] = {"error": error}
        return
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    y = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0][0].astype("f8")
    if not more.get("probabilities"):
        y = np.exp(y - y.max()) / np.exp(y - y.max()).sum()
    expected[path.name] = {"posteriors": y.tolist(), "normalize": more.get("normalize", False)}


def timm():
    net = timm_vgg.VGG([1, "M", 2, "M", 2, "M", 3, "M", 4, "M"], num_classes=3)
    net.pre_logits = timm_vgg.ConvMlp(4, 6, 7, mlp_ratio=1.0, drop_rate=0.0, act_layer=nn.ReLU, conv_layer=nn.Conv2d)
    net.head.fc = nn.Linear(6, 3)
    randomise(net, 98)
    with torch.no_grad():
        y = torch.softmax(net(image(224).float()), 1)[0].tolist()
    torch.save(net.state_dict(), OUT / "timm.state.pth")
    torch.save(net, OUT / "timm.pth")
    torch.jit.save(torch.jit.script(net), OUT / "timm.script.pt")
    (OUT / "timm.script.pt").write_bytes(lean((OUT / "timm.script.pt").read_bytes()))
    for name in ("timm.state.pth", "timm.pth", "timm.script.pt"):
        expected[name] = {"posteriors": y}


def main():
    onnx("flat", vgg())
    onnx("flat_bn", vgg(body=features(bn=1e-4)), batch=True)
    onnx("flat_external", vgg(), external=True)
    onnx("flat_softmax", nn.Sequential(vgg(), nn.Softmax(1)), probabilities=True)
    onnx("gap", Gap(0), batch=True)
    onnx("gap_bn", Gap(1e-4))
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    onnx("normalize", Before(Gap(0), lambda x: (x - mean) / std), normalize=True)
    mean_image = torch.rand(1, 3, 32, 1) + torch.rand(1, 1, 1, 32)
    onnx("mean_image", Before(Gap(0), lambda x: x - mean_image), side=32, error="a mean image, with a number for each pixel, isn't read")
    onnx("resize", Before(Gap(0), lambda x: F.interpolate(x, size=(224, 224), mode="bilinear")), side=256, error="resizes the pictures inside the graph: resizing is a part of the preprocessing here")
    onnx("adaptive", vgg(), side=320, error="export the model with an input of 224×224 pixels")
    timm()
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(3)
    with renewed(OUT):
        main()

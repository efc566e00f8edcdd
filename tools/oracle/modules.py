#!/usr/bin/python3
"""Writes whole PyTorch modules: torch.save(model), torch.jit.script and torch.jit.trace.

Writes testdata/modules: each case is a small VGG with another head or in another wrapping, as
NAME.pth (whole), NAME.script.pt and NAME.trace.pt, and expected.json has the posteriors of
image(side) by PyTorch, or the error that the file must give. From TorchScript's files the
debugging information is left out, which is half of them and which torch.jit.load doesn't need.

Needs torch and torchvision (1.13 and 0.14 of Debian 12, and any later ones).
"""
import io
import json
import zipfile
from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import transforms
from torchvision.models.vgg import VGG

from nn import ROOT
from pack import renewed

OUT = ROOT / "testdata/modules"
ROW = [1, "M", 2, "M", 2, "M", 3, "M", 4, "M"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
expected = {}


def image(side):
    """The picture of the tests, (1,3,side,side)."""
    c, y, x = np.mgrid[0:3, 0:side, 0:side]
    return torch.tensor(np.sin(0.9 * c + 0.13 * y + 0.07 * x + 0.001 * x * y))[None]


def features(row=ROW, bn=0.0, act=lambda: nn.ReLU(inplace=True), lrn=False):
    layers, c = [], 3
    for k in row:
        if k == "M":
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        layers += [nn.Conv2d(c, k, 3, padding=1)] + ([nn.BatchNorm2d(k, eps=bn)] if bn else []) + [act()]
        if lrn and len(layers) == 2:
            layers.append(nn.LocalResponseNorm(5, alpha=5e-4, k=2.0))
        c = k
    return nn.Sequential(*layers)


def vgg(avgpool=None, classifier=None, body=None):
    net = VGG(body or features(), num_classes=3, init_weights=False)
    if avgpool is not None:
        net.avgpool = avgpool
    net.classifier = classifier if classifier is not None else nn.Sequential(
        nn.Linear(4 * 49, 5), nn.ReLU(True), nn.Dropout(), nn.Linear(5, 5), nn.ReLU(True), nn.Dropout(), nn.Linear(5, 3))
    return net


class Flatten(nn.Module):
    def forward(self, x):
        return x.view(x.size(0), -1)


class Own(nn.Module):
    """A user's class, whose forward calls its modules in their order."""

    def __init__(self, *modules, names=("features", "pool", "flatten", "classifier")):
        super().__init__()
        for name, m in zip(names, modules):
            setattr(self, name, m)

    def forward(self, x):
        for m in self.children():
            x = m(x)
        return x


class Functional(nn.Module):
    """The same, with an activation that isn't a module."""

    def __init__(self):
        super().__init__()
        self.features = features()
        self.fc1, self.fc2 = nn.Linear(4 * 49, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = torch.flatten(self.features(x), 1)
        return self.fc2(torch.tanh(self.fc1(x)))


class Pooled(nn.Module):
    """Pools by a function."""

    def __init__(self):
        super().__init__()
        self.features, self.fc = features(), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


class Mean(Pooled):
    def forward(self, x):
        return self.fc(self.features(x).mean([2, 3]))


class Two(nn.Module):
    """A main and a second classifier of the same sizes."""

    def __init__(self):
        super().__init__()
        self.features, self.pool = features(), nn.AdaptiveAvgPool2d(1)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.second(self.pool(self.features(x)).flatten(1))


class Named(nn.Module):
    """Calls its modules in another order than it made them, and twice, with functions."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 3)
        self.norm = nn.BatchNorm1d(6, eps=1e-4)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.conv2, self.conv1 = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        x = self.pool(self.act(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.amax((2, 3))
        return F.log_softmax(self.fc(F.dropout(F.leaky_relu(self.norm(x), 0.3), 0.4, self.training)), 1)


class Unit(nn.Module):
    """Normalises the pixels by numbers of its own code."""

    def __init__(self):
        super().__init__()
        self.net = vgg(nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3))

    def forward(self, x):
        return self.net((x - 0.5) / 0.25)


class Buffered(nn.Module):
    """Normalises the pixels by buffers."""

    def __init__(self):
        super().__init__()
        self.net = vgg(nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3))
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))

    def forward(self, x):
        return self.net((x - self.mean) / self.std)


class Inverse(Buffered):
    """Undoes a normalisation."""

    def forward(self, x):
        return self.net(x * self.std + self.mean)


def randomise(net, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in list(net.named_parameters()) + list(net.named_buffers()):
            if p.is_floating_point() and name.rpartition(".")[2] not in ("mean", "std"):
                p.copy_(torch.rand(p.shape, generator=g) + 0.5 if name.endswith("running_var") else
                        torch.randn(p.shape, generator=g) * ((1.6 / p[0].numel()) ** 0.5 * 1.3 if p.dim() > 1 else 0.4))
    return net.eval()


def lean(data):
    """A file of torch.jit.save without its debugging information."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            if not info.filename.endswith(".debug_pkl"):
                new.writestr(zipfile.ZipInfo(info.filename), old.read(info), compress_type=info.compress_type)
    return out.getvalue()


def write(name, data):
    path = OUT / name
    path.write_bytes(data)
    assert path.stat().st_size <= 50_000, (path, path.stat().st_size)


def case(name, net, side=224, forms="whole script trace", posterior=lambda y: torch.softmax(y, 1), save=None, x=None, **more):
    """Writes a case. more is for the tests: the row and head that it must be opened as, what must
    be given (give_head, give_input), the error without these."""
    randomise(net, len(expected))
    x = image(side) if x is None else x
    error = more.pop("errors", {})
    with torch.no_grad():
        y = posterior(net.double()(x))[0].tolist()
    net.float()
    for form in forms.split():
        file = {"whole": f"{name}.pth", "script": f"{name}.script.pt", "trace": f"{name}.trace.pt"}[form]
        b = io.BytesIO()
        if form == "whole":
            torch.save(save(net) if save else net, b)
            write(file, b.getvalue())
        else:
            made = torch.jit.script(net) if form == "script" else torch.jit.trace(net, x.float())
            torch.jit.save(made, b)
            write(file, lean(b.getvalue()))
            with torch.no_grad():
                again = posterior(torch.jit.load(str(OUT / file)).double()(x))[0]
                assert torch.allclose(again, torch.tensor(y, dtype=torch.double), atol=1e-6), file
        expected[file] = dict(more, side=side, posteriors=y)
        if form in error:
            expected[file]["error"] = error[form]


def main():
    one = lambda y: torch.cat([1 - y, y], 1)
    case("replaced", vgg(classifier=nn.Sequential(nn.Linear(4 * 49, 5), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(5, 3))),
         head="FC5 LEAKY0.2 DROP FC")
    case("gap", vgg(nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3)), head="GAP FC")
    case("gmp", vgg(nn.AdaptiveMaxPool2d((1, 1)), nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6, eps=1e-3), nn.GELU(), nn.Linear(6, 3), nn.LogSoftmax(1))),
         posterior=torch.exp, head="GMP FC6 BN GELU FC LOGSOFTMAX", eps=1e-3)
    case("avg7", nn.Sequential(features(), nn.AvgPool2d(7), nn.Flatten(), nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.1), nn.Linear(6, 3), nn.Softmax(dim=1)),
         posterior=lambda y: y, head="GAP FC6 TANH DROP FC")
    case("nested", nn.Sequential(OrderedDict(
        norm=transforms.Normalize(MEAN, STD), backbone=nn.Sequential(features()[:4], nn.Sequential(features([2, "M", 3, "M", 4, "M"], act=nn.ReLU)[0:0], nn.Sequential(*features()[4:]))),
        head=nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Identity(), nn.Flatten(), nn.Linear(4, 6), nn.ELU(), nn.Sequential(nn.Linear(6, 5), nn.SiLU()), nn.Linear(5, 1), nn.Sigmoid()))),
        posterior=one, forms="whole", head="GAP FC6 ELU FC5 SILU FC1 SIGMOID", normalize=True)
    case("bn", nn.DataParallel(vgg(nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.BatchNorm1d(6, eps=1e-4), nn.Linear(6, 3)), features(bn=1e-4))),
         forms="whole", head="GAP FC6 RELU BN FC", eps=1e-4)
    case("checkpoint", vgg(), save=lambda n: {"epoch": 3, "model": n}, forms="whole", head="FC FC FC")
    case("lrn", nn.Sequential(features(lrn=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)), head="GAP FC", forms="whole script")
    case("lrntrace", nn.Sequential(features(lrn=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)), forms="trace", error="LocalResponseNorm.forward", refused=True)
    unused = vgg(nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3))
    unused.fc = nn.Linear(4, 7)  # which the forward doesn't call
    case("unused", unused, forms="whole", error="fc.weight: the network has no such parameter", ignore=["fc.*"], head="GAP FC")
    case("multilabel", vgg(nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 3))), posterior=torch.sigmoid, forms="whole trace",
         give_head="GAP DROP0.2 FC SIGMOID", head="GAP DROP0.2 FC SIGMOID")
    case("binary", vgg(nn.AdaptiveAvgPool2d(1), nn.Linear(4, 1)), posterior=lambda y: one(torch.sigmoid(y)), forms="whole script",
         error="one output, of which a soft-max tells nothing", give_head="GAP FC1 SIGMOID", head="GAP FC1 SIGMOID")
    case("adaptive2", forms="whole script", net=vgg(nn.AdaptiveAvgPool2d(2), nn.Linear(16, 3)), side=64, input=64, head="FC")
    case("adaptive3", forms="whole script", net=vgg(nn.AdaptiveAvgPool2d(3), nn.Linear(36, 3)), head="ADAPT3 FC")
    case("maximum2", forms="whole script", net=vgg(nn.AdaptiveMaxPool2d(2), nn.Linear(16, 3)), side=64, error="pooling to 2×2 pixels", give_input=64, head="FC")
    case("convhead", nn.Sequential(features(), nn.Dropout(0.5), nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), head="GAP FC")
    asked = {"whole": "doesn't hold the forward of"}
    case("own", Own(features(), nn.AdaptiveAvgPool2d(1), Flatten(), nn.Sequential(nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 3))), forms="whole trace", errors=asked, head="GAP FC6 SILU FC")
    case("functional", Functional(), errors=asked, head="FC5 TANH FC")
    case("pooled", Pooled(), forms="whole script", errors=asked, head="GAP FC")
    case("mean", Mean(), forms="script trace", head="GAP FC")
    case("two", Two(), forms="whole trace", errors=asked | {"trace": "first.weight: the network has no such"},
         ignore=["first.*"], head="GAP FC")
    case("named", Named(), side=12, forms="script trace", posterior=torch.exp, head="GMP BN LEAKY0.3 DROP FC LOGSOFTMAX", eps=1e-4, input=12)
    case("unit", Unit(), forms="trace", head="GAP FC", unit=True)

    case("buffered", Buffered(), errors=asked, head="GAP FC", normalize=True)
    case("inverse", Inverse(), forms="trace", error="two normalisations of the input", refused=True)

    refused = dict(forms="whole", refused=True)
    case("relu6", vgg(nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Linear(4, 4), nn.ReLU6(), nn.Linear(4, 3))), error="classifier.1 (ReLU6)", **refused)
    case("hardswish", vgg(nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Linear(4, 4), nn.Hardswish(), nn.Linear(4, 3))), error="classifier.1 (Hardswish)", **refused)
    case("glu", vgg(nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Linear(4, 8), nn.GLU(), nn.Linear(4, 3))), error="classifier.1 (GLU)", **refused)
    case("gelutanh", vgg(nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Linear(4, 8), nn.GELU("tanh"), nn.Linear(8, 3))), error="GELU with approximate tanh", **refused)
    case("leakyfeatures", vgg(nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3), features(act=lambda: nn.LeakyReLU(0.1))), error="LEAKY after the convolution", **refused)
    case("ceil", vgg(nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3), nn.Sequential(*features()[:-1], nn.MaxPool2d(2, ceil_mode=True))), error="MaxPool2d with ceil_mode True", **refused)
    hooked = vgg(nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3))
    hooked.classifier.register_forward_hook(scale)
    case("hooked", hooked, forms="whole", error="hooks of its forward", refused=True)
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def scale(module, x, y):
    return 2 * y


if __name__ == "__main__":
    torch.set_num_threads(1)
    with renewed(OUT):
        main()

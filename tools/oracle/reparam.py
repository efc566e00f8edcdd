#!/usr/bin/env python3
"""Writes networks whose parameters PyTorch computes from other tensors, or has in 8 bits.

    reparam.py        write testdata/reparam, with an expected.json, by this PyTorch
    reparam.py more   add what needs PyTorch 2.1 or later: torch.nn.utils.parametrizations.weight_norm

expected.json has the posteriors of image(224), or the error that the file must give. The files
were made with PyTorch 1.13 of Debian 12 and 2.15 of PyPI.

Needs torch and torchvision.
"""
import copy
import json
import sys

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from modules import features, image, randomise, vgg
from nn import ROOT
from pack import packed, renewed

OUT = ROOT / "testdata/reparam"
expected = {}
JUST_FLOAT = "save the state_dict of the float model"


def layers(net):
    return [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


def made(change, seed=5, bn=0.0):
    net = vgg(body=features(bn=bn))
    randomise(net, seed)
    for i, m in enumerate(layers(net)):
        change(i, m)
    return net.eval()


def case(name, net, saved=None, error=""):
    torch.save(net.state_dict() if saved is None else saved, OUT / name)
    if error:
        expected[name] = {"error": error}
        return
    with torch.no_grad():
        expected[name] = {"posteriors": torch.softmax(net(image(224).float()), 1)[0].tolist()}


def pruned(i, m):
    prune.l1_unstructured(m, "weight", amount=0.4)
    if i % 2:
        prune.random_unstructured(m, "bias", amount=1)


def spectral(norm):
    def change(i, m):
        if i > 1:
            norm(m)
            m.train()
            for _ in range(3):  # power iterations, as training makes them
                m(torch.randn(2, m.in_channels, 5, 5) if isinstance(m, nn.Conv2d) else torch.randn(2, m.in_features))
            m.eval()
    return change


def main():
    torch.manual_seed(1)
    net = made(pruned)
    case("pruned.pth", net)
    case("pruned.module.pth", net, saved=net)
    net = made(lambda i, m: weight_norm(m, dim=(0, None, 1)[i % 3]))
    case("weight_norm.pth", net)
    case("weight_norm.module.pth", net, saved=net)
    net = made(spectral(spectral_norm), bn=1e-5)
    case("spectral_norm.pth", net)
    case("spectral_norm.module.pth", net, saved=net)
    case("spectral_norm.parametrized.pth", made(spectral(parametrizations.spectral_norm)))
    case("orthogonal.pth", made(lambda i, m: i > 6 and parametrizations.orthogonal(m)),
         error='classifier.6.parametrizations.weight.original: a parametrization of torch.nn.utils.parametrize other than weight_norm and spectral_norm')
    net = made(lambda i, m: weight_norm(m))
    state = net.state_dict()
    case("both.pth", net, saved=state | {"classifier.0.weight": state["classifier.0.weight_v"]}, error="classifier.0.weight: it is in the file beside classifier.0.weight_g")
    net = made(pruned)
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("_mask")}
    case("no_mask.pth", net, saved=state, error="neither features.0.weight_mask (pruning) nor features.0.weight_u (spectral_norm)")

    plain = made(lambda i, m: None)
    quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(plain), {nn.Linear}, dtype=torch.qint8)
    case("dynamic_int8.pth", quantised, error=JUST_FLOAT)
    case("dynamic_int8.module.pth", quantised, saved=quantised, error=JUST_FLOAT)
    for name, m in {"dynamic_int8": quantised, "frozen": plain}.items():
        script = torch.jit.script(m)
        if name == "frozen":
            script = torch.jit.freeze(script)
        torch.jit.save(script, OUT / f"{name}.script.pt")
        expected[f"{name}.script.pt"] = {"error": JUST_FLOAT if name != "frozen" else "torch.jit.freeze"}


def more():
    case("weight_norm.parametrized.pth", made(lambda i, m: parametrizations.weight_norm(m, dim=(0, 1)[i % 2])))
    net = made(lambda i, m: parametrizations.weight_norm(m))
    parametrize.remove_parametrizations(layers(net)[0], "weight")
    case("weight_norm.partly.pth", net)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with (packed if sys.argv[1:] else renewed)(OUT):
        if sys.argv[1:] == ["more"]:
            expected = json.loads((OUT / "expected.json").read_text())
            more()
        else:
            main()
        (OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")

#!/usr/bin/python3
"""Computes class scores of tiny.image() with PyTorch, from files of weights that vgg wrote.

    roundtrip.py CONFIG=FILE …   prints {"FILE": [logits], …}

torch.load(weights_only=True) and load_state_dict(strict=True) load a .pth into torchvision's
own VGG; a .safetensors with torchvision's names is loaded likewise. An .npz is run as
TensorFlow would: images (N,H,W,C), kernels (H,W,in,out), fc6 over the activation in (H,W,C)
order.

Needs torch and torchvision.
"""
import json
import sys

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torchvision.models.vgg import VGG
except ImportError as e:
    print(e, file=sys.stderr)
    sys.exit(77)  # as automake's tests that can't be run

from network import CLASSES, FC
from tiny import SIDE, Tiny, image


def torchvision_scores(config, state):
    """Runs torchvision's own VGG of the configuration on these parameters."""
    layers, c = [], 3
    tiny = Tiny(config, 0)
    for kind, name, k, r in tiny.layers:
        if kind == "pool":
            layers.append(torch.nn.MaxPool2d(2, 2))
            continue
        layers.append(torch.nn.Conv2d(c, k, r, padding=r // 2))
        layers += [torch.nn.BatchNorm2d(k)] if tiny.bn else []
        layers.append(torch.nn.ReLU(inplace=True))
        c = k
    net = VGG(torch.nn.Sequential(*layers), num_classes=CLASSES, init_weights=False).eval()
    net.avgpool = torch.nn.Identity()  # which it is at this side
    units = (c * (SIDE // 32) ** 2, FC, FC, CLASSES)
    for i, at in enumerate((0, 3, 6)):
        net.classifier[at] = torch.nn.Linear(units[i], units[i + 1])
    net.load_state_dict({k: t.double() for k, t in state.items()}, strict=True)
    return net.double()(image())


def tensorflow_scores(config, file):
    """Runs the layers of the configuration on the tensors of their names."""
    x = image().permute(0, 2, 3, 1)
    tensor = lambda name: torch.from_numpy(file[name].astype("f8"))
    tiny = Tiny(config, 0)
    for kind, name, _, r in tiny.layers:
        if kind == "pool":
            x = F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
            continue
        # One product for each element of the kernel, over the padded images.
        w, n, h, wd = tensor(name + "_W"), x.shape[0], x.shape[1], x.shape[2]
        padded = F.pad(x, (0, 0, r // 2, r // 2, r // 2, r // 2))
        x = sum(padded[:, i:i + h, j:j + wd] @ w[i, j] for i in range(r) for j in range(r)) + tensor(name + "_b")
        if tiny.bn:
            p = {k: tensor(f"{name}.bn.{k}") for k in ("gamma", "beta", "moving_mean", "moving_variance")}
            x = (x - p["moving_mean"]) / (p["moving_variance"] + 1e-5).sqrt() * p["gamma"] + p["beta"]
        x = F.relu(x)
    x = x.flatten(1)
    for name in ("fc6", "fc7", "fc8"):
        x = x @ tensor(name + "_W") + tensor(name + "_b")
        x = F.relu(x) if name != "fc8" else x
    return x


def safetensors(path):
    """As the format's page has it: the header's length, the header, the data."""
    with open(path, "rb") as f:
        data = f.read()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    state = {}
    for name, t in header.items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            kind = {"F32": "<f4", "F16": "<f2"}[t["dtype"]]
            state[name] = torch.from_numpy(np.frombuffer(data[8 + length + begin:8 + length + end], kind).reshape(t["shape"]).copy())
    return state


def main():
    torch.set_num_threads(1)
    out = {}
    for arg in sys.argv[1:]:
        config, path = arg.split("=", 1)
        with torch.no_grad():
            if path.endswith(".npz"):
                y = tensorflow_scores(config, np.load(path))
            elif path.endswith(".pth"):
                y = torchvision_scores(config, torch.load(path, weights_only=True))
            else:
                y = torchvision_scores(config, safetensors(path))
        out[path] = y.flatten().tolist()
    print(json.dumps(out))


if __name__ == "__main__":
    main()

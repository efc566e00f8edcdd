#!/usr/bin/env python3
"""Writes files of tensors alone whose names don't tell the network: dropouts that take a number,
blocks in attributes of any name, batch normalisation before and behind the rectification, the
files of well-known repositories and tutorials, a convolution in the classifier.

    tensorsalone.py torch     needs PyTorch
    tensorsalone.py keras     needs Keras 3 with TensorFlow

Both write testdata/tensorsalone, a file a case and NAME.json with the row that opens it, the
side of its input and the framework's posteriors of the picture of modules_test.go. Pack the
folder by pack.py once both have run. Weights are multiples of 1/16, which compress well.
"""
import json
import pathlib
import sys

import numpy as np

OUT = pathlib.Path(__file__).resolve().parents[2] / "testdata/tensorsalone"
A = [1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M"]
D = [1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M"]
SMALL = [3, 3, "M", 5, "M"]


def image(side):
    c, r, x = np.mgrid[0:3, 0:side, 0:side].astype(float)
    return np.sin(0.9 * c + 0.13 * r + 0.07 * x + 0.001 * r * x).astype("float32")


def values(shape, name, rng):
    if "var" in name:
        v = rng.random(shape) + 0.5
    elif len(shape) > 1:
        v = rng.standard_normal(shape) * (2 / (np.prod(shape) / max(shape[0], shape[-1]))) ** 0.5
    elif "gamma" in name or "bn" in name and "weight" in name:
        v = 1 + rng.standard_normal(shape) * 0.2
    else:
        v = np.abs(rng.standard_normal(shape)) * 0.3
    return (np.round(v * 16) / 16).astype("float32")


def note(file, row, side, posteriors):
    (OUT / (file + ".json")).write_text(json.dumps({"row": row, "side": side, "posteriors": [float(p) for p in posteriors]}))


def torch_files():
    import torch
    import torch.nn.functional as F
    from torch import nn

    def save(name, net, row, side, wrap=lambda s: s):
        rng = np.random.default_rng(len(name))
        with torch.no_grad():
            for k, p in net.state_dict().items():
                if p.dtype == torch.float32:
                    p.copy_(torch.from_numpy(values(tuple(p.shape), k, rng)))
            y = net.eval()(torch.from_numpy(image(side))[None]).softmax(1)[0]
        torch.save(wrap(net.state_dict()), OUT / name)
        note(name, row, side, y)

    class Net(nn.Module):
        def __init__(self, features, classifier, pool):
            super().__init__()
            self.features, self.classifier, self.pool = features, classifier, pool

        def forward(self, x):
            x = self.features(x)
            return self.classifier((x.mean((2, 3)) if self.pool else x).flatten(1))

    def features(row, bn=False, between=None):
        layers, c = [], 3
        for k, after in zip(row, row[1:] + ["M"]):
            if k == "M":
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(c, k, 3, padding=1)] + ([nn.BatchNorm2d(k)] if bn else []) + [nn.ReLU()]
            if between and after != "M":
                layers.append(between())
            c = k
        return nn.Sequential(*layers)

    save("dropout2d.pth", Net(features(D, between=nn.Dropout2d), nn.Linear(8, 3), True), "D GAP FC", 64)
    save("dropout2d_bn.pth", Net(features(D, True, nn.Dropout2d), nn.Linear(8, 3), True), "D-BN GAP FC", 64)
    cifar = nn.Sequential(*features(A, True), nn.AvgPool2d(1, 1))
    save("kuangliu.pth", Net(cifar, nn.Linear(8, 3), False), "", 32, lambda s: {"net": {"module." + k: v for k, v in s.items()}, "acc": 92.0, "epoch": 7})

    class Named(nn.Module):  # convN and bnN, or convB_I and bnB_I, in the order of the layers or by kinds
        def __init__(self, row, blocks=False, kinds=False, after=False):
            super().__init__()
            self.row, self.after, self.names, norms = row, after, [], []
            c, b, i, n = 3, 1, 0, 0
            for k in row:
                if k == "M":
                    b, i = b + 1, 0
                    continue
                i, n = i + 1, n + 1
                name = f"{b}_{i}" if blocks else str(n)
                self.names.append(name)
                self.add_module("conv" + name, nn.Conv2d(c, k, 3, padding=1))
                norms.append(("bn" + name, nn.BatchNorm2d(k)))
                if not kinds:
                    self.add_module(*norms.pop())
                c = k
            for norm in norms:
                self.add_module(*norm)
            self.fc = nn.Linear(c, 3)

        def forward(self, x):
            names = iter(self.names)
            for k in self.row:
                if k == "M":
                    x = F.max_pool2d(x, 2)
                    continue
                n = next(names)
                x = getattr(self, "conv" + n)(x)
                x = getattr(self, "bn" + n)(F.relu(x)) if self.after else F.relu(getattr(self, "bn" + n)(x))
            return self.fc(x.mean((2, 3)))

    save("conv1_bn1.pth", Named(A), "A-BN GAP FC", 64)
    save("conv1_bn1_kinds.pth", Named(A, kinds=True), "A-BN GAP FC", 64)
    save("conv1_1_after.pth", Named(SMALL, blocks=True, after=True), "3 BN 3 BN M 5 BN M GAP FC", 24)

    class Blocks(nn.Module):
        def __init__(self, row, name):
            super().__init__()
            self.blocks, c, layers = [], 3, []
            for k in row:
                if k == "M":
                    self.blocks.append(f"{name}{len(self.blocks) + 1}")
                    self.add_module(self.blocks[-1], nn.Sequential(*layers, nn.MaxPool2d(2)))
                    layers = []
                    continue
                layers += [nn.Conv2d(c, k, 3, padding=1), nn.BatchNorm2d(k), nn.ReLU()]
                c = k
            self.head = nn.Sequential(nn.Linear(c, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))

        def forward(self, x):
            for b in self.blocks:
                x = getattr(self, b)(x)
            return self.head(x.mean((2, 3)))

    save("block.pth", Blocks(SMALL, "block"), "3bn 3bn M 5bn M GAP FC6 BN RELU FC", 24)
    save("layer.pth", Blocks(A, "layer"), "A-BN GAP FC6 BN RELU FC", 64)

    class ConvolutionInHead(nn.Module):  # which the names put among the fully connected layers
        def __init__(self, side):
            super().__init__()
            self.features = features(A)
            self.classifier = nn.Sequential(nn.Conv2d(8, 6, side, padding=side // 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))

        def forward(self, x):
            return self.classifier(self.features(x))

    save("conv3_in_head.pth", ConvolutionInHead(3), "1 M 2 M 4 4 M 8 8 M 8 8 M 6 GAP FC", 64)
    save("conv1_in_head.pth", ConvolutionInHead(1), "1 M 2 M 4 4 M 8 8 M 8 8 M 1×6 GAP FC", 64)

    def d2l(arch):  # as d2l.ai's book has it
        blocks, c = [], 3
        for n, k in arch:
            layers = []
            for _ in range(n):
                layers += [nn.Conv2d(c, k, 3, padding=1), nn.ReLU()]
                c = k
            blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2, 2)))
        return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(c * 4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))

    save("d2l.pth", d2l([(1, 1), (1, 2), (2, 4), (2, 8), (2, 8)]), "A", 64)


def keras_files():
    sys.path.pop(0)  # where keras.py is another script
    import keras
    from keras import layers as L

    def save(name, row, text, side, after=False, names=False, head=()):
        net, b, i = [L.Input((side, side, 3))], 1, 1
        for k in row:
            if k == "M":
                net.append(L.MaxPooling2D())
                b, i = b + 1, 1
                continue
            own = {"name": f"block{b}_conv{i}"} if names else {}
            net += [L.Conv2D(k, 3, padding="same", activation="relu" if after else None, **own), L.BatchNormalization()]
            if not after:
                net.append(L.ReLU())
            i += 1
        net = keras.Sequential(net + [L.GlobalAveragePooling2D(), *head, L.Dense(3, activation="softmax")])
        rng = np.random.default_rng(len(name))
        for w in net.weights:
            w.assign(values(tuple(w.shape), w.path, rng))
        y = net.predict(image(side).transpose(1, 2, 0)[None], verbose=0)[0]
        net.save_weights(OUT / name)
        note(name, text, side, y)

    save("before.weights.h5", A, "A-BN GAP FC", 64)
    save("after.weights.h5", A, "1 BN M 2 BN M 4 BN 4 BN M 8 BN 8 BN M 8 BN 8 BN M GAP FC", 64, after=True)
    save("named.weights.h5", SMALL, "3bn 3bn M 5bn M GAP FC6 BN RELU FC", 24, names=True, head=(L.Dense(6), L.BatchNormalization(), L.ReLU()))


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    {"torch": torch_files, "keras": keras_files}[sys.argv[1]]()

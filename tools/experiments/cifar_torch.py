#!/usr/bin/env python3
"""Trains the network of cifar-a.yaml with the same recipe in PyTorch, and prints its errors.

    python3 tools/experiments/cifar_torch.py FOLDER SEED [EPOCHS]

FOLDER holds train/<class>/*.jpg and val/<class>/*.jpg. Needs torch, numpy and PIL.
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

BATCH, RATE, MOMENTUM, DECAY, DROPOUT = 128, 0.01, 0.9, 5e-4, 0.5
WIDTHS = "16 M 32 M 64 64 M 128 128 M 128 128 M".split()  # A, a quarter as wide
FC = 256


def load(folder):
    images, labels = [], []
    for label, cls in enumerate(sorted(p.name for p in folder.iterdir())):
        for file in sorted((folder / cls).iterdir()):
            images.append(np.asarray(Image.open(file).convert("RGB")))
            labels.append(label)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float(), torch.tensor(labels)


def network(classes):
    layers, c = [], 3
    for w in WIDTHS:
        if w == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(c, int(w), 3, padding=1), nn.ReLU()]
            c = int(w)
    layers += [nn.Flatten(), nn.Linear(c, FC), nn.ReLU(), nn.Dropout(DROPOUT),
               nn.Linear(FC, FC), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(FC, classes)]
    for l in layers:
        if isinstance(l, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(l.weight, nonlinearity="relu")
            nn.init.zeros_(l.bias)
    return nn.Sequential(*layers)


def main(folder, seed, epochs):
    torch.manual_seed(seed)
    x, y = load(folder / "train")
    vx, vy = load(folder / "val")
    mean, std = x.mean((0, 2, 3), keepdim=True), x.transpose(0, 1).reshape(3, -1).std(1).view(1, 3, 1, 1)
    x, vx = (x - mean) / std, (vx - mean) / std
    net = network(int(y.max()) + 1)
    sgd = torch.optim.SGD(net.parameters(), RATE, momentum=MOMENTUM, weight_decay=DECAY)
    for epoch in range(1, epochs + 1):
        net.train()
        order = torch.randperm(len(x))
        for at in range(0, len(x), BATCH):
            take = order[at:at + BATCH]
            batch = x[take]
            flip = torch.rand(len(take)) < 0.5
            batch[flip] = batch[flip].flip(3)
            sgd.zero_grad()
            nn.functional.cross_entropy(net(batch), y[take]).backward()
            sgd.step()
        net.eval()
        with torch.no_grad():
            scores = torch.cat([net(vx[at:at + 500]) for at in range(0, len(vx), 500)])
        top5 = scores.topk(5).indices
        print(json.dumps({
            "seed": seed, "epoch": epoch,
            "loss": nn.functional.cross_entropy(scores, vy).item(),
            "top1_error": (top5[:, 0] != vy).float().mean().item(),
            "top5_error": (top5 != vy[:, None]).all(1).float().mean().item(),
        }), flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) == 4 else 5)

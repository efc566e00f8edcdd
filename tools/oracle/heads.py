#!/usr/bin/python3
"""Makes the fixtures of heads with PyTorch: testdata/oracle/heads/heads.safetensors.

Each net has the features "4 M 6 M" on 8×8 pixels and one of HEADS. The file has, for net
number i: its parameters under this library's names, the images x, the labels, the scores,
the posteriors, and the gradients of the mean loss with respect to all parameters and x.
Batch normalisation uses the batch's statistics for scores and gradients, and its running
ones, which are drawn, for the posteriors. Computed in float64, rounded to float32 once.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from nn import ROOT, draw, save, short
from pack import packed

CLASSES, N, SIDE = 3, 4, 8
C, S = 6, 2  # channels and side of the last map
HEADS = [
    "GAP FC",
    "GAP FC5 BN RELU FC",
    "GMP FC5 TANH FC",
    "L2 FC5 LEAKY0.2 FC",
    "FLATTEN BN FC5 GELU FC LOGSOFTMAX",
    "GAP L2 FC5 ELU BN FC",
    "BN SILU GAP FC5 SIGMOID FC7 LINEAR L2 FC SIGMOID",
    "GAP FC1 SIGMOID",
    "FC5 RELU FC TANH",
    "GMAP BN FC5 RELU BN FC",
]


class L2(nn.Module):
    def forward(self, x):
        return F.normalize(x.flatten(1), dim=1).reshape(x.shape)


class MaxAverage(nn.Module):
    """fastai's AdaptiveConcatPool2d, flattened."""

    def forward(self, x):
        return torch.cat([F.adaptive_max_pool2d(x, 1), F.adaptive_avg_pool2d(x, 1)], 1).flatten(1)


def build(head):
    """Returns [(module, name or None)], with this library's names of layers."""
    out, c, side, fc, tokens = [], C, S, 3, head.split()
    ending = tokens[-1] if tokens[-1] in ("SIGMOID", "LOGSOFTMAX") else ""
    if ending:
        tokens.pop()
    flat, norms, last = False, 0, None
    for t in tokens:
        name = None
        if t == "GAP":
            m, flat = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), True
        elif t == "GMP":
            m, flat = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()), True
        elif t == "GMAP":
            m, flat, c = MaxAverage(), True, 2 * c
        elif t == "L2":
            m = L2()
        elif t == "FLATTEN":
            m, flat, c = nn.Flatten(), True, c * side * side
        elif t.startswith("FC"):
            k = int(t[2:] or CLASSES)
            if not flat:
                out.append((nn.Flatten(), None))
                flat, c = True, c * side * side
            m, c, name, fc = nn.Linear(c, k), k, f"fc{fc}", fc + 1
        elif t == "BN":
            m = nn.BatchNorm1d(c) if flat else nn.BatchNorm2d(c)
            name = f"{last}.bn" if last and last.startswith("fc") else f"norm{fc - 1}"
        else:
            m = {"RELU": nn.ReLU(), "TANH": nn.Tanh(), "ELU": nn.ELU(), "GELU": nn.GELU(), "SILU": nn.SiLU(),
                 "SIGMOID": nn.Sigmoid(), "LINEAR": nn.Identity()}.get(t) or nn.LeakyReLU(float(t[5:]))
        out.append((m, name))
        last = name
    return out, ending


def main():
    torch.manual_seed(3)
    tensors = {}
    for i, head in enumerate(HEADS):
        rest, ending = build(head)
        layers = [(nn.Conv2d(3, 4, 3, padding=1), "conv1_1"), (nn.ReLU(), None), (nn.MaxPool2d(2), None),
                  (nn.Conv2d(4, C, 3, padding=1), "conv2_1"), (nn.ReLU(), None), (nn.MaxPool2d(2), None)] + rest
        net = nn.Sequential(*[m for m, _ in layers]).double()
        for m, name in layers:
            with torch.no_grad():
                for key, p in m.named_parameters():
                    std = 0.4 if p.dim() > 1 else 0.3
                    p.copy_(short(torch.randn(p.shape) * std) + (1 if name and ("bn" in name or "norm" in name) and key == "weight" else 0))
                if name and ("bn" in name or "norm" in name):
                    m.running_mean.copy_(short(torch.randn(m.running_mean.shape) * 0.3))
                    m.running_var.copy_(short(torch.rand(m.running_var.shape) + 0.5))
            if name:
                for key in ("weight", "bias", "running_mean", "running_var"):
                    if getattr(m, key, None) is not None:
                        tensors[f"{i}/{name}.{key}"] = getattr(m, key).detach().clone()
        x, one = draw(N, 3, SIDE, SIDE), "FC1" in head
        labels = torch.randint(2 if one else CLASSES, (N,))
        net.eval()
        s = net(x)
        if one:
            posteriors = torch.cat([1 - torch.sigmoid(s), torch.sigmoid(s)], 1)
        else:
            posteriors = torch.sigmoid(s) if ending == "SIGMOID" else torch.softmax(s, 1)
        net.train()
        s = net(x)
        if one:
            loss = F.binary_cross_entropy_with_logits(s[:, 0], labels.double())
        elif ending == "SIGMOID":
            loss = F.binary_cross_entropy_with_logits(s, F.one_hot(labels, CLASSES).double(), reduction="sum") / N
        else:
            loss = F.cross_entropy(s, labels)
        loss.backward()
        tensors |= {f"{i}/x": x.detach(), f"{i}/labels": labels.double(), f"{i}/scores": s.detach(),
                    f"{i}/posteriors": posteriors.detach(), f"{i}/loss": loss.detach().reshape(1), f"{i}/grad.x": x.grad}
        for m, name in layers:
            if name:
                tensors |= {f"{i}/grad.{name}.{key}": p.grad for key, p in m.named_parameters()}
    save(ROOT / "testdata/oracle/heads", "heads", tensors, {f"head{i}": h for i, h in enumerate(HEADS)})


if __name__ == "__main__":
    with packed(ROOT / "testdata/oracle"):
        main()

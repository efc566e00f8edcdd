#!/usr/bin/python3
"""Runs ten steps of PyTorch's SGD in each form of package nn's optimiser.

Writes nn/testdata/sgd.tar.zst: start (images, labels, parameters) and, for each form,
the state after ten steps. The network is conv3-12, ReLU, conv3-16, ReLU, max-pooling, FC-6
on 6×6 images, computed in float64.
"""
import torch
import torch.nn.functional as F

from nn import ROOT, save, short
from pack import renewed

STEPS = 10
RATE, MOMENTUM, DECAY = 0.01, 0.9, 5e-3
MARGIN = 1e-5  # of a pre-activation from the kink: far above float32's rounding

FORMS = {
    "paper": {},
    "nesterov": {"nesterov": True},
    "weights_only": {"decay_biases": False},
    "clip": {"clip": 6.0},
    "smoothing": {"smoothing": 0.1},
    "all": {"nesterov": True, "decay_biases": False, "clip": 6.0, "smoothing": 0.1},
    "frozen": {"frozen": "conv1"},
}


def forward(p, x, margins):
    for name in ("conv1", "conv2"):
        x = F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=1)
        margins.append(x.detach().abs().min().item())
        x = F.relu(x)
    x = F.max_pool2d(x, 2).flatten(1)
    return F.linear(x, p["fc.weight"], p["fc.bias"])


def run(start, x, labels, nesterov=False, decay_biases=True, clip=0.0, smoothing=0.0, frozen=None):
    p = {k: v.clone().requires_grad_(frozen is None or not k.startswith(frozen)) for k, v in start.items()}
    learnt = {k: v for k, v in p.items() if v.requires_grad}
    groups = [
        {"params": [v for v in learnt.values() if v.dim() > 1], "weight_decay": DECAY},
        {"params": [v for v in learnt.values() if v.dim() == 1], "weight_decay": DECAY if decay_biases else 0.0},
    ]
    sgd = torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM, nesterov=nesterov)
    losses, norms, margins = [], [], []
    for _ in range(STEPS):
        sgd.zero_grad()
        loss = F.cross_entropy(forward(p, x, margins), labels, label_smoothing=smoothing)
        loss.backward()
        if clip > 0:
            norms.append(torch.nn.utils.clip_grad_norm_(learnt.values(), clip).item())
        sgd.step()
        losses.append(loss.detach())
    out = {"loss": torch.stack(losses), **{k: v for k, v in learnt.items()}}
    out |= {f"momentum.{k}": sgd.state[v]["momentum_buffer"] for k, v in learnt.items()}
    return out, norms, min(margins)


def main():
    for seed in range(10_000):
        torch.manual_seed(seed)
        x, labels = short(torch.randn(4, 3, 6, 6)), torch.randint(6, (4,))
        start = {
            "conv1.weight": torch.randn(12, 3, 3, 3) * (2 / 27) ** 0.5, "conv1.bias": 0.1 + 0.1 * torch.randn(12),
            "conv2.weight": torch.randn(16, 12, 3, 3) * (2 / 108) ** 0.5, "conv2.bias": 0.1 + 0.1 * torch.randn(16),
            "fc.weight": torch.randn(6, 144) * (2 / 144) ** 0.5, "fc.bias": 0.1 * torch.randn(6),
        }
        start = {k: short(v) for k, v in start.items()}
        results = {form: run(start, x, labels, **o) for form, o in FORMS.items()}
        if min(margin for _, _, margin in results.values()) < MARGIN:
            continue
        norms = [n for _, norms, _ in results.values() for n in norms]
        if not min(norms) < 6.0 < max(norms):
            continue  # some steps must be clipped and some not
        break
    else:
        raise SystemExit("no seed keeps away from the kinks")
    folder = ROOT / "nn/testdata/sgd"
    meta = {"rate": RATE, "momentum": MOMENTUM, "decay": DECAY, "seed": seed}
    with renewed(folder):
        save(folder, "start", {"x": x, "labels": labels.double(), **start}, meta)
        for form, (out, _, _) in results.items():
            o = {"nesterov": False, "decay_biases": True, "clip": 0.0, "smoothing": 0.0, "frozen": "", **FORMS[form]}
            save(folder, form, out, {k: str(v).lower() for k, v in o.items()})
    print("seed", seed)


if __name__ == "__main__":
    main()

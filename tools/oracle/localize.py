#!/usr/bin/python3
"""Makes the fixtures of package localize: box regression with PyTorch, box transforms
with numpy.

Writes localize/testdata/oracle.tar.zst: start.safetensors (images, labels, targets, parameters);
SCR.safetensors and PCR.safetensors (loss, gradients of the first step, parameters and momenta
after ten steps of SGD, all computed in float64); boxes.json (boxes of images in the
coordinates of crops, by matrices of homogeneous coordinates, with the targets of each rule).

The network is vgg's row "12 M 16 M FC10 FC" on 12×12 images: conv3-12, ReLU, max-pooling,
conv3-16, ReLU, max-pooling, FC-10, ReLU and the layer of box outputs.
"""
import json

import numpy as np
import torch
import torch.nn.functional as F

from nn import ROOT, save, short
from pack import renewed

STEPS, CLASSES, N = 10, 3, 6
RATE, MOMENTUM, DECAY = 0.02, 0.9, 5e-3
MARGIN = 1e-5  # least distance of a pre-activation from the kink
FOLDER = ROOT / "localize/testdata/oracle"


def forward(p, x, margins):
    for name in ("conv1_1", "conv2_1"):
        x = F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=1)
        margins.append(x.detach().abs().min().item())
        x = F.max_pool2d(F.relu(x), 2)
    x = F.linear(x.flatten(1), p["fc3.weight"], p["fc3.bias"])
    margins.append(x.detach().abs().min().item())
    return F.linear(F.relu(x), p["fc4.weight"], p["fc4.bias"])


def euclidean(y, labels, target, seen, per_class):
    """Caffe's EuclideanLoss: the sum of squared differences over 2N."""
    if per_class:
        y = y.view(len(y), CLASSES, 4)[torch.arange(len(y)), labels]
    return ((y - target)[seen] ** 2).sum() / (2 * len(y))


def run(start, x, labels, target, seen, per_class):
    p = {k: v.clone().requires_grad_() for k, v in start.items()}
    sgd = torch.optim.SGD(p.values(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    losses, margins, grads = [], [], None
    for _ in range(STEPS):
        sgd.zero_grad()
        loss = euclidean(forward(p, x, margins), labels, target, seen, per_class)
        loss.backward()
        if grads is None:
            grads = {f"grad.{k}": v.grad.clone() for k, v in p.items()}
        sgd.step()
        losses.append(loss.detach())
    out = {"loss": torch.stack(losses), **grads, **p}
    out |= {f"momentum.{k}": sgd.state[v]["momentum_buffer"] for k, v in p.items()}
    return out, min(margins)


def training():
    for seed in range(10_000):
        torch.manual_seed(seed)
        x, labels = short(torch.randn(N, 3, 12, 12)), torch.randint(CLASSES, (N,))
        target = short(torch.rand(N, 4) * torch.tensor([0.4, 0.4, 0.7, 0.7]) + 0.3)
        seen = torch.arange(N) != 2  # the crop shows too little of one box
        start = {
            "conv1_1.weight": torch.randn(12, 3, 3, 3) * (2 / 27) ** 0.5, "conv1_1.bias": 0.1 + 0.1 * torch.randn(12),
            "conv2_1.weight": torch.randn(16, 12, 3, 3) * (2 / 108) ** 0.5, "conv2_1.bias": 0.1 + 0.1 * torch.randn(16),
            "fc3.weight": torch.randn(10, 144) * (2 / 144) ** 0.5, "fc3.bias": 0.1 * torch.randn(10),
        }
        last = {
            "SCR": {"fc4.weight": torch.randn(4, 10) * 0.3, "fc4.bias": 0.1 * torch.randn(4)},
            "PCR": {"fc4.weight": torch.randn(4 * CLASSES, 10) * 0.3, "fc4.bias": 0.1 * torch.randn(4 * CLASSES)},
        }
        start = {k: short(v) for k, v in start.items()}
        last = {form: {k: short(v) for k, v in layer.items()} for form, layer in last.items()}
        results = {form: run({**start, **layer}, x, labels, target, seen, form == "PCR") for form, layer in last.items()}
        if min(margin for _, margin in results.values()) >= MARGIN and len(labels.unique()) == CLASSES:
            break
    else:
        raise SystemExit("no seed keeps away from the kinks")
    save(FOLDER, "start", {"x": x, "labels": labels.double(), "target": target, "seen": seen.double(), **start,
                           **{f"{form}.{k}": v for form, layer in last.items() for k, v in layer.items()}},
         {"rate": RATE, "momentum": MOMENTUM, "decay": DECAY, "seed": seed})
    for form, (out, _) in results.items():
        save(FOLDER, form, out, {})
    print("seed", seed)


def matrix(case):
    """Returns the transform from pixels of the stored image to units of the crop's side."""
    (w, h), (rw, rh), (x, y), side = case["image"], case["rescaled"], case["corner"], case["side"]
    rescale, crop, unit = np.diag([rw / w, rh / h, 1.0]), np.eye(3), np.diag([1 / side, 1 / side, 1.0])
    crop[:2, 2] = -x, -y
    mirror = np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]]) if case["flip"] else np.eye(3)
    return mirror @ unit @ crop @ rescale


def transform(m, box):
    points = m @ np.array([[box[0], box[2]], [box[1], box[3]], [1.0, 1.0]])
    return np.array([points[0].min(), points[1].min(), points[0].max(), points[1].max()])


def area(b):
    return max(0.0, b[2] - b[0]) * max(0.0, b[3] - b[1])


def target_of(case, clip, share):
    best, most = None, 0.0
    for *box, label, difficult in case["boxes"]:
        if label != case["label"] or difficult:
            continue
        b = transform(matrix(case), box)
        inside = np.clip(b, 0, 1)
        if area(inside) <= most or area(inside) < share * area(b):
            continue
        most, b = area(inside), inside if clip else b
        best = [(b[0] + b[2]) / 2, (b[1] + b[3]) / 2, b[2] - b[0], b[3] - b[1]]
    return best


def iou(a, b):
    both = area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])
    return both / (area(a) + area(b) - both)


def boxes():
    rng = np.random.default_rng(7)
    cases = []
    for n in range(60):
        w, h = (int(v) for v in rng.integers(20, 400, 2))
        side = int(rng.integers(16, 64))
        s = int(side + rng.integers(0, 40))
        rw, rh = (s, int(s * h / w)) if w <= h else (int(s * w / h), s)
        case = {"image": [w, h], "rescaled": [rw, rh], "side": side, "flip": bool(n % 2),
                "corner": [int(rng.integers(0, rw - side + 1)), int(rng.integers(0, rh - side + 1))],
                "label": int(rng.integers(2)), "boxes": []}
        for _ in range(rng.integers(1, 5)):
            x0, y0 = rng.uniform(0, 0.8 * w), rng.uniform(0, 0.8 * h)
            x1, y1 = rng.uniform(x0 + 1, w), rng.uniform(y0 + 1, h)
            case["boxes"].append([*(round(float(v), 2) for v in (x0, y0, x1, y1)), int(rng.integers(2)), bool(rng.random() < 0.15)])
        case["targets"] = {f"{name}:{share:g}": target_of(case, name == "clip", share) for name in ("whole", "clip") for share in (0, 0.5, 0.9)}
        outputs = [round(float(v), 4) for v in rng.normal([0.5, 0.5, 0.6, 0.6], 0.3)]
        cx, cy, bw, bh = outputs[0], outputs[1], max(outputs[2], 0), max(outputs[3], 0)
        back = transform(np.linalg.inv(matrix(case)), [cx - bw / 2, cy - bh / 2, cx + bw / 2, cy + bh / 2])
        back = np.clip(back, 0, [w, h, w, h])
        case["outputs"], case["predicted"] = outputs, back.tolist()
        truths = [b[:4] for b in case["boxes"] if b[4] == case["label"] and not b[5]]
        case["iou"] = max((iou(back, b) for b in truths), default=0.0) if area(back) > 0 else 0.0
        cases.append(case)
    targets = [t for c in cases for t in c["targets"].values()]
    assert 0.2 < sum(t is None for t in targets) / len(targets) < 0.8
    (FOLDER / "boxes.json").write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


if __name__ == "__main__":
    with renewed(FOLDER):
        training()
        boxes()

#!/usr/bin/python3
"""Makes the fixtures of whole networks with PyTorch.

Writes testdata/oracle/NET/*.safetensors: tiny networks of every configuration with
their parameters, activations, gradients, ten steps of SGD and dense class score maps.
Images and parameters are drawn at random and rounded to bfloat16, which halves their size.
Everything else is computed in float64 and rounded to float32 once.
testdata/oracle.md lists the files and their tensors.
"""
import argparse
import math

import numpy as np
import torch
import torch.nn.functional as F

from nn import ROOT, save, short
from pack import packed

CLASSES, FC, STEPS = 5, 8, 10
RATE, MOMENTUM, DECAY = 1e-2, 0.9, 5e-4
EPS, BN_MOMENTUM = 1e-5, 0.1
MARGIN = 1e-5  # least distance of a pre-activation from 0, and of a pooling window's two largest from each other

# "64": 3×3 convolution with 64 channels; "1x256", "5x64": another kernel; M: max-pooling.
CONFIGS = {
    "A": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "A-LRN": "64 LRN M 128 M 256 256 M 512 512 M 512 512 M",
    "B": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "C": "64 64 M 128 128 M 256 256 1x256 M 512 512 1x512 M 512 512 1x512 M",
    "D": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "E": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
    "B-shallow": "5x64 M 5x128 M 5x256 M 5x512 M 5x512 M",
}


def channels(c, width):
    return max(1, math.floor(c / width + 0.5))


def layers(config, width):
    """Returns [(kind, name, out-channels, kernel side)] of the convolutional part."""
    out, block, index = [], 1, 0
    for token in CONFIGS[config.removesuffix("-BN")].split():
        if token == "M":
            out.append(("pool", f"pool{block}", 0, 2))
            block, index = block + 1, 0
        elif token == "LRN":
            out.append(("lrn", f"lrn{block}", 0, 0))
        else:
            r, _, c = token.rpartition("x")
            index += 1
            out.append(("conv", f"conv{block}_{index}", channels(int(c), width), int(r or 3)))
    return out


class Net:
    def __init__(self, config, width, side=32):
        self.layers, self.bn = layers(config, width), config.endswith("-BN")
        self.lrn, self.width, self.side = "LRN" in config, width, side

    def init(self):
        """Draws parameters: He's deviation, and mostly positive biases so that few units are dead."""
        p, c = {}, 3
        for kind, name, k, r in self.layers:
            if kind != "conv":
                continue
            p[f"{name}.weight"] = torch.randn(k, c, r, r) * (2 / (c * r * r)) ** 0.5
            p[f"{name}.bias"] = 0.1 + 0.1 * torch.randn(k)
            if self.bn:
                p[f"{name}.bn.weight"] = 0.5 + torch.rand(k)
                p[f"{name}.bn.bias"] = 0.2 + 0.2 * torch.randn(k)
                p[f"{name}.bn.running_mean"] = 0.2 * torch.randn(k)
                p[f"{name}.bn.running_var"] = 0.5 + torch.rand(k)
            c = k
        c *= (self.side // 32) ** 2
        for name, k in (("fc6", FC), ("fc7", FC), ("fc8", CLASSES)):
            p[f"{name}.weight"] = torch.randn(k, c) * (2 / c) ** 0.5
            p[f"{name}.bias"] = 0.1 + 0.1 * torch.randn(k)
            c = k
        if self.lrn:  # activations large enough that the normalisation matters
            p["conv1_1.weight"] *= 8
            p["conv1_1.bias"] *= 8
            p["conv2_1.weight"] /= 4
        return {k: short(t) for k, t in p.items()}

    def features(self, p, x, acts=None, margin=None):
        """Returns the output of the last pooling. Collects every layer's output in acts and the distances from kinks in margin."""
        for kind, name, _, r in self.layers:
            if kind == "conv":
                x = F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=r // 2)
                if self.bn:
                    x = F.batch_norm(x, p[f"{name}.bn.running_mean"], p[f"{name}.bn.running_var"],
                                     p[f"{name}.bn.weight"], p[f"{name}.bn.bias"], True, BN_MOMENTUM, EPS)
                x = relu(x, margin)
            elif kind == "lrn":  # Krizhevsky's form: alpha isn't divided by n
                x = F.local_response_norm(x, 5, alpha=5 * 1e-4, beta=0.75, k=2.0)
            else:
                x = max_pool(x, margin)
            if acts is not None:
                acts[name] = x
        return x

    def forward(self, p, x, acts=None, margin=None):
        """Returns the class scores (N, CLASSES) of images of the training side."""
        x = self.features(p, x, acts, margin).flatten(1)
        for name in ("fc6", "fc7", "fc8"):
            x = F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])
            if name != "fc8":
                x = relu(x, margin)
            if acts is not None:
                acts[name] = x
        return x

    def dense(self, p, x):
        """Returns the class score map (N, CLASSES, OH, OW), with fc6, fc7 and fc8 as convolutions."""
        x, r = self.features(p, x), self.side // 32
        for name in ("fc6", "fc7", "fc8"):
            w = p[f"{name}.weight"]
            x = F.conv2d(x, w.reshape(w.shape[0], -1, r, r), p[f"{name}.bias"])
            x, r = (F.relu(x) if name != "fc8" else x), 1
        return x


def relu(z, margin):
    if margin is not None:
        margin.append(z.detach().abs().min().item())
    return F.relu(z)


def max_pool(x, margin):
    """Pools 2×2 windows with stride 2; odd sides are floored. Rounding can't break the tie of a window of zeros, so such a window has no part in the margin."""
    if margin is not None:
        top = F.unfold(x.detach().flatten(0, 1).unsqueeze(1), 2, stride=2).sort(1, descending=True).values
        gap = (top[:, 0] - top[:, 1])[top[:, 0] > 0]
        margin.append(gap.min().item() if gap.numel() else math.inf)
    return F.max_pool2d(x, 2)


def trainable(p):
    return {k: t for k, t in p.items() if "running" not in k}


def train(net, init, x, labels, dtype):
    """Returns (acts, grads, steps, margin): activations, gradients and ten steps from init."""
    p = {k: t.to(dtype).clone().requires_grad_("running" not in k) for k, t in init.items()}
    x = x.to(dtype).clone().requires_grad_()
    sgd = torch.optim.SGD(trainable(p).values(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    first, losses, after, margin = None, [], [], []
    for _ in range(STEPS):
        acts = {}
        loss = F.cross_entropy(net.forward(p, x, acts, margin), labels)
        for a in acts.values():
            a.retain_grad()
        sgd.zero_grad()
        loss.backward()
        if first is None:
            grads = {f"grad.{k}": t.grad.clone() for k, t in trainable(p).items()}
            grads |= {f"dact.{k}": a.grad for k, a in acts.items()} | {"dx": x.grad.clone()}
            first = {f"act.{k}": a.detach() for k, a in acts.items()} | {"loss": loss.detach().reshape(1)}, grads
        sgd.step()
        losses.append(loss.detach())
        after.append({k: t.detach().clone() for k, t in p.items()})
    steps = {"loss": torch.stack(losses)} | {f"w.{k}": torch.stack([q[k] for q in after]) for k in p}
    return *first, steps, min(margin)


def worst(got, want):
    """Returns the largest difference of any tensor, relative to its largest value.

    Left out: the gradient of a convolution's bias before batch normalisation, which is 0
    but for rounding.
    """
    return max(((got[k].double() - t).abs().max() / t.abs().max()).item() for k, t in want.items()
               if not (k.startswith("grad.") and k.replace(".bias", ".bn.bias") in want))


def suitable(net, init, x, labels):
    """Returns the fixtures of this draw, or None if units are dead, a kink is too near, or float32 can't follow its ten steps."""
    acts, grads, steps, margin = train(net, init, x, labels, torch.float64)
    if margin < MARGIN or len(labels.unique()) < 2:
        return None
    for k, a in acts.items():
        if k.startswith(("act.conv", "act.fc6", "act.fc7")):
            share = (a > 0).double().mean((0, *range(2, a.dim())))  # of the positive outputs, for each channel
            if (share > 0).double().mean() < (0.75 if "conv" in k else 0.5) or share.mean() > 0.97:
                return None
    if any(t.abs().max() < 1e-4 for k, t in grads.items() if k.startswith("grad.") and k.endswith(".weight")):
        return None
    if steps["loss"][-1] > 0.95 * steps["loss"][0]:
        return None
    again = train(net, init, x, labels, torch.float32)
    error = max(map(worst, again[:3], (acts, grads, steps)))
    return (acts, grads, steps, error) if error < 1e-5 else None


def lcg(shape, seed):
    """Returns pixels of a generator that a few lines of any language repeat exactly: 256 levels in [-2, 2)."""
    s, out = seed, np.empty(math.prod(shape), np.float32)
    for i in range(out.size):
        s = (s * 1664525 + 1013904223) % 2**32
        out[i] = ((s >> 24) - 128) / 64
    return torch.from_numpy(out.reshape(shape)).double()


def dense(net, init, shapes):
    """Returns class score maps of generated images, or None if one hardly varies."""
    out = {}
    for i, shape in enumerate(shapes):
        x, name = lcg(shape, i + 1), "x".join(map(str, shape))
        y = net.dense(init, x)
        if y[0, 0].numel() > 1 and y.std((2, 3)).mean() < 0.02:
            return None
        out[f"head.{name}"], out[f"y.{name}"] = x.flatten()[:16], y
    return out


def make(name, width, batch=2, shapes=(), side=32, steps=True):
    """Makes the files of one network, from the first suitable seed."""
    config = name.removesuffix("64")
    net, folder = Net(config, width, side), ROOT / "testdata/oracle" / name
    for seed in range(5000):
        torch.manual_seed(seed)
        init = net.init()
        x, labels = short(torch.randn(batch, 3, side, side)), torch.randint(CLASSES, (batch,))
        maps = dense(net, init, shapes)
        found = maps is not None and (side != 32 or suitable(net, init, x, labels))
        if found:
            break
    else:
        raise SystemExit(f"{name}: no seed gives a suitable draw")

    meta = {"config": config, "width": f"1/{width}", "fc": FC, "classes": CLASSES, "input": side, "seed": seed}
    if maps:
        save(folder, "dense", maps, meta)
    if side != 32:
        save(folder, "init", init, meta)
        print(f"{name}: seed {seed}")
        return
    acts, grads, trajectory, error = found
    save(folder, "init", {"x": x, "labels": labels} | init, meta)
    save(folder, "acts", acts, meta)
    save(folder, "grads", grads, meta)
    if steps:
        save(folder, "steps", trajectory, meta | {"lr": RATE, "momentum": MOMENTUM, "weight_decay": DECAY})
    first, last = trajectory["loss"][[0, -1]].tolist()
    print(f"{name}: seed {seed}, loss {first:.4f} to {last:.4f}, float32 within {error:.1e}")


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--width", type=int, default=128, help="divisor of every convolution's channels")
    width = args.parse_args().width
    torch.set_num_threads(1)

    maps = [(1, 3, 32, 32), (1, 3, 48, 64), (1, 3, 41, 75), (2, 3, 64, 33)]
    make("A", width, shapes=maps)
    make("A-LRN", width)
    make("B", width)
    make("C", width)
    make("D", width, shapes=maps)
    make("E", width)
    make("D-BN", width, batch=4)
    make("B-shallow", width, steps=False)
    make("A64", width, shapes=[(1, 3, 64, 64), (1, 3, 96, 80), (1, 3, 70, 129)], side=64)


if __name__ == "__main__":
    with packed(ROOT / "testdata/oracle"):
        main()

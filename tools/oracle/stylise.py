#!/usr/bin/python3
"""Makes the fixture of package stylise with plain PyTorch and PIL.

    stylise.py             writes stylise/testdata/oracle.json
    stylise.py rounding    prints by how much PyTorch's own curves differ among themselves: from
                           starts that differ by half a unit in the last place of float32, in
                           float64 and in float32, and in float64 with noise of a millionth of
                           their deviation on the outputs of convolutions

The network is eval.py's, configuration D with an eighth of its channels. The content and the
style are crops of its first and fourth photographs. The loss is computed by autograd in
float64, from the definition in the package's documentation, with the paper's layers. The
fixture has the losses of thirty iterations of torch.optim.Adam and of torch.optim.LBFGS, with
average and with maximum pooling. The first step of LBFGS, for which PyTorch divides the
gradient by the sum of its magnitudes, is made here: it changes a pixel by one grey level at
most.
"""
import json
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F

from eval import D, MEAN, ROOT, hashed_weights, photographs

OUT = ROOT / "stylise" / "testdata" / "oracle.json"
H, W, ITERATIONS = 64, 80, 30
CONTENT, STYLE = ["conv4_2"], ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"]
ALPHA, BETA, GAMMA, RATE = 1, 20, 0.1, 5
MARKS, SEEDS = (6, 12, 15, 18, 20, 25, 28), 8


def features(p, pixels, pool, noise=0):
    x, kept, block, i = pixels - MEAN.to(pixels.dtype), {}, 1, 1
    for k in D:
        if k == "M":
            x, block, i = pool(x, 2), block + 1, 1
            continue
        name = f"conv{block}_{i}"
        x = F.conv2d(x, p[name + ".weight"], p[name + ".bias"], padding=1)
        if noise:
            x = x + noise * x.std().detach() * torch.randn(x.shape, dtype=x.dtype)
        x, i = F.relu(x), i + 1
        kept[name] = x
        if name == STYLE[-1]:
            return kept


def gram(f):
    f = f[0].flatten(1)
    return f @ f.T / f.shape[1]


def pictures():
    with tempfile.TemporaryDirectory() as decoded:
        names, images = (part[::3] for part in photographs(4, decoded))
    return names, [torch.from_numpy(np.asarray(im.crop((20, 10, 20 + W, 10 + H)), np.float64).transpose(2, 0, 1)[None].copy()) for im in images]


def curve(p, content, style, pool, optimiser, start=None, noise=0):
    """The three parts of the loss of each iteration, in the number format of p and the pictures."""
    with torch.no_grad():
        of, grams = features(p, content, pool), {n: gram(f) for n, f in features(p, style, pool).items()}

    def loss(x):
        f = features(p, x, pool, noise)
        c = sum(((f[n] - of[n]) ** 2).sum() / (of[n] ** 2).sum() for n in CONTENT) / len(CONTENT)
        s = sum(((gram(f[n]) - grams[n]) ** 2).sum() / (grams[n] ** 2).sum() for n in STYLE) / len(STYLE)
        right, down = x[:, :, :, 1:] - x[:, :, :, :-1], x[:, :, 1:] - x[:, :, :-1]
        v = ((right ** 2).sum() + (down ** 2).sum()) / (255 ** 2 * (right.numel() + down.numel()))
        return ALPHA * c, BETA * s, GAMMA * v

    x, losses = (content if start is None else start).clone().requires_grad_(), []

    def closure():
        opt.zero_grad()
        parts = loss(x)
        losses.append([v.item() for v in parts])
        total = sum(parts)
        total.backward()
        return total

    if optimiser == "adam":
        opt = torch.optim.Adam([x], RATE, eps=1e-14)
        for _ in range(ITERATIONS):
            opt.step(closure)
    else:
        opt = torch.optim.LBFGS([x], 1, max_iter=ITERATIONS - 2, max_eval=10 * ITERATIONS, tolerance_grad=0, tolerance_change=0, history_size=20)
        closure()
        g = x.grad.flatten().clone()
        t = 1 / g.abs().max()
        with torch.no_grad():
            x += (-t * g).reshape(x.shape)
        opt.state[x].update(func_evals=1, n_iter=1, d=-g, t=t, old_dirs=[], old_stps=[], ro=[], H_diag=1, prev_flat_grad=g, prev_loss=0)
        opt.step(closure)
    return losses[:ITERATIONS]


def rounding():
    p64 = {name: w.double() for name, w in hashed_weights().items()}
    p32 = {name: w.float() for name, w in p64.items()}
    _, (content, style) = pictures()
    print(f"greatest difference of the loss from PyTorch's in float64, %, of {SEEDS} runs up to iterations", *MARKS)
    for optimiser in ("lbfgs", "adam"):
        for pooling, pool in (("average", F.avg_pool2d), ("max", F.max_pool2d)):
            want = np.sum(curve(p64, content, style, pool, optimiser), axis=1)[:MARKS[-1]]

            def show(what, run):
                worst = want * 0
                for seed in range(SEEDS):
                    torch.manual_seed(seed)
                    # A start that is another by at most half a unit in the last place of float32.
                    start = content * (1 + (2 * torch.rand(content.shape, dtype=torch.float64) - 1) * 2**-24)
                    off = np.abs(np.sum(run(start), axis=1)[:len(want)] / want - 1)
                    worst = np.maximum(worst, np.maximum.accumulate(off))
                print(f"{optimiser}, {pooling} pooling, {what}:", *(f"{100 * worst[m - 1]:.2g}" for m in MARKS), flush=True)
            show("float64, other starts", lambda x: curve(p64, content, style, pool, optimiser, x))
            show("float32, other starts", lambda x: curve(p32, content.float(), style.float(), pool, optimiser, x.float()))
            show("float64, convolutions to 1e-6", lambda x: curve(p64, content, style, pool, optimiser, noise=1e-6))


def main():
    p = {name: w.double() for name, w in hashed_weights().items()}
    names, (content, style) = pictures()
    out = {"files": names}
    for pooling, pool in (("average", F.avg_pool2d), ("max", F.max_pool2d)):
        for name in ("adam", "lbfgs"):
            losses = curve(p, content, style, pool, name)
            out[f"{name} {pooling}"] = [[float(f"{v:.7g}") for v in row] for row in losses]
            print(name, pooling, len(losses), losses[0], losses[-1])
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    rounding() if sys.argv[1:] == ["rounding"] else main()

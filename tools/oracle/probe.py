#!/usr/bin/python3
"""Makes the fixtures of package nn's probes with PyTorch: gradients with respect to activations and images.

Writes nn/testdata/probe.tar.zst. Each file is a small network in inference. The loss is the
sum over the layers that its metadata name of Σ a·d, for the activation a and random d. For
each of these layers the file has a, d and the gradient with respect to a, and for the image
dx. Values are rounded and computed as nn.py's.
"""
import torch
import torch.nn.functional as F

import nn as layers
import pack

FOLDER = layers.ROOT / "nn/testdata/probe"


class Operators:
    """The operators that a line of a network may name, beside its convolutions."""
    relu = staticmethod(F.relu)
    lrn = staticmethod(lambda x: F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0))
    max = staticmethod(lambda x: F.max_pool2d(x, 2))
    average = staticmethod(lambda x: F.avg_pool2d(x, 2))
    gap = staticmethod(lambda x: x.mean((2, 3), keepdim=True))
    gmp = staticmethod(lambda x: F.adaptive_max_pool2d(x, 1))
    gmap = staticmethod(lambda x: torch.cat([F.adaptive_max_pool2d(x, 1), F.adaptive_avg_pool2d(x, 1)], 1))
    adapt = staticmethod(lambda x: F.adaptive_avg_pool2d(x, 3))
    l2 = staticmethod(lambda x: F.normalize(x, dim=1))
    leaky = staticmethod(lambda x: F.leaky_relu(x, 0.125))
    elu = staticmethod(F.elu)
    gelu = staticmethod(F.gelu)
    silu = staticmethod(F.silu)
    tanh = staticmethod(torch.tanh)
    sigmoid = staticmethod(torch.sigmoid)


ACTIVATIONS = ("leaky", "elu", "gelu", "silu", "tanh", "sigmoid")


def normalised(a, name, tensors):
    """Batch normalisation by running statistics, which it adds to tensors."""
    k = a.shape[1]
    gamma, beta, mean, var = layers.draw(k), layers.draw(k), layers.short(torch.randn(k)), layers.short(0.5 + torch.rand(k))
    tensors |= {f"{name}.weight": gamma, f"{name}.bias": beta, f"{name}.running_mean": mean, f"{name}.running_var": var}
    return F.batch_norm(a, mean, var, gamma, beta)


def network(name, lines, seeds, n, h, w):
    """Writes a network: "conv NAME IN OUT SIDE PAD [bn] [relu]", "norm NAME C", "fc NAME IN SIDE OUT [relu]" or "OPERATOR NAME"."""
    x = layers.draw(n, 3, h, w)
    tensors, a, kept, loss = {"x": x}, x, {}, 0
    for line in lines:
        kind, at, *rest = line.split()
        sizes, flags = [int(v) for v in rest if v.isdigit()], [v for v in rest if not v.isdigit()]
        if kind in ("conv", "fc"):
            c, k, side, pad = sizes if kind == "conv" else (sizes[0], sizes[2], sizes[1], 0)
            weight, bias = layers.draw(k, c, side, side, std=(2 / (c * side * side)) ** 0.5), layers.draw(k, std=0.2)
            tensors |= {f"{at}.weight": weight.reshape(k, -1) if kind == "fc" else weight, f"{at}.bias": bias}
            a = F.conv2d(a, weight, bias, padding=pad)
            if "bn" in flags:
                a = normalised(a, at + ".bn", tensors)
            if "relu" in flags:
                assert a.abs().min() > 2e-5, f"{name} {at}: a pre-activation at the kink"
                a = F.relu(a)
        elif kind == "norm":
            a = normalised(a, at, tensors)
        else:
            a = getattr(Operators, kind)(a)
        kept[at] = a
        if kind in ACTIVATIONS:
            kept[before] = a  # a convolution's activation goes by its name
        else:
            before = at
    for at in seeds:
        d = layers.short(torch.randn(*kept[at].shape))
        kept[at].retain_grad()
        tensors |= {f"{at}.d": d}
        loss = loss + (kept[at] * d).sum()
    loss.backward()
    for at in seeds:
        tensors |= {f"{at}.a": kept[at], f"{at}.grad": kept[at].grad}
    layers.save(FOLDER, name, tensors | {"dx": x.grad}, {"layers": "; ".join(lines), "seeds": " ".join(seeds)})


def main():
    torch.set_num_threads(1)
    torch.manual_seed(2013)
    with pack.renewed(FOLDER):
        network("dense", ["conv conv1_1 3 6 3 1 relu", "max pool1", "conv conv2_1 6 10 3 1 relu", "max pool2",
                          "fc fc3 10 3 7 relu", "fc fc4 7 1 5"], ["conv2_1", "fc4"], 2, 13, 12)
        network("normalised", ["conv conv1_1 3 7 3 1 bn relu", "average pool1", "norm norm1 7", "conv conv2_1 7 9 3 1 bn", "leaky leaky2",
                               "gap gap2", "fc fc3 9 1 4"], ["pool1", "conv2_1", "fc3"], 2, 7, 10)
        network("lrn", ["conv conv1_1 3 18 3 1 relu", "lrn lrn1", "max pool1", "conv conv2_1 18 6 1 0", "elu elu2", "adapt adapt2",
                        "fc fc3 6 3 8", "gelu gelu3", "fc fc4 8 1 6", "silu silu4", "fc fc5 6 1 6", "tanh tanh5", "fc fc6 6 1 4", "sigmoid sigmoid6"],
                ["pool1", "fc4", "fc6"], 1, 11, 10)
        network("maxaverage", ["conv conv1_1 3 5 5 2 relu", "max pool1", "conv conv2_1 5 6 3 1", "gmap gmap2", "l2 l2_2", "fc fc3 12 1 3"],
                ["gmap2", "fc3"], 2, 10, 9)
        network("winograd", ["conv conv1_1 3 16 3 1 relu", "conv conv1_2 16 32 3 1 relu", "max pool1", "conv conv2_1 32 16 3 1 relu", "gmp gmp2", "fc fc3 16 1 4"],
                ["pool1", "fc3"], 1, 8, 10)


if __name__ == "__main__":
    main()

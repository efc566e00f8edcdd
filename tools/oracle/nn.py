#!/usr/bin/python3
"""Makes the layer fixtures of package nn with PyTorch.

Writes nn/testdata/oracle/*.safetensors. Random inputs are rounded to bfloat16, which halves
their size. Results are computed in float64 and rounded to float32 once, so a difference is
the error of the code under test alone. README.md lists the files and their tensors.
"""
import json
import pathlib
import struct

import numpy as np
import torch
import torch.nn.functional as F

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT = 50_000  # bytes a file


def encode(tensors, meta):
    """Returns the bytes of a safetensors file: u64 header length, JSON header padded to 8, raw little-endian data.

    float32, or bfloat16 (its upper half) where that loses nothing; no BF16 precedes an
    F32, so that every tensor is aligned.
    """
    header, blobs, offset, wide, narrow = {"__metadata__": meta}, [], 0, [], []
    for name, t in tensors.items():
        a = np.ascontiguousarray(t.detach().numpy().astype("<f4"))
        u = a.view("<u4")
        if (u & 0xFFFF).any():
            wide.append((name, "F32", a))
        else:
            narrow.append((name, "BF16", (u >> 16).astype("<u2")))
    for name, dtype, a in wide + narrow:
        header[name] = {"dtype": dtype, "shape": list(a.shape), "data_offsets": [offset, offset + a.nbytes]}
        offset += a.nbytes
        blobs.append(a.tobytes())
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(blobs)


def save(folder, name, tensors, meta):
    """Writes folder/name.safetensors, or folder/name-1.safetensors, -2, … where one file would pass LIMIT."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in [folder / f"{name}.safetensors", *folder.glob(f"{name}-[0-9].safetensors")]:
        old.unlink(missing_ok=True)
    meta = {"torch": torch.__version__, **{k: str(v) for k, v in meta.items()}}
    parts = [{}]
    for key, t in tensors.items():
        if parts[-1] and len(encode({**parts[-1], key: t}, meta)) > LIMIT:
            parts.append({})
        parts[-1][key] = t
    for i, part in enumerate(parts):
        data = encode(part, meta)
        assert len(data) <= LIMIT, f"{folder}/{name}: {list(part)}: {len(data)} bytes"
        suffix = f"-{i + 1}" if len(parts) > 1 else ""
        (folder / f"{name}{suffix}.safetensors").write_bytes(data)


def short(t):
    """Rounds t to bfloat16 and returns it in float64."""
    return t.bfloat16().double()


def draw(*shape, std=1.0):
    """Draws normal values, as a leaf of autograd."""
    return short(torch.randn(*shape) * std).requires_grad_()


def layer(name, forward, inputs, meta, grads):
    """Writes one fixture: inputs, y = forward(inputs), a random dy, and the gradients that grads {input: name} names."""
    y = forward(**inputs)
    dy = short(torch.randn(*y.shape))
    y.backward(dy)
    out = {**inputs, "y": y, "dy": dy, **{g: inputs[k].grad for k, g in grads.items()}}
    save(ROOT / "nn/testdata/oracle", name, out, meta)


def convolution(name, n, c, k, r, pad, h, w, relu=False):
    def forward(x, w, b):
        z = F.conv2d(x, w, b, padding=pad)
        if relu:
            assert z.abs().min() > 1e-4, f"{name}: a pre-activation at the kink"
            return F.relu(z)
        return z

    inputs = {"x": draw(n, c, h, w), "w": draw(k, c, r, r, std=(2 / (c * r * r)) ** 0.5), "b": draw(k, std=0.5)}
    layer(name, forward, inputs, {"pad": pad, "relu": str(relu).lower()}, {"x": "dx", "w": "dw", "b": "db"})


def max_pool(name, x):
    layer(name, lambda x: F.max_pool2d(x, 2), {"x": x}, {}, {"x": "dx"})


def lrn(name, c, alpha, beta, form, n=5, k=2.0):
    """PyTorch divides alpha by n, as Caffe does; Krizhevsky's form doesn't."""
    scale = n if form == "krizhevsky" else 1
    layer(name, lambda x: F.local_response_norm(x, n, alpha=alpha * scale, beta=beta, k=k),
          {"x": draw(2, c, 4, 5, std=60)},
          {"form": form, "n": n, "k": k, "alpha": alpha, "beta": beta}, {"x": "dx"})


def batch_norm(name, n, c, h, w, eps=1e-5, momentum=0.1):
    x = short(torch.randn(n, c, h, w) * (0.5 + torch.rand(c, 1, 1)) + torch.randn(c, 1, 1) * 2).requires_grad_()
    gamma, beta = draw(c), draw(c)
    mean, var = short(torch.randn(c)), short(0.5 + torch.rand(c))
    mean_after, var_after = mean.clone(), var.clone()
    y = F.batch_norm(x, mean_after, var_after, gamma, beta, True, momentum, eps)
    dy = short(torch.randn(*y.shape))
    y.backward(dy)
    save(ROOT / "nn/testdata/oracle", name, {
        "x": x, "gamma": gamma, "beta": beta, "running_mean": mean, "running_var": var,
        "y": y, "running_mean_after": mean_after, "running_var_after": var_after,
        "y_eval": F.batch_norm(x, mean, var, gamma, beta, False, momentum, eps),
        "dy": dy, "dx": x.grad, "dgamma": gamma.grad, "dbeta": beta.grad,
    }, {"eps": eps, "momentum": momentum})


def fully_connected(name, shape, k):
    c = int(np.prod(shape[1:]))
    inputs = {"x": draw(*shape), "w": draw(k, c, std=c ** -0.5), "b": draw(k, std=0.5)}
    layer(name, lambda x, w, b: F.linear(x.flatten(1), w, b), inputs, {}, {"x": "dx", "w": "dw", "b": "db"})


def softmax_loss(name, logits, labels):
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    save(ROOT / "nn/testdata/oracle", name,
         {"logits": logits, "labels": labels, "loss": loss.reshape(1), "dlogits": logits.grad}, {})


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1409)  # a new draw goes to the end, so that the others stay the same

    convolution("conv3x3_c5_k7", 2, 5, 7, 3, 1, 6, 9)
    convolution("conv3x3_c20_k40", 2, 20, 40, 3, 1, 5, 5)
    convolution("conv3x3_c16_k48", 1, 16, 48, 3, 1, 5, 17)
    convolution("conv3x3_c3_k8", 2, 3, 8, 3, 1, 7, 10)
    convolution("conv3x3_c5_k18_relu", 2, 5, 18, 3, 1, 5, 6, relu=True)
    convolution("conv1x1_c18_k33", 2, 18, 33, 1, 0, 4, 5)
    convolution("conv5x5_c4_k6", 2, 4, 6, 5, 2, 7, 8)
    convolution("conv5x5_c17_k19", 1, 17, 19, 5, 2, 4, 5)
    convolution("conv7x7_c6_k10_valid", 2, 6, 10, 7, 0, 8, 9)

    max_pool("maxpool_even", draw(2, 5, 6, 8))
    max_pool("maxpool_odd", draw(2, 17, 7, 5))
    max_pool("maxpool_ties_even", torch.randint(-1, 3, (2, 3, 8, 6)).double().requires_grad_())
    max_pool("maxpool_ties_odd", torch.randint(-1, 3, (2, 18, 5, 7)).double().requires_grad_())

    lrn("lrn_krizhevsky", 19, 1e-4, 0.75, "krizhevsky")
    lrn("lrn_caffe", 19, 1e-4, 0.75, "caffe")
    lrn("lrn_krizhevsky_c3", 3, 1e-4, 0.75, "krizhevsky")
    lrn("lrn_krizhevsky_beta0.5", 7, 1e-4, 0.5, "krizhevsky")
    lrn("lrn_caffe_beta0.6", 18, 5e-4, 0.6, "caffe")
    lrn("lrn_krizhevsky_n3_k1", 6, 2e-4, 0.75, "krizhevsky", n=3, k=1.0)

    batch_norm("batchnorm_c5", 3, 5, 4, 5)
    batch_norm("batchnorm_c18", 3, 18, 3, 5)

    fully_connected("fc_c37_k21", (4, 37), 21)
    fully_connected("fc_c5x3x3_k34", (3, 5, 3, 3), 34)

    softmax_loss("softmax_loss", draw(4, 11, std=2), torch.tensor([3, 0, 10, 3]))
    extreme = torch.randn(4, 11)
    extreme[0], extreme[0, 2] = -80, 80   # certain and right: loss 0
    extreme[1], extreme[1, 7] = -80, 80   # certain and wrong: loss 160
    extreme[2] = 80                       # all alike: loss ln 11
    extreme[3, 4], extreme[3, 5] = 80, -80
    softmax_loss("softmax_loss_extreme", short(extreme).requires_grad_(), torch.tensor([2, 1, 10, 5]))

    x = short(torch.randn(2, 17, 3, 5))
    x[torch.rand(*x.shape) < 0.2] = 0     # the derivative at 0 is 0
    x.view(-1)[7] = -0.0
    layer("relu_zeros", lambda x: F.relu(x), {"x": x.requires_grad_()}, {}, {"x": "dx"})


if __name__ == "__main__":
    main()

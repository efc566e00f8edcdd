#!/usr/bin/python3
"""Emulates on a processor what the precisions of accelerators do to VGG-16's convolutions.

    tf32.py WEIGHTS.h5 TRAIN VAL [IMAGES]

WEIGHTS has the convolutions as Keras distributes them (vgg16_notop.h5); TRAIN and VAL are image
folders, of which the first IMAGES (10) of each class are taken. For each precision it prints, over
VAL's images, the differences of conv3_3 and pool5, averaged over their pixels, from those in
float32, and how many answers change of a linear classifier of the classes, which is learnt from
TRAIN's pool5 by ridge regression.

TF32 is emulated: both operands of each convolution are rounded to 10 bits of fraction, to the nearest
or towards zero, as GPUs' libraries do the one or the other. Their products have at most 22 bits, so
float32 holds them exactly, and sums are float32's. What isn't emulated is how a tensor core rounds
its sums. bf16 is what vgg's programs do, and shows how far the emulation is from the plugin for
processors, which has real bfloat16: operands, and results of convolutions, with 7 bits.
"""
import sys
from pathlib import Path

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

BLOCKS = [2, 2, 3, 3, 3]  # convolutions between poolings
MEAN = torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)  # BGR
SIDE = 224


def nearest(x):
    """x with 10 bits of fraction, to the nearest; a half goes to the even one."""
    bits = x.view(torch.int32)
    return ((bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFF).view(torch.float32)


def truncated(x):
    """x with 10 bits of fraction, towards zero."""
    return (x.view(torch.int32) & ~0x1FFF).view(torch.float32)


def bfloat16(x):
    return x.bfloat16().float()


def same(x):
    return x


# What is done to the operands of a convolution, and to its result.
PRECISIONS = {"f32": (same, same), "tf32, to the nearest": (nearest, same), "tf32, towards zero": (truncated, same), "bf16": (bfloat16, bfloat16)}


def check():
    """The roundings are those of numbers that are known."""
    one = torch.tensor([1 + 2**-10, 1 + 2**-11, 1 + 3 * 2**-11, -1 - 2**-11 - 2**-20, 2 - 2**-12, 0])
    assert nearest(one).tolist() == [1 + 2**-10, 1, 1 + 2**-9, -1 - 2**-10, 2, 0]
    assert truncated(one).tolist() == [1 + 2**-10, 1, 1 + 2**-10, -1, 2 - 2**-10, 0]


def convolutions(path):
    """The layers' weights (K,C,3,3) and biases."""
    with h5py.File(path) as f:
        for block, count in enumerate(BLOCKS, 1):
            for i in range(1, count + 1):
                group = f[f"block{block}_conv{i}"]
                w, b = sorted((np.asarray(d) for d in group.values()), key=lambda d: -d.ndim)
                yield torch.from_numpy(w.transpose(3, 2, 0, 1).copy()), torch.from_numpy(b)


def pictures(folder, count):
    """The first images of each class: name, number of the class, (1,3,224,224)."""
    classes = sorted(d for d in Path(folder).iterdir() if d.is_dir())
    for label, d in enumerate(classes):
        for path in sorted(p for p in d.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))[:count]:
            image = Image.open(path).convert("RGB")
            scale = SIDE / min(image.size)
            image = image.resize([max(SIDE, round(n * scale)) for n in image.size], Image.BILINEAR)
            x, y = ((n - SIDE) // 2 for n in image.size)
            pixels = np.asarray(image.crop((x, y, x + SIDE, y + SIDE)), np.float32)[:, :, ::-1].copy()
            yield label, (torch.from_numpy(pixels).permute(2, 0, 1) - MEAN)[None]


def features(x, layers, operand, result):
    """conv3_3 and pool5, averaged over their pixels."""
    layers = iter(layers)
    for block, count in enumerate(BLOCKS, 1):
        for _ in range(count):
            w, b = next(layers)
            x = F.relu(result(F.conv2d(operand(x), w, padding=1)) + b.view(1, -1, 1, 1))
        if block == 3:
            conv3_3 = x.mean((2, 3))[0]
        x = F.max_pool2d(x, 2)
    return conv3_3.numpy(), x.mean((2, 3))[0].numpy()


def all_features(images, layers, precision):
    operand, result = PRECISIONS[precision]
    layers = [(operand(w), b) for w, b in layers]
    print(f"{precision}: {len(images)} images", file=sys.stderr, flush=True)
    pairs = [features(x, layers, operand, result) for _, x in images]
    return [np.stack(v) for v in zip(*pairs)]


def classifier(x, labels):
    """Ridge regression from descriptors of length 1 to the classes."""
    def ready(x):
        x = x.astype(np.float64)
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        return np.hstack([x, np.ones((len(x), 1))])

    a, targets = ready(x), np.eye(max(labels) + 1)[labels]
    w = np.linalg.solve(a.T @ a + 1e-2 * np.eye(a.shape[1]), a.T @ targets)
    return lambda x: ready(x) @ w


def main():
    check()
    weights, train, val, *count = sys.argv[1:]
    count = int(count[0]) if count else 10
    layers = list(convolutions(weights))
    with torch.no_grad():
        shown = list(pictures(train, count))
        scores = classifier(all_features(shown, layers, "f32")[1], [label for label, _ in shown])
        asked = list(pictures(val, count))
        labels = np.array([label for label, _ in asked])
        conv, pool = all_features(asked, layers, "f32")
        answers = scores(pool)
        print(f"{len(asked)} images of {val}, {np.mean(answers.argmax(1) == labels):.0%} right in float32")
        print("precision               conv3_3    pool5  ‖difference‖/‖value‖   scores  other answers")
        for name in list(PRECISIONS)[1:]:
            c, p = all_features(asked, layers, name)
            now = scores(p)
            norms = np.linalg.norm(p - pool, axis=1) / np.linalg.norm(pool, axis=1)
            print(f"{name:22} {abs(c - conv).max() / abs(conv).max():8.1e} {abs(p - pool).max() / abs(pool).max():8.1e} {norms.mean():21.1e} {abs(now - answers).max():8.1e}  {np.sum(now.argmax(1) != answers.argmax(1)):13}")


main()

"""Measures PIL and torchvision as main.go measures vgg; prints the same JSON.

    peer.py pil|torchvision DIR ROUNDS
"""
import glob
import io
import json
import random
import statistics
import sys
import time

import numpy as np
import PIL
from PIL import Image

SCALE, CROP = 256, 224
MEAN = np.array([123.68, 116.779, 103.939], np.float32)


def short_side(w, h, s):
    return (s, int(s * h / w)) if w <= h else (int(s * w / h), s)


def decode(data):
    im = Image.open(io.BytesIO(data))
    return im.convert("RGB") if im.mode != "RGB" else (im.load(), im)[1]


def pil(files):
    images = [decode(f) for f in files]
    sizes = [short_side(*im.size, SCALE) for im in images]
    small = [im.resize(s, Image.BILINEAR) for im, s in zip(images, sizes)]

    def augment(im):
        w, h = im.size
        x, y = random.randint(0, w - CROP), random.randint(0, h - CROP)
        im = im.crop((x, y, x + CROP, y + CROP))
        if random.random() < 0.5:
            im = im.transpose(Image.FLIP_LEFT_RIGHT)
        shift = np.random.normal(0, 14, 3).astype(np.float32)
        return np.ascontiguousarray((np.asarray(im, np.float32) + (shift - MEAN)).transpose(2, 0, 1))

    return {
        "decode": lambda i: decode(files[i]),
        "rescale": lambda i: images[i].resize(sizes[i], Image.BILINEAR),
        "rescale bicubic": lambda i: images[i].resize(sizes[i], Image.BICUBIC),
        "augment": lambda i: augment(small[i]),
        "rescale and augment": lambda i: augment(images[i].resize(sizes[i], Image.BILINEAR)),
        "all": lambda i: augment(decode(files[i]).resize(sizes[i], Image.BILINEAR)),
    }, PIL.__version__


def torchvision(files):
    import torch
    import torchvision
    from torchvision import transforms as T

    torch.set_num_threads(1)
    images = [decode(f) for f in files]
    small = [T.Resize(SCALE)(im) for im in images]

    def shift(x):
        return x + torch.randn(3)[:, None, None] * (14 / 255)

    normalise = T.Normalize((MEAN / 255).tolist(), [1 / 255] * 3)
    augment = T.Compose([T.RandomCrop(CROP), T.RandomHorizontalFlip(), T.ToTensor(), shift, normalise])
    both = T.Compose([T.Resize(SCALE), augment])
    return {
        "decode": lambda i: decode(files[i]),
        "rescale": lambda i: T.Resize(SCALE)(images[i]),
        "rescale bicubic": lambda i: T.Resize(SCALE, T.InterpolationMode.BICUBIC)(images[i]),
        "augment": lambda i: augment(small[i]),
        "rescale and augment": lambda i: both(images[i]),
        "all": lambda i: both(decode(files[i])),
    }, torchvision.__version__


def main(which, folder, rounds):
    files = [open(f, "rb").read() for f in sorted(glob.glob(folder + "/*.JPEG"))]
    works, version = {"pil": pil, "torchvision": torchvision}[which](files)
    times = {name: [] for name in works}
    for _ in range(int(rounds)):
        for name, work in works.items():
            start = time.process_time()
            for i in range(len(files)):
                work(i)
            times[name].append((time.process_time() - start) * 1e3 / len(files))
    print(json.dumps({"version": version, "ms": {n: statistics.median(t) for n, t in times.items()}}))


main(*sys.argv[1:])

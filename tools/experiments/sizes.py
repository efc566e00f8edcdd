#!/usr/bin/python3
"""Makes images with the sizes of ILSVRC's validation images, to measure evaluation with.

    sizes.py SAMPLE SIZES N OUT

SAMPLE is a folder of ImageNet photographs, named by synset; SIZES a list "file,width,
height", gzipped (wsolevaluation's ILSVRC2012_val image sizes). OUT becomes class folders
with N JPEGs: the photographs in turn, rescaled to the first N sizes. Needs PIL.
"""
import gzip
import pathlib
import sys

from PIL import Image


def main(sample, sizes, n, out):
    photos = [(p.name.split("_")[0], Image.open(p).convert("RGB")) for p in sorted(pathlib.Path(sample).glob("*.JPEG"))]
    with gzip.open(sizes, "rt") as f:
        for i, line in zip(range(int(n)), f):
            _, w, h = line.strip().split(",")
            synset, photo = photos[i % len(photos)]
            folder = pathlib.Path(out) / synset
            folder.mkdir(parents=True, exist_ok=True)
            photo.resize((int(w), int(h)), Image.BICUBIC).save(folder / f"{i:05d}.JPEG", quality=92)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])

#!/usr/bin/env python3
"""Makes folders of images of docs/results.md's data sets: OUT/<set>/{train,val}/<class>/.

    python3 tools/experiments/prepare.py DATA OUT

DATA holds cifar10/, tiny-imagenet-10/ and flowers17/ as their lists of files describe
them. Images are copied byte for byte; tiny-imagenet-10 has its boxes beside them. Only Python's standard library is needed.
"""
import csv
import sys
import zipfile
from pathlib import Path


def cifar10(data, out):
    for part, name in (("train", "cifar10-jpeg-train-20000.zip"), ("val", "cifar10-jpeg-test-10000.zip")):
        with zipfile.ZipFile(data / "cifar10" / name) as z:
            for member in z.namelist():
                _, cls, file = member.split("/")
                put(out / "cifar10" / part / cls / file, z.read(member))
    # A fifth of the test images, for evaluations that take long.
    for cls in sorted((out / "cifar10" / "val").iterdir()):
        for file in sorted(cls.iterdir())[:200]:
            put(out / "cifar10-2000" / cls.name / file.name, file.read_bytes())


def tiny_imagenet_10(data, out):
    src, dst = data / "tiny-imagenet-10", out / "tiny-imagenet-10"
    names = {}
    for line in (src / "classes.txt").read_text().splitlines():
        _, wnid, name = line.split(maxsplit=2)
        names[wnid] = name
    with zipfile.ZipFile(src / "train.zip") as z:
        for member in z.namelist():
            wnid, _, file = member.split("/")
            put(dst / "train" / names[wnid] / file, z.read(member))
    with open(src / "train_boxes.csv") as f:
        boxes(dst / "train_boxes.csv", ((f"train/{names[r['wnid']]}/{Path(r['file']).name}", r) for r in csv.DictReader(f)))
    with open(src / "val_labels_boxes_golden.csv") as f:
        boxes(dst / "val_boxes.csv", ((f"val/{names[r['wnid']]}/{r['file']}", r) for r in csv.DictReader(f)))
    with zipfile.ZipFile(src / "val.zip") as z, open(src / "val_labels_boxes_golden.csv") as f:
        for row in csv.DictReader(f):
            put(dst / "val" / names[row["wnid"]] / row["file"], z.read(row["file"]))


def boxes(path, rows):
    with open(path, "w", newline="") as f:
        out = csv.writer(f)
        out.writerow(["file", "x0", "y0", "x1", "y1"])
        out.writerows([file, r["x0"], r["y0"], r["x1"], r["y1"]] for file, r in rows)


def flowers17(data, out):
    src, dst = data / "flowers17", out / "flowers17"
    with open(src / "labels.csv") as f:
        for row in csv.DictReader(f):
            part = "train" if row["repo_split"] == "train" else "val"
            put(dst / part / row["name"] / row["file"], (src / "jpg" / row["file"]).read_bytes())


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    for prepare in (cifar10, tiny_imagenet_10, flowers17):
        prepare(Path(sys.argv[1]), Path(sys.argv[2]))

#!/usr/bin/env python3
"""Measures transfer to small data sets, for docs/results.md.

    transfer.py VGG DATA WORK --row 'NAME=WEIGHTS@Q,Q… [arguments of vgg features]' …
                              --train 'NAME=arguments of vgg train' … [--splits 3]

VGG is the binary, DATA holds caltech101/ and flowers17/, WORK is for the files made. Every row
is measured by mean class recall on the same random splits of each set (Caltech-101: 30
training and 20 test images a class; Flowers-17: 44 and 16). A row is an SVM on descriptors,
whose C is chosen on a fifth of the training images; the same on 32x32 RGB thumbnails (the row
pixels); or a training, measured after its last epoch. `vgg` does all of it; only the
thumbnails need numpy and PIL.
"""
import argparse
import csv
import json
import pathlib
import random
import shlex
import statistics
import subprocess

SETS = {"caltech101": (30, 20), "flowers17": (44, 16)}


def images(data, name):
    if name == "caltech101":
        return {d.name: sorted(d.glob("*.jpg")) for d in sorted((data / name).iterdir()) if d.is_dir()}
    classes = {}
    with open(data / name / "labels.csv") as f:
        for row in csv.DictReader(f):
            classes.setdefault(row["name"], []).append(data / name / "jpg" / row["file"])
    return classes


def link(target, folder):
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / target.name).exists():
        (folder / target.name).symlink_to(target.resolve())


def split(data, name, number):
    """The part, train or val, of every image by class/file."""
    train, test = SETS[name]
    rng = random.Random(f"{name} {number}")
    part = {}
    for cls, files in images(data, name).items():
        files = sorted(files)
        rng.shuffle(files)
        for i, f in enumerate(files[:train + test]):
            part[f"{cls}/{f.name}"] = "train" if i < train else "val"
    return part


def run(*args):
    return subprocess.run([str(a) for a in args], check=True, stdout=subprocess.PIPE, text=True).stdout


def features(vgg, folder, out, arguments):
    """Descriptors of all images; the splits give their parts later."""
    if not out.with_suffix(".done").exists():
        weights, *flags = shlex.split(arguments)
        run(vgg, "features", weights, folder, "--out", out, "--threads", "1", *flags)
        out.with_suffix(".done").touch()
    return out


def pixels(like, out):
    """32x32 thumbnails as descriptors of the same images: mean subtracted, of norm 1."""
    import numpy as np
    from PIL import Image
    header, *rows = [json.loads(l) for l in open(str(like) + ".jsonl")]
    x = np.zeros((header["data"]["images"], 3072), np.float32)
    for r in rows:
        im = np.asarray(Image.open(pathlib.Path(header["data"]["name"]) / r["file"]).convert("RGB").resize((32, 32), Image.BILINEAR), np.float32).ravel()
        x[r["image"]] = (im - im.mean()) / np.linalg.norm(im - im.mean())
    np.save(out, x)
    header["dim"], header["average"], header["nets"] = 3072, False, header["nets"][:1]
    header["nets"][0].update(channels=3072, scales=[32], layer="pixels", weights="pixels", sha256="")
    with open(str(out) + ".jsonl", "w") as f:
        f.write(json.dumps(header) + "\n")
        f.writelines(json.dumps(dict(r, column=0)) + "\n" for r in rows if r["column"] == 0)
    return out


def measure(vgg, file, part):
    """Mean class recall of an SVM on a file of descriptors, divided into parts."""
    divided = file.with_name("divided.npy")
    divided.unlink(missing_ok=True)
    divided.hardlink_to(file)
    header, *rows = [json.loads(l) for l in open(str(file) + ".jsonl")]
    with open(str(divided) + ".jsonl", "w") as f:
        f.write(json.dumps(header) + "\n")
        f.writelines(json.dumps(dict(r, part=part[r["file"]])) + "\n" for r in rows)
    s = json.loads(run(vgg, "transfer", "eval", divided, "--json"))
    return s["splits"][0]["score"]["mean_class_recall"], s["splits"][0]["c"], s["dim"]


def main():
    a = argparse.ArgumentParser()
    a.add_argument("vgg")
    a.add_argument("data", type=pathlib.Path)
    a.add_argument("work", type=pathlib.Path)
    a.add_argument("--splits", type=int, default=3)
    a.add_argument("--sets", nargs="+", default=list(SETS))
    a.add_argument("--row", action="append", default=[])
    a.add_argument("--train", action="append", default=[])
    a = a.parse_args()
    for name in a.sets:
        folder = a.work / name / "all"
        for cls, files in images(a.data, name).items():
            for f in files:
                link(f, folder / cls)
        parts = [split(a.data, name, n) for n in range(a.splits)]
        table = {}
        file = None
        for row in a.row:
            row, arguments = row.split("=", 1)
            file = features(a.vgg, folder, a.work / f"{name}-{row.replace(' ', '_')}.npy", arguments)
            table[row] = [measure(a.vgg, file, p) for p in parts]
            print(name, row, [f"{100 * v:.1f} % (C {c:g})" for v, c, _ in table[row]], flush=True)
        if file:
            raw = pixels(file, a.work / f"{name}-pixels.npy")
            table["pixels"] = [measure(a.vgg, raw, p) for p in parts]
        for row in a.train:
            row, arguments = row.split("=", 1)
            table[row] = []
            for n, part in enumerate(parts):
                out = a.work / f"run-{name}-{n}-{row.replace(' ', '_')}"
                for f, p in part.items():
                    link((folder / f).resolve(), a.work / name / str(n) / p / pathlib.Path(f).parent)
                if not (out / "metrics.jsonl").exists() or not out.with_suffix(".done").exists():
                    run(a.vgg, "train", "--data", a.work / name / str(n), "--out", out, "--threads", "1", *shlex.split(arguments))
                    out.with_suffix(".done").touch()
                r = json.loads(run(a.vgg, "eval", out / "last.safetensors", "--data", a.work / name / str(n), "--json"))
                recall = statistics.mean(1 - c["top1_error"] for c in r["classes"])
                table[row].append((recall, 0, 0))
                print(name, n, row, f"{100 * recall:.1f} %", flush=True)
        print(f"\n{name}: mean class recall over {a.splits} splits")
        for row, values in table.items():
            v = [100 * x[0] for x in values]
            d = statistics.stdev(v) if len(v) > 1 else float("nan")
            print(f"| {row} | {values[0][2] or ''} | {statistics.mean(v):.1f} ± {d:.1f} |")
        print(flush=True)


main()

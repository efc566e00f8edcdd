#!/usr/bin/env python3
"""Transfer to small data sets, as docs/results.md has it.

    transfer.py VGG DATA WORK [--splits 3] [--only NAME…] --net NAME=WEIGHTS@Q,Q,Q… …

VGG is the binary, DATA holds caltech101/ and flowers17/, WORK takes what is made: for each
data set random splits as folders of links (Caltech-101: 30 training and 20 test images a
class; Flowers-17: 44 and 16), the same for every row. Rows:

    pixels            32×32 RGB and an SVM
    random NAME       an SVM on descriptors of a network of NAME's shape with random weights
    NAME, …           an SVM on descriptors: at the middle Q, at three Q averaged and stacked
    A & B             two networks' descriptors stacked
    scratch, fine     training from scratch; fine-tuning the first network (--train)

Everything is `vgg`; only numpy and PIL are needed besides, for the pixels.
"""
import argparse
import csv
import json
import pathlib
import random
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


def split(data, work, name, number):
    out = work / name / str(number)
    if not out.exists():
        train, test = SETS[name]
        rng = random.Random(f"{name} {number}")
        for cls, files in images(data, name).items():
            files = sorted(files)
            rng.shuffle(files)
            for part, some in (("train", files[:train]), ("val", files[train:train + test])):
                folder = out / part / cls
                folder.mkdir(parents=True)
                for f in some:
                    (folder / f.name).symlink_to(f.resolve())
    return out


def run(*args):
    return subprocess.run([str(a) for a in args], check=True, stdout=subprocess.PIPE, text=True).stdout


def svm(vgg, file):
    r = json.loads(run(vgg, "transfer", "eval", file, "--json"))
    s = r["splits"][0]
    return s["score"]["mean_class_recall"], s["c"], r["dim"]


def features(vgg, folder, out, nets, *flags):
    if not out.exists() or not pathlib.Path(str(out) + ".done").exists():
        first, *others = nets
        run(vgg, "features", first, folder, "--out", out, "--threads", "1", *flags, *(x for o in others for x in ("--with", o)))
        pathlib.Path(str(out) + ".done").touch()
    return out


def pixels(vgg, like, out):
    """32×32 thumbnails as descriptors of the same images."""
    import numpy as np
    from PIL import Image
    lines = [json.loads(l) for l in open(str(like) + ".jsonl")]
    header, rows = lines[0], lines[1:]
    x = np.zeros((len(rows), 3072), np.float32)
    base = pathlib.Path(header["data"]["name"])
    for r in rows:
        im = np.asarray(Image.open(base / r["file"]).convert("RGB").resize((32, 32), Image.BILINEAR), np.float32).ravel()
        im -= im.mean()
        x[r["image"]] = im / np.linalg.norm(im)
    np.save(out, x)
    header["dim"] = 3072
    header["nets"][0].update(channels=3072, scales=[32], layer="pixels", weights="pixels", sha256="")
    header["nets"], header["average"] = header["nets"][:1], False
    with open(str(out) + ".jsonl", "w") as f:
        f.write(json.dumps(header) + "\n")
        f.writelines(json.dumps(dict(r, column=0)) + "\n" for r in rows)
    return out


def main():
    a = argparse.ArgumentParser()
    a.add_argument("vgg")
    a.add_argument("data", type=pathlib.Path)
    a.add_argument("work", type=pathlib.Path)
    a.add_argument("--splits", type=int, default=3)
    a.add_argument("--sets", nargs="+", default=list(SETS))
    a.add_argument("--net", action="append", required=True, help="NAME=WEIGHTS@Q,Q,Q")
    a.add_argument("--random", action="append", default=[], help="NAME=WEIGHTS@Q,Q,Q of random weights")
    a.add_argument("--train", nargs="*", default=[], help="rows of training: NAME=arguments of vgg train")
    a = a.parse_args()
    nets = dict(n.split("=", 1) for n in a.net)
    rand = dict(n.split("=", 1) for n in a.random)
    for name in a.sets:
        table = {}
        for number in range(a.splits):
            folder = split(a.data, a.work, name, number)
            out = lambda row: a.work / f"{name}-{number}-{row.replace(' ', '_').replace('&', 'and')}.npy"

            def measure(row, nets, *flags):
                recall, c, dim = svm(a.vgg, features(a.vgg, folder, out(row), nets, *flags))
                table.setdefault(row, []).append((recall, c, dim))
                print(name, number, row, f"{100 * recall:.1f} % (C {c:g}, {dim} numbers)", flush=True)

            for n, spec in list(nets.items()) + [("random " + n, s) for n, s in rand.items()]:
                weights, scales = spec.split("@")
                middle = scales.split(",")[len(scales.split(",")) // 2]
                measure(f"{n}, one scale", [f"{weights}@{middle}"])
                measure(f"{n}, averaged", [spec], "--average")
                measure(f"{n}, stacked", [spec])
            names = list(nets)
            for other in names[1:]:
                measure(f"{names[0]} & {other}, stacked", [nets[names[0]], nets[other]])
            like = out(f"{names[0]}, one scale")
            recall, c, dim = svm(a.vgg, pixels(a.vgg, like, out("pixels")))
            table.setdefault("pixels", []).append((recall, c, dim))
            print(name, number, "pixels", f"{100 * recall:.1f} %", flush=True)
            for t in a.train:
                row, args = t.split("=", 1)
                result = a.work / f"{name}-{number}-{row}.json"
                if not result.exists():
                    text = run(a.vgg, "train", "--data", folder, "--out", a.work / f"run-{name}-{number}-{row}", "--threads", "1", "--json", *args.split())
                    result.write_text(text)
                r = json.loads(result.read_text())
                table.setdefault(row, []).append((1 - r["top1_error"], 0, 0))
                print(name, number, row, f"{100 * (1 - r['top1_error']):.1f} %", flush=True)
        print(f"\n{name}: mean class recall over {a.splits} splits, %")
        for row, values in table.items():
            v = [100 * x[0] for x in values]
            d = statistics.stdev(v) if len(v) > 1 else float("nan")
            print(f"| {row} | {values[0][2] or ''} | {statistics.mean(v):.1f} ± {d:.1f} |")
        print(flush=True)


main()

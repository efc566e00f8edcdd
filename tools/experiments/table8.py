#!/usr/bin/env python3
"""Table 8 with a full-width network's convolutions, for docs/results.md: boxes of SCR and PCR,
with the fully connected layers alone or all layers learnt, beside the rules that see no pixel.

    table8.py VGG WORK --net D.h5 --imagenette DIR [--raccoon DIR] [--epochs 8] [--folds 5]

DIR of --imagenette has boxes.csv and boxed/; its pictures, which are few, are divided into folds,
each tested by networks that learnt from the others. The errors of all folds are added up. A run
that stopped goes on. Writes WORK/table8.md.
"""
import argparse
import csv
import json
import pathlib
import random
import shutil
import subprocess


def run(*args):
    print("+", *args, flush=True)
    return subprocess.run([str(a) for a in args], check=True, stdout=subprocess.PIPE, text=True).stdout


def wilson(wrong, n, z=1.959964):
    p, d = wrong / n, 1 + z * z / n
    m, h = (p + z * z / 2 / n) / d, z * (p * (1 - p) / n + z * z / 4 / n / n) ** 0.5 / d
    return 100 * (m - h), 100 * (m + h)


def folds(src, work, n):
    """Folders train and val of each fold, with the boxes in pixels of the pictures beside them."""
    boxes = {}
    with open(src / "boxes.csv") as f:
        for r in csv.DictReader(f):
            if r["file"].startswith("boxed/"):
                boxes.setdefault(r["file"], []).append([float(r[k]) for k in ("x0_224", "y0_224", "x1_224", "y1_224")])
    by_class = {}
    for f in sorted(boxes):
        by_class.setdefault(f.split("/")[1], []).append(f)
    dirs = []
    for k in range(n):
        out = work / f"fold{k}"
        dirs.append(out)
        if (out / "ready").exists():
            continue
        lines = {"train": [], "val": []}
        for cls, files in sorted(by_class.items()):
            files = list(files)
            random.Random(cls).shuffle(files)
            for i, f in enumerate(files):
                part = "val" if i % n == k else "train"
                name = f"{part}/{cls}/{pathlib.Path(f).name}"
                (out / part / cls).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(src / f, out / name)
                lines[part] += [[name, *b] for b in boxes[f]]
        for part, rows in lines.items():
            with open(out / f"{part}_boxes.csv", "w", newline="") as t:
                w = csv.writer(t)
                w.writerow(["file", "x0", "y0", "x1", "y1"])
                w.writerows(rows)
        (out / "ready").touch()
    return dirs


def train(a, data, out, regression, layers):
    if not (out / "done").exists():
        how = []
        if layers == "all":  # the recipe of the other run, with the convolutions learnt too but for the first blocks
            recipe = out.with_name(out.name.removesuffix("-all") + "-fully-connected") / "recipe.yaml"
            how = ["--recipe", recipe, "--freeze", "conv[1-2]_*", "--epochs", a.epochs, "--set", f"layer_rates=[conv*={a.rate:g}]"]
        run(a.vgg, "localize", "train", "--init-from", a.net, "--data", data, "--regression", regression, "--out", out, "--resume", *how)
        (out / "done").touch()
    return json.loads(run(a.vgg, "localize", "eval", out / "last.safetensors", "--data", data, "--json"))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("vgg")
    p.add_argument("work", type=pathlib.Path)
    p.add_argument("--net", required=True)
    p.add_argument("--imagenette", type=pathlib.Path)
    p.add_argument("--raccoon", type=pathlib.Path)
    p.add_argument("--epochs", type=int, default=8)
    p.add_argument("--rate", type=float, default=1e-3, help="learning rate of convolutions beside that of the head")
    p.add_argument("--folds", type=int, default=5)
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    sets = {}
    if a.imagenette:
        sets["500 boxed pictures of imagenette"] = folds(a.imagenette, a.work, a.folds)
    if a.raccoon:
        sets["raccoon"] = [a.raccoon]
    text = []
    for name, dirs in sets.items():
        text += ["", name, "", "| layers | regression | error | 95 % interval | mean IoU |", "|---|---|--:|---|--:|"]
        rules = {}
        for regression in ["SCR", "PCR"] if len(dirs) > 1 else ["SCR"]:
            for layers in ["fully connected", "all"]:
                wrong = images = 0
                iou = 0.0
                for data in dirs:
                    r = train(a, data, a.work / f"{data.name}-{regression}-{layers.replace(' ', '-')}", regression, layers)
                    n = r["images"]
                    images += n
                    wrong += round(r["gt_class_error"] * n)
                    iou += r["mean_iou"] * n
                    for rule in r.get("baselines", []):
                        b = rules.setdefault(rule["name"], {}).setdefault(data.name, (round(rule["gt_class_error"] * n), rule["mean_iou"] * n))
                low, high = wilson(wrong, images)
                text.append(f"| {layers} | {regression} | {100 * wrong / images:.1f} % | {low:.1f} to {high:.1f} % | {iou / images:.3f} |")
        for rule, by in rules.items():
            wrong, iou = sum(v[0] for v in by.values()), sum(v[1] for v in by.values())
            low, high = wilson(wrong, images)
            text.append(f"| *{rule}* | | {100 * wrong / images:.1f} % | {low:.1f} to {high:.1f} % | {iou / images:.3f} |")
        (a.work / "table8.md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


main()

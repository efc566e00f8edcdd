#!/usr/bin/env python3
"""Table 11's protocol with the convolutions of a full-width network, for docs/results.md.

    table11.py VGG WORK --net D.h5 --set caltech101=FOLDER --set flowers17=FOLDER
               [--small T.safetensors@64,80,96:pool4] [--layers pool5 conv5_3 conv4_3] [--scales 256 384 512]
               [--train 'NAME=arguments of vgg train' …]

A FOLDER has a folder of pictures for each class; with train and val in it, it is also measured
on these. Descriptors of all layers are computed by one pass, at all scales; a single scale and the mean
of all are cut from them, as they are normalised each. The row "not mirrored" is a run of its own
at the first scale. pixels are 32x32 RGB thumbnails. Every row is measured on the same random
splits: 30 pictures a class to train on and up to 50 others to test on, mean class recall; the
splits and the SVMs are those of `vgg transfer eval`. --small alone, without --net, measures a small
network's descriptors on them. A row of --train is a network that `vgg train` makes of each split's
training pictures, measured by the central crop of the others after its last epoch; go must
be there, as tools/experiments/splits lays the splits out. A run that stopped goes on. Writes
WORK/table11.md.
"""
import argparse
import json
import math
import pathlib
import shlex
import statistics
import subprocess


def run(*args):
    print("+", *args, flush=True)
    return subprocess.run([str(a) for a in args], check=True, stdout=subprocess.PIPE, text=True).stdout


def read(file):
    import numpy as np
    header, *rows = [json.loads(line) for line in open(str(file) + ".jsonl")]
    return header, rows, np.load(file)


def write(file, header, rows, x):
    import numpy as np
    header["dim"] = int(x.shape[1])
    np.save(file, x.astype(np.float32))
    with open(str(file) + ".jsonl", "w") as f:
        f.write(json.dumps(header) + "\n")
        f.writelines(json.dumps(dict(r, column=0)) + "\n" for r in rows if r["column"] == 0)
    return file


def unit(x):
    import numpy as np
    return x / np.maximum(np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True), 1e-30)


def cut(stacked, scale):
    """The descriptors at one scale, or the mean of all (scale None), of stacked ones."""
    header, rows, x = read(stacked)
    net = header["nets"][0]
    parts = [unit(p) for p in np_split(x, len(net["scales"]))]
    if scale is None:
        header["average"] = True
        return write(stacked.with_name(stacked.stem + "-mean.npy"), header, rows, unit(sum(parts)))
    x = parts[net["scales"].index(scale)]
    net["scales"] = [scale]
    return write(stacked.with_name(f"{stacked.stem}-{scale}.npy"), header, rows, x)


def np_split(x, n):
    import numpy as np
    return np.split(x, n, axis=1)


def pixels(like, out):
    import numpy as np
    from PIL import Image
    header, rows, _ = read(like)
    x = np.zeros((header["data"]["images"], 3072))
    for r in rows:
        im = Image.open(pathlib.Path(header["data"]["name"]) / r["file"]).convert("RGB").resize((32, 32), Image.BILINEAR)
        v = np.asarray(im, np.float64).ravel()
        x[r["image"]] = v - v.mean()
    header["average"], header["nets"] = False, header["nets"][:1]
    header["nets"][0].update(channels=3072, scales=[32], layer="pixels", weights="pixels", sha256="")
    return write(out, header, rows, unit(x))


def features(vgg, net, folder, out, layer, scales, *flags):
    run(vgg, "features", net, "--data", folder, "--out", out, "--layer", layer, "--scales", ",".join(map(str, scales)), *flags)
    return out


def recalls(vgg, file, a, parts):
    how = [] if parts else ["--splits", a.splits, "--train-images", a.train_images, "--test-images", a.test_images]
    s = json.loads(run(vgg, "transfer", "eval", file, "--json", *how))
    return [100 * x["score"]["mean_class_recall"] for x in s["splits"]], s["dim"]


def of_net(a, name, folder, rows):
    """Adds the rows of the full-width network; returns the file of its first one."""
    first = None
    files = [a.work / f"{name}-{layer}.npy" for layer in a.layers]
    features(a.vgg, a.net, folder, a.work / f"{name}.npy" if len(files) > 1 else files[0], ",".join(a.layers), a.scales)
    for layer, stacked in zip(a.layers, files):
        first = first or stacked
        for q in a.scales:
            rows[f"{layer}, {q}"] = cut(stacked, q)
        if len(a.scales) > 1:
            rows[f"{layer}, {', '.join(map(str, a.scales))} stacked"] = stacked
            rows[f"{layer}, {', '.join(map(str, a.scales))} averaged"] = cut(stacked, None)
    layer, q = a.layers[0], a.scales[0]
    rows[f"{layer}, {q}, not mirrored"] = features(a.vgg, a.net, folder, a.work / f"{name}-{layer}-plain.npy", layer, [q], "--no-flip")
    rows[f"{layer}, {q}, central crop"] = features(a.vgg, a.net, folder, a.work / f"{name}-{layer}-crop.npy", layer, [q], "--no-flip", "--crop")
    return first


def trained(vgg, name, arguments, splits, out):
    """Mean class recall of a network trained on each split."""
    values = []
    for folder in splits:
        run_dir = out.with_name(f"{out.name}-{folder.name}")
        if not run_dir.with_suffix(".done").exists():
            run(vgg, "train", "--data", folder, "--out", run_dir, "--resume", *shlex.split(arguments))
            run_dir.with_suffix(".done").touch()
        classes = json.loads(run(vgg, "eval", run_dir / "last.safetensors", "--data", folder, "--json"))["classes"]
        values.append(100 * statistics.mean(1 - c["top1_error"] for c in classes))
        print(name, folder, f"{values[-1]:.1f}", flush=True)
    return values


def main():
    p = argparse.ArgumentParser()
    p.add_argument("vgg")
    p.add_argument("work", type=pathlib.Path)
    p.add_argument("--net")
    p.add_argument("--small")
    p.add_argument("--train", action="append", default=[])
    p.add_argument("--set", action="append", required=True)
    p.add_argument("--layers", nargs="+", default=["pool5", "conv5_3", "conv4_3"])
    p.add_argument("--scales", nargs="+", type=int, default=[256, 384, 512])
    p.add_argument("--splits", type=int, default=3)
    p.add_argument("--train-images", type=int, default=30)
    p.add_argument("--test-images", type=int, default=50)
    a = p.parse_args()
    if not a.net and not a.small:
        p.error("--net, --small or both")
    a.work.mkdir(parents=True, exist_ok=True)
    text = []
    for entry in a.set:
        name, folder = entry.split("=", 1)
        folder = str(pathlib.Path(folder).resolve())
        rows = {}
        first = None
        if a.net:
            first = of_net(a, name, folder, rows)
        if a.small:
            spec, _, layer = a.small.partition(":")
            net, _, scales = spec.partition("@")
            rows["T, stacked"] = features(a.vgg, net, folder, a.work / f"{name}-T.npy", layer or "pool4", scales.split(","))
            first = first or rows["T, stacked"]
        rows["pixels"] = pixels(first, a.work / f"{name}-pixels.npy")
        own = (pathlib.Path(folder) / "train").is_dir()
        text += [f"\n{name}: mean class recall over {a.splits} random splits of {a.train_images} training and up to {a.test_images} test images a class"
                 + (", and on the set's own parts" if own else ""), "", "| descriptor | numbers | recall |" + (" own split |" if own else ""),
                 "|---|--:|--:|" + ("--:|" if own else "")]
        base = None
        for row, file in rows.items():
            values, dim = recalls(a.vgg, file, a, False)
            base = base or values
            spread = statistics.stdev(values) if len(values) > 1 else math.nan
            line = f"| {row} | {dim} | {statistics.mean(values):.1f} ± {spread:.1f} |"
            if own:
                line += f" {recalls(a.vgg, file, a, True)[0][0]:.1f} |"
            difference = [v - b for v, b in zip(values, base)]
            print(row, values, "minus the first row:", [f"{d:+.1f}" for d in difference], flush=True)
            text.append(line)
        splits = [a.work / f"{name}-splits" / str(n + 1) for n in range(a.splits)]
        if a.train:
            subprocess.run([str(x) for x in ("go", "run", "./splits", first.resolve(), splits[0].parent.resolve(), a.splits, a.train_images, a.test_images)],
                           check=True, cwd=pathlib.Path(__file__).parent)
        for row in a.train:
            row, arguments = row.split("=", 1)
            values = trained(a.vgg, row, arguments, splits, a.work / f"run-{name}-{row.replace(' ', '_')}")
            text.append(f"| {row} | | {statistics.mean(values):.1f} ± {statistics.stdev(values) if len(values) > 1 else math.nan:.1f} |" + (" |" if own else ""))
        (a.work / "table11.md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


main()

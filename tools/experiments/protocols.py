#!/usr/bin/env python3
"""Evaluates networks by every protocol of the paper and prints a Markdown table.

    python3 tools/experiments/protocols.py VGG DATA Q1,Q2,Q3 OUT WEIGHTS [WEIGHTS …]

VGG is the program, DATA a data set, Q2 the single scale and Q1, Q2, Q3 the several ones.
Each row is one `vgg eval`, whose result file is left in OUT; with more than one file of
weights the last rows are their fusion. p is McNemar's, by `vgg compare` with the
network's central crop, in a fusion with the first network's: the same images, so it tells
more than the intervals do. Only Python's standard library is needed.
"""
import json
import subprocess
import sys
from pathlib import Path


def vgg(program, *args):
    done = subprocess.run([program, *args, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if done.returncode not in (0, 3):
        sys.exit(f"{program} {' '.join(args)}: {done.stdout}")
    return json.loads(done.stdout)


def main(program, data, scales, out, nets):
    single = scales.split(",")[1]
    works = [
        ("central crop", single, ["--protocol", "centre"]),
        ("dense", single, ["--protocol", "dense"]),
        ("dense, mirrored", single, ["--protocol", "dense", "--flip"]),
        ("multi-crop", single, ["--protocol", "multi-crop"]),
        ("multi-crop & dense", single, ["--protocol", "multi-crop-dense", "--flip"]),
        ("dense, mirrored", scales, ["--protocol", "dense", "--flip"]),
        ("multi-crop", scales, ["--protocol", "multi-crop"]),
        ("multi-crop & dense", scales, ["--protocol", "multi-crop-dense", "--flip"]),
    ]
    out.mkdir(parents=True, exist_ok=True)
    print("| network | protocol | Q | top-1 error | 95 % interval | p | top-5 error |")
    print("|---|---|---|--:|---|--:|--:|")
    first = None
    for group in [[n] for n in nets] + ([nets] if len(nets) > 1 else []):
        name = " & ".join(Path(n).stem for n in group)
        base = first if len(group) > 1 else None
        for protocol, q, flags in works if len(group) == 1 else [works[2], *works[-3:]]:
            file = out / f"{name}.{protocol}.{q}.jsonl".replace(" ", "")
            r = vgg(program, "eval", *group, "--data", data, "--mistakes", "0", *flags, "--scales", q, "--out", str(file))
            base = base or file
            first = first or file
            low, high = r["top1_interval"]
            p = "" if base == file else f"{vgg(program, 'compare', str(base), str(file))['top1']['p']:.2g}"
            print(f"| {name} | {protocol} | {q.replace(',', ', ')} | {100 * r['top1_error']:.1f} % "
                  f"| {100 * low:.1f} to {100 * high:.1f} % | {p} | {100 * r['top5_error']:.1f} % |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), sys.argv[5:])

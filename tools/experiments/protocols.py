#!/usr/bin/env python3
"""Evaluates networks by every protocol of the paper and prints a Markdown table.

    python3 tools/experiments/protocols.py VGG DATA Q1,Q2,Q3 WEIGHTS [WEIGHTS …]

VGG is the program, DATA a data set, Q2 the single scale and Q1, Q2, Q3 the several ones.
Each row is one `vgg eval`; with more than one file of weights the last rows are their
fusion. Only Python's standard library is needed.
"""
import json
import subprocess
import sys
from pathlib import Path


def evaluate(vgg, data, weights, *flags):
    command = [vgg, "eval", *weights, "--data", data, "--json", "--mistakes", "0", *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if done.returncode not in (0, 3):
        sys.exit(f"{' '.join(command)}: {done.stdout}")
    return json.loads(done.stdout)


def main(vgg, data, scales, nets):
    single = scales.split(",")[1]
    works = [
        ("central crop", single, ["--protocol", "centre"]),
        ("dense", single, ["--protocol", "dense"]),
        ("dense, mirrored", single, ["--protocol", "dense", "--flip"]),
        ("multi-crop", single, ["--protocol", "multi-crop"]),
        ("multi-crop & dense", single, ["--protocol", "multi-crop-dense", "--flip"]),
        ("dense, mirrored", scales, ["--protocol", "dense", "--flip"]),
        ("multi-crop & dense", scales, ["--protocol", "multi-crop-dense", "--flip"]),
    ]
    print("| network | protocol | Q | top-1 error | 95 % interval | images/s |")
    print("|---|---|---|--:|---|--:|")
    groups = [[n] for n in nets] + ([nets] if len(nets) > 1 else [])
    for group in groups:
        name = " & ".join(Path(n).parent.name for n in group)
        for protocol, q, flags in works if len(group) == 1 else works[-2:]:
            r = evaluate(vgg, data, group, *flags, "--scales", q)
            low, high = r["top1_interval"]
            print(f"| {name} | {protocol} | {q.replace(',', ', ')} | {100 * r['top1_error']:.2f} % "
                  f"| {100 * low:.1f} to {100 * high:.1f} % | {r['images_per_second']:.0f} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])

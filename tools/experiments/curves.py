#!/usr/bin/env python3
"""Draws the validation error of several trainings by epoch as a PNG.

    python3 tools/experiments/curves.py OUT.png TITLE LABEL=FILE[,FILE …] [LABEL=…]

FILE is a run's metrics.jsonl or the output of cifar_torch.py. The files of one label, which
differ in the seed, have one colour, and their mean is the thick line. Needs matplotlib.
"""
import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"]  # Okabe and Ito's


def errors(file):
    lines = [json.loads(line) for line in open(file)]
    return [100 * e["top1_error"] for e in lines if e.get("kind", "epoch") == "epoch"]


def main(out, title, *labels):
    figure, axes = plt.subplots(figsize=(8, 3.6), dpi=120)
    for colour, label in zip(COLOURS, labels):
        name, files = label.split("=", 1)
        runs = [errors(f) for f in files.split(",")]
        epochs = range(1, 1 + min(map(len, runs)))
        if len(runs) > 1:
            for run in runs:
                axes.plot(epochs, run[: len(epochs)], color=colour, linewidth=0.8, alpha=0.5)
        mean = [sum(v) / len(runs) for v in zip(*runs)]
        axes.plot(epochs, mean, color=colour, linewidth=2, marker="o" if len(epochs) <= 20 else None, markersize=3,
                  label=f"{name}: {mean[-1]:.1f} %" + (f" (mean of {len(runs)})" if len(runs) > 1 else ""))
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation top-1 error, %")
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", color="#e6e6e6")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    figure.tight_layout()
    figure.savefig(out)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])

"""Compares the preparation of an image with PIL's and torchvision's, on one thread.

    pipeline.py DIR [--turns N] [--rounds N] [--write docs/pipeline.md]

DIR has JPEG files (*.JPEG) of original size. All three take turns, each in a process of its
own. The medians over the turns are printed as a table, or written between the marks of a file.
Needs Go; the Python that runs this script needs PIL, numpy, torch and torchvision (Debian:
python3-pil, python3-torchvision).
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORKS = ["decode", "rescale", "rescale bicubic", "augment", "rescale and augment", "all"]
MARKS = "<!-- begin: written by tools/pipeline -->\n", "<!-- end -->"


def processor():
    try:
        return re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())[1]
    except OSError:
        return platform.processor()


def measure(command):
    env = os.environ | {"OMP_NUM_THREADS": "1", "GOMAXPROCS": "1"}
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)


def table(results, images):
    lines = ["| ms an image | " + " | ".join(f"{n} {r[0]['version']}" for n, r in results.items()) + " | vgg ÷ PIL | vgg, images/s |",
             "| --- |" + " --: |" * (len(results) + 2)]
    for work in WORKS:
        ms = {n: statistics.median(t["ms"][work] for t in r) for n, r in results.items()}
        span = {n: (min(t["ms"][work] for t in r), max(t["ms"][work] for t in r)) for n, r in results.items()}
        lines.append(f"| {work} | " + " | ".join(f"{ms[n]:.2f} ({span[n][0]:.2f} to {span[n][1]:.2f})" for n in results)
                     + f" | **{ms['vgg'] / ms['PIL']:.2f}** | {1000 / ms['vgg']:.0f} |")
    load = os.getloadavg()[0]
    head = (f"{processor()}, one thread; {datetime.date.today()}, load average {load:.1f} at the end; {images} images, "
            f"medians of {len(results['vgg'])} turns, the range in brackets.\n\n")
    return head + "\n".join(lines) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir")
    p.add_argument("--turns", type=int, default=5)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--write", metavar="FILE")
    a = p.parse_args()
    images = len(list(pathlib.Path(a.dir).glob("*.JPEG")))
    with tempfile.TemporaryDirectory() as tmp:
        ours = os.path.join(tmp, "pipeline")
        subprocess.run(["go", "build", "-o", ours, "./tools/pipeline"], cwd=ROOT, check=True)
        commands = {
            "vgg": [ours, "-rounds", str(a.rounds), a.dir],
            "PIL": [sys.executable, str(HERE / "peer.py"), "pil", a.dir, str(a.rounds)],
            "torchvision": [sys.executable, str(HERE / "peer.py"), "torchvision", a.dir, str(a.rounds)],
        }
        results = {n: [] for n in commands}
        for _ in range(a.turns):
            for n, c in commands.items():
                results[n].append(measure(c))
    text = table(results, images)
    if not a.write:
        print(text, end="")
        return
    path = pathlib.Path(a.write)
    old = path.read_text()
    before, rest = old.split(MARKS[0])
    path.write_text(before + MARKS[0] + text + MARKS[1] + rest.split(MARKS[1], 1)[1])


main()

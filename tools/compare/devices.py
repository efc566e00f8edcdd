#!/usr/bin/env python3
"""Compares vgg with PyTorch doing the same work on an accelerator.

    python3 tools/compare/devices.py

builds vgg with accelerators, runs both in turns on a GPU, and prints, in Markdown, a table of images a second
and ratios. It needs Linux, Go, a plugin of XLA (docs/accelerators.md) and a Python with PyTorch
for the GPU; without --python, it is this one.

Fairness. Both have the same network with random He weights, the same precision of products, and
images in the processor's memory; a pass ends when scores or loss are there. One pass of
inference is timed, or one training step (forward, cross-entropy, backward, SGD with momentum and
weight decay, dropout on), after some passes of warm-up, in which programs are compiled and
algorithms tried. Two never run at once, and the order changes from round to round. PyTorch has
channels_last and cudnn.benchmark, with or without torch.compile: what is faster for each work. bf16 is
its automatic mixed precision. vgg asks for deterministic operations in training, PyTorch doesn't.

Without a GPU, --device cpu --torch-device cpu shows that it works; the figures say nothing of
GPUs, and vgg's own kernels are faster than XLA's there.
"""
import argparse
import json
import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True  # leaves the source tree as it is

from contestants import ROOT, Unavailable, call
from measure import Failed, measure

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class DeviceWork:
    """A row of the tables."""
    mode: str  # infer or train
    batch: int
    precision: str

    @property
    def title(self):
        return f"{'training step' if self.mode == 'train' else 'inference'}, batch {self.batch}, {self.precision}"


class VGG:
    title = "vgg"
    variants = ((),)

    def __init__(self, o, cache):
        self.o, self.binary = o, cache / "vgg-accel"

    def setup(self):
        call("go", "build", "-trimpath", "-tags", "accel", "-o", self.binary, "./cmd/vgg", cwd=ROOT)
        commit = call("git", "describe", "--always", "--dirty", cwd=ROOT)
        devices = json.loads(call(self.binary, "devices", "--json"))
        plugins = [p.get("version", "").splitlines()[0] for p in devices["plugins"] if p.get("platform") == self.o.device and p.get("version")]
        self.version = ", ".join([commit, *plugins[:1]])

    def command(self, work, variant, iters, warmup):
        return [str(self.binary), "bench", self.o.config, "--json", "--mode", work.mode, "--batch", str(work.batch),
                "--iters", str(iters), "--warmup", str(warmup), "--device", self.o.device, "--precision", work.precision]


class Torch:
    title = "PyTorch"

    def __init__(self, o, cache):
        self.o = o
        self.variants = ((),) if o.no_compile else ((), ("--compile",))
        self.version = ""

    def setup(self):
        call(self.o.python, "-c", "import torch; assert torch.device('" + self.o.torch_device + "').type != 'cuda' or torch.cuda.is_available(), 'PyTorch sees no GPU'")

    def command(self, work, variant, iters, warmup):
        return [self.o.python, "-B", str(HERE / "torch_vgg.py"), "--config", self.o.config, "--mode", work.mode,
                "--batch", str(work.batch), "--iters", str(iters), "--warmup", str(warmup), "--threads", str(os.cpu_count()),
                "--device", self.o.torch_device, "--precision", work.precision, "--layout", "channels_last", *variant]


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(o, work, contestant, variant, iters):
    m = measure(contestant.command(work, variant, iters, o.warmup), {})
    rate = 1e3 * work.batch / m.median
    say(f"{work.title:36} {contestant.title:8} {' '.join(variant):10} {m.median:10.2f} ms {rate:10.1f} images/s")
    return m


def compare(o, works, contestants, left_out):
    """Returns measurements: of each work and contestant, one a round."""
    chosen = {}
    for work in works:
        for c in contestants:
            medians = {}
            for v in c.variants:
                if len(c.variants) == 1:
                    medians[v] = 0
                    continue
                try:
                    medians[v] = run(o, work, c, v, max(1, o.iters // 4)).median
                except Failed as e:
                    left_out.append((work, c, f"{' '.join(v)} {e}"))
            if medians:
                chosen[work, c] = min(medians, key=medians.get)
    results = {}
    for r in range(o.rounds):
        for work in works:
            for c in contestants[r % 2:] + contestants[:r % 2]:
                if (work, c) in chosen:
                    try:
                        results.setdefault((work, c), []).append((run(o, work, c, chosen[work, c], o.iters), chosen[work, c]))
                    except Failed as e:
                        left_out.append((work, c, str(e)))
                        del chosen[work, c]
    return results


def render(o, works, contestants, results, left_out):
    """The tables, and what they are of."""
    vgg, torch = contestants
    rows, devices = [], {}
    for work in works:
        cells, rates = [work.title], {}
        for c in contestants:
            runs = results.get((work, c))
            if not runs:
                cells.append("–")
                continue
            rates[c] = work.batch * 1e3 / statistics.median(m.median for m, _ in runs)
            how = " ".join(runs[0][1])
            cells.append(f"{rates[c]:.1f}" + (f" ({how})" if how else ""))
            result = runs[0][0].result
            devices.setdefault(c, result.get("device", o.torch_device))
            c.version = result.get("version", c.version)
        runs = results.get((work, vgg))
        cells.append(f"{100 * statistics.median(m.result['input_share'] for m, _ in runs):.1f} %" if runs else "–")
        cells.append(f"**{rates[torch] / rates[vgg]:.2f}**" if len(rates) == 2 else "–")
        rows.append(cells)
    out = [f"{o.config}, 224×224, images a second by medians of {o.iters} passes and {o.rounds} rounds. Below 1, vgg is faster.\n"]
    out += [f"- {c.title}: {c.version}; {devices.get(c, 'nothing measured')}" for c in contestants]
    out.append("\n| work | vgg | PyTorch | vgg waits for images | vgg's time ÷ PyTorch's |\n| --- | --: | --: | --: | --: |")
    out += [f"| {' | '.join(row)} |" for row in rows]
    out += [f"\nLeft out: {c.title}, {work.title}: {' '.join(why.split())}" for work, c, why in left_out]
    return "\n".join(out) + "\n"


def arguments():
    def numbers(text):
        return [int(n) for n in text.split(",") if n]

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cuda", metavar="NAME", help="vgg's (cuda)")
    p.add_argument("--torch-device", default="cuda", metavar="NAME", help="PyTorch's (cuda, which AMD's GPUs are too)")
    p.add_argument("--config", default="D", choices=["A", "B", "D", "E"], help="(D)")
    p.add_argument("--batches", type=numbers, default=[1, 32, 256], metavar="N,…", help="of inference (1,32,256)")
    p.add_argument("--train-batches", type=numbers, default=[32, 256], metavar="N,…", help="of training (32,256)")
    p.add_argument("--precisions", default="f32,tf32,bf16", metavar="NAME,…", help="(f32,tf32,bf16)")
    p.add_argument("--iters", type=int, default=20, metavar="N", help="passes that are timed (20)")
    p.add_argument("--warmup", type=int, default=5, metavar="N", help="passes before them (5)")
    p.add_argument("--rounds", type=int, default=3, metavar="N", help="(3)")
    p.add_argument("--no-compile", action="store_true", help="without torch.compile, which takes minutes")
    p.add_argument("--python", default=sys.executable, metavar="FILE", help="a Python that has PyTorch")
    o = p.parse_args()
    o.precisions = o.precisions.split(",")
    for name in o.precisions:
        if name not in ("f32", "tf32", "bf16"):
            p.error(f"--precisions: {name!r}, want f32, tf32 or bf16")
    if min(o.iters, o.warmup, o.rounds, *o.batches, *o.train_batches) < 1:
        p.error("want numbers of at least 1")
    return o


def main():
    o = arguments()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vgg-compare"
    cache.mkdir(parents=True, exist_ok=True)
    contestants = [VGG(o, cache), Torch(o, cache)]
    try:
        for c in contestants:
            c.setup()
    except Unavailable as e:
        sys.exit(str(e))
    works = [DeviceWork(mode, b, p) for p in o.precisions for mode, batches in (("infer", o.batches), ("train", o.train_batches)) for b in batches]
    left_out = []
    results = compare(o, works, contestants, left_out)
    print(render(o, works, contestants, results, left_out), end="")
    sys.exit(0 if results else 1)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares vgg with other libraries doing the same work on a CPU.

    python3 tools/compare/compare.py

sets the other libraries (the peers) up, builds vgg, runs all of them in turns, and writes
tables of times, peak memory and ratios into docs/performance.md, between markers. It needs
Linux, Go and Python 3.9. The peers are the newest versions by pip, in a venv, but oneDNN, which
is Debian 12's (libdnnl-dev and g++). All go
into ${XDG_CACHE_HOME:-~/.cache}/vgg-compare, with 3 GB of models. As root it installs missing
Debian packages; otherwise it lists them. A peer that cannot be set up is named and left out. The machine
should be idle: the tables show how busy other processes were.

Fairness. All have the same network with random He weights, fp32, two threads and inputs
of the same shape. One pass from the image tensor to class scores is timed, or one training
step (forward, cross-entropy, backward, SGD with momentum and weight decay, dropout on),
after some passes of warm-up. Before that, every peer must give vgg's answer for one picture, by
the same weights. Two never run at once, and the order changes from round to
round. Each peer runs in its fastest configuration that was found:
  ONNX Runtime  two intra-op threads, all graph optimisations, shapes known in advance
  OpenVINO      the CPU's plug-in, fp32 asked for, one stream, latency, static shapes
  ncnn          Winograd, packed layouts, fp32; no batches, which it doesn't have
  MNN           precision, power and memory "high": fp32 and Winograd
  oneDNN        layouts of its own choice, weights reordered in advance, rectification
                fused, Winograd for every 3×3 layer but the first
  PyTorch       the fastest of several configurations, tried for each work before the
                rounds: for inference channels_last with and without
                torch.jit.optimize_for_inference, and to_mkldnn; for training with and
                without channels_last. Freed memory is kept.
All get huge pages, as vgg does.
"""
import argparse
import json
import os
import shlex
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True  # leaves the source tree as it is

import answers
from contestants import PEERS, ROOT, VGG, Models, Unavailable
from measure import Failed, measure
from tables import insert, render
from work import WORKS


class Comparison:
    """The contestants that take part, the works, and every measurement."""

    def __init__(self, works, rounds, quick, cache):
        self.works, self.rounds, self.quick, self.cache = works, rounds, quick, cache
        self.contestants = []  # vgg first
        self.variant = {}  # (work, contestant) → the fastest
        self.results = {}  # (work, contestant) → measurements, one a round
        self.versions = {}
        self.agreement = {}  # peer → largest difference of a log posterior from vgg's
        self.left_out = []  # (work or None, contestant, why)
        self.load = None
        self.invocation = "python3 tools/compare/compare.py"
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.log = cache / f"measurements-{stamp}.jsonl"

    def setup(self, peers):
        vgg = VGG(self.cache)
        vgg.setup()
        self.contestants = [vgg]
        for peer in (kind(self.cache) for kind in peers):
            try:
                peer.setup()
                self.contestants.append(peer)
            except Unavailable as e:
                self.leave_out(None, peer, e)

    def leave_out(self, work, contestant, reason):
        reason = " ".join(str(reason).split())
        self.left_out.append((work, contestant, reason))
        say(f"left out: {contestant.title}{' on ' + work.key if work else ''}: {reason}")

    def command(self, work, contestant, probe=False):
        iters, warmup = work.iters, work.warmup
        if self.quick or probe:
            iters, warmup = max(1, iters // 5), 1
        return contestant.command(work, self.variant[work, contestant], iters, warmup)

    def run(self, work, contestant, probe=False):
        m = measure(*self.command(work, contestant, probe))
        if (shape := m.result.get("output", work.output)) != work.output:
            raise Failed(f"output {shape}, want {work.output}")
        if contestant not in self.versions:
            self.versions[contestant] = contestant.describe(m.result)
        with self.log.open("a") as log:
            log.write(json.dumps({
                "work": work.key, "contestant": contestant.key, "variant": self.variant[work, contestant],
                "probe": probe, "median_ms": m.median, "peak_rss_bytes": m.rss, "others": m.others,
            }) + "\n")
        busy = f", others busy {100 * m.others:.0f} %" if m.others > 0.02 else ""
        say(f"{work.key:18} {contestant.key:7} {m.median:9.1f} ms {m.rss / 1e6:6.0f} MB{busy}")
        return m

    def check(self):
        """Leaves out peers whose answer isn't vgg's."""
        for peer, worst, error in list(answers.check(self.contestants, {}, self.cache, say)):
            if error:
                self.leave_out(None, peer, error)
                self.contestants.remove(peer)
            else:
                self.agreement[peer] = worst

    def choose(self):
        """Finds each contestant's fastest configuration for each work."""
        for work in self.works:
            for x in self.contestants:
                times = {}
                variants = x.variants(work)
                for v in variants:
                    self.variant[work, x] = v
                    if len(variants) == 1:
                        times[v] = 0
                        continue
                    try:
                        times[v] = self.run(work, x, probe=True).median
                    except Failed as e:
                        self.leave_out(work, x, f"{' '.join(v)}: {e}")
                if times:
                    self.variant[work, x] = min(times, key=times.get)
                else:
                    self.variant.pop((work, x), None)

    def measure(self):
        for r in range(self.rounds):
            say(f"round {r + 1} of {self.rounds}")
            turn = r % len(self.contestants)
            order = self.contestants[turn:] + self.contestants[:turn]
            for work in self.works:
                for x in order:
                    if (work, x) not in self.variant:
                        continue
                    try:
                        self.results.setdefault((work, x), []).append(self.run(work, x))
                    except Failed as e:
                        self.leave_out(work, x, e)
                        del self.variant[work, x]
                        self.results.pop((work, x), None)


def say(text):
    print(text, file=sys.stderr, flush=True)


def listed(text, known, what):
    names = text.split(",")
    if unknown := [n for n in names if n not in known]:
        raise argparse.ArgumentTypeError(f"{what} {unknown[0]}: want of {', '.join(known)}")
    return [known[n] for n in known if n in names]


def arguments():
    works, peers = {w.key: w for w in WORKS}, {p.key: p for p in PEERS}
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, metavar="N", help="rounds (5; quick: 1)")
    p.add_argument("--only", type=lambda s: listed(s, works, "work"), default=list(WORKS), metavar="WORK[,WORK]",
                   help="some works only: " + ", ".join(works))
    p.add_argument("--peers", type=lambda s: listed(s, peers, "peer"), default=list(PEERS), metavar="PEER[,PEER]",
                   help="some peers only: " + ", ".join(peers))
    p.add_argument("--quick", action="store_true", help="one to three passes each: a test of the set-up; the figures mean nothing")
    p.add_argument("--out", metavar="FILE", help="Markdown file to write the tables into, - for standard output "
                   "(docs/performance.md; with --only, --peers or --quick: -)")
    p.add_argument("--python", metavar="FILE", help="a Python that has the peers' packages (a venv in the cache, filled by pip)")
    o = p.parse_args()
    Models.given = o.python
    if o.rounds is None:
        o.rounds = 1 if o.quick else 5
    if o.rounds < 1:
        p.error("--rounds: want at least 1")
    if o.out is None:
        partial = o.quick or len(o.only) < len(WORKS) or len(o.peers) < len(PEERS)
        o.out = "-" if partial else str(ROOT / "docs" / "performance.md")
    if o.out != "-" and not Path(o.out).absolute().parent.is_dir():
        p.error(f"--out {o.out}: no such folder")
    return o


def main():
    o = arguments()
    load = os.getloadavg()[0]
    if load > 0.3:
        say(f"load average {load:.1f}: the machine has other work, which spoils the times")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vgg-compare"
    cache.mkdir(parents=True, exist_ok=True)
    c = Comparison(o.only, o.rounds, o.quick, cache)
    c.load = load
    c.invocation = shlex.join(["python3", "tools/compare/compare.py", *sys.argv[1:]])
    if o.python:  # where it is, is this machine's affair
        c.invocation = c.invocation.replace(o.python, "python3")
    try:
        c.setup(o.peers)
    except Unavailable as e:
        sys.exit(f"vgg: {e}")
    say(f"every measurement goes to {c.log}")
    try:
        c.check()
        c.choose()
        c.measure()
    except KeyboardInterrupt:
        say(f"interrupted: no tables; the measurements so far are in {c.log}")
        sys.exit(130)
    tables = render(c)
    if o.out == "-":
        print(tables, end="")
    else:
        insert(Path(o.out), tables)
        say(f"wrote {o.out}")


if __name__ == "__main__":
    main()

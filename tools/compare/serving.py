#!/usr/bin/env python3
"""Compares vgg serve with ONNX Runtime and OpenVINO behind Python's own HTTP server.

    python3 tools/compare/serving.py WEIGHTS PICTURE --python PYTHON

WEIGHTS is a file or a release's name (D), PICTURE a JPEG, PYTHON one that has onnxruntime,
openvino, numpy and pillow (by default this one). It builds vgg and tools/load, converts the
weights to ONNX, starts the services with the same number of threads, checks that they give the
picture the same class with the same probability, and sends the same load to each in turns, one
at a time. The table goes into docs/serving.md, between markers. The machine should be idle.

None keeps answers (--no-cache). The peers run a pass for each request, as such servers do; vgg
puts those that wait together.

With --work DIR, programs, converted weights and rounds stay in DIR. --prepare makes what a
measurement needs and measures nothing; each later run adds its rounds to those before, and the
table has all of them. So the measurement can be had in parts.
"""
import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True  # leaves the source tree as it is

from tables import insert, processor

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CLIENTS = (1, 8, 64)
PEERS = {"onnxruntime": "ONNX Runtime behind Python", "openvino": "OpenVINO behind Python"}


def say(text):
    print(text, file=sys.stderr, flush=True)


def call(*argv, **options):
    return subprocess.run([str(a) for a in argv], check=True, text=True, stdout=subprocess.PIPE, **options).stdout


def put(url, picture):
    request = urllib.request.Request(url, data=picture.read_bytes(), method="PUT")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


class Service:
    """A running server; its first line of output tells its address."""

    def __init__(self, title, argv, log, rounds):
        self.title, self.log, self.rounds = title, log, rounds
        with open(log, "w") as f:
            self.process = subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, stderr=f, text=True)
        self.first = self.process.stdout.readline()
        if not self.first:
            sys.exit(f"{title} doesn't start: {Path(log).read_text()[-2000:]}")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def load(binary, url, picture, seconds):
    """Measurements by number of clients."""
    out = call(binary, "throughput", "-time", f"{seconds}s", "-concurrency", ",".join(map(str, CLIENTS)), url, picture)
    found = {m["clients"]: m for m in map(json.loads, out.splitlines())}
    for m in found.values():
        if set(m["codes"]) != {"200"}:
            sys.exit(f"{url}: answers {m['codes']}, want 200 alone")
    return found


def table(services):
    def cell(service, clients, key, form):
        values = [r[clients][key] for r in service.rounds]
        spread = f" ({form(min(values))} to {form(max(values))})" if len(values) > 1 else ""
        return form(statistics.median(values)) + spread

    head = ["clients", "service", "images/s", "median", "99 %", "vgg ÷ it, images/s"]
    rows = [head, ["--:", "---"] + ["--:"] * 4]
    for n in CLIENTS:
        ours, *_ = rates = [statistics.median(r[n]["images_per_second"] for r in s.rounds) for s in services]
        for s, rate in zip(services, rates):
            times = [cell(s, n, key, lambda v: f"{v:.0f} ms") for key in ("p50_ms", "p99_ms")]
            rows.append([str(n), s.title, cell(s, n, "images_per_second", lambda v: f"{v:.1f}"), *times, "" if s is services[0] else f"**{ours / rate:.2f}**"])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("weights")
    p.add_argument("picture", type=Path)
    p.add_argument("--python", default=sys.executable, help="one that has onnxruntime, openvino, numpy and pillow")
    p.add_argument("--threads", type=int, default=os.cpu_count(), help="of a pass, for both")
    p.add_argument("--seconds", type=int, default=20, help="of a measurement (20)")
    p.add_argument("--rounds", type=int, default=3, help="(3)")
    p.add_argument("--work", type=Path, help="folder in which programs, converted weights and rounds stay")
    p.add_argument("--prepare", action="store_true", help="make what is needed in --work, and measure nothing")
    p.add_argument("--out", default=str(ROOT / "docs" / "serving.md"), help="Markdown file with the markers, - for standard output")
    return p.parse_args()


def main():
    o = arguments()
    if o.prepare and not o.work:
        sys.exit("--prepare wants --work DIR")
    if o.work:
        o.work.mkdir(parents=True, exist_ok=True)
        compare(o, o.work)
        return
    with tempfile.TemporaryDirectory() as work:
        compare(o, Path(work))


def prepare(o, work):
    for target, package in (("vgg", "./cmd/vgg"), ("load", "./tools/load")):
        call("go", "build", "-trimpath", "-o", (work / target).resolve(), package, cwd=ROOT, env=os.environ | {"CGO_ENABLED": "0"})
    say("converting the weights")
    call(work / "vgg", "convert", o.weights, work / "model.onnx", "--softmax")


def compare(o, work):
    vgg, loader, kept = work / "vgg", work / "load", work / "rounds.json"
    if o.prepare or not (work / "model.onnx").exists():
        prepare(o, work)
        if o.prepare:
            return
    rounds = json.loads(kept.read_text()) if kept.exists() else {"vgg serve": []} | {title: [] for title in PEERS.values()}
    rounds = {title: [{int(n): m for n, m in r.items()} for r in list_of] for title, list_of in rounds.items()}
    versions = call(o.python, "-c", "import sys, onnxruntime, openvino, PIL; print(onnxruntime.__version__, openvino.__version__.split('-')[0], PIL.__version__, sys.version.split()[0])").split()
    services = []
    try:
        ours = Service("vgg serve", [vgg, "serve", f"model={o.weights}", "--addr", "127.0.0.1:0", "--no-cache", "--json", "--threads", o.threads], work / "vgg.log", rounds["vgg serve"])
        services.append(ours)
        ours.url = json.loads(ours.first)["address"]
        with urllib.request.urlopen(ours.url + "/v2/models/model") as answer:
            (work / "spec.json").write_text(json.dumps(json.load(answer)["parameters"]))
        ours.url += "/v1/classify"
        for runtime, title in PEERS.items():
            peer = Service(title, [o.python, HERE / "picture_server.py", runtime, work / "model.onnx", work / "spec.json", 0, o.threads], work / f"{runtime}.log", rounds[title])
            services.append(peer)
            peer.url = f"http://127.0.0.1:{peer.first.strip()}/classify"
        first = [put(s.url, o.picture)["top"][0] for s in services]
        if any(f["index"] != first[0]["index"] or abs(f["probability"] - first[0]["probability"]) > 0.01 for f in first):
            sys.exit(f"the services answer differently: {first}")
        for r in range(o.rounds):
            for s in services if r % 2 == 0 else services[::-1]:
                say(f"round {r + 1} of {o.rounds}: {s.title}")
                s.rounds.append(load(loader, s.url, o.picture, o.seconds))
            kept.write_text(json.dumps(rounds))
    finally:
        for s in services:
            s.stop()
    text = table(services) + f"""
{Path(o.weights).name} on {processor()}, {os.cpu_count()} cores, which the clients share; one JPEG of {o.picture.stat().st_size / 1000:.0f} kB for each request, {o.threads} threads for a pass of each service, no kept answers. Medians of rounds of {o.seconds} s, {len(services[0].rounds)} in all, with their range. ONNX Runtime {versions[0]}, OpenVINO {versions[1]}, Pillow {versions[2]}, Python {versions[3]} (`ThreadingHTTPServer`); load average {os.getloadavg()[0]:.1f}. By `{shlex.join(["python3", "tools/compare/serving.py", *(Path(a).name if "/" in a else a for a in sys.argv[1:])])}`.
"""
    if o.out == "-":
        print(text, end="")
    else:
        insert(Path(o.out), text)
        say(f"wrote {o.out}")


if __name__ == "__main__":
    main()

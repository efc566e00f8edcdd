#!/usr/bin/python3
"""Compares search by descriptor with numpy, at full size.

    search.py grow INDEX.npy OUT.npy ROWS [--random] [--pairs N] [--threshold T]
                                                write an index of ROWS images, as vgg index
                                                would: INDEX's, then made-up ones
    search.py duplicates VGG OUT.npy            look for near-duplicates in it
    search.py compare OUT.npy QUERIES.npy FOUND.jsonl

A made-up descriptor is a mixture of three of INDEX's with noise, so that they lie as those of
photographs do; with --random it has a random direction, which is the worst case of sketches. Two
of them are never near-duplicates by chance. Like rectified activations, they aren't negative,
and their length is 1.

N pairs (200) are planted among them: one row is made of another such that their similarity is T
(0.99) plus a little or less a little, from 0.005 down to 2e-6, or 1. The first of a quarter of the
pairs are pictures of INDEX. One half of the pairs differ in a random direction, the other half
towards a picture of INDEX. OUT.npy.planted.json has them with their similarity in float64 after
rounding to float32. `duplicates` runs `vgg similar OUT.npy --duplicates T` and prints the
share of the pairs at T or above that it lists, the pairs below T that it lists, and the time.

QUERIES has the descriptors of the query pictures (vgg features, or vgg index), FOUND the
output of `vgg similar OUT.npy PICTURE… --json` for them. What was planted beside a picture
that is asked about and is more similar than its last answer must be among the answers.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

CHUNK = 1 << 15
OFFSETS = [5e-3, 1e-3, 1e-4, 1e-5, 2e-6, -2e-6, -1e-5, -1e-4, -1e-3, -1e-2]


def index(path):
    with open(path + ".jsonl") as f:
        header, *rows = map(json.loads, f)
    return header, rows


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def cosine(a, b):
    return float(unit(a.astype(np.float64)) @ unit(b.astype(np.float64)))


def grow(a):
    header, rows = index(a.index)
    x = np.load(a.index)
    n = len(x)
    if a.rows < n + 2 * a.pairs:
        sys.exit(f"{a.rows} rows, want at least {n + 2 * a.pairs}: {a.index}'s and {a.pairs} pairs")
    header["data"].update(images=a.rows, fingerprint="")
    y = np.lib.format.open_memmap(a.out, "w+", np.float32, (a.rows, x.shape[1]))
    y[:n] = x
    rng = np.random.default_rng(1)
    for start in range(n, a.rows, CHUNK):
        k = min(CHUNK, a.rows - start)
        part = np.abs(rng.standard_normal((k, x.shape[1]), np.float32))
        if not a.random:
            shares = rng.dirichlet([1, 1, 1], k).astype(np.float32)
            mixed = sum(shares[:, [j]] * x[rng.integers(0, n, k)] for j in range(3))
            part = unit(mixed) + 0.3 * unit(part)
        y[start:start + k] = unit(part)
    planted = plant(y, n, a.pairs, a.threshold)
    y.flush()
    with open(a.out + ".jsonl", "w") as f:
        f.write(json.dumps(header, separators=(",", ":")) + "\n")
        f.writelines(json.dumps(r, separators=(",", ":")) + "\n" for r in rows)
        f.writelines(f'{{"column":0,"image":{i},"file":"{i // 1000:04d}/{i:07d}.jpg"}}\n' for i in range(n, a.rows))
    with open(a.out + ".planted.json", "w") as f:
        json.dump({"threshold": a.threshold, "pairs": planted}, f)
    print(f"{a.rows} rows, {sum(s >= a.threshold for *_, s in planted)} pairs planted at {a.threshold} or above and {sum(s < a.threshold for *_, s in planted)} below")


def plant(y, n, count, threshold):
    """Makes pairs of rows of given similarities, and returns them: row, row, similarity."""
    rng = np.random.default_rng(2)
    source = unit(np.array(y[:n], np.float64))
    beside = source @ source.T
    np.fill_diagonal(beside, 0)
    # A picture that is like another one would be in a group with it.
    lonely = [int(r) for r in rng.permutation(n) if beside[r].max() < threshold - 0.02][:count // 4]
    places = n + rng.choice(len(y) - n, 2 * count, replace=False)
    pairs = []
    for i in range(count):
        first = lonely[i] if i < len(lonely) else int(places[count + i])
        second = int(places[i])
        # The offsets and the two kinds of direction in every combination.
        s = 1.0 if i % 21 == 20 else threshold + OFFSETS[i % 21 % 10]
        x = unit(y[first].astype(np.float64))
        d = rng.standard_normal(len(x)) if i % 21 < 10 else source[rng.integers(n)]
        d = unit(d - (d @ x) * x)
        y[second] = y[first] if s == 1 else s * x + np.sqrt(1 - s * s) * d
        pairs.append([first, second, cosine(y[first], y[second])])
    return pairs


def duplicates(a):
    with open(a.index + ".planted.json") as f:
        planted = json.load(f)
    threshold, planted = planted["threshold"], planted["pairs"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    out = subprocess.run([a.vgg, "similar", a.index, "--duplicates", str(threshold), "--json"], check=True, stdout=subprocess.PIPE).stdout
    wall, after = time.time() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    groups = json.loads(out)["duplicates"]
    row = {r["file"]: r["image"] for r in index(a.index)[1]}
    x = np.load(a.index, mmap_mode="r")
    groups = [[row[f] for f in g] for g in groups]
    together = {r: i for i, g in enumerate(groups) for r in g}
    assert len(together) == sum(map(len, groups)), "a row in two groups"
    # A group is a row and what is similar to it.
    least = min((cosine(x[g[0]], x[r]) for g in groups for r in g[1:]), default=1.0)
    want = [p for p in planted if p[2] >= threshold]
    others = [p for p in planted if p[2] < threshold]
    listed = lambda pairs: [p for p in pairs if p[0] in together and together[p[0]] == together.get(p[1])]
    found, wrong = listed(want), listed(others)
    for p in want:
        if p not in found:
            print("missed:", *p)
    print(f"{len(x)} rows of {x.shape[1]} numbers: {len(found)} of {len(want)} planted pairs at {threshold} or above found, recall {len(found) / len(want):.4f}; "
          f"{len(wrong)} of {len(others)} below listed")
    print(f"{len(groups)} groups, least similarity in them {least:.7f}; {wall:.0f} s, "
          f"{after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.0f} s of processor time, {after.ru_maxrss / 1024:.0f} MiB at most")
    if len(found) < len(want) or wrong or least < threshold - 1e-7:
        sys.exit(1)


def compare(a):
    x = np.load(a.index, mmap_mode="r")
    # Lines are in the order in which images were done.
    names = [r["file"] for r in sorted(index(a.index)[1], key=lambda r: r["image"])]
    q = unit(np.load(a.queries).astype(np.float64))
    of = {os.path.basename(r["file"]): r["image"] for r in index(a.queries)[1]}
    lines = [json.loads(line) for line in open(a.found)]
    order = [of[os.path.basename(l["file"])] for l in lines]
    s = np.concatenate([x[start:start + CHUNK].astype(np.float64) @ q[order].T for start in range(0, len(x), CHUNK)])
    row = {name: r for r, name in enumerate(names)}
    planted = {}
    if os.path.exists(a.index + ".planted.json"):
        with open(a.index + ".planted.json") as f:
            planted = {names[p[0]]: p[1] for p in json.load(f)["pairs"]}
    worst, swapped, beside = 0.0, 0, 0
    for line, mine in zip(lines, s.T):
        found = [row[f["file"]] for f in line["found"]]
        best = np.argsort(-mine, kind="stable")[:len(found)]
        said = np.array([f["similarity"] for f in line["found"]])
        # Rows whose similarities float32 can't tell apart may be in another order.
        worst = max(worst, np.abs(said - mine[found]).max(), np.abs(mine[found] - mine[best]).max())
        swapped += sum(a != b for a, b in zip(found, best))
        assert len(set(found)) == len(found) and worst < 1e-6, line["file"]
        if (p := planted.get(line["file"])) is not None and mine[p] > said.min() + 1e-6:
            assert p in found, line["file"]
            beside += 1
    print(f"{len(lines)} pictures, {len(found)} found of each: similarities differ by at most {worst:.1e}, {swapped} names stand in another place; {beside} rows planted beside them, all found")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    c = p.add_subparsers(required=True)
    g = c.add_parser("grow")
    g.add_argument("index")
    g.add_argument("out")
    g.add_argument("rows", type=int)
    g.add_argument("--random", action="store_true")
    g.add_argument("--pairs", type=int, default=200)
    g.add_argument("--threshold", type=float, default=0.99)
    g.set_defaults(run=grow)
    d = c.add_parser("duplicates")
    d.add_argument("vgg")
    d.add_argument("index")
    d.set_defaults(run=duplicates)
    m = c.add_parser("compare")
    m.add_argument("index")
    m.add_argument("queries")
    m.add_argument("found")
    m.set_defaults(run=compare)
    a = p.parse_args()
    a.run(a)


main()

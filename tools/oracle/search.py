#!/usr/bin/python3
"""Compares search by descriptor with numpy, at full size.

    search.py grow INDEX.npy OUT.npy ROWS       write an index of ROWS images, as vgg index
                                                would: INDEX's, then random ones
    search.py compare OUT.npy QUERIES.npy FOUND.jsonl

QUERIES has the descriptors of the query pictures (vgg features, or vgg index), FOUND the
output of `vgg similar OUT.npy PICTURE… --json` for them. Like rectified activations, random
descriptors aren't negative; their length is 1.
"""
import json
import os
import sys

import numpy as np

CHUNK = 1 << 15


def index(path):
    with open(path + ".jsonl") as f:
        header, *rows = map(json.loads, f)
    return header, rows


def grow(source, out, count):
    header, rows = index(source)
    x = np.load(source)
    header["data"].update(images=count, fingerprint="")
    y = np.lib.format.open_memmap(out, "w+", np.float32, (count, x.shape[1]))
    y[:len(x)] = x
    rng = np.random.default_rng(1)
    for a in range(len(x), count, CHUNK):
        part = np.abs(rng.standard_normal((min(CHUNK, count - a), x.shape[1]), np.float32))
        y[a:a + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    y.flush()
    with open(out + ".jsonl", "w") as f:
        f.write(json.dumps(header, separators=(",", ":")) + "\n")
        f.writelines(json.dumps(r, separators=(",", ":")) + "\n" for r in rows)
        f.writelines(f'{{"column":0,"image":{i},"file":"{i // 1000:04d}/{i:07d}.jpg"}}\n' for i in range(len(x), count))


def compare(path, queries, found):
    x = np.load(path, mmap_mode="r")
    # Lines are in the order in which images were done.
    names = [r["file"] for r in sorted(index(path)[1], key=lambda r: r["image"])]
    q = np.load(queries).astype(np.float64)
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    of = {os.path.basename(r["file"]): r["image"] for r in index(queries)[1]}
    lines = [json.loads(line) for line in open(found)]
    order = [of[os.path.basename(l["file"])] for l in lines]
    s = np.concatenate([x[a:a + CHUNK].astype(np.float64) @ q[order].T for a in range(0, len(x), CHUNK)])
    row = {name: r for r, name in enumerate(names)}
    worst, swapped = 0.0, 0
    for line, mine in zip(lines, s.T):
        found = [row[f["file"]] for f in line["found"]]
        best = np.argsort(-mine, kind="stable")[:len(found)]
        said = np.array([f["similarity"] for f in line["found"]])
        # Rows whose similarities float32 can't tell apart may be in another order.
        worst = max(worst, np.abs(said - mine[found]).max(), np.abs(mine[found] - mine[best]).max())
        swapped += sum(a != b for a, b in zip(found, best))
        assert len(set(found)) == len(found) and worst < 1e-6, line["file"]
    print(f"{len(lines)} pictures, {len(found)} found of each: similarities differ by at most {worst:.1e}, {swapped} names stand in another place")


if sys.argv[1] == "grow":
    grow(sys.argv[2], sys.argv[3], int(sys.argv[4]))
else:
    compare(*sys.argv[2:])

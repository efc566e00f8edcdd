#!/usr/bin/python3
"""Makes the fixtures of linear SVMs and average precision with scikit-learn.

    svm.py                          writes transfer/testdata/svm.safetensors and
                                    metrics/testdata/precision.json
    svm.py random OUT.npy [N D K]   writes N random descriptors of D numbers in K classes as
                                    vgg features would (10000 4096 100)
    svm.py compare X.npy SVM.safetensors [CLASSES]
                                    trains LinearSVC on a file of descriptors, times it, and
                                    compares objectives and predictions with those of
                                    vgg transfer train

Random features are rounded to bfloat16 and stored as such. The solutions are LIBLINEAR's with
a tolerance of 1e-9.
"""
import json
import pathlib
import struct
import sys
import time

import numpy as np
from sklearn.metrics import average_precision_score, recall_score
from sklearn.svm import LinearSVC

ROOT = pathlib.Path(__file__).resolve().parents[2]


def bfloat16(x):
    return ((np.asarray(x, np.float32).view(np.uint32) + 0x8000) & 0xFFFF0000).view(np.float32)


def write_safetensors(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, t in tensors.items():
        t = np.asarray(t, np.float32)
        bf = np.array_equal(bfloat16(t), t)
        raw = (t.view(np.uint32) >> 16).astype(np.uint16).tobytes() if bf else t.tobytes()
        header[name] = {"dtype": "BF16" if bf else "F32", "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    h = json.dumps(header).encode()
    h += b" " * (-len(h) % 8)
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(struct.pack("<Q", len(h)) + h + data)


def read_safetensors(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    meta = header.pop("__metadata__", {})
    return meta, {n: np.frombuffer(data[slice(*e["data_offsets"])], np.float32).reshape(e["shape"]) for n, e in header.items()}


def objective(x, y, w, b, c, loss, class_weight=1.0):
    """Of one class against the rest; the bias counts as a weight."""
    hinge = np.maximum(0, 1 - y * (x.astype(np.float64) @ w + b))
    price = np.where(y > 0, c * class_weight, c)
    return 0.5 * (w @ w + b * b) + (price * (hinge**2 if loss == "l2" else hinge)).sum()


LOSS = {"l1": "hinge", "l2": "squared_hinge"}


def fixture():
    rng = np.random.default_rng(8)
    n, d, k = 150, 18, 5
    centres = rng.normal(0, 1, (k, d))
    # Classes of different sizes that overlap.
    y = np.minimum(rng.geometric(0.35, 2 * n) - 1, k - 1)
    x = bfloat16(centres[y] * 0.7 + rng.normal(0, 1, (2 * n, d)))
    tensors = {"x": x, "y": y}
    for loss in LOSS:
        for c in (0.05, 1.0, 8.0):
            for balanced in (False, True):
                for bias in (0.0, 1.0):
                    if bias == 0 and balanced:
                        continue
                    m = LinearSVC(loss=LOSS[loss], C=c, tol=1e-9, max_iter=20_000_000, dual=True, random_state=0,
                                  fit_intercept=bias > 0, intercept_scaling=max(bias, 1),
                                  class_weight="balanced" if balanced else None).fit(x[:n], y[:n])
                    name = f"{loss} {c:g} {'balanced' if balanced else 'plain'} {bias:g}"
                    tensors[name + " w"] = m.coef_
                    tensors[name + " b"] = np.broadcast_to(m.intercept_, (k,)) if np.ndim(m.intercept_) == 0 or np.size(m.intercept_) == 1 else m.intercept_
    write_safetensors(ROOT / "transfer/testdata/svm.safetensors", tensors, {"rows": str(n)})

    cases = []
    for i in range(40):
        n = int(rng.integers(1, 60))
        positive = rng.random(n) < rng.uniform(0.05, 0.9)
        positive[rng.integers(n)] = True
        scores = rng.normal(0, 1, n) if i % 2 else rng.integers(0, 4, n) / 2  # half of them with ties
        scores = bfloat16(scores + (0.8 * positive if i % 4 > 1 else 0))
        cases.append({"scores": [float(s) for s in scores], "positive": [bool(p) for p in positive],
                      "step": float(average_precision_score(positive, scores)),
                      "11-point": voc07(scores, positive), "area": voc10(scores, positive)})
    recalls = []
    for i in range(10):
        k = int(rng.integers(2, 6))
        truth = np.concatenate([np.arange(k), rng.integers(0, k, 30)])
        predicted = np.where(rng.random(len(truth)) < 0.5, truth, rng.integers(0, k, len(truth)))
        recalls.append({"truth": truth.tolist(), "predicted": predicted.tolist(), "classes": k,
                        "recall": float(recall_score(truth, predicted, average="macro"))})
    path = ROOT / "metrics/testdata/precision.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"precision": cases, "recall": recalls}, separators=(",", ":")).replace('{"scores"', '\n{"scores"') + "\n")


def ranked(scores, positive):
    """As the development kit's VOCevalcls: sorted by descending confidence, equal ones in
    their order."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    gt = np.asarray(positive)[order]
    tp, fp = np.cumsum(gt), np.cumsum(~gt)
    return tp / gt.sum(), tp / (tp + fp)


def voc07(scores, positive):
    rec, prec = ranked(scores, positive)
    ap = 0
    for t in range(11):
        p = prec[rec * 10 >= t - 1e-9]
        ap += (p.max() if len(p) else 0) / 11
    return float(ap)


def voc10(scores, positive):
    rec, prec = ranked(scores, positive)
    mrec, mpre = np.concatenate([[0], rec, [1]]), np.concatenate([[0], prec, [0]])
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    i = np.flatnonzero(mrec[1:] != mrec[:-1]) + 1
    return float(((mrec[i] - mrec[i - 1]) * mpre[i]).sum())


def random_file(out, n=10000, d=4096, k=100):
    rng = np.random.default_rng(1)
    y = np.arange(n) % k
    x = np.lib.format.open_memmap(out, "w+", np.float32, (n, d))
    centres = np.maximum(rng.normal(0, 1, (k, d)), 0).astype(np.float32)
    for i in range(0, n, 1000):  # rectified and of norm 1, as descriptors are
        v = np.maximum(rng.normal(0, 1, (min(1000, n - i), d)).astype(np.float32) * 2 + centres[y[i:i + 1000]] - 1, 0)
        x[i:i + 1000] = v / np.linalg.norm(v, axis=1, keepdims=True)
    x.flush()
    spec = {"name": "random", "scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1], "filter": "bilinear", "crop": 224, "resize": 256}
    header = {"format": "vgg descriptors 1", "data": {"name": "random", "fingerprint": "", "images": n, "classes": [str(c) for c in range(k)]},
              "layout": "one class", "nets": [{"weights": "random", "sha256": "", "fc_weights": "f32", "preprocess": spec, "layer": "fc7",
                                               "rectified": True, "scales": [256], "channels": d}],
              "regions": ["image"], "average": False, "raw": False, "flip": False, "max": False, "isa": "", "shard": {"index": 1, "count": 1}, "dim": d}
    with open(out + ".jsonl", "w") as f:
        f.write(json.dumps(header) + "\n")
        for i in range(n):
            f.write(json.dumps({"column": 0, "image": i, "file": str(i), "labels": [int(y[i])]}) + "\n")


def compare(features, svm, classes=None):
    x = np.load(features)
    lines = [json.loads(l) for l in open(features + ".jsonl")]
    y = np.zeros(len(x), int)
    for l in lines[1:]:
        y[l["image"]] = l["labels"][0]
    meta, t = read_safetensors(svm)
    info = json.loads(meta["vgg.svm"])
    k = len(t["bias"])
    if classes:  # the first classes only, each against the rest, as LinearSVC trains them
        k = int(classes)
    c, loss = info["c"], info["loss"]
    args = dict(loss=LOSS[loss], C=c, tol=info["tolerance"], max_iter=info["max_iterations"], dual=True, random_state=0,
                class_weight=None)
    start = time.time()
    if k == len(t["bias"]):
        m = LinearSVC(**args).fit(x, y)
        w, b = m.coef_, m.intercept_
    else:
        w, b = [], []
        for i in range(k):
            m = LinearSVC(**args).fit(x, y == i)
            w.append(m.coef_[0]), b.append(m.intercept_[0])
        w, b = np.array(w), np.array(b)
    seconds = time.time() - start
    print(f"LinearSVC: {seconds:.1f} s for {k} classes of {len(x)} x {x.shape[1]}")
    worst = 0
    for i in range(k):
        s = np.where(y == i, 1, -1)
        ours = objective(x, s, t["weight"][i].astype(np.float64), float(t["bias"][i]), c, loss)
        theirs = objective(x, s, w[i], b[i], c, loss)
        worst = max(worst, abs(ours / theirs - 1))
    print(f"largest relative difference of an objective: {worst:.2g}")
    a = x @ t["weight"][:k].T + t["bias"][:k]
    print(f"same predictions: {100 * (a.argmax(1) == (x @ w.T + b).argmax(1)).mean():.2f} %, same signs: {100 * ((a > 0) == (x @ w.T + b > 0)).mean():.3f} %")


if len(sys.argv) == 1:
    fixture()
elif sys.argv[1] == "random":
    random_file(sys.argv[2], *map(int, sys.argv[3:]))
else:
    compare(*sys.argv[2:])

#!/usr/bin/python3
"""Makes metrics/testdata/oracle.json with SciPy, scikit-learn and numpy.

scipy.stats.binomtest gives McNemar's exact test, from the images that only one classifier
gets right, and its proportion_ci Wilson's interval. scikit-learn gives top-k error, logistic
loss and confusion matrix of posteriors of 60 images and 12 classes. The expected calibration
error is Guo et al.'s (2017), in numpy. metrics/testdata/labels.json has scikit-learn's
measures of 80 images that show any number of five labels, some of equal probabilities, one
label that nothing shows at its threshold.
"""
import json
import pathlib

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import (accuracy_score, average_precision_score, confusion_matrix, f1_score, hamming_loss,
                             log_loss, precision_recall_curve, precision_score, recall_score, top_k_accuracy_score)

OUT = pathlib.Path(__file__).resolve().parents[2] / "metrics" / "testdata" / "oracle.json"
IMAGES, CLASSES = 60, 12


def ece(p, right, bins):
    """Guo et al.: bins (b/n, (b+1)/n] of the highest posterior."""
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for low, high in zip(edges[:-1], edges[1:]):
        seen = (p > low) & (p <= high)
        if seen.any():
            total += seen.mean() * abs(right[seen].mean() - p[seen].mean())
    return total


def labels():
    rng = np.random.default_rng(5)
    truth = rng.random((80, 5)) < (0.5, 0.3, 0.2, 0.1, 0.4)
    p = 1 / (1 + np.exp(-rng.normal(0, 1.5, truth.shape) - 2 * truth + 1))
    p = np.round(p, 2).astype(np.float32)  # some are equal
    thresholds = np.array([0.5, 0.3, 0.41, 1, 0.05], np.float32)
    p[:, 3] = np.minimum(p[:, 3], np.float32(0.9))
    found = p >= thresholds
    best = []
    for k in range(truth.shape[1]):
        precision, recall, at = precision_recall_curve(truth[:, k], p[:, k])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best.append(f1.max())
    both = lambda f: {a: f(truth, found, average=a, zero_division=0) for a in ("micro", "macro")}
    out = {
        "posteriors": [[float(v) for v in row] for row in p], "truth": truth.astype(int).tolist(),
        "thresholds": [float(v) for v in thresholds],
        "average_precision": average_precision_score(truth, p, average=None).tolist(),
        "mean_average_precision": average_precision_score(truth, p, average="macro"),
        "precision": both(precision_score), "recall": both(recall_score), "f1": both(f1_score),
        "hamming_loss": hamming_loss(truth, found), "subset_accuracy": accuracy_score(truth, found),
        "loss": float(sum(log_loss(truth[:, k], p[:, k].astype(np.float64), labels=[0, 1]) for k in range(5))),
        "best_f1": best,
    }
    (OUT.parent / "labels.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


def main():
    rng = np.random.default_rng(3)
    counts = [(0, 1), (1, 0), (2, 7), (7, 7), (30, 12), (1, 40), (120, 95), (700, 610), (1000, 1150), (5, 4995)]
    scores = rng.normal(0, 2, (IMAGES, CLASSES)).astype(np.float32)
    truth = np.arange(IMAGES) % CLASSES
    scores[np.arange(IMAGES), truth] += 2
    e = np.exp(scores - scores.max(1, keepdims=True))
    posteriors = (e / e.sum(1, keepdims=True)).astype(np.float32)
    best = posteriors.argmax(1)
    highest = posteriors.max(1).astype(np.float64)
    out = {
        "mcnemar": [{"a": a, "b": b, "p": binomtest(a, a + b, 0.5).pvalue} for a, b in counts],
        "wilson": [],
        "posteriors": [[float(v) for v in row] for row in posteriors.astype(np.float32)],
        "truth": truth.tolist(),
        "error": [1 - top_k_accuracy_score(truth, posteriors, k=k, labels=range(CLASSES)) for k in (1, 5)],
        "loss": log_loss(truth, posteriors.astype(np.float64), labels=range(CLASSES)),
        "confusion": confusion_matrix(truth, best, labels=range(CLASSES)).tolist(),
        "ece": {str(n): ece(highest, best == truth, n) for n in (1, 2, 10, 15, 40)},
    }
    for wrong, n in [(0, 1), (1, 1), (0, 500), (88, 500), (500, 500), (3, 7), (13500, 50000), (4400, 50000)]:
        ci = binomtest(wrong, n).proportion_ci(0.95, method="wilson")
        out["wilson"].append({"wrong": wrong, "n": n, "low": ci.low, "high": ci.high})
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(out, separators=(",", ":")) + "\n")


main()
labels()

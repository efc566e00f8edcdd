#!/usr/bin/env python3
"""Writes models of Keras with heads and preprocessing of their own: testdata/keras.

    kerasheads.py [DIR]   write the files, image.png and expected.json into DIR
    kerasheads.py full DIR  write VGG-16s of full width, random but for their names, into DIR

Files of k3_ are written by Keras 3, those of k2_ by tf_keras, which is Keras 2. expected.json
has for each the posteriors of image.png by the model that wrote it.

Needs tensorflow, keras 3, tf_keras and Pillow.
"""
import json
import os
import pathlib
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != here]  # keras.py is there
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from PIL import Image

SIDE = 16
OUT = pathlib.Path(here).parents[1] / "testdata/keras"
expected = {}


def values(rng, name, shape):
    if "kernel" in name:
        return rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
    if "gamma" in name or "variance" in name:
        return rng.uniform(0.5, 1.5, shape)
    return rng.standard_normal(shape) * 0.3


def fill(model, rng):
    """Random weights, but for those of Normalization."""
    for w in model.weights:
        name = (w.path if hasattr(w, "path") else w.name).rsplit("/", 1)[-1]
        if any(k in name for k in ("kernel", "bias", "gamma", "beta", "moving_")):
            w.assign(values(rng, name, w.shape).astype("<f4"))


def temper(model, name, x):
    """Scales the last kernel until no posterior is near 0 or 1."""
    kernel = [w for w in model.weights if "kernel" in (w.path if hasattr(w, "path") else w.name).rsplit("/", 1)[-1]][-1]
    while True:
        y = np.asarray(model.predict(x, verbose=0))
        p = np.array(posteriors(name, y))
        if name == "scores" and abs(p).max() < 5 or name != "scores" and p.min() > 0.02 and p.max() < 0.95:
            return y
        kernel.assign(np.asarray(kernel) * 0.6)


class Maker:
    """Makes models by Keras 3 or by tf_keras: K is the package."""

    def __init__(self, K):
        self.K, self.L, self.old = K, K.layers, K is tf_keras

    def features(self, x, bn=False):
        L = self.L
        for block, k in enumerate((4, 6), 1):
            x = L.Conv2D(k, 3, padding="same", activation=None if bn else "relu", use_bias=not bn, name=f"block{block}_conv1")(x)
            if bn:
                x = L.BatchNormalization(epsilon=2e-3, scale=block == 1, center=block == 2, name=f"block{block}_bn")(x)
                x = L.ReLU()(x)
            x = L.MaxPooling2D(2, name=f"block{block}_pool")(x)
        return x

    def input(self, side=SIDE):
        return self.K.Input((side, side, 3))

    def model(self, before, head, bn=False):
        i = self.input()
        return self.K.Model(i, head(self.features(before(i), bn)))

    def gap(self, *layers):
        def head(x):
            x = self.L.GlobalAveragePooling2D()(x)
            for l in layers:
                x = l(x)
            return x

        return head

    def dense(self, *args, **options):
        return self.L.Dense(*args, **options)

    def cases(self):
        K, L, A = self.K, self.L, lambda *v: np.array(v, "float32")
        apps = K.applications
        softmax = lambda n=3: L.Dense(n, activation="softmax")
        none = lambda x: x
        caffe = apps.vgg16.preprocess_input
        yield "caffe", self.model(caffe, self.gap(softmax()))
        yield "torch", self.model(apps.densenet.preprocess_input, self.gap(softmax()))
        yield "tf", self.model(apps.mobilenet.preprocess_input, self.gap(softmax()))
        yield "tanh", self.model(caffe, self.gap(L.Dense(5, activation="tanh"), softmax()))
        yield "binary", self.model(caffe, self.gap(L.Dense(1, activation="sigmoid")))
        yield "labels", self.model(caffe, self.gap(L.Dropout(0.3), L.Dense(4, activation="sigmoid")))

        def arithmetic(x):
            x = x[..., ::-1] - A(103.9, 116.8, 123.7)
            return 1.0 + x * A(0.5, 0.25, 0.125) / 2.0

        yield "arithmetic", self.model(arithmetic, self.gap(softmax()))
        rescaled = lambda x: L.Rescaling([1 / 127.5, 1 / 120.0, 1 / 110.0], offset=[-1.0, -0.9, -1.1])(L.GaussianNoise(0.1)(L.RandomFlip()(x)))
        flat = lambda x: softmax()(L.LeakyReLU(0.15)(L.Dense(7)(L.BatchNormalization(epsilon=2e-3)(L.Flatten()(x)))))
        yield "flat_bn", self.model(rescaled, flat, bn=True)
        norm = L.Normalization()
        norm.adapt(np.random.default_rng(3).uniform(0, 255, (4, SIDE, SIDE, 3)).astype("float32") * A(1, 0.5, 0.8))
        yield "adapted", self.model(norm, self.gap(softmax()))
        given = L.Normalization(mean=[120.0, 110.0, 100.0], variance=[900.0, 800.0, 700.0])
        activations = self.gap(L.Dense(5), L.ELU(), L.BatchNormalization(epsilon=2e-3), L.Dense(6, activation="gelu"), L.Dense(5, activation="swish"), L.UnitNormalization(), softmax())
        yield "given", self.model(given, activations)
        yield "input_bn", self.model(L.BatchNormalization(epsilon=2e-3), lambda x: L.Activation("softmax")(L.Dense(3)(L.GlobalMaxPooling2D()(L.BatchNormalization(epsilon=2e-3)(x)))))

        inner = self.K.Model(i := self.input(), self.features(i, True), name="base")
        middle = K.Sequential([inner, L.GlobalAveragePooling2D(), L.Dense(5)], name="middle")
        outer = self.K.Model(j := self.input(), L.Dense(3, activation="softmax")(L.ReLU(negative_slope=0.1)(middle(caffe(j)))), name="outer")
        yield "nested", outer
        base = self.K.Model(i := self.input(), self.features(i), name="base")
        yield "sequential", K.Sequential([self.input(), L.Rescaling(1 / 255.0), base, L.Flatten(), L.Dropout(0.4), L.Dense(5, activation="relu"), L.Dense(3), L.Softmax()])
        logits = self.model(caffe, self.gap(L.Dense(3)))
        logits.compile(loss=K.losses.SparseCategoricalCrossentropy(from_logits=True))
        yield "logits", logits
        binary = self.model(caffe, self.gap(L.Dense(1)))
        binary.compile(loss=K.losses.BinaryCrossentropy(from_logits=True))
        yield "binary_logits", binary
        scores = self.model(caffe, self.gap(L.Dense(2)))
        scores.compile(loss="mse")
        yield "scores", scores


def posteriors(name, y):
    """The outputs as the posteriors of classes."""
    y = y.astype("float64").ravel()
    if name == "logits":
        y = np.exp(y - y.max()) / np.exp(y - y.max()).sum()
    if name == "binary_logits":
        y = 1 / (1 + np.exp(-y))
    if name.startswith("binary"):
        y = np.array([1 - y[0], y[0]])
    return [float(v) for v in y]


def picture():
    """An image of blocks and noise."""
    rng = np.random.default_rng(5)
    x = np.kron(rng.uniform(20, 230, (4, 4, 3)), np.ones((SIDE // 4, SIDE // 4, 1))) + rng.uniform(-20, 20, (SIDE, SIDE, 3))
    return x.clip(0, 255).astype("uint8")


def main(out):
    x = picture()
    Image.fromarray(x).save(out / "image.png")
    for prefix, K in (("k3", keras), ("k2", tf_keras)):
        rng = np.random.default_rng(2020)
        K.backend.clear_session()
        for name, model in Maker(K).cases():
            fill(model, rng)
            y = temper(model, name, x[None].astype("float32"))
            # tf_keras can't save an indexing in its .keras format.
            formats = ["h5"] if prefix == "k2" and name not in ("flat_bn", "adapted") else ["keras", "h5"] if name in ("caffe", "adapted", "nested", "arithmetic", "logits") else ["keras"]
            for form in formats:
                file = f"{prefix}_{name}.{form}"
                model.save(out / file)
                expected[file] = {"posteriors": posteriors(name, y)}
    (out / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)

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
import tempfile

from pack import packed

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


def sized(K):
    """Models that rescale images of any size: in a quarter of a grey level, ours are bytes."""
    L, m = K.layers, Maker(K)
    tail = lambda x: L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(m.features(L.Rescaling(1 / 64.0, offset=-2.0)(x))))
    i = K.Input((None, None, 3))
    yield "squashed", K.Model(i, tail(L.Resizing(SIDE, SIDE)(i)))
    i = K.Input((None, None, 3))
    yield "cropped", K.Model(i, tail(L.CenterCrop(SIDE, SIDE)(L.Resizing(20, 20, interpolation="bicubic")(i))))
    if K is keras:
        i = K.Input((None, None, 3))
        yield "antialias", K.Model(i, tail(L.Resizing(SIDE, SIDE, antialias=True)(i)))


def alone(out, x):
    """Weights without their model, whose expected.json has the row that must be said."""
    rng = np.random.default_rng(2022)
    keras.backend.clear_session()
    m, L = Maker(keras), keras.layers
    for name, before, bn, row in (("norm", L.Normalization(), False, "4 M 6 M GAP FC"), ("bn", lambda x: x / 255.0, True, "4bn M 6bn M GAP FC"), ("post", lambda x: x / 255.0, None, "4 BN M 6 BN M GAP FC")):
        if name == "norm":
            before.adapt(np.random.default_rng(1).uniform(0, 255, (4, SIDE, SIDE, 3)).astype("f4"))
        y = i = m.input()
        y = before(y)
        for b, k in enumerate((4, 6), 1):
            y = L.Conv2D(k, 3, padding="same", name=f"block{b}_conv1")(y)
            y = L.BatchNormalization(name=f"block{b}_conv1_bn")(y) if bn else y
            y = L.ReLU()(y)
            y = L.BatchNormalization(name=f"block{b}_conv1_bn")(y) if bn is None else y
            y = L.MaxPooling2D()(y)
        model = keras.Model(i, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(y)))
        fill(model, rng)
        y = temper(model, name, x)
        file = f"k3_{name}.weights.h5"
        model.save_weights(out / file)
        expected[file] = {"posteriors": posteriors(name, y), "structure": row}


def wide():
    """An image that is wider than high."""
    rng = np.random.default_rng(6)
    x = np.kron(rng.uniform(20, 230, (6, 8, 3)), np.ones((7, 7, 1))) + rng.uniform(-20, 20, (42, 56, 3))
    return x[:37, :45].clip(0, 255).astype("uint8")


def picture():
    """An image of blocks and noise."""
    rng = np.random.default_rng(5)
    x = np.kron(rng.uniform(20, 230, (4, 4, 3)), np.ones((SIDE // 4, SIDE // 4, 1))) + rng.uniform(-20, 20, (SIDE, SIDE, 3))
    return x.clip(0, 255).astype("uint8")


def drawn(K, rng):
    """A model whose layers are drawn, each in one of the forms that Keras has for it."""
    L, old = K.layers, K is tf_keras
    pick = lambda *v: v[rng.integers(len(v))]
    x = i = K.Input((SIDE, SIDE, 3))
    x = pick(lambda x: L.Rescaling(1 / 64.0, offset=-2.0)(x), lambda x: (x - 128.0) / 64.0, lambda x: L.Rescaling([1 / 60.0, 1 / 61.0, 1 / 62.0])(x))(x)
    for k in (4, 6):
        form = rng.integers(5)
        x = L.Conv2D(k, 3, padding="same", activation="relu" if form == 0 else None, use_bias=form != 1)(x)
        if form == 1:
            x = L.BatchNormalization()(x)
        if form == 4:
            x = L.BatchNormalization()(L.Activation("relu")(x))
        elif form:
            x = pick(L.ReLU(), L.Activation("relu"), L.Activation(K.activations.relu))(x)
        x = pick(L.Dropout(0.25), L.SpatialDropout2D(0.2), L.GaussianNoise(0.1))(x)
        x = L.MaxPooling2D(padding=pick("same", "valid"))(x)
        x = pick(lambda x: x, lambda x: x, L.BatchNormalization())(x)
    before = pick(None, L.BatchNormalization(), L.Activation("tanh"), L.UnitNormalization(axis=[1, 2, 3]), L.LeakyReLU(0.3))
    x = before(x) if before else x
    for l in pick([L.GlobalAveragePooling2D()], [L.GlobalMaxPooling2D()], [L.Flatten()], [L.GlobalAveragePooling2D(keepdims=True), L.Flatten()], [L.Reshape((96,))], [L.AveragePooling2D(4), L.Flatten()], [L.Flatten(), L.BatchNormalization()]):
        x = l(x)
    for n in rng.integers(3, 8, rng.integers(4)):
        act = pick("relu", "tanh", "elu", "gelu", "swish", "sigmoid", None)
        if rng.integers(2):
            x = L.Dense(int(n), activation=act)(x)
        else:
            x = L.Dense(int(n))(x)
            x = L.BatchNormalization(center=bool(rng.integers(2)), scale=bool(rng.integers(2)))(x)
            if act:
                x = L.Activation(act)(x)
        x = pick(lambda x: x, L.Dropout(0.4), L.AlphaDropout(0.1), L.LeakyReLU(0.1), L.UnitNormalization(), L.ELU())(x)
    ending = pick("softmax", "Softmax", "Activation", "log_softmax", "binary", "labels")
    if ending == "softmax":
        x = L.Dense(3, activation="softmax")(x)
    elif ending == "Softmax":
        x = L.Softmax()(L.Dense(3)(x))
    elif ending == "Activation":
        x = L.Activation("softmax")(L.Dense(3)(x))
    elif ending == "log_softmax":
        x = L.Dense(3, activation=tf.nn.log_softmax if old else "log_softmax")(x)
    elif ending == "binary":
        x = L.Dense(1, activation="sigmoid")(x)
    else:
        x = L.Activation("sigmoid")(L.Dense(3)(x))
    return ending, K.Model(i, x)


def refused(K):
    """Models that are refused, each with a part of the error."""
    L = K.layers
    ops = K.ops if K is keras else None
    m = Maker(K)
    same, softmax = lambda x: x, lambda x: L.Dense(3, activation="softmax")(x)
    conv = lambda x, **o: L.Conv2D(4, 3, padding="same", **o)(x)
    wide = lambda f: (lambda i: K.Model(i, f(i)))(m.input())
    head = lambda *l: m.model(same, m.gap(*l, L.Dense(3, activation="softmax")))
    yield "relu6", "layer re_lu (relu): a rectification with the bound 6", head(L.Dense(4), L.ReLU(6.0, name="re_lu"))
    yield "lambda_head", "layer own (lambda): its Python code isn't run", head(L.Lambda(lambda x: 2 * x, name="own"))
    yield "lambda_input", "layer own (lambda) before the first convolution: its Python code isn't run", m.model(L.Lambda(lambda x: 2 * x, name="own"), m.gap(softmax))
    yield "prelu", "layer p (prelu)", head(L.Dense(4), L.PReLU(name="p"))
    yield "softplus", "the activation softplus, want relu", head(L.Dense(4, activation="softplus", name="d"))
    yield "elu_alpha", "layer e (elu): alpha 0.5, want 1", head(L.Dense(4), L.ELU(0.5, name="e"))
    yield "dense_on_map", "layer d (fc): it is applied to each position of a map", m.model(same, lambda x: m.gap(L.Dense(3, activation="softmax"))(L.Dense(5, activation="relu", name="d")(x)))
    yield "axis", "layer b (batchnorm): over axis [1], want that of the channels", m.model(same, lambda x: m.gap(softmax)(L.BatchNormalization(axis=1, name="b")(x)))
    yield "norm_of_map", "layer u (l2): over the axes [-1], want all", m.model(same, lambda x: m.gap(softmax)(L.UnitNormalization(name="u")(x)))
    yield "twice_softmax", "after the soft-max", m.model(same, m.gap(L.Dense(3, activation="softmax"), L.Softmax(name="s")))
    yield "leaky_features", "LEAKY after the convolution", wide(lambda i: m.gap(softmax)(L.MaxPooling2D()(L.LeakyReLU(0.1)(conv(i)))))
    yield "bare_conv", "no rectification after it", wide(lambda i: m.gap(softmax)(L.MaxPooling2D()(conv(i))))
    yield "averages", "layer a (avgpool): windows [2 2]", wide(lambda i: m.gap(softmax)(L.AveragePooling2D(2, name="a")(conv(i, activation="relu"))))
    yield "pad_pool", "padding of a layer before it", wide(lambda i: m.gap(softmax)(L.MaxPooling2D()(L.ZeroPadding2D()(conv(i, activation="relu")))))
    yield "strided", "strides [2 2]", wide(lambda i: m.gap(softmax)(conv(i, activation="relu", strides=2)))
    yield "depthwise", "layer w (depthwiseconv2d)", wide(lambda i: m.gap(softmax)(L.DepthwiseConv2D(3, padding="same", name="w")(conv(i, activation="relu"))))
    i = m.input()
    x = m.features(i)
    yield "two_outputs", "the model has 2 outputs, ", K.Model(i, [m.gap(L.Dense(3, name="one"))(x), m.gap(L.Dense(2, name="two"))(x)][:1] + [x])
    yield "branches", "have the same input", (lambda i: K.Model(i, m.gap(L.Dense(3))(L.Add()([conv(i, activation="relu"), conv(i, activation="relu")]))))(m.input())
    yield "residual", "have the same input, want layers one after another (--headless", wide(lambda i: m.gap(softmax)((lambda y: y + conv(y, activation="relu"))(conv(i, activation="relu"))))
    i = K.Input((32, 64, 3))
    yield "oblong", "images of 32×64 pixels, want square ones", K.Model(i, softmax(L.Flatten()(m.features(i))))
    i = K.Input((18, 18, 3))
    yield "odd_same", 'padding "same" of a map of an odd', K.Model(i, m.gap(softmax)(L.MaxPooling2D(padding="same", name="p")(conv(L.MaxPooling2D()(conv(i, activation="relu")), activation="relu"))))
    yield "negative", "before the first convolution: scale [-1 -1 -1], want numbers above 0", m.model(lambda x: 1.0 - x, m.gap(softmax))
    yield "crop_first", "layer c (centercrop) before the first convolution: to 12 pixels, of images of unknown", (lambda i: K.Model(i, m.gap(softmax)(m.features(L.CenterCrop(12, 12, name="c")(i)))))(K.Input((None, None, 3)))
    if ops:
        yield "gelu_tanh", "an approximation of GELU", m.model(same, lambda x: softmax(ops.gelu(L.Dense(4)(L.GlobalAveragePooling2D()(x)), approximate=True)))
        yield "standardize", "an operation that isn't followed", m.model(lambda x: ops.abs(x), m.gap(softmax))
    else:
        yield "gelu_tanh", "an approximation of GELU", m.model(same, lambda x: softmax(tf.nn.gelu(L.Dense(4)(L.GlobalAveragePooling2D()(x)), approximate=True)))
        yield "standardize", "an operation that isn't followed", m.model(tf.image.per_image_standardization, m.gap(softmax))
    one = m.model(lambda x: x / 255.0, m.gap(L.Dense(1)))
    yield "one_score", "--head 'GAP FC1 SIGMOID'", one
    tanh = m.model(lambda x: x / 255.0, m.gap(L.Dense(3, activation="tanh")))
    yield "tanh_last", "--head 'GAP FC TANH SCORES'", tanh


def folder(path, models):
    """Writes models, (name, what is expected, model), into a folder with expected.json."""
    path.mkdir(exist_ok=True)
    told = {}
    for name, expects, model in models:
        model.save(path / name)
        told[name] = expects
    (path / "expected.json").write_text(json.dumps(told, indent=1))


def many():
    x = picture()[None].astype("float32")
    for prefix, K in (("k3", keras), ("k2", tf_keras)):
        rng = np.random.default_rng(77)
        K.backend.clear_session()
        for n in range(14):
            ending, model = drawn(K, rng)
            fill(model, rng)
            y = model.predict(x, verbose=0)
            if ending == "log_softmax":
                y = np.exp(y)
            form = "h5" if K is tf_keras and n % 2 or n % 3 == 2 else "keras"
            try:
                json.dumps(model.to_json()), model.save(pathlib.Path(tempfile.gettempdir()) / f"try.{form}")
            except TypeError:  # tf_keras can't save operations in its .keras format
                form = "h5"
            yield f"{prefix}_{n}.{form}", posteriors(ending, y), model


def errors():
    for prefix, K, form in (("k3", keras, "keras"), ("k2", tf_keras, "h5")):
        rng = np.random.default_rng(78)
        K.backend.clear_session()
        for name, text, model in refused(K):
            fill(model, rng)
            yield f"{prefix}_{name}.{form}", text, model


def main(out):
    folder(out / "drawn", many())
    folder(out / "refused", errors())
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
    alone(out, x[None].astype("float32"))
    x = wide()
    Image.fromarray(x).save(out / "wide.png")
    for prefix, K in (("k3", keras), ("k2", tf_keras)):
        rng = np.random.default_rng(2021)
        K.backend.clear_session()
        for name, model in sized(K):
            fill(model, rng)
            y = temper(model, name, x[None].astype("float32"))
            file = f"{prefix}_{name}.{'keras' if K is keras else 'h5'}"
            model.save(out / file)
            expected[file] = {"posteriors": posteriors(name, y), "image": "wide.png"}
    (out / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(pathlib.Path(sys.argv[1]))
    else:
        with packed(OUT):
            main(OUT)

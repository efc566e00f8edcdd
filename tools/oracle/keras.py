#!/usr/bin/env python3
"""Makes the fixtures for reading Keras's files with Keras and h5py.

    keras.py make     write the files of tiny networks in every layout, each with the
                      tensors that a reader must find in it and the network's scores
    keras.py subclassed
                      write weights of subclassed models: edges, an edge network on
                      VGG-16's convolutions in blocks, with a 1×1 side output of each
                      block and one that fuses them; list, convolutions in a list; twins,
                      two attributes of the same shape, whose order nothing tells
    keras.py full DIR write DIR/vgg16.h5, .keras and .weights.h5: a full-size VGG-16
                      with random weights (553 MB each)

Needs keras 3, jax (its backend here) and h5py.
"""

import json
import os
import struct
import sys

from pack import packed

# Otherwise `import keras` would import this file.
here = os.path.dirname(os.path.abspath(__file__))
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != here]
os.environ["KERAS_BACKEND"] = "jax"

import h5py
import keras
import numpy as np
from keras import layers as L

CONFIGURATIONS = {
    "A": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "B": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "C": "64 64 M 128 128 M 256 256 256/1 M 512 512 512/1 M 512 512 512/1 M",
    "D": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "E": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}
# The networks and images of tiny.py.
WIDTH, SIDE, FC, CLASSES = 64, 64, 8, 5
FOLDER = os.path.join(here, "..", "..", "weights", "testdata", "keras")


def vgg(row, width=WIDTH, side=SIDE, fc=FC, classes=CLASSES):
    """A network with the names of keras-applications, its scores without soft-max."""
    x = inputs = keras.Input((side, side, 3))
    block, conv = 1, 1
    for word in row.split():
        if word == "M":
            x = L.MaxPooling2D(2, strides=2, name=f"block{block}_pool")(x)
            block, conv = block + 1, 1
            continue
        channels, _, kernel = word.partition("/")
        x = L.Conv2D(
            max(1, int(channels) // width),
            int(kernel or 3),
            padding="same",
            activation="relu",
            name=f"block{block}_conv{conv}",
        )(x)
        conv += 1
    x = L.Flatten(name="flatten")(x)
    x = L.Dense(fc, activation="relu", name="fc1")(x)
    x = L.Dense(fc, activation="relu", name="fc2")(x)
    return keras.Model(inputs, L.Dense(classes, name="predictions")(x))


def normalised():
    """A chain with batch normalisation, without some of the tensors that layers may have."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            L.Rescaling(1 / 255.0),
            L.Conv2D(4, 3, padding="same", use_bias=False),
            L.BatchNormalization(epsilon=2e-3, scale=False),
            L.Activation("relu"),
            L.ZeroPadding2D(((1, 0), (2, 1))),
            L.Conv2D(6, (3, 2), strides=(1, 2), activation="relu"),
            L.BatchNormalization(),
            L.MaxPooling2D(),
            L.Dropout(0.25),
            L.GlobalAveragePooling2D(),
            L.Dense(5, activation="softmax"),
        ]
    )


class Edges(keras.Model):
    """VGG-16's convolutions in five blocks, at a 32nd of the width, and six side outputs."""

    def __init__(self, dtype):
        super().__init__(dtype=dtype)
        conv = lambda k, r=3: L.Conv2D(k, r, padding="same", activation="relu" if r == 3 else None, dtype=dtype)
        for i, (n, k) in enumerate([(2, 2), (2, 4), (3, 8), (3, 16), (3, 16)], 1):
            setattr(self, f"block{i}", keras.Sequential([conv(k) for _ in range(n)]))
        self.sides = [conv(1, 1) for _ in range(5)]
        self.fuse = conv(1, 1)
        self.pool = L.MaxPooling2D()

    def call(self, x, features=False):
        outputs = []
        for i in range(1, 6):
            x = getattr(self, f"block{i}")(x if i == 1 else self.pool(x))
            outputs.append(L.UpSampling2D(2 ** (i - 1))(self.sides[i - 1](x)))
        return self.pool(x) if features else self.fuse(L.Concatenate()(outputs))


class List(keras.Model):
    """Convolutions in a list, with poolings between them, and a classifier."""

    def __init__(self, twins=False):
        super().__init__()
        conv = lambda k: L.Conv2D(k, 3, padding="same", activation="relu")
        if twins:
            self.entry, self.back, self.front = conv(4), conv(4), conv(4)
        else:
            self.entry, self.deep = conv(4), [conv(6), conv(6)]
        self.last = L.Dense(3)

    def call(self, x):
        convs = [self.entry, self.back, self.front] if hasattr(self, "back") else [self.entry, *self.deep]
        for c in convs:
            x = L.MaxPooling2D()(c(x))
        return self.last(L.Flatten()(x))


def compact(path):
    """Writes a file again in the newer form of HDF5, whose groups take fewer bytes."""
    with h5py.File(path) as old, h5py.File(path + ".new", "w", libver="latest") as new:

        def put(name, o):
            made = new.create_dataset(name, data=o[()], **(dict(compression="gzip") if o.size > 500 else {})) if isinstance(o, h5py.Dataset) else new.create_group(name)
            for k, v in o.attrs.items():
                made.attrs[k] = v

        old.visititems(put)
    os.replace(path + ".new", path)


def subclassed():
    rng = np.random.default_rng(2016)
    keras.utils.clear_session()
    x = image()
    model, half = Edges("float32"), Edges("float16")
    model(x), half(x)
    fill(model, rng)
    model.set_weights([np.round(w * 32) / 32 for w in model.get_weights()])  # few bits, that a small file holds
    half.set_weights(model.get_weights())
    path = os.path.join(FOLDER, "subclassed_edges.weights.h5")
    half.save_weights(path)
    compact(path)
    golden("subclassed_edges", [], features=np.asarray(model(x, features=True)))
    for name in ("list", "twins"):
        keras.utils.clear_session()
        model = List(name == "twins")
        model(x[:, :16, :16])
        fill(model, rng)
        model.save_weights(os.path.join(FOLDER, f"subclassed_{name}.weights.h5"))
        golden("subclassed_" + name, [], logits=run(model, image(2, 16)))


def fill(model, rng, dtype="<f2"):
    """Random weights that a number of the type holds; activations keep their size."""
    for w in model.weights:
        name = w.path.rsplit("/", 1)[-1]
        if name == "kernel":
            values = rng.standard_normal(w.shape) * np.sqrt(2 / np.prod(w.shape[:-1]))
        elif name in ("gamma", "moving_variance"):
            values = rng.uniform(0.5, 1.5, w.shape)
        elif name in ("bias", "beta", "moving_mean"):
            values = rng.standard_normal(w.shape) * 0.1
        else:
            continue
        w.assign(values.astype(dtype).astype("<f4"))


def golden(name, named, **scores):
    """Writes what a reader must find in a file, in its order, and the network's scores."""
    header, data = {"__metadata__": {"keras": keras.__version__}}, b""
    for key, kind, values in named + [(k, "F32", v) for k, v in scores.items()]:
        if kind == "BF16":
            raw = (np.asarray(values, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            raw = np.asarray(values, {"F16": "<f2", "F32": "<f4"}[kind]).tobytes()
        header[key] = {
            "dtype": kind,
            "shape": list(np.shape(values)),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    with open(os.path.join(FOLDER, name + ".safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def tensors(model, dtype="F32"):
    """The weights by the layers' names, in the layers' order."""
    out = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            out += tensors(layer, dtype)
            continue
        for w in layer.weights:
            name = w.path.rsplit("/", 1)[-1]
            if name != "seed_generator_state":
                out.append((f"{layer.name}/{name}", dtype, np.asarray(w)))
    return out


def image(n=2, side=SIDE):
    """Images (n,side,side,3) of whole numbers in −128 … 127: those of tiny.py."""
    i = np.arange(n * 3 * side * side, dtype=np.int64)
    planes = (i * 40503 % 65536 // 256 - 128).reshape(n, 3, side, side)
    return planes.transpose(0, 2, 3, 1).astype("<f4")


def run(model, x):
    return np.asarray(model(x, training=False))


def old_layout(path, model, dtype, name, **options):
    """Weights as keras-applications published them; name gives a dataset its path."""
    with h5py.File(path, "w", **options) as f:
        f.attrs["layer_names"] = [l.name.encode() for l in model.layers]
        f.attrs["backend"] = b"tensorflow"
        f.attrs["keras_version"] = b"1.0.5"
        for layer in model.layers:
            group = f.create_group(layer.name)
            names = [name(layer.name, w.path.rsplit("/", 1)[-1]) for w in layer.weights]
            group.attrs["weight_names"] = [n.encode() for n in names]
            for n, w in zip(names, layer.weights):
                group.create_dataset(n, data=np.asarray(w).astype(dtype))


def checkpoint_layout(path, model):
    """Weights as tf.keras 2.12 to 2.15 wrote them."""
    counts = {}
    with h5py.File(path, "w") as f:
        for layer in model.layers:
            kind = {"Conv2D": "conv2d", "Dense": "dense", "MaxPooling2D": "max_pooling2d"}.get(
                type(layer).__name__, type(layer).__name__.lower()
            )
            n = counts[kind] = counts.get(kind, -1) + 1
            group = f.create_group(f"_layer_checkpoint_dependencies/{kind}" + (f"_{n}" if n else "") + "/vars")
            for i, w in enumerate(layer.weights):
                group.create_dataset(str(i), data=np.asarray(w))


def make():
    rng = np.random.default_rng(2015)
    for letter, row in CONFIGURATIONS.items():
        keras.utils.clear_session()
        model = vgg(row)
        fill(model, rng)
        path = os.path.join(FOLDER, letter.lower() + ".h5")
        if letter < "D":
            old = lambda layer, role: f"{layer}_{dict(kernel='W', bias='b')[role]}_1:0"
            old_layout(path, model, "<f2", old)
        else:
            old_layout(path, model, "<f2", lambda layer, role: f"{layer}/{role}:0", libver="latest")
        golden(letter.lower(), tensors(model, "F16"), logits=run(model, image()))

    keras.utils.clear_session()
    model = vgg(CONFIGURATIONS["A"])
    fill(model, rng)
    headless = keras.Model(model.input, model.get_layer("block5_pool").output)
    path = os.path.join(FOLDER, "a_notop.h5")
    old_layout(path, headless, "<f4", lambda layer, role: f"{layer}/{role}:0", libver="latest")
    golden("a_notop", tensors(headless), features=run(headless, image()))

    keras.utils.clear_session()
    model = normalised()
    fill(model, rng)
    for kind in ("h5", "keras"):
        model.save(os.path.join(FOLDER, "normalised." + kind))
    model.save_weights(os.path.join(FOLDER, "normalised.weights.h5"))
    golden("normalised", tensors(model), probabilities=run(model, image(2, 8) + 128))

    keras.utils.clear_session()
    inner = vgg("64 M 128 M", side=8)
    model = keras.Sequential([inner, L.Dense(3, name="predictions")])
    fill(model, rng)
    for kind in ("h5", "keras"):
        model.save(os.path.join(FOLDER, "nested." + kind))
    # Both models have a layer of this name; the inner one's path has its model's name.
    named = [(n.replace("predictions", inner.name + "/predictions"), k, v) for n, k, v in tensors(inner)]
    golden("nested", named + tensors(model)[len(named):], logits=run(model, image(2, 8)))

    keras.utils.clear_session()
    keras.config.set_dtype_policy("bfloat16")
    model = vgg("64 M", side=4)
    keras.config.set_dtype_policy("float32")
    fill(model, rng)
    model.save_weights(os.path.join(FOLDER, "bfloat16.weights.h5"))
    golden("bfloat16", tensors(model, "BF16"))

    keras.utils.clear_session()
    model = vgg("64 64 M 128", side=4)
    fill(model, rng)
    checkpoint_layout(os.path.join(FOLDER, "checkpoint.weights.h5"), model)
    golden("checkpoint", tensors(model))

    keras.utils.clear_session()
    inputs = keras.Input((4, 4, 3))
    left, right = (L.Conv2D(2, 3, name=name)(inputs) for name in ("left", "right"))
    model = keras.Model(inputs, L.Add(name="sum")([left, right]))
    fill(model, rng)
    model.save(os.path.join(FOLDER, "branched.keras"))
    golden("branched", tensors(model))


def full(folder):
    model = keras.applications.VGG16(weights=None)
    fill(model, np.random.default_rng(16), "<f4")
    for kind in ("h5", "keras"):
        model.save(os.path.join(folder, "vgg16." + kind))
    model.save_weights(os.path.join(folder, "vgg16.weights.h5"))


if __name__ == "__main__":
    if sys.argv[1:] == ["make"]:
        with packed(FOLDER):
            make()
    elif sys.argv[1:] == ["subclassed"]:
        with packed(FOLDER):
            subclassed()
    elif len(sys.argv) == 3 and sys.argv[1] == "full":
        full(sys.argv[2])
    else:
        sys.exit(__doc__)

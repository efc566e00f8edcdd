#!/usr/bin/env python3
"""Writes models of Keras that are refused by name: testdata/kerasrefused.

Each is NAME.keras and NAME.weights.h5, with the part of its error in expected.json: weights in
int8 by model.quantize, images that aren't square, and global poolings of a vector. elu, leaky and
average are weights alone, of configuration A with other layers than its own.

Needs keras 3 with tensorflow.
"""
import json
import os
import pathlib
import sys

from pack import renewed

here = os.path.dirname(os.path.abspath(__file__))
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != here]  # keras.py is there
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
from keras import layers as L

OUT = pathlib.Path(here).parents[1] / "testdata/kerasrefused"


def model(side, *head):
    x = i = keras.Input((*side, 3))
    for block, k in enumerate((4, 6), 1):
        x = L.Conv2D(k, 3, padding="same", activation="relu", name=f"block{block}_conv1")(x)
        x = L.MaxPooling2D(2, name=f"block{block}_pool")(x)
    for l in head:
        x = l(x)
    return keras.Model(i, L.Dense(3, activation="softmax", name="last")(x))


def other(activation, pooling):
    """Configuration A, narrow, with another activation or pooling."""
    x = i = keras.Input((224, 224, 3))
    for block, n in enumerate((1, 1, 2, 2, 2), 1):
        for c in range(n):
            x = activation()(L.Conv2D((1, 2, 4, 8, 8)[block - 1], 3, padding="same", name=f"block{block}_conv{c + 1}")(x))
        x = pooling(2, name=f"block{block}_pool")(x)
    x = L.Flatten()(x)
    for name in ("fc1", "fc2"):
        x = L.Dense(4, activation="relu", name=name)(x)
    m = keras.Model(i, L.Dense(3, activation="softmax", name="predictions")(x))
    m.set_weights([0 * w for w in m.get_weights()])  # which count for nothing here, and take no room
    return m


def main():
    square, oblong = (16, 16), (32, 48)
    int8 = model(square, L.Flatten(), L.Dense(8, activation="relu", name="first"))
    int8.quantize("int8")
    quantised = "first/kernel: dtype I8: a quantised weight, which isn't read: save the model in float32"
    gap_alone = "last/kernel: fan-in 6, the channels before it: that fits"
    expected = {}
    for name, m, error, alone in [
        ("int8", int8, quantised, quantised),
        ("oblong", model(oblong, L.Flatten()), "images of 32×48 pixels, want square ones (--headless", "of networks for images that aren't square, the convolutions alone are read (--headless)"),
        ("oblong_gap", model(oblong, L.GlobalAveragePooling2D()), "the model's images have 32×48 pixels, and images here are square: say their side (--input", gap_alone),
        ("pooled_vector", model(square, L.GlobalAveragePooling2D(), L.Reshape((1, 1, 6)), L.GlobalMaxPooling2D()), "a global pooling of a vector, want it of a map: one pixel stays as it is, so save the model without this layer", gap_alone),
        ("pooled_sequence", model(square, L.Flatten(), L.Reshape((-1, 1)), L.GlobalMaxPooling1D()), "(reshape): to the shape [-1 1], want a vector (--headless", "last/kernel: fan-in 1, want the 6 channels of the convolution before it times a square"),
    ]:
        m.save(OUT / f"{name}.keras")
        m.save_weights(OUT / f"{name}.weights.h5")
        expected |= {f"{name}.keras": error, f"{name}.weights.h5": alone}
    for name, kind, m in [
        ("elu", "elu", other(L.ELU, L.MaxPooling2D)),
        ("leaky", "leaky_re_lu", other(L.LeakyReLU, L.MaxPooling2D)),
        ("average", "average_pooling2d", other(L.ReLU, L.AveragePooling2D)),
    ]:
        m.save_weights(OUT / f"{name}.weights.h5")
        expected[f"{name}.weights.h5"] = f"the file has layers of the kinds {kind}, and doesn't tell where they stand: say the network (--config 'A'"
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    with renewed(OUT):
        main()

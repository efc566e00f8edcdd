#!/usr/bin/env python3
"""Turns a TensorFlow.js layers model into files of Keras and safetensors.

    tfjs.py FOLDER OUT    read FOLDER/model.json and its shards; write OUT/model.h5,
                          OUT/model.keras, OUT/model.weights.h5 and OUT/model.safetensors
                          (the tensors as they are, by the names of the manifest)

Needs keras 3, jax (its backend here), h5py, safetensors and numpy; not tensorflow.
"""

import json
import os
import sys

# Otherwise `import keras` would import keras.py of this folder.
here = os.path.dirname(os.path.abspath(__file__))
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != here]
os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
import safetensors.numpy


def read(folder):
    """Returns the model's config and its tensors by name."""
    with open(os.path.join(folder, "model.json")) as f:
        model = json.load(f)
    tensors = {}
    for group in model["weightsManifest"]:
        data = b""
        for path in group["paths"]:
            with open(os.path.join(folder, path), "rb") as f:
                data += f.read()
        for w in group["weights"]:
            if w["dtype"] != "float32" or "quantization" in w:
                sys.exit(f"{w['name']}: {w['dtype']}, want plain float32")
            n = int(np.prod(w["shape"]))
            tensors[w["name"]] = np.frombuffer(data, "<f4", n).reshape(w["shape"])
            data = data[4 * n :]
        if data:
            sys.exit(f"{len(data)} bytes too many")
    return model["modelTopology"]["model_config"], tensors


def build(config, tensors):
    """Builds the Keras model of a config that Keras 2 wrote, with its weights."""
    for layer in config["config"]["layers"]:
        if "batch_input_shape" in layer["config"]:
            layer["config"]["batch_shape"] = layer["config"].pop("batch_input_shape")
            layer["config"].pop("ragged", None)
    model = keras.Sequential.from_config(config["config"])
    for layer in model.layers:
        for w in layer.weights:
            name = w.path.rsplit("/", 1)[-1]
            if name != "seed_generator_state":
                w.assign(tensors[f"{layer.name}/{name}"])
    return model


def main(folder, out):
    config, tensors = read(folder)
    model = build(config, tensors)
    model.save(os.path.join(out, "model.h5"))
    model.save(os.path.join(out, "model.keras"))
    model.save_weights(os.path.join(out, "model.weights.h5"))
    safetensors.numpy.save_file(tensors, os.path.join(out, "model.safetensors"))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])

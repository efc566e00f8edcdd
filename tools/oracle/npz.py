#!/usr/bin/python3
"""Files of numpy.savez and savez_compressed.

    npz.py              write weights/testdata/npz/*.npz, each with a .safetensors of what
                        a reader must find in it
    npz.py read FILE    print what numpy.load reads in FILE, as JSON

Needs numpy; to write, torch too (for the golden files).
"""
import json
import sys

import numpy as np


def make():
    import torch

    from nn import ROOT, save

    folder = ROOT / "weights/testdata/npz"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(16)
    floats = rng.standard_normal((3, 3, 3, 8)).astype("<f4")
    arrays = {
        "conv1_1_W": floats,
        "conv1_1_b": np.zeros(8, "<f4"),
        "conv1_2/kernel:0": np.asfortranarray(rng.standard_normal((5, 6, 7)).astype("<f4")),
        "fc6_W": rng.standard_normal((40, 30)).astype("<f8").T,
        "half": rng.standard_normal((4, 5)).astype("<f2"),
        "big": rng.standard_normal((4, 5)).astype(">f4"),
        "big_fortran": np.asfortranarray(rng.standard_normal((4, 5, 2)).astype(">f8")),
        "scalar": np.float32(0.9),
        "empty": np.zeros((0, 3), "<f4"),
    }
    golden = {k: torch.from_numpy(np.ascontiguousarray(a.astype("<f4"))) for k, a in arrays.items() if a.ndim}
    arrays |= {"step": np.int64(7), "labels": np.array(["cat", "dog"]), "mask": np.array([True, False]),
               "bytes": np.arange(3, dtype="u1"), "object": np.array([{"a": 1}], dtype=object),
               "record": np.zeros(2, [("x", "<f4"), ("y", "<i4")])}
    for name, write in (("stored", np.savez), ("deflated", np.savez_compressed)):
        write(folder / (name + ".npz"), **arrays)
        save(folder, name, golden, {})
    with open(folder / "version3.npy", "wb") as f:  # a bare array: only its header matters
        np.lib.format.write_array(f, np.zeros(2, [("é", "<f4")]), version=(3, 0))
    with open(folder / "version2.npy", "wb") as f:
        np.lib.format.write_array(f, floats, version=(2, 0))


def read(path):
    with np.load(path) as z:
        out = [{"name": k, "dtype": str(a.dtype), "shape": list(a.shape), "contiguous": bool(a.flags.c_contiguous),
                "values": [float(v) for v in a.astype("f8").flatten()]} for k, a in z.items()]
    print(json.dumps(out))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "read":
        read(sys.argv[2])
    elif len(sys.argv) == 1:
        from nn import ROOT
        from pack import packed

        with packed(ROOT / "weights/testdata/npz"):
            make()
    else:
        sys.exit(__doc__)

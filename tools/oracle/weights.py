#!/usr/bin/env python3
"""Makes fixtures of package weights, and reads its files, with the reference safetensors package.

    weights.py make DIR     write DIR/{dtypes,f32,empty}.safetensors and, for
                            each, what a reader must find in it, as .json
    weights.py read FILE    print what the reference reads in FILE, as JSON

Needs numpy and safetensors; `make` needs torch too, for bfloat16.
"""

import ctypes
import json
import os
import sys

import numpy as np
import safetensors


def describe(path):
    """Describes a file: its metadata, and its tensors with their float32 bits."""
    with safetensors.safe_open(path, framework="np") as f:
        metadata = f.metadata()
    with open(path, "rb") as f:
        raw = safetensors.deserialize(f.read())
    tensors = []
    for name, t in raw:
        bits = to_float32_bits(t["dtype"], bytes(t["data"]))
        tensors.append({"name": name, "dtype": t["dtype"], "shape": list(t["shape"]), "bits": bits})
    tensors.sort(key=lambda t: t["name"])
    return {"metadata": metadata or {}, "tensors": tensors}


def to_float32_bits(dtype, data):
    """Hexadecimal float32 bits of floating-point data, None for other types."""
    if dtype in ("F16", "F32", "F64"):
        with np.errstate(over="ignore"):
            values = np.frombuffer(data, "<f%d" % (int(dtype[1:]) // 8)).astype("<f4")
        bits = values.view("<u4")
    elif dtype == "BF16":
        import torch

        values = torch.from_numpy(np.frombuffer(data, "<i2").copy()).view(torch.bfloat16)
        bits = values.float().numpy().view("<u4")
    else:
        return None
    return ["%08x" % b for b in bits]


def save(path, tensors, metadata):
    """Write (dtype, shape, bytes) by name with the reference implementation."""
    keep = {n: ctypes.create_string_buffer(data, len(data)) for n, (_, _, data) in tensors.items()}
    spec = {
        n: safetensors.TensorSpec(
            dtype=dtype, shape=shape, data_ptr=ctypes.addressof(keep[n]), data_len=len(data)
        )
        for n, (dtype, shape, data) in tensors.items()
    }
    safetensors.serialize_file(spec, path, metadata)


def make(folder):
    rng = np.random.default_rng(1409)
    halves = np.concatenate(
        [
            np.array(
                [0, 0x8000, 1, 0x8001, 0x3FF, 0x400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x3555],
                "<u2",
            ),
            rng.integers(0, 0x7C00, 106, dtype="<u2"),
        ]
    )
    doubles = np.array(
        [0.0, -0.0, 1 / 3, -1e39, 1e300, 1e-40, 5e-324, np.inf, -np.inf, 1 + 2**-24, 1 + 3 * 2**-24, 3.4028235677973366e38],
        "<f8",
    )
    floats = rng.standard_normal((4, 3, 3, 3)).astype("<f4")
    edge = np.array([0, 0x80000000, 1, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x00800000], "<u4")

    tensors = {
        "conv1_1.weight": ("float32", [4, 3, 3, 3], floats.tobytes()),
        "f32.edge": ("float32", [8], edge.tobytes()),
        "f16": ("float16", [10, 12], halves.tobytes()),
        "bf16": ("bfloat16", [2, 3, 20], (halves ^ 0x4000).astype("<u2").tobytes()),
        "f64": ("float64", [3, 4], doubles.tobytes()),
        "scalar": ("float32", [], np.float32(0.9).tobytes()),
        "nothing": ("float32", [0, 3], b""),
        "naïve \"quoted\" \\ name": ("float32", [1], np.float32(1).tobytes()),
        "i64": ("int64", [2], np.array([-1, 2**40], "<i8").tobytes()),
        "u64": ("uint64", [1], bytes(8)),
        "i32": ("int32", [2], bytes(8)),
        "u32": ("uint32", [1], bytes(4)),
        "i16": ("int16", [3], bytes(6)),
        "u16": ("uint16", [1], bytes(2)),
        "i8": ("int8", [5], bytes(5)),
        "u8": ("uint8", [1, 3], bytes(3)),
        "bool": ("bool", [2], b"\1\0"),
        "c64": ("complex64", [1], bytes(8)),
        "f8_e4m3": ("float8_e4m3fn", [2], bytes(2)),
        "f8_e5m2": ("float8_e5m2", [2], bytes(2)),
        "f8_e8m0": ("float8_e8m0fnu", [2], bytes(2)),
        "f8_e4m3fnuz": ("float8_e4m3fnuz", [2], bytes(2)),
        "f8_e5m2fnuz": ("float8_e5m2fnuz", [2], bytes(2)),
        "f4": ("float4_e2m1fn_x2", [2, 4], bytes(8)),
    }
    metadata = {"format": "pt", "classes": "[\"chat\", \"Bär\", \"犬\"]", "tab\tand\nline": "\x01\u2028😀</script>"}
    files = {
        "dtypes": (tensors, metadata),
        "f32": (
            {
                "conv1_1.bias": ("float32", [4], floats[:, 0, 0, 0].tobytes()),
                "conv1_1.weight": ("float32", [4, 3, 3, 3], floats.tobytes()),
                "empty": ("float32", [2, 0], b""),
                "scalar": ("float32", [], np.float32(0.9).tobytes()),
            },
            {"config": "A <&> \"é\" 犬"},
        ),
        "empty": ({}, None),
    }
    for name, (tensors, metadata) in files.items():
        path = os.path.join(folder, name + ".safetensors")
        save(path, tensors, metadata)
        with open(os.path.join(folder, name + ".json"), "w") as f:
            json.dump(describe(path), f, sort_keys=True)
            f.write("\n")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("make", "read"):
        sys.exit(__doc__)
    if sys.argv[1] == "make":
        make(sys.argv[2])
    else:
        print(json.dumps(describe(sys.argv[2])))

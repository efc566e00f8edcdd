#!/usr/bin/env python3
"""Makes the fixtures of package internal/hdf5 with h5py: every kind of group, attribute
and dataset.

Writes internal/hdf5/testdata/files/NAME.h5, and NAME.json with what h5py reads in it: for each
object, by path, its string attributes and the bytes of its elements.

Needs h5py.
"""

import json
import os

import h5py
import numpy as np

from pack import packed

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "internal", "hdf5", "testdata", "files")


def describe(path):
    found = {}

    def visit(name, o):
        entry = {}
        strings = {}
        for key, value in o.attrs.items():
            values = np.atleast_1d(np.asarray(value, dtype=object)).ravel().tolist()
            strings[key] = [v.decode() if isinstance(v, bytes) else v for v in values]
        if strings:
            entry["attributes"] = strings
        if isinstance(o, h5py.Dataset):
            values = o[()]
            entry.update(type=o.dtype.name, shape=list(o.shape), data=np.asarray(values).tobytes().hex())
        else:
            hard = [k for k in o if isinstance(o.get(k, getlink=True), h5py.HardLink)]
            entry["links"] = sorted(hard, key=str.encode)
        found[name] = entry

    with h5py.File(path) as f:
        visit("", f)
        f.visititems(visit)
    with open(path[:-3] + ".json", "w") as f:
        json.dump(found, f, separators=(",", ":"), sort_keys=True)
        f.write("\n")


def groups(f, many):
    f.attrs["fixed"] = [b"block1_conv1", b"fc", b""]
    f.attrs["variable"] = np.array(["conv", "", "größer"], dtype=h5py.string_dtype())
    f.attrs["scalar"] = "one"
    f.attrs["bytes"] = b"bytes"
    f.attrs["none"] = np.array([], dtype="S4")
    for i in range(many):
        g = f.create_group(f"layer_{i}")
        g.attrs["name"] = f"name of {i}"
    deep = f
    for i in range(4):
        deep = deep.create_group("deep")
    deep.create_dataset("x", data=np.arange(3, dtype="<f4"))
    f["soft"] = h5py.SoftLink("/deep")
    f["outside"] = h5py.ExternalLink("other.h5", "/deep")


def types(f):
    values = np.array([0, 1, -2, 0.5, 1e-3, 255])
    for t in ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8"):
        f.create_dataset(("big_" if t[0] == ">" else "") + np.dtype(t).name, data=values.astype(t))
    for t in ("i1", "<i2", ">i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8"):
        name = ("big_" if t[0] == ">" else "") + np.dtype(t).name
        f.create_dataset(name, data=np.array([[1, 2], [3, 100]]).astype(t))
    f.create_dataset("bool", data=np.array([True, False, True]))
    f.create_dataset("scalar", data=np.float32(0.25))
    f.create_dataset("empty", data=np.zeros((3, 0), "<f4"))
    f.create_dataset("opaque", data=np.array([1, 2, 3], "<u2").view("V2"))


def chunks(f):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((5, 7, 6)).astype("<f4")
    f.create_dataset("one", data=x, chunks=(5, 7, 6))
    f.create_dataset("plain", data=x, chunks=(2, 3, 4))
    f.create_dataset("gzip", data=x, chunks=(2, 3, 4), compression="gzip")
    f.create_dataset("one_gzip", data=x, chunks=(5, 7, 6), compression="gzip")
    f.create_dataset("all", data=x, chunks=(2, 7, 4), compression="gzip", shuffle=True, fletcher32=True)
    f.create_dataset("vector", data=np.arange(50, dtype="<f8"), chunks=(7,), compression="gzip", shuffle=True)
    f.create_dataset("larger", data=x[:2, :2, :2], chunks=(4, 4, 4), maxshape=(4, 4, 4))


def main():
    os.makedirs(FOLDER, exist_ok=True)
    write = {
        "old_groups": ("earliest", lambda f: groups(f, 30)),
        "new_groups": ("latest", lambda f: groups(f, 3)),
        "dense_groups": ("latest", lambda f: (groups(f, 150), [f.attrs.create(f"extra{i}", f"value {i}") for i in range(30)])),
        "types": ("earliest", types),
        "chunks": ("earliest", chunks),
        "new_chunks": ("latest", chunks),
    }
    for name, (versions, fill) in write.items():
        path = os.path.join(FOLDER, name + ".h5")
        with h5py.File(path, "w", libver=versions) as f:
            fill(f)
        describe(path)
    # Enough chunks for their index to be paged.
    path = os.path.join(FOLDER, "pages.h5")
    with h5py.File(path, "w", libver="latest") as f:
        f.create_dataset("x", data=np.arange(1100, dtype="<u2"), chunks=(1,))
    describe(path)
    # Enough names for a heap of several blocks and a B-tree of several nodes.
    path = os.path.join(FOLDER, "many_links.h5")
    with h5py.File(path, "w", libver="latest") as f:
        g = f.create_group("g")
        empty = f.create_group("empty")
        for i in range(300):
            g[f"a long name, so that the heap grows {i}"] = empty
    describe(path)
    for name, version in (("cycle_old", "earliest"), ("cycle_new", "latest")):
        path = os.path.join(FOLDER, name + ".h5")
        with h5py.File(path, "w", libver=version) as f:
            f["itself"] = f["/"]
            f.create_group("group")["above"] = f["/"]
        describe(path)


if __name__ == "__main__":
    with packed(FOLDER):
        main()

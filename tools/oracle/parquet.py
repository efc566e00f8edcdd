"""Writes dataset/testdata/parquet with pyarrow: pictures and labels as Hugging Face's data sets have them.

A file's rows have a struct image of bytes and path, and a number label; the names of the classes
are in the key-value metadata "huggingface". The pictures are small PNG and JPEG files of one
colour each, and expected.json has each row's part, class, path and SHA-256.
"""
import hashlib
import io
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

OUT = pathlib.Path(__file__).parents[2] / "dataset/testdata/parquet"
NAMES = ["cat", "dog", "bird"]
COLOURS = {"cat": (200, 40, 40), "dog": (40, 200, 40), "bird": (40, 40, 200)}
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(name, seed, kind="PNG"):
    pixels = np.random.default_rng(seed).integers(-30, 30, (8, 9, 3)) + np.array(COLOURS[name])
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def features(label):
    return {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": label}}})}


CLASS = {"names": NAMES, "_type": "ClassLabel"}


def rows(n, seed, kind="PNG"):
    return [(NAMES[i % 3], picture(NAMES[i % 3], seed + i, kind), f"{NAMES[i % 3]}_{seed + i}.{kind.lower()}") for i in range(n)]


def table(data, label=lambda name: NAMES.index(name), kind=pa.int64(), meta=CLASS):
    columns = {
        "image": pa.array([{"bytes": b, "path": p} for _, b, p in data], IMAGE),
        "label": pa.array([label(n) for n, _, _ in data], kind),
    }
    t = pa.table(columns)
    return t.replace_schema_metadata(features(meta)) if meta else t


def write(path, t, **options):
    path = OUT / path
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(t, path, **options)


expected = {}


def expect(layout, part, data, label=lambda n: n):
    expected.setdefault(layout, []).extend(
        {"part": part, "class": label(n), "path": p, "sha256": hashlib.sha256(b).hexdigest()} for n, b, p in data
    )


# As push_to_hub writes: several files a part, in data. Row groups of four rows, snappy.
train = rows(14, 100)
for i, part in enumerate((train[:8], train[8:])):
    write(f"hub/data/train-{i:05d}-of-00002.parquet", table(part), row_group_size=4, compression="snappy")
expect("hub", "train", train)
val = rows(6, 200, "JPEG")
write("hub/data/validation-00000-of-00001.parquet", table(val), compression="zstd", write_page_index=True)
expect("hub", "val", val)
test = rows(3, 300)
write("hub/data/test-00000-of-00001.parquet", table(test, label=lambda n: -1))

# Every form of pages: one row group of many pages, dictionaries, version 2, other encodings.
for name, options in {
    "pages": dict(data_page_size=1, write_batch_size=2, use_dictionary=False, compression="none"),
    "dictionary": dict(use_dictionary=True, compression="gzip", data_page_size=1, write_batch_size=3),
    "fallback": dict(use_dictionary=True, dictionary_pagesize_limit=4000, data_page_size=1, write_batch_size=2, compression="brotli"),
    "v2": dict(data_page_version="2.0", use_dictionary=False, compression="snappy", data_page_size=1, write_batch_size=5),
    "delta": dict(data_page_version="2.0", use_dictionary=False, column_encoding={"image.bytes": "DELTA_LENGTH_BYTE_ARRAY", "image.path": "DELTA_BYTE_ARRAY"}, compression="zstd"),
    "lz4": dict(compression="lz4", row_group_size=5),
}.items():
    data = rows(9, 400)
    write(f"{name}/train.parquet", table(data), **options)
    expect(name, "", data)

# Labels as text, and plain bytes without a struct.
data = rows(6, 500)
plain = pa.table({"id": list(range(6)), "image": pa.array([b for _, b, _ in data], pa.binary()), "breed": [n for n, _, _ in data]})
write("text/animals.parquet", plain, compression="snappy")
expect("text", "", [(n, b, "") for n, b, _ in data])

# Several labels an image.
data = rows(6, 600)
several = [[0], [0, 2], [], [1, 2], [2], [0, 1, 2]]
t = pa.table({
    "image": pa.array([{"bytes": b, "path": p} for _, b, p in data], IMAGE),
    "labels": pa.array(several, pa.list_(pa.int64())),
}).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, "labels": {"feature": CLASS, "_type": "Sequence"}}}})})
write("several/train.parquet", t)
expected["several"] = [
    {"part": "", "class": "+".join(NAMES[i] for i in s), "path": p, "sha256": hashlib.sha256(b).hexdigest()} for s, (_, b, p) in zip(several, data)
]

# Paths of files beside it, in place of bytes.
write("paths/train.parquet", pa.table({"image": ["a/1.png", "a/2.png", "b/3.png", "b/4.png"], "label": ["cat", "cat", "dog", "dog"]}))

(OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")

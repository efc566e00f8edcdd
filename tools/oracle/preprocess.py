#!/usr/bin/python3
"""Makes the fixtures of package preprocess with PIL and numpy.

    preprocess.py CALTECH101
    preprocess.py squash [timm]

Writes preprocess/testdata/{decode,resize}/* and preprocess/testdata/*.json. CALTECH101 is
the folder of the Caltech-101 pictures (CC BY 4.0, Li, Andreetto, Ranzato, Perona); two of
them are used, reduced. Images that PIL decodes or rescales are stored as RGB PNG. "squash" makes only squash/ and squash.json, of the images in resize/,
by torchvision's transforms on PIL images; with "timm" it compares them with timm's transforms
and writes nothing. numpy
converts 16-bit images, which PIL would clip. Needs numpy and PIL >= 9.4 with WebP.
"""
import json
import pathlib
import struct
import sys
import zlib

import numpy as np
from PIL import Image, ImageOps

ROOT = pathlib.Path(__file__).resolve().parents[2] / "preprocess" / "testdata"
LIMIT = 50_000  # bytes a file
FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def save_json(name, value):
    (ROOT / name).write_text(json.dumps(value, indent=1) + "\n")


def save_png(path, im):
    im.save(path, optimize=True)


# ---- rescaling ----

def resize_sources(photo, rng):
    edges = np.zeros((48, 64, 3), np.uint8)  # overshoot of the cubic at every side
    edges[:, ::7] = 255
    edges[::5, :, 1] = 255
    edges[20:30, 20:40] = [255, 0, 255]
    noise = lambda w, h: Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8))
    return {
        "photo": photo.resize((120, 83), Image.LANCZOS),
        "edges": Image.fromarray(edges),
        "noise": noise(61, 43),
        "dot": noise(1, 1),
        "tall": noise(1, 400),
        "wide": noise(400, 2),
    }


RESIZES = {
    "photo": [(92, 64), (46, 32), (185, 128), (120, 50), (77, 83), (120, 83), (224, 33), (7, 5)],
    "edges": [(61, 47), (100, 99), (64, 20), (13, 48)],
    "noise": [(60, 42), (62, 44), (122, 43), (9, 100), (1, 1)],
    "dot": [(5, 3), (1, 1)],
    "tall": [(4, 90), (1, 401), (3, 1)],
    "wide": [(20, 1), (401, 3), (1, 64)],
}


def resize(photo):
    out = ROOT / "resize"
    out.mkdir(parents=True, exist_ok=True)
    cases = []
    for name, im in resize_sources(photo, np.random.default_rng(1)).items():
        save_png(out / f"{name}.png", im)
        for w, h in RESIZES[name]:
            for label, method in FILTERS.items():
                want = f"{name}-{w}x{h}-{label}.png"
                save_png(out / want, im.resize((w, h), method))
                cases.append(dict(source=f"{name}.png", w=w, h=h, filter=label, want=want))
    save_json("resize.json", cases)


# ---- squashed images ----

# image, crop, timm's crop_pct
SQUASHES = [("photo", 64, 1.0), ("photo", 56, 0.875), ("photo", 57, 0.9), ("edges", 40, 1.0), ("tall", 24, 0.75), ("wide", 33, 0.96), ("noise", 43, 1.0)]


def squash(compare):
    from torchvision import transforms
    from torchvision.transforms import InterpolationMode

    out = ROOT / "squash"
    out.mkdir(parents=True, exist_ok=True)
    cases = []
    for name, crop, share in SQUASHES:
        im = Image.open(ROOT / "resize" / f"{name}.png").convert("RGB")
        side = int(crop / share)
        for label in FILTERS:
            want = f"{name}-{side}-{crop}-{label}.png"
            seen = transforms.Compose([transforms.Resize((side, side), InterpolationMode(label)), transforms.CenterCrop(crop)])(im)
            if compare:
                from timm.data import create_transform
                t = create_transform((3, crop, crop), interpolation=label, crop_pct=share, crop_mode="squash", mean=(0, 0, 0), std=(1, 1, 1))
                other = (t(im).numpy() * 255).round().astype(np.uint8).transpose(1, 2, 0)
                assert (other == np.asarray(seen)).all() and (other == np.asarray(Image.open(out / want))).all(), want
                print(want, "equals timm's")
                continue
            save_png(out / want, seen)
            cases.append(dict(source=f"{name}.png", share=share, resize=side, crop=crop, filter=label, want=want))
    if not compare:
        save_json("squash.json", cases)


# ---- decoding ----

def write_png16(path, pixels, colour_type):
    """pixels (H,W,C) uint16; PIL writes no 16-bit colour."""
    h, w = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunk = lambda tag, data: struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
    header = struct.pack(">IIBBBBB", w, h, 16, colour_type, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                     + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def decode(photo, other):
    out = ROOT / "decode"
    out.mkdir(parents=True, exist_ok=True)
    cases = []
    small = photo.resize((37, 29), Image.LANCZOS)
    rng = np.random.default_rng(2)
    alpha = small.convert("RGBA")
    alpha.putalpha(Image.fromarray(rng.integers(0, 256, (29, 37), dtype=np.uint8)))

    def expect(file, im=None, orient=False):
        if im is None:
            im = Image.open(out / file)
            if orient:
                im = ImageOps.exif_transpose(im)
            im = im.convert("RGB")
        want = f"{file}.want.png"
        save_png(out / want, im)
        cases.append(dict(file=file, want=want, orient=orient))

    def encode(file, im, orient=False, **options):
        im.save(out / file, **options)
        expect(file, orient=orient)

    for name, sampling in {"444": 0, "422": 1, "420": 2}.items():
        encode(f"{name}.jpg", small, quality=90, subsampling=sampling)
    for width in (1, 3, 4, 5, 6):  # libjpeg interpolates no chroma narrower than 3 samples
        encode(f"420-{width}.jpg", small.crop((0, 0, width, 7)), quality=90, subsampling=2)
    encode("photo-420.jpg", other.resize((150, 99), Image.LANCZOS), quality=75, subsampling=2)
    encode("progressive.jpg", small, quality=80, progressive=True)
    encode("grey.jpg", small.convert("L"), quality=90)
    encode("cmyk.jpg", small.convert("CMYK"), quality=95, subsampling=0)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        encode(f"orientation{orientation}.jpg", small, orient=True, quality=90, subsampling=0, exif=exif)
    encode("orientation6.png", small, orient=True, exif=exif_of(6))
    encode("orientation8.webp", small, orient=True, lossless=True, exif=exif_of(8))

    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        im = alpha if mode == "RGBA" else alpha.convert(mode)
        encode(f"{mode.lower()}.png", im)
    encode("p4.png", small.quantize(4), bits=2)
    encode("p-transparent.png", small.quantize(16), transparency=bytes(range(0, 256, 16)))
    encode("rgb-transparent.png", small, transparency=small.getpixel((3, 3)))
    for name, colour_type, channels in (("l16", 0, 1), ("la16", 4, 2), ("rgb16", 2, 3), ("rgba16", 6, 4)):
        pixels = rng.integers(0, 65536, (11, 13, channels), dtype=np.uint16)
        write_png16(out / f"{name}.png", pixels, colour_type)
        high = (pixels >> 8).astype(np.uint8)
        high = high[..., :3] if channels >= 3 else np.repeat(high[..., :1], 3, axis=2)
        expect(f"{name}.png", Image.fromarray(high))

    encode("p.gif", small.quantize(64))
    encode("transparent.gif", small.quantize(16), transparency=5)
    for name, options in (("frame.gif", {}), ("frame-transparent.gif", dict(transparency=5))):
        file = out / name
        small.quantize(16).save(file, **options)
        data = bytearray(file.read_bytes())
        data[6:10] = struct.pack("<HH", 45, 40)  # the screen; the frame goes to (6, 9)
        at = data.index(b"," + struct.pack("<HHHH", 0, 0, 37, 29), 13)
        data[at + 1:at + 5] = struct.pack("<HH", 6, 9)
        file.write_bytes(data)
        expect(name)

    encode("lossless.webp", alpha, lossless=True, exact=True)
    encode("lossy.webp", small, quality=80)
    encode("lossy-alpha.webp", alpha, quality=80)
    encode("lossy-3.webp", small.crop((0, 0, 3, 5)), quality=80)
    encode("lossy-1.webp", small.crop((0, 0, 1, 1)), quality=80)

    for mode in ("1", "L", "P", "RGB", "RGBA"):
        encode(f"{mode.lower()}.bmp", alpha if mode == "RGBA" else alpha.convert(mode))
    save_json("decode.json", cases)


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# ---- tensors and statistics ----

def spec(photo):
    pixels = np.asarray(photo.resize((5, 4), Image.LANCZOS)).copy()
    pixels[0, 0], pixels[3, 4] = 0, 255
    shift = np.array([3.5, -12.25, 0.125], np.float32)
    x = pixels.astype(np.float32).transpose(2, 0, 1)
    column = lambda *v: np.array(v, np.float32)[:, None, None]
    bgr = column(103.939, 116.779, 123.68)

    def paper(x):
        return x - column(123.68, 116.779, 103.939)

    def caffe(x):  # BGR, as the released nets take it; back to RGB order for the comparison
        return (x[::-1] - bgr)[::-1]

    def torchvision(x):  # ToTensor, Normalize
        return (x / np.float32(255) - column(0.485, 0.456, 0.406)) / column(0.229, 0.224, 0.225)

    cases = []
    for name, f in {"vgg": paper, "caffe": caffe, "keras": caffe, "torchvision": torchvision}.items():
        for s in (np.zeros(3, np.float32), shift):
            cases.append(dict(preset=name, shift=s.tolist(), want=f(x + s[:, None, None]).ravel().tolist()))
    save_json("spec.json", dict(w=5, h=4, pixels=pixels.ravel().tolist(), cases=cases))


def stats():
    files = ["resize/photo.png", "resize/edges.png", "decode/photo-420.jpg.want.png"]
    pixels = np.concatenate([np.asarray(Image.open(ROOT / f)).reshape(-1, 3) for f in files]).astype(np.float64)
    covariance = np.cov(pixels.T, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    vectors = vectors[:, ::-1].T
    vectors *= np.sign(vectors[np.arange(3), np.abs(vectors).argmax(1)])[:, None]
    alpha = np.array([0.13, -0.07, 0.21])
    save_json("stats.json", dict(
        files=files, pixels=len(pixels), mean=pixels.mean(0).tolist(), eigenvalues=values[::-1].tolist(),
        eigenvectors=vectors.tolist(), alpha=alpha.tolist(),
        shift=(alpha * np.sqrt(values[::-1]) @ vectors).tolist(),
        shift_eigenvalue=(255 * (alpha * np.linalg.eigh(covariance / 255**2)[0][::-1] @ vectors)).tolist()))


def main():
    if sys.argv[1] == "squash":
        return squash(sys.argv[2:] == ["timm"])
    caltech = pathlib.Path(sys.argv[1])
    photo = Image.open(caltech / "butterfly" / "image_0003.jpg").convert("RGB")
    other = Image.open(caltech / "sunflower" / "image_0001.jpg").convert("RGB")
    resize(photo)
    decode(photo, other)
    spec(photo)
    stats()
    for file in ROOT.rglob("*"):
        if file.is_file() and file.stat().st_size > LIMIT:
            sys.exit(f"{file}: {file.stat().st_size} bytes, want at most {LIMIT}")


if __name__ == "__main__":
    main()

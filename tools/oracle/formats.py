#!/usr/bin/python3
"""Makes the fixtures of package preprocess for TIFF, PNM, animations and rarer kinds of JPEG and PNG.

    formats.py

Writes preprocess/testdata/formats/* and formats.json. PIL tells the pixels: a hash where a format
is lossless, an RGB PNG for JPEG. OpenCV tells those of 16-bit grey levels, which PIL clips. TIFFs
that PIL doesn't write are written here, byte by byte, and read by PIL. Needs numpy, PIL >= 9.4
with WebP and libtiff, and OpenCV.
"""
import hashlib
import io
import json
import pathlib
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2] / "preprocess" / "testdata"
OUT = ROOT / "formats"
CASES, REFUSED = [], []


def expect(file, im=None, jpeg=False, grey16=False, **more):
    if im is None:
        im = Image.open(OUT / file)
        if grey16:
            clipped = im.convert("RGB") if im.mode != "I" else im.point(lambda v: v).convert("RGB")
            more["pil"] = hashlib.sha256(clipped.tobytes()).hexdigest()
            im = Image.fromarray(cv2.cvtColor(cv2.imread(str(OUT / file), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))
        im = im.convert("RGB")
    case = dict(file=file, w=im.width, h=im.height, **more)
    if grey16:
        case["grey16"] = True
    if jpeg:
        case["want"] = f"{file}.want.png"
        im.save(OUT / case["want"], optimize=True)
    else:
        case["sha256"] = hashlib.sha256(im.tobytes()).hexdigest()
    CASES.append(case)


def refuse(file, found):
    REFUSED.append(dict(file=file, found=found))


# ---- TIFF ----

def tiff(tags, blocks, order="<", counts=325, offsets=324):
    """tags: {tag: (type, values)}; blocks are strips (counts 279, offsets 273) or tiles."""
    size = {1: 1, 3: 2, 4: 4, 5: 8}
    code = {1: "B", 3: "H", 4: "I"}
    tags = dict(tags)
    tags[counts] = (4, [len(b) for b in blocks])
    tags[offsets] = (4, [0] * len(blocks))
    head = 8 + 2 + 12 * len(tags) + 4
    extra = sum(size[t] * len(v) + 1 & ~1 for t, v in tags.values() if size[t] * len(v) > 4)
    at, places = head + extra, []
    for b in blocks:
        places.append(at)
        at += len(b) + len(b) % 2
    tags[offsets] = (4, places)
    out = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8) + struct.pack(order + "H", len(tags))
    rest = b""
    for tag in sorted(tags):
        kind, values = tags[tag]
        data = struct.pack(order + code[kind] * len(values), *values)
        out += struct.pack(order + "HHI", tag, kind, len(values))
        if len(data) > 4:
            out += struct.pack(order + "I", head + len(rest))
            rest += data + b"\0" * (len(data) % 2)
        else:
            out += data.ljust(4, b"\0")
    out += struct.pack(order + "I", 0) + rest
    for b in blocks:
        out += b + b"\0" * (len(b) % 2)
    return out


def page(w, h, bits, photometric, compression=1, rows=None, extra=None, **more):
    t = {256: (4, [w]), 257: (4, [h]), 258: (3, bits), 259: (3, [compression]), 262: (3, [photometric]),
         277: (3, [len(bits)]), 278: (4, [rows or h])}
    if extra is not None:
        t[338] = (3, [extra])
    t.update({int(k[1:]): v for k, v in more.items()})
    return t


STRIPS = dict(counts=279, offsets=273)


def tiffs(rgb, rgba, rng):
    w, h = rgb.size

    def write(file, data, **options):
        (OUT / file).write_bytes(data)
        expect(file, **options)

    def save(file, im, **options):
        im.save(OUT / file, **options)
        expect(file)

    for mode in ("1", "L", "P", "RGB", "RGBA"):
        save(f"{mode.lower()}.tif", rgba if mode == "RGBA" else rgb.convert(mode))
    save("lzw.tif", rgb, compression="tiff_lzw")
    save("lzw-predictor.tif", rgb, compression="tiff_lzw", tiffinfo={317: 2})
    save("deflate-predictor.tif", rgba, compression="tiff_adobe_deflate", tiffinfo={317: 2})
    save("packbits.tif", rgb.convert("L"), compression="packbits")
    save("group3.tif", rgb.convert("1"), compression="group3")
    save("group4.tif", rgb.convert("1"), compression="group4")
    save("group4-white-is-zero.tif", rgb.convert("1"), compression="group4", tiffinfo={262: 0})
    rgb.save(OUT / "pages.tif", save_all=True, append_images=[rgb.convert("L")])
    expect("pages.tif")

    a = np.asarray(rgb)
    pieces = [a[y:y + 7].tobytes() for y in range(0, h, 7)]
    write("big-endian-strips.tiff", tiff(page(w, h, [8] * 3, 2, rows=7), pieces, ">", **STRIPS))
    tile = np.zeros((32, 48, 3), np.uint8)
    tile[:h, :w] = a
    tiles = [zlib.compress(tile[y:y + 16, x:x + 16].tobytes()) for y in (0, 16) for x in (0, 16, 32)]
    t = page(w, h, [8] * 3, 2, compression=8, m322=(3, [16]), m323=(3, [16]))
    del t[278]
    write("tiles.tif", tiff(t, tiles))
    grey = np.asarray(rgb.convert("L"))
    write("white-is-zero.tif", tiff(page(w, h, [8], 0), [grey.tobytes()], **STRIPS))
    deep = rng.integers(0, 65536, (h, w, 4), dtype=np.uint16)
    for order, name in (("<", "little"), (">", "big")):
        as_bytes = lambda x: x.astype(order + "u2").tobytes()
        write(f"rgb16-{name}.tif", tiff(page(w, h, [16] * 3, 2), [as_bytes(deep[..., :3])], order, **STRIPS))
        write(f"grey16-{name}.tif", tiff(page(w, h, [16], 1), [as_bytes(deep[..., 0] >> 6)], order, **STRIPS), grey16=True)
    write("premultiplied.tif", tiff(page(w, h, [8] * 4, 2, extra=1), [np.asarray(rgba).tobytes()], **STRIPS))
    (OUT / "orientation6.tif").write_bytes(tiff(page(w, h, [8] * 3, 2, m274=(3, [6])), [a.tobytes()], **STRIPS))
    expect("orientation6.tif", Image.fromarray(a))
    expect("orientation6.tif", Image.open(OUT / "orientation6.tif").convert("RGB"), orient=True)

    rgb.save(OUT / "jpeg.tif", compression="jpeg")
    refuse("jpeg.tif", "JPEG compression")
    rgb.convert("CMYK").save(OUT / "cmyk.tif")
    refuse("cmyk.tif", "CMYK")
    rgba.convert("LA").save(OUT / "la.tif")
    refuse("la.tif", "2 samples a pixel")
    rgb.convert("F").save(OUT / "float.tif")
    refuse("float.tif", "signed or floating-point samples")
    rgb.convert("LAB").save(OUT / "lab.tif")
    refuse("lab.tif", "CIE L*a*b*")
    for file, found, data in (
        ("planes.tif", "a plane for each channel", tiff(page(w, h, [8] * 3, 2, m284=(3, [2])), [a[..., c].tobytes() for c in range(3)], **STRIPS)),
        ("grey4.tif", "samples of 4 bits", tiff(page(w, h, [4], 1), [bytes((w + 1) // 2 * h)], **STRIPS)),
        ("reversed.tif", "bits in reverse order", tiff(page(w, h, [1], 1, m266=(3, [2])), [bytes((w + 7) // 8 * h)], **STRIPS)),
        ("rgbx.tif", "a fourth channel that isn't alpha", tiff(page(w, h, [8] * 4, 2, extra=0), [np.asarray(rgba).tobytes()], **STRIPS)),
        ("predicted.tif", "predictor 2", tiff(page(w, h, [8], 1, m317=(3, [2])), [grey.tobytes()], **STRIPS)),
        ("dng.tif", "camera raw (DNG)", tiff(page(w, h, [8], 1, m50706=(1, [1, 4, 0, 0])), [grey.tobytes()], **STRIPS)),
        ("nef.tif", "camera raw (NEF or ARW)", tiff(page(w, h, [8], 1, m254=(4, [1]), m330=(4, [8])), [grey.tobytes()], **STRIPS)),
    ):
        (OUT / file).write_bytes(data)
        refuse(file, found)


# ---- PNM ----

def pnms(rgb, rng):
    w, h = rgb.size

    def write(file, *parts, **options):
        (OUT / file).write_bytes(b"".join(p if isinstance(p, bytes) else p.encode() for p in parts))
        expect(file, **options)

    rgb.convert("1").save(OUT / "p4.pbm")
    expect("p4.pbm")
    rgb.convert("L").save(OUT / "p5.pgm")
    expect("p5.pgm")
    rgb.save(OUT / "p6.ppm")
    expect("p6.ppm")
    small = rng.integers(0, 2, (3, 11))
    write("p1.pbm", "P1\n# a comment\n11 3\n", "\n".join("".join(map(str, row)) for row in small))
    write("p1-blanks.pbm", "P1 11 # wide\n3\n", "\n".join(" ".join(map(str, row)) for row in small), "\n")
    for white in (1, 3, 15, 100, 254, 255):
        levels = rng.integers(0, white + 1, (5, 7, 3))
        words = " ".join(map(str, levels.ravel()))
        write(f"p3-{white}.ppm", f"P3\n7 5\n{white}\n{words}\n")
        words = "\n".join(" ".join(map(str, row)) for row in levels[..., 0])
        write(f"p2-{white}.pgm", f"P2\n#\n7 5\n{white}\n{words}\n")
        write(f"p5-{white}.pgm", f"P5\n7 5\n{white}\n", levels[..., 0].astype(np.uint8).tobytes())
    for white in (256, 1000, 65535):
        levels = rng.integers(0, white + 1, (5, 7, 3))
        write(f"p6-{white}.ppm", f"P6\n7 5\n{white}\n", levels.astype(">u2").tobytes())
    write("p5-65535.pgm", "P5\n7 5\n65535\n", rng.integers(0, 65536, (5, 7)).astype(">u2").tobytes(), grey16=True)
    write("p2-65535.pgm", "P2\n7 5\n65535\n", " ".join(map(str, rng.integers(0, 65536, 35))), "\n", grey16=True)
    # Greys up to another maximum: PIL scales them to 16 bits; the high byte is kept.
    levels = rng.integers(0, 1024, (5, 7))
    (OUT / "p5-1023.pgm").write_bytes(b"P5\n7 5\n1023\n" + levels.astype(">u2").tobytes())
    im = Image.open(OUT / "p5-1023.pgm")
    assert im.mode == "I" and np.asarray(im).max() > 60000
    expect("p5-1023.pgm", Image.fromarray((np.asarray(im) >> 8).astype(np.uint8)).convert("RGB"), grey=1023)
    # Bytes over the maximum are white.
    write("p5-over.pgm", "P5\n7 5\n100\n", bytes(range(80, 115)))


# ---- JPEG ----

def segment(data, marker):
    at = data.index(marker)
    return at, at + 2 + struct.unpack(">H", data[at + 2:at + 4])[0]


def jpegs(rgb):
    def save(im, **options):
        b = io.BytesIO()
        im.save(b, "jpeg", **options)
        return b.getvalue()

    def write(file, data):
        (OUT / file).write_bytes(data)
        expect(file, jpeg=True)

    cmyk = save(rgb.convert("CMYK"), quality=92, subsampling=0)
    start, end = segment(cmyk, b"\xff\xee")
    write("cmyk-plain.jpg", cmyk[:start] + cmyk[end:])
    write("cmyk-adobe.jpg", cmyk)
    write("ycck.jpg", cmyk[:end - 1] + b"\x02" + cmyk[end:])
    (OUT / "cmyk-420.jpg").write_bytes(save(rgb.convert("CMYK"), quality=92, subsampling=2))
    refuse("cmyk-420.jpg", "subsampling ratio")
    colour = save(rgb, quality=92, subsampling=0)
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
    start, end = segment(colour, b"\xff\xe0")
    write("rgb-adobe.jpg", colour[:2] + adobe + b"\0" + colour[end:])
    write("ycc-adobe.jpg", colour[:2] + adobe + b"\1" + colour[end:])
    plain = bytearray(colour[:2] + colour[end:])
    write("ycc-plain.jpg", bytes(plain))
    frame, _ = segment(plain, b"\xff\xc0")
    scan, _ = segment(plain, b"\xff\xda")
    for i, letter in enumerate(b"RGB"):
        plain[frame + 10 + 3 * i] = letter
        plain[scan + 5 + 2 * i] = letter
    write("rgb-letters.jpg", bytes(plain))
    write("grey-progressive.jpg", save(rgb.convert("L"), progressive=True, quality=90))
    write("restarts.jpg", cv2.imencode(".jpg", np.asarray(rgb)[..., ::-1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes())


# ---- PNG, GIF, WebP ----

def write_png(file, pixels, colour, depth, interlaced):
    """pixels (H,W,C) of depth 8 or 16."""
    kind = ">u2" if depth == 16 else "u1"
    raw = b""
    for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]:
        part = pixels[y0::dy, x0::dx]
        if part.size:
            raw += b"".join(b"\0" + row.astype(kind).tobytes() for row in part)
    chunk = lambda tag, data: struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], depth, colour, 0, 0, int(interlaced))
    (OUT / file).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(100000)))
                             + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def others(rgb, rgba, rng):
    write_png("interlaced.png", np.asarray(rgb), 2, 8, True)
    expect("interlaced.png")
    deep = rng.integers(0, 65536, (11, 13, 4), dtype=np.uint16)
    write_png("rgba16-interlaced.png", deep, 6, 16, True)
    expect("rgba16-interlaced.png")
    write_png("grey16.png", deep[..., :1] >> 6, 0, 16, False)
    expect("grey16.png", grey16=True)

    frames = [rgb.transpose(Image.FLIP_LEFT_RIGHT), rgb.rotate(90)]
    rgb.quantize(64).save(OUT / "animated.gif", save_all=True, append_images=[f.quantize(64) for f in frames], duration=50)
    expect("animated.gif")
    rgb.save(OUT / "animated.png", save_all=True, append_images=frames[:1], duration=50)
    expect("animated.png")
    for name, im, options in (("lossless", rgba, dict(lossless=True, exact=True)), ("lossy", rgb, dict(quality=80)), ("lossy-alpha", rgba, dict(quality=80))):
        file = f"animated-{name}.webp"
        im.save(OUT / file, save_all=True, append_images=[f.convert(im.mode) for f in frames[:1]], duration=50, **options)
        expect(file)
        data = bytearray((OUT / file).read_bytes())
        at = data.index(b"VP8X") + 12
        data[at:at + 6] = struct.pack("<I", 49)[:3] + struct.pack("<I", 40)[:3]  # a canvas of 50×41
        at = data.index(b"ANMF") + 8
        data[at:at + 6] = struct.pack("<I", 3)[:3] + struct.pack("<I", 5)[:3]  # the frame at (6, 10)
        (OUT / f"canvas-{name}.webp").write_bytes(data)
        expect(f"canvas-{name}.webp")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for file in OUT.iterdir():
        file.unlink()
    rgb = Image.open(ROOT / "resize" / "photo.png").convert("RGB").resize((37, 29), Image.LANCZOS)
    rng = np.random.default_rng(7)
    rgba = rgb.convert("RGBA")
    rgba.putalpha(Image.fromarray(rng.integers(0, 256, (29, 37), dtype=np.uint8)))
    tiffs(rgb, rgba, rng)
    pnms(rgb, rng)
    jpegs(rgb)
    others(rgb, rgba, rng)
    (ROOT / "formats.json").write_text(json.dumps(dict(read=CASES, refused=REFUSED), indent=1) + "\n")


if __name__ == "__main__":
    main()

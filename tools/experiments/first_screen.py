#!/usr/bin/env python3
"""The picture at the top of README.md, by three commands: a class score map, similar photographs,
and a photograph in the style of another.

    first_screen.py VGG WORK OUT.webp [NET [FLAG…]]

NET is D-notop unless it is given, with --source keras. Commands whose files are in WORK are not
run again.
"""
import io
import json
import pathlib
import subprocess
import sys
import zipfile

from PIL import Image, ImageDraw, ImageFont

SAMPLE = pathlib.Path(__file__).parents[2] / "dataset" / "sample" / "caltech101.zip"
ASKED = "sample/val/ketch/image_0044.jpg"
CONTENT, STYLE = "sample/train/Leopards/image_0003.jpg", "sample/train/butterfly/image_0003.jpg"
HEIGHT, GAP, TITLE = 440, 16, 44  # of panels, in pixels; shown at half of it
INK, GREY = (32, 32, 32), (112, 112, 112)


def font(size, bold=False):
    return ImageFont.truetype(f"DejaVuSans{'-Bold' if bold else ''}.ttf", size)


def photograph(archive, name):
    name = name.removeprefix("sample/")
    entry = next(n for n in archive.namelist() if n.endswith(name))
    return Image.open(io.BytesIO(archive.read(entry))).convert("RGB")


def fitted(im, w, h):
    """The middle of a picture, as large as w × h."""
    scale = max(w / im.width, h / im.height)
    im = im.resize((round(im.width * scale), round(im.height * scale)), Image.LANCZOS)
    x, y = (im.width - w) // 2, (im.height - h) // 2
    return im.crop((x, y, x + w, y + h))


def panels(sheet):
    """The pictures of vgg explain's sheet: the columns and rows without white."""
    grey = sheet.convert("L")
    rows = [y for y in range(sheet.height) if sum(grey.crop((0, y, sheet.width, y + 1)).histogram()[:250]) > 0.6 * sheet.width]
    y0, y1 = rows[0], rows[-1] + 1
    inked = [sum(grey.crop((x, y0, x + 1, y1)).histogram()[:252]) > 0.5 * (y1 - y0) for x in range(sheet.width)]
    edges = [x for x in range(1, sheet.width) if inked[x] != inked[x - 1]]
    return [sheet.crop((a, y0, b, y1)) for a, b in zip(edges[::2], edges[1::2]) if b - a > 50]


def labelled(im, text):
    draw = ImageDraw.Draw(im)
    x0, y0, x1, y1 = draw.textbbox((0, 0), text, font=font(20, True))
    draw.rectangle((0, 0, x1 + 16, y1 + 10), fill=(0, 0, 0))
    draw.text((8, 4), text, font=font(20, True), fill=(255, 255, 255))
    return im


def main():
    vgg, work, out = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
    net = sys.argv[4:] or ["D-notop", "--source", "keras"]
    work.mkdir(parents=True, exist_ok=True)

    def run(made, *args):
        if not (work / made).exists():
            print("+ vgg", *args, flush=True)
            subprocess.run([vgg, *args], cwd=work, check=True)

    run("sample.safetensors", "teach", "sample", "--net", *net, "--sheet", "none")
    run("sample.npy", "features", net[0], "sample", *net[1:], "--crop", "--no-flip", "--out", "sample.npy")
    run("explained.png", "explain", "sample.safetensors", ASKED, "--class", "ketch", "--scales", "1024", "--out", "explained.png")
    run("stylised.png", "stylise", CONTENT, STYLE, "--net", *net, "--iterations", "150", "--out", "stylised.png")
    found = subprocess.run([vgg, "similar", "sample.npy", ASKED, "--top", "5", "--json"], cwd=work, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(found)["found"][1:]  # without the photograph itself

    archive = zipfile.ZipFile(SAMPLE)
    groups = []
    maps = panels(Image.open(work / "explained.png").convert("RGB"))
    groups.append(("vgg explain: the class score map of “ketch”", [fitted(p, 500, HEIGHT) for p in maps]))
    side = (HEIGHT - GAP // 2) // 2
    grid = Image.new("RGB", (2 * side + GAP // 2, HEIGHT), "white")
    for i, f in enumerate(found):
        at = ((i % 2) * (side + GAP // 2), (i // 2) * (side + GAP // 2))
        grid.paste(labelled(fitted(photograph(archive, f["file"]), side, side), f"{f['similarity']:.3f}"), at)
    groups.append(("vgg similar: most like it", [grid]))
    stylised = Image.open(work / "stylised.png").convert("RGB")
    wide = fitted(stylised, round(HEIGHT * stylised.width / stylised.height), HEIGHT)
    for i, name in enumerate([CONTENT, STYLE]):
        inset = fitted(photograph(archive, name), 130, 92)
        framed = Image.new("RGB", (136, 98), "white")
        framed.paste(inset, (3, 3))
        wide.paste(framed, (wide.width - 2 * 140 + i * 140, wide.height - 102))
    groups.append(("vgg stylise: leopards, as drawn", [wide]))

    width = sum(sum(p.width for p in ps) + GAP // 2 * (len(ps) - 1) for _, ps in groups) + 2 * GAP * (len(groups) - 1)
    picture = Image.new("RGB", (width, TITLE + HEIGHT), "white")
    draw, x = ImageDraw.Draw(picture), 0
    for title, ps in groups:
        draw.text((x, 4), title, font=font(25, True), fill=INK)
        for p in ps:
            picture.paste(p, (x, TITLE))
            x += p.width + GAP // 2
        x += 2 * GAP - GAP // 2
    picture.save(out, quality=80, method=6)
    print(picture.size, pathlib.Path(out).stat().st_size)


main()

#!/usr/bin/python3
"""Makes the fixture of package perceptual with the package lpips 0.1.4 (PyPI).

    PYTHONPATH=WHEEL perceptual.py          writes perceptual/testdata/oracle.json
    PYTHONPATH=WHEEL perceptual.py full DIR VGG
        compares `VGG distance` with lpips at full width, by random weights

WHEEL is a folder into which lpips-0.1.4-py3-none-any.whl is unpacked.

The network is eval.py's, configuration D with an eighth of its channels, and its photographs
are the first and the fourth. A pair is two crops. The heads are eval.py's hashes. lpips runs
with this network and these heads in place of its own, without its scaling layer, since the
network takes pixels minus the mean. The fixture has the distances by layer, of "lpips" and,
with unit heads, "plain"; the map of `spatial=True`, every eighth pixel of each way; and the
gradient with respect to the first crop, likewise. Its metadata have what lpips's scaling layer
makes of the pixels 0, 128 and 255.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import types

import numpy as np
import torch

for missing in ("tqdm", "skimage", "skimage.transform"):  # of lpips's trainer, which isn't used
    try:
        __import__(missing)
    except ImportError:
        sys.modules[missing] = types.ModuleType(missing)
        sys.modules[missing].tqdm = None
import lpips  # noqa: E402

from eval import MEAN, ROOT, hashed, hashed_weights, photographs  # noqa: E402

OUT = ROOT / "perceptual" / "testdata" / "oracle.json"
NAMES = [f"conv{b}_{i}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)]
H, W, STEP = 64, 80, 8


class Narrow(lpips.LPIPS):
    """LPIPS on eval.py's network."""

    def __init__(self, heads):
        super().__init__(pretrained=False, net="vgg", pnet_rand=True, verbose=False)
        self.scaling_layer = torch.nn.Identity()
        p, convolutions = hashed_weights(), [m for m in self.net.modules() if isinstance(m, torch.nn.Conv2d)]
        for m, name in zip(convolutions, NAMES):
            m.weight, m.bias = torch.nn.Parameter(p[name + ".weight"]), torch.nn.Parameter(p[name + ".bias"])
        for lin, head in zip(self.lins, heads):
            lin.model[1].weight = torch.nn.Parameter(head.reshape(1, -1, 1, 1))


def crop(im, x, y):
    a = np.asarray(im.crop((x, y, x + W, y + H)), np.float32).transpose(2, 0, 1)
    return (torch.from_numpy(a.copy())[None] - MEAN).double()


def rounded(t):
    return [float(f"{v:.7g}") for v in t.detach().flatten().tolist()]


def fixture():
    heads = [torch.from_numpy(np.abs(hashed(f"lin{i}", n))) for i, n in enumerate((8, 16, 32, 64, 64))]
    with tempfile.TemporaryDirectory() as decoded:
        names, images = (part[::3] for part in photographs(4, decoded))
    pairs = [((0, 10, 20), (0, 13, 22)), ((0, 10, 20), (1, 30, 12)), ((1, 0, 0), (1, 0, 0))]
    rows = []
    for a, b in pairs:
        row = {"files": [names[a[0]], names[b[0]]], "at": [a[1:], b[1:]]}
        for kind, some in (("lpips", heads), ("plain", [torch.ones_like(h) for h in heads])):
            model = Narrow(some).double()
            x, y = crop(images[a[0]], *a[1:]).requires_grad_(), crop(images[b[0]], *b[1:])
            total, layers = model(x, y, retPerLayer=True)
            row[kind] = {"total": total.item(), "layers": [v.item() for v in layers]}
            if kind == "lpips" and a != b:
                total.sum().backward()
                row["gradient"] = rounded(x.grad[0, :, ::STEP, ::STEP])
                model.spatial = True
                row["map"] = rounded(model(x, y)[0, 0, ::STEP, ::STEP])
        rows.append(row)
    pixels = torch.tensor([0.0, 128.0, 255.0])[:, None, None, None].expand(3, 3, 1, 1) * 2 / 255 - 1
    out = {"pairs": rows, "scaled": rounded(lpips.ScalingLayer()(pixels))}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(out) + "\n")


def full(folder, vgg):
    """Compares at full width: torchvision's VGG-16 with random weights, the published heads."""
    torch.manual_seed(16)
    folder = pathlib.Path(folder)
    model = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    state, at = {}, 0
    for m in model.net.modules():
        if isinstance(m, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(m.weight)
            torch.nn.init.uniform_(m.bias, -0.1, 0.1)
    for name, p in model.net.named_parameters():
        state["features." + name.split(".", 1)[1]] = p.detach().clone()
    torch.save(state, folder / "random.pth")
    with tempfile.TemporaryDirectory() as decoded:
        _, images = photographs(4, decoded)
    files = []
    for i, im in enumerate(images):
        files.append(folder / f"{i}.png")
        im.crop((0, 0, 150, 120)).save(files[-1])
    for a, b in ((0, 1), (0, 2), (1, 3)):
        done = subprocess.run([vgg, "distance", files[a], files[b], "--net", folder / "random.pth", "--preprocess", "torchvision", "--json"],
                              check=True, stdout=subprocess.PIPE)
        got = json.loads(done.stdout.splitlines()[0])
        with torch.no_grad():
            want = model(*(
                           torch.from_numpy(np.asarray(images[i].crop((0, 0, 150, 120)), np.float32).transpose(2, 0, 1)[None] / 127.5 - 1) for i in (a, b))).item()
        print(f"{a} and {b}: lpips {want:.7f}, vgg {got['distance']:.7f}, difference {abs(want - got['distance']):.1e}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["full"]:
        full(*sys.argv[2:])
    else:
        fixture()

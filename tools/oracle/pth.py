#!/usr/bin/python3
"""Writes torch.save's files of every kind that holds weights, with PyTorch and torchvision.

Writes weights/testdata/torch/*.pth, and .safetensors files of what a reader must find in
them. All CONFIG_*.pth hold the tiny network of that configuration: CONFIG.safetensors has its
tensors and the logits of tiny.image() by torchvision's own forward pass. Where the tensors of
NAME.pth differ, NAME.safetensors has them.

    pth.py              write the fixtures
    pth.py read FILE    print what torch.load(weights_only=True) reads in FILE, as JSON

Needs torch and, to write, torchvision.
"""
import copyreg
import json
import sys
import zipfile
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

if len(sys.argv) == 1:
    from torchvision.models.vgg import VGG

    from nn import ROOT, save
    from tiny import Tiny, image

    FOLDER = ROOT / "weights/testdata/torch"


def network(config, seed):
    """torchvision's VGG with the layers and the parameters of a tiny network."""
    tiny = Tiny(config, seed)
    layers, c, norms = [], 3, {}
    for kind, name, k, r in tiny.layers:
        if kind == "pool":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        norms[f"features.{len(layers)}"] = name
        layers.append(nn.Conv2d(c, k, r, padding=r // 2))
        if tiny.bn:
            norms[f"features.{len(layers)}"] = name + ".bn"
            layers.append(nn.BatchNorm2d(k))
        layers.append(nn.ReLU(inplace=True))
        c = k
    net = VGG(nn.Sequential(*layers), num_classes=5)
    net.avgpool = nn.Identity()
    fc6, fc7, fc8 = (tiny.params[f"fc{i}.weight"] for i in (6, 7, 8))
    net.classifier = nn.Sequential(
        nn.Linear(fc6.shape[1], fc6.shape[0]), nn.ReLU(True), nn.Dropout(),
        nn.Linear(fc7.shape[1], fc7.shape[0]), nn.ReLU(True), nn.Dropout(),
        nn.Linear(fc8.shape[1], fc8.shape[0]))
    norms |= {"classifier.0": "fc6", "classifier.3": "fc7", "classifier.6": "fc8"}
    state = net.state_dict()
    for name in state:
        layer, _, what = name.rpartition(".")
        if what != "num_batches_tracked":
            state[name] = tiny.params[f"{norms[layer]}.{what}"].float()
    net.load_state_dict(state)
    return net.eval()


def golden(name, net, config):
    with torch.no_grad():
        logits = net.double()(image())
    net.float()
    tensors = {k: t for k, t in net.state_dict().items() if t.is_floating_point()}
    save(FOLDER, name, {"logits": logits, **tensors}, {"config": config})


def write(name, value, **options):
    path = FOLDER / (name + ".pth")
    torch.save(value, path, **options)
    assert path.stat().st_size <= 50_000, path


def rewrite(name, source, change, zip64=False):
    """Copies a zip file of torch.save member by member, through change(name, data)."""
    with zipfile.ZipFile(FOLDER / (source + ".pth")) as old, zipfile.ZipFile(FOLDER / (name + ".pth"), "w") as new:
        for info in old.infolist():
            copy = zipfile.ZipInfo(info.filename)
            with new.open(copy, "w", force_zip64=zip64) as f:
                f.write(change(info.filename, old.read(info)))
        with new.open(zipfile.ZipInfo(old.namelist()[0].split("/")[0] + "/byteorder"), "w") as f:
            f.write(change("byteorder", b"little"))


class Parameter2017:
    """Pickled as PyTorch 0.1 did a parameter, and torchvision's files of 2017 have it."""

    __class__ = nn.Parameter  # which pickle asks for

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        return copyreg.__newobj__, (nn.Parameter, self.data), (True, False, OrderedDict())


class Tensor2017:
    """Pickled by _rebuild_tensor, of before version 2."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        t = self.data
        return torch._utils._rebuild_tensor, (t.storage(), t.storage_offset(), tuple(t.size()), t.stride())


class Trainer(nn.Module):
    """A module with what a network doesn't have: buffers that aren't saved, a nested object."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.register_buffer("scratch", torch.ones(3), persistent=False)
        self.register_buffer("mean", torch.tensor([1.0, 2.0, 3.0]))
        self.options = SimpleNamespace(lr=0.1, device=torch.device("cpu"), scale=np.float64(2), shape=torch.Size([3]))
        self.register_parameter("nothing", None)

    def forward(self, x):
        return self.net(x)


def make():
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()

    a, b, c, d, e = (network(k, i) for i, k in enumerate("ABCDE"))
    norm = network("D-BN", 7)
    for config, net in (("A", a), ("B", b), ("C", c), ("D", d), ("E", e), ("D-BN", norm)):
        golden(config.lower(), net, config)

    write("a_zip", a.state_dict())
    write("a_protocol4", a.state_dict(), pickle_protocol=4)
    rewrite("a_zip64", "a_zip", lambda name, data: data, zip64=True)
    rewrite("a_big", "a_zip", lambda name, data: {"byteorder": b"big"}.get(
        name, np.frombuffer(data, "<f4").astype(">f4").tobytes() if "/data/" in name else data))
    write("b_legacy", b.state_dict(), _use_new_zipfile_serialization=False)
    parallel = nn.DataParallel(c)
    write("c_dataparallel", parallel.state_dict())

    # As PyTorch's ImageNet example: only the features are parallel, and the file is a checkpoint.
    d.features = nn.DataParallel(d.features)
    optimizer = torch.optim.SGD(d.classifier.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    d(image().float()).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    d.load_state_dict({k: t for k, t in network("D", 3).state_dict().items() for k in [k.replace("features.", "features.module.")]})
    write("d_checkpoint", {"epoch": 90, "arch": "vgg16", "state_dict": d.state_dict(), "best_acc1": torch.tensor(71.6),
                           "accuracy": np.float64(0.716), "optimizer": optimizer.state_dict(), "args": SimpleNamespace(lr=0.1, data="/data"),
                           "history": [(0, 1.5), {"loss": 1e-3}], "rng": np.random.RandomState(0).get_state(), "best": True})

    write("e_module", e)
    script = torch.jit.script(a)
    script.save(str(FOLDER / "a_script.pth"))
    write("d-bn_zip", norm.state_dict())
    # The legacy format adds the source code of every class.
    write("a_features_legacy", nn.Sequential(OrderedDict(features=nn.DataParallel(a.features))), _use_new_zipfile_serialization=False)
    write("d-bn_nested", {"model": {"state_dict": {"_orig_mod.module." + k: t for k, t in norm.state_dict().items()}}, "n": 1 << 70})

    half = network("A", 0).half()
    write("a_half", half.state_dict())
    save(FOLDER, "a_half", {k: t.float() for k, t in half.state_dict().items()}, {})
    brain = network("A", 0).bfloat16()
    write("b16", brain.state_dict())
    save(FOLDER, "b16", {k: t.float() for k, t in brain.state_dict().items()}, {})

    # As torchvision's files of January 2017: protocol 2, legacy, parameters with their state.
    old = OrderedDict((k, Parameter2017(t if i % 2 else Tensor2017(t))) for i, (k, t) in enumerate(b.state_dict().items()))
    write("b_2017", old, _use_new_zipfile_serialization=False)
    write("trainer", Trainer(a))
    save(FOLDER, "trainer", {k: t for k, t in Trainer(a).state_dict().items()}, {})

    torch.manual_seed(11)
    shared = torch.randn(6, 7, 5)
    views = {
        "whole": shared,
        "transposed": shared.permute(2, 0, 1),
        "slice": shared[1:4, ::2, 1:],
        "channels_last": torch.randn(4, 3, 3, 5).to(memory_format=torch.channels_last),
        "column": shared[:, 3, 2],
        "scalar": shared[2, 3, 4],
        "empty": shared[:, :0],
        "double": torch.randn(3, 4, dtype=torch.float64).t(),
        "half": torch.randn(5, 6).half().t(),
        "bfloat16": torch.randn(5, 6).bfloat16()[:, 1::2],
        "parameter": nn.Parameter(torch.randn(2, 3).t()),
        "one": torch.randn(1, 1, 4)[:, :, 1:2],
    }
    save(FOLDER, "views", {k: t.detach().float() for k, t in views.items() if t.dim()}, {})
    views |= {"i64": torch.tensor([1, -2]), "u8": torch.tensor([[1], [2]], dtype=torch.uint8), "bool": torch.tensor(True),
              "note": "no tensor"}
    write("views", views)
    write("views_legacy", views, _use_new_zipfile_serialization=False)

    layer()
    for path in sorted(FOLDER.glob("*.pth")):  # files that PyTorch reads, though it would write them otherwise
        if path.stem != "a_big":
            torch.load(path)
    assert torch.load(FOLDER / "b_2017.pth")["features.0.weight"].equal(b.state_dict()["features.0.weight"])


def layer():
    """A file that is one layer: its tensors have no module's name before them."""
    torch.manual_seed(7)
    one = torch.nn.Linear(3, 2)
    save(FOLDER, "layer", {k: t.detach() for k, t in one.state_dict().items()}, {})
    write("layer_module", one)
    torch.jit.script(one).save(str(FOLDER / "layer_script.pth"))


def read(path):
    state = torch.load(path, weights_only=True)
    out = [{"name": k, "dtype": str(t.dtype), "shape": list(t.shape), "contiguous": t.is_contiguous(),
            "values": [float(v) for v in t.double().flatten()]} for k, t in state.items()]
    print(json.dumps(out))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "read":
        read(sys.argv[2])
    elif len(sys.argv) == 1:
        from pack import packed

        with packed(FOLDER):
            make()
    else:
        sys.exit(__doc__)

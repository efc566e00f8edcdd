#!/usr/bin/python3
"""Writes what fastai saves of a small VGG (learn.export, and learn.save with and without the
optimiser's state), and timm's VGG as a whole module and traced.

Adds testdata/modules/fastai.* and timm.* to the files of modules.py, and their cases to
expected.json. It runs after modules.py, which removes them.

Needs fastai and timm beside what modules.py needs:
    pip install --no-deps --target lib fastai==2.7.12 fastcore==1.5.29 fastprogress==1.0.3 fastdownload pandas==1.5.3 pytz
    pip install --no-deps --target lib timm==0.9.16 huggingface_hub==0.24 filelock fsspec tqdm safetensors
    PYTHONPATH=lib tools/oracle/modules_more.py
"""
import io
import json
import pathlib
import shutil
import tempfile

import torch
from fastai.vision.all import ImageDataLoaders, Learner, create_head
from PIL import Image
from timm.models import vgg
from torch import nn

from pack import packed
from modules import OUT, ROW, features, image, lean, randomise


def timm():
    net = vgg.VGG(ROW, num_classes=3)
    net.pre_logits = vgg.ConvMlp(4, 6, 7, mlp_ratio=1.0, drop_rate=0.0, act_layer=nn.ReLU, conv_layer=nn.Conv2d)
    net.head.fc = nn.Linear(6, 3)
    randomise(net, 98)
    with torch.no_grad():
        y = torch.softmax(net.double()(image(224)), 1)[0].tolist()
    net.float()
    torch.save(net, OUT / "timm.pth")
    b = io.BytesIO()
    torch.jit.save(torch.jit.trace(net, image(224).float()), b)
    (OUT / "timm.trace.pt").write_bytes(lean(b.getvalue()))
    expected = json.loads((OUT / "expected.json").read_text())
    for name in ("timm.pth", "timm.trace.pt"):
        expected[name] = {"side": 224, "posteriors": y, "head": "FC FC FC"}
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def fastai():
    folder = pathlib.Path(tempfile.mkdtemp())
    for name in ("cat", "dog", "fox"):
        (folder / name).mkdir()
        for i in range(4):
            Image.new("RGB", (32, 32), (90 * i, 40, 200)).save(folder / name / f"{i}.png")
    dls = ImageDataLoaders.from_folder(folder, valid_pct=0.5, seed=1, bs=3, num_workers=0)
    net = nn.Sequential(nn.Sequential(features(bn=1e-5)), create_head(4, 3, lin_ftrs=[6]))
    learn = Learner(dls, net, loss_func=nn.CrossEntropyLoss(), path=folder)
    learn.fit(1, 1e-3)
    randomise(net, 99)
    learn.export("model.pkl")
    learn.save("state")
    learn.save("weights", with_opt=False)
    with torch.no_grad():
        y = torch.softmax(net.double()(image(224)), 1)[0].tolist()
    head = "GMAP BN DROP0.25 FC6 RELU BN DROP FC"
    expected = json.loads((OUT / "expected.json").read_text())
    for name, file, more in (("fastai.pkl", "model.pkl", {"classes": ["cat", "dog", "fox"], "head": "GMAP BN DROP FC6 RELU BN DROP0.5 FC"}), ("fastai.state.pth", "models/state.pth", {}), ("fastai.weights.pth", "models/weights.pth", {})):
        shutil.copy(folder / file, OUT / name)
        assert (OUT / name).stat().st_size <= 60_000, name
        expected[name] = {"side": 224, "posteriors": y, "head": head} | more
        if name != "fastai.pkl":
            expected[name] |= {"error": "--head 'GMAP BN FC6 RELU BN FC', if its 2 fully connected layers are rectified, as fastai's are", "give_head": head}
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with packed(OUT):
        fastai()
        timm()

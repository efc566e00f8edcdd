#!/usr/bin/python3
"""Writes what fastai saves of a small VGG: learn.export, and learn.save with and without the
optimiser's state.

Adds testdata/modules/fastai.* to the files of modules.py, and their cases to expected.json.

Needs fastai (2.7) beside what modules.py needs:
    pip install --no-deps --target lib fastai==2.7.12 fastcore==1.5.29 fastprogress==1.0.3 fastdownload pandas==1.5.3 pytz
    PYTHONPATH=lib tools/oracle/fastai.py
"""
import importlib.util
import json
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path = [p for p in sys.path if pathlib.Path(p or ".").resolve() != HERE]  # this file isn't the package

import torch
from fastai.vision.all import ImageDataLoaders, Learner, create_head
from PIL import Image
from torch import nn

sys.path.append(str(HERE))
from modules import OUT, features, image, randomise


def main():
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
    main()

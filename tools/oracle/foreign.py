#!/usr/bin/env python3
"""Writes what people have in hand besides a plain state dict: checkpoints with class names,
folders of timm and of Hugging Face's Transformers, networks inside larger models.

Writes testdata/foreign: each case is a file or a folder, and expected.json has, for each, the
names of the classes and the posteriors of photo.png by the framework that wrote the case, or
for a headless network its activation of tiny noise. All networks are tiny VGGs with
random weights.

OpenMMLab's, thop's and VGG-Face's layouts are written by hand, with PyTorch and h5py alone,
as their sources have them: a ConvModule has conv and bn, thop adds total_ops and
total_params to every module. All else is written by the tool itself.

Needs torch, torchvision, timm, transformers, kornia, h5py and Pillow:
    python3 -m venv venv && venv/bin/pip install torch torchvision timm transformers kornia h5py
"""
import argparse
import json
import pathlib

import h5py
import kornia
import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_data_config
from timm.models._hub import save_for_hf
from timm.models.vgg import ConvMlp, VGG as TimmVGG
from torch import nn
from torchvision import transforms
from torchvision.models.vgg import VGG
from transformers import CLIPImageProcessor, PretrainedConfig, PreTrainedModel

from pack import renewed

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "testdata/foreign"
ROW = [2, "M", 4, "M", 4, 4, "M", 6, 6, "M", 6, 6, "M"]
NAMES = ["tabby cat", "dog", "écureuil"]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
expected = {}


def features(row=ROW, bn=False):
    layers, c = [], 3
    for k in row:
        if k == "M":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers.append(nn.Conv2d(c, k, 3, padding=1))
        if bn:
            layers.append(nn.BatchNorm2d(k))
        layers.append(nn.ReLU(inplace=True))
        c = k
    return nn.Sequential(*layers)


def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in list(model.named_parameters()) + list(model.named_buffers()):
            if p.dtype != torch.float32 or name.split(".")[-1] in ("mean", "std"):
                continue
            if name.endswith("running_var"):
                p.copy_(torch.rand(p.shape, generator=g) + 0.5)
                continue
            p.copy_(torch.randn(p.shape, generator=g) * (1.6 / max(1, p[0].numel()) ** 0.5 if p.dim() > 1 else 0.2))
    return model.eval()


def network(seed, bn=False, classes=3):
    net = VGG(features(bn=bn), num_classes=classes)
    net.avgpool = nn.Identity()
    net.classifier = nn.Sequential(nn.Linear(6 * 49, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, classes))
    return randomise(net, seed)


def photo():
    y, x = np.mgrid[0:44, 0:52]
    rgb = np.stack([120 + 90 * np.sin(x / 5) * np.cos(y / 7), 128 + 100 * np.cos((x + y) / 9), 100 + 3 * y - x], -1)
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


def usual(size=240, interpolation=transforms.InterpolationMode.BILINEAR, normalize=True):
    steps = [transforms.Resize(size, interpolation=interpolation), transforms.CenterCrop(224), transforms.ToTensor()]
    return transforms.Compose(steps + ([transforms.Normalize(MEAN, STD)] if normalize else []))


def case(name, model, transform, names=NAMES, scores=lambda y: y, **more):
    with torch.no_grad():
        y = scores(model.double()(transform(photo()).double()[None]))
    model.float()
    expected[name] = dict(more, classes=names, posteriors=torch.softmax(y, 1)[0].tolist())


def checkpoints():
    net = network(1)
    optimizer = torch.optim.Adam(net.parameters())
    scrambled = {"dog": 1, "écureuil": 2, "tabby cat": 0}

    def write(name, value, key="state_dict", **more):
        torch.save({key: net.state_dict(), **value}, OUT / f"{name}.pth")
        case(f"{name}.pth", net, usual(), preprocess="torchvision", **more)

    write("class_to_idx", {"epoch": 3, "arch": "vgg", "class_to_idx": scrambled, "optimizer": optimizer.state_dict()})
    write("classes", {"classes": NAMES, "best_acc": np.float64(0.5)}, "model_state_dict")
    write("class_names", {"args": argparse.Namespace(lr=0.1, class_names=tuple(NAMES))}, "model")
    write("idx_to_class", {"idx_to_class": {2: "écureuil", 0: "tabby cat", 1: "dog"}})
    write("lightning", {"hyper_parameters": {"lr": 0.1, "id2label": dict(enumerate(NAMES))}, "pytorch-lightning_version": "2.4.0",
                        "state_dict": {**{f"model.{k}": v for k, v in net.state_dict().items()}, "criterion.weight": torch.ones(3)}},
          ignored=["criterion.weight: of the loss function"], prefix="model.")
    # Two lists that differ, one too short, one with a gap.
    write("contradiction", {"classes": NAMES, "class_to_idx": {"a": 0, "b": 1, "c": 2}},
          error="class_to_idx of the checkpoint and classes of the checkpoint name different classes")
    write("short", {"classes": NAMES[:2]}, error="classes of the checkpoint: 2 classes, want the network's 3")
    write("gap", {"class_to_idx": {"a": 0, "b": 1, "c": 3}}, error="class_to_idx of the checkpoint: 3 classes, but none of index 2")

    net.class_to_idx = scrambled  # as the tutorials that keep a whole model do
    torch.save(net, OUT / "module.pth")
    case("module.pth", net, usual(), preprocess="torchvision")


def wrapped():
    net = network(2, bn=True)
    averaged = torch.optim.swa_utils.AveragedModel(net)
    torch.save(averaged.state_dict(), OUT / "averaged.pth")
    count = sum(k.endswith("num_batches_tracked") for k in net.state_dict())
    batches = f"and {count - 3} more: PyTorch's counter of batches"
    case("averaged.pth", net, usual(), ["0", "1", "2"], preprocess="torchvision", ignored=["n_averaged: ", batches])

    state = dict(net.state_dict())
    for name, module in net.named_modules():  # as thop registers its buffers
        prefix = name + "." if name else ""
        state[prefix + "total_ops"] = torch.zeros(1, dtype=torch.float64)
        state[prefix + "total_params"] = torch.zeros(1, dtype=torch.float64)
    save_file({"_orig_mod." + k: v for k, v in state.items()}, OUT / "thop.safetensors")
    case("thop.safetensors", net, usual(), ["0", "1", "2"], preprocess="torchvision", ignored=["thop's counter of operations"])

    # OpenMMLab's: a ConvModule for each convolution, in a backbone.
    new, index, layers = {}, -1, list(net.features)
    for i, layer in enumerate(layers):
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            index += 1
        kind = {nn.Conv2d: "conv", nn.BatchNorm2d: "bn"}.get(type(layer))
        for k, v in layer.state_dict().items():
            new[f"backbone.features.{index}.{kind}.{k}"] = v
    new |= {"backbone." + k: v for k, v in net.state_dict().items() if k.startswith("classifier")}
    torch.save({"meta": {"epoch": 1, "CLASSES": tuple(NAMES)}, "state_dict": new}, OUT / "openmmlab.pth")
    case("openmmlab.pth", net, usual(), preprocess="torchvision", names_as="OpenMMLab")

    # A network in a larger model, and one with leftovers of its owner's.
    other = {"neck.0.weight": torch.zeros(4, 6, 1, 1), "neck.0.bias": torch.zeros(4), "rpn.head.weight": torch.zeros(4, 4, 3, 3)}
    save_file({**{"backbone." + k: v for k, v in net.state_dict().items()}, **other}, OUT / "detector.safetensors")
    case("detector.safetensors", net, usual(), ["0", "1", "2"], preprocess="torchvision", with_prefix="backbone.",
         error="--ignore PATTERN", ignored=['not below the prefix "backbone."'])
    expected["detector.safetensors#ignore"] = dict(expected["detector.safetensors"], with_prefix="", with_ignore=["neck.*", "rpn.*"],
                                                   ignored=["matches --ignore neck.*", "matches --ignore rpn.*"])
    save_file({**{f"student.{k}": v for k, v in net.state_dict().items()}, **{f"teacher.{k}": v.clone() for k, v in net.state_dict().items()}},
              OUT / "distilled.safetensors")
    case("distilled.safetensors", net, usual(), ["0", "1", "2"], preprocess="torchvision", with_prefix="student.", error="choose one (--prefix)")


class Normalize(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, x):
        return (x - self.mean) / self.std


def normalised():
    net = network(3)
    inside = nn.Module()
    inside.normalize, inside.backbone = Normalize(), net
    save_file(inside.state_dict(), OUT / "normalize.safetensors")
    case("normalize.safetensors", nn.Sequential(inside.normalize, net), usual(size=224, normalize=False), ["0", "1", "2"], source="normalize.mean, normalize.std")

    for name, layer in {"kornia": kornia.enhance.Normalize(torch.tensor(MEAN), torch.tensor(STD)), "torchvision": transforms.Normalize(MEAN, STD)}.items():
        model = nn.Sequential(layer, net).eval()
        torch.save(model, OUT / f"{name}.pth")
        case(f"{name}.pth", model, usual(size=224, normalize=False), ["0", "1", "2"], source="0")


def folders():
    def tiny(seed):
        net = TimmVGG(ROW, num_classes=3)
        net.pre_logits = ConvMlp(6, 8, 7)
        net.num_features = net.head_hidden_size = 8
        net.head.fc = nn.Linear(8, 3)
        net.pretrained_cfg = dict(architecture="tiny_vgg", input_size=(3, 224, 224), interpolation="bicubic", crop_pct=0.9, crop_mode="center", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), num_classes=3)
        net.architecture = "tiny_vgg"
        return randomise(net, seed)

    net = tiny(4)
    for name, safe in {"timm": True, "timm_bin": False}.items():
        save_for_hf(net, OUT / name, model_config={"label_names": NAMES}, safe_serialization=safe)
        case(name, net, create_transform(**resolve_data_config({}, model=net)), source="config.json", classes_from="label_names of config.json")

    class Config(PretrainedConfig):
        model_type = "tiny_vgg"

    class Model(PreTrainedModel):
        config_class = Config

        def __init__(self, config):
            super().__init__(config)
            self.vgg = network(5)
            self.post_init()

    model = Model(Config(id2label=dict(enumerate(NAMES)), label2id={n: i for i, n in enumerate(NAMES)}, image_size=224))
    randomise(model, 6)
    processor = CLIPImageProcessor(size={"shortest_edge": 236}, crop_size={"height": 224, "width": 224}, image_mean=[0.5, 0.45, 0.4], image_std=[0.3, 0.31, 0.32], resample=2, do_convert_rgb=True)
    for name, more in {"transformers": {}, "transformers_shards": {"max_shard_size": "8KB"}}.items():
        model.save_pretrained(OUT / name, **more)
        processor.save_pretrained(OUT / name)
        case(name, model.vgg, lambda im: torch.tensor(np.asarray(processor(im).pixel_values[0])), source="preprocessor_config.json", classes_from="id2label of config.json, label2id of config.json")
    assert (OUT / "transformers_shards/model.safetensors.index.json").exists()

    net = network(7)
    for name, file, text in [
        ("fastai", "vocab.txt", "\n".join(NAMES)),
        ("keras_indices", "class_indices.json", json.dumps({"dog": 1, "écureuil": 2, "tabby cat": 0})),
        ("inverted_indices", "class_indices.json", json.dumps({"2": "écureuil", "0": "tabby cat", "1": "dog"})),
        ("labels", "labels.txt", "0 tabby cat\n1 dog\n2 écureuil\n"),
    ]:
        (OUT / name).mkdir()
        torch.save(net.state_dict(), OUT / name / "best.pth")
        (OUT / name / file).write_text(text)
        case(name, net, usual(), preprocess="torchvision", classes_from=file)


def vgg_face():
    """The layout of VGG-Face's vgg_face_weights.h5, written by h5py: weights of Keras 1 under
    the names that it gave, zero-padding before each convolution, and the fully connected
    layers as convolutions."""
    side = 7 * 32  # 7×7 filters of fc6 after five poolings, as there
    rows = features([1, "M", 2, "M", 2, 2, "M", 3, "M", 3, "M"])
    head = [nn.Conv2d(3, 4, 7), nn.ReLU(), nn.Dropout(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Dropout(), nn.Conv2d(4, 3, 1)]
    net = randomise(nn.Sequential(*rows, *head, nn.Flatten()), 10)
    names, weights, count = [], {}, {}

    def name(kind):
        count[kind] = count.get(kind, 0) + 1
        names.append(f"{kind}_{count[kind]}")
        return names[-1]

    for layer in net:
        if isinstance(layer, nn.MaxPool2d):
            name("maxpooling2d")
        elif isinstance(layer, nn.Dropout):
            name("dropout")
        elif isinstance(layer, nn.Conv2d):
            if layer.padding != (0, 0):
                name("zeropadding2d")
            weights[name("convolution2d")] = [layer.weight.detach().permute(2, 3, 1, 0).numpy(), layer.bias.detach().numpy()]
    name("flatten")
    name("activation")
    with h5py.File(OUT / "vgg_face.h5", "w") as f:
        f.attrs["layer_names"] = [n.encode() for n in names]
        f.attrs["backend"], f.attrs["keras_version"] = b"tensorflow", b"1.2.2"
        for n in names:
            g = f.create_group(n)
            parts = [f"{n}_{what}:0" for what, _ in zip("Wb", weights.get(n, []))]
            g.attrs["weight_names"] = [p.encode() for p in parts]
            for p, w in zip(parts, weights.get(n, [])):
                g[p] = w
    tool = transforms.Compose([transforms.Resize(side), transforms.CenterCrop(side), lambda im: torch.tensor(np.asarray(im, np.float64)[..., ::-1].copy()).permute(2, 0, 1),
                               lambda x: x - torch.tensor([93.594, 104.7624, 129.1863]).view(3, 1, 1)])
    case("vgg_face.h5", net, tool, ["0", "1", "2"], preprocess='{"name": "caffe", "mean": [129.1863, 104.7624, 93.594]}', scale=side, names_as="Keras, numbered", structure="1 M 2 M 2 2 M 3 M 3 M")


def cut():
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(9))
    whole = features([1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M"])  # D at width 1/64
    randomise(whole, 8)
    for end, name in {4: "relu1_2", 7: "relu2_1", 16: "relu3_3", 23: "relu4_3", 30: "relu5_3"}.items():
        part = whole[:end]
        save_file(part.state_dict(), OUT / f"cut_{name}.safetensors")
        with torch.no_grad():
            expected[f"cut_{name}.safetensors"] = {"input": x.flatten().tolist() if end == 4 else None, "activation": part(x).flatten().tolist()}
    slices = nn.Module()  # as the examples of style transfer cut it
    for i, (a, b) in enumerate([(0, 4), (4, 9), (9, 16), (16, 23)]):
        s = nn.Sequential()
        for k in range(a, b):
            s.add_module(str(k), whole[k])
        slices.add_module(f"slice{i + 1}", s)
    torch.save(slices.state_dict(), OUT / "slices.pth")
    expected["slices.pth"] = {"activation": expected["cut_relu4_3.safetensors"]["activation"]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with renewed(OUT):
        photo().save(OUT / "photo.png")
        checkpoints()
        wrapped()
        normalised()
        folders()
        vgg_face()
        cut()
        (OUT / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")
        for f in OUT.rglob("*"):
            assert f.is_dir() or f.stat().st_size <= 50 * 1024, f

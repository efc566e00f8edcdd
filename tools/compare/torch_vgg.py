#!/usr/bin/env python3
"""Times VGG in PyTorch and prints one line of JSON.

A training step is forward, cross-entropy, backward and SGD with momentum 0.9 and
weight decay 5e-4, dropout on. On a device a pass begins with images in the processor's memory, and
ends with class scores or the loss there.
"""
import argparse
import contextlib
import json
import os
import re
import statistics
import time
import warnings

import torch
from torch import nn
from torch.utils import mkldnn

from network import CLASSES, vgg

warnings.simplefilter("ignore")


def load(network, path):
    """Takes the weights and the bias of every layer from a file of make_models.py."""
    values, at = torch.from_file(path, size=os.path.getsize(path) // 4), 0
    for m in network:
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            for p in m.weight, m.bias:
                p.data.copy_(values[at:at + p.numel()].view_as(p))
                at += p.numel()


def prepare(o):
    """Sets the precision of a device's products, and lets cuDNN choose algorithms by trying them."""
    tf32 = o.precision == "tf32"
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")


def products(o):
    """The context in which products have the precision bf16, if that is wanted."""
    if o.precision == "bf16":
        return torch.autocast(o.device, torch.bfloat16)
    return contextlib.nullcontext()


def forward(o, x):
    """Returns the inference pass."""
    network = vgg(o.config, o.mode == "dense").eval().to(o.device)
    if o.weights:
        load(network, o.weights)
    if o.layout == "channels_last":
        network = network.to(memory_format=torch.channels_last)
    elif o.layout == "mkldnn":  # weights in oneDNN's blocked layouts, once
        network, x = mkldnn.to_mkldnn(network), x.to_mkldnn()
    if o.optimize:
        network = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(network, x)))

    if o.compile:
        network = torch.compile(network)

    def run():
        with torch.no_grad(), products(o):
            y = network(x.to(o.device, non_blocking=True))
        return y.cpu()

    return run


def step(o, x):
    """Returns the training step."""
    network = vgg(o.config).train().to(o.device)
    if o.layout == "channels_last":
        network = network.to(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (o.batch,), device=o.device)
    criterion = nn.CrossEntropyLoss()
    sgd = torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)

    if o.compile:
        network = torch.compile(network)

    def run():
        sgd.zero_grad(set_to_none=True)
        with products(o):
            y = network(x.to(o.device, non_blocking=True))
            loss = criterion(y, labels)
        loss.backward()
        sgd.step()
        loss.item()  # when the step is done
        return y

    return run


def onednn():
    """The version of oneDNN that PyTorch was built with."""
    found = re.search(r"MKL-DNN v([\d.]+)", torch.__config__.show())
    return found[1] if found else "none"


def blas():
    """The BLAS that PyTorch's own linear layers call, from the process's mapped files."""
    with open("/proc/self/maps") as maps:
        text = maps.read()
    if found := re.search(r"libopenblas\w*-r([\d.]+)\.so", text):
        return "OpenBLAS " + found[1]
    if torch.backends.mkl.is_available():
        return "MKL"
    return "OpenBLAS" if "openblas" in text else "another BLAS than OpenBLAS"


p = argparse.ArgumentParser(description=__doc__)
p.add_argument("--config", default="D")
p.add_argument("--mode", choices=["infer", "dense", "train"], default="infer")
p.add_argument("--batch", type=int, default=1)
p.add_argument("--size", type=int, default=224)
p.add_argument("--iters", type=int, default=10)
p.add_argument("--warmup", type=int, default=2)
p.add_argument("--threads", type=int, default=2)
p.add_argument("--layout", choices=["contiguous", "channels_last", "mkldnn"], default="contiguous")
p.add_argument("--optimize", action="store_true", help="torch.jit.optimize_for_inference")
p.add_argument("--device", default="cpu", help="cpu or cuda")
p.add_argument("--precision", choices=["f32", "tf32", "bf16"], default="f32", help="of products on a device")
p.add_argument("--compile", action="store_true", help="torch.compile")
p.add_argument("--weights", help="weights.f32 of make_models.py")
p.add_argument("--input", help="images of float32; the scores are printed, too")
o = p.parse_args()
if o.mode == "train" and (o.optimize or o.layout == "mkldnn"):
    p.error("--optimize and --layout mkldnn are for inference")

if o.device != "cpu" and o.layout == "mkldnn":
    p.error("--layout mkldnn is for --device cpu")

torch.set_num_threads(o.threads)
prepare(o)
x = torch.rand(o.batch, 3, o.size, o.size) * 2 - 1
if o.input:
    x = torch.from_file(o.input, size=x.numel()).view_as(x)
if o.layout == "channels_last":
    x = x.contiguous(memory_format=torch.channels_last)
if o.device != "cpu":
    x = x.pin_memory()
run = step(o, x) if o.mode == "train" else forward(o, x)
times = []
for i in range(o.warmup + o.iters):
    start = time.perf_counter()
    y = run()
    if i >= o.warmup:
        times.append((time.perf_counter() - start) * 1e3)
result = {
    "version": f"{torch.__version__}, {blas()}, oneDNN {onednn()}",
    "median_ms": statistics.median(times), "min_ms": min(times), "max_ms": max(times),
    "output": list(y.shape),
}
if o.device != "cpu":
    result["version"] = f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    result["device"] = torch.cuda.get_device_name()
    result["peak_bytes"] = torch.cuda.max_memory_allocated()
if o.input:
    result["scores"] = y.to_dense().reshape(-1).tolist() if y.layout != torch.strided else y.reshape(-1).tolist()
print(json.dumps(result))

#!/usr/bin/env python3
"""Writes ONNX models of tiny VGGs with heads of their own, and what else people's files have:
preprocessing inside the graph, quantisation, several outputs.

    onnxheads.py make           write testdata/onnx, with an expected.json
    onnxheads.py torch FOLDER   the part that needs PyTorch

expected.json has, for each file, the posteriors that ONNX Runtime gives for the input: noise
(tiny.image() over 64), or pixels 0 … 255. Of a quantised file there are also those of the
file with its activations in float32, which remove() makes. Where a file must be refused, it
has a part of the error.

torch.onnx.export writes t_*; tf2onnx k_*, from Keras 3; ONNX Runtime's quantiser q_*;
onnx.helper h_*.

Needs onnx, onnxruntime, tensorflow, keras and tf2onnx; and PyTorch 1.13, perhaps in another
interpreter, which the variable TORCH_PYTHON names.
"""
import json
import os
import pathlib
import subprocess
import sys

sys.path = [p for p in sys.path if pathlib.Path(p).resolve() != pathlib.Path(__file__).resolve().parent]  # which has a keras.py

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "testdata/onnx"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SIDE = 12


def noise(n, h, w):
    """tiny.image() over 64."""
    i = np.arange(n * 3 * h * w, dtype=np.int64)
    return ((i * 40503 % 65536 // 256 - 128) / 64).astype("f4").reshape(n, 3, h, w)


def pixels(n, h, w):
    """Pixels 0 … 255, (N,H,W,3): byte i is (40503·i mod 2¹⁶)/2⁸, rounded down."""
    i = np.arange(n * h * w * 3, dtype=np.int64)
    return (i * 40503 % 65536 // 256).astype("u1").reshape(n, h, w, 3)


# The part of PyTorch.


def torch_models(folder):
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Lambda(nn.Module):
        def __init__(self, f):
            super().__init__()
            self.f = f

        def forward(self, x):
            return self.f(x)

    class Before(nn.Module):
        """Preprocessing, and a network."""

        def __init__(self, f, net):
            super().__init__()
            self.f, self.net = f, net
            self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

        def forward(self, x):
            return self.net(self.f(self, x))

    def features(row=(4, "M", 6, "M"), bn=False):
        layers, c = [], 3
        for k in row:
            if k == "M":
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(c, k, 3, padding=1)] + [nn.BatchNorm2d(k)] * bn + [nn.ReLU(inplace=True)]
            c = k
        return layers

    def randomise(model, seed):
        g = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, p in list(model.named_parameters()) + list(model.named_buffers()):
                if p.dtype != torch.float32 or name in ("mean", "std"):
                    continue
                if name.endswith("running_var"):
                    p.copy_(torch.rand(p.shape, generator=g) + 0.5)
                    continue
                p.copy_(torch.randn(p.shape, generator=g) * (1.6 / max(1, p[0].numel()) ** 0.5 if p.dim() > 1 else 0.3))
        return model.eval()

    seed = 0

    def net(*head, bn=False, row=(4, "M", 6, "M")):
        nonlocal seed
        seed += 1
        return randomise(nn.Sequential(*features(row, bn), *head), seed)

    def write(name, model, opset=13, side=SIDE, dynamic=None, x=None, **options):
        x = torch.zeros(2, 3, side, side) if x is None else x
        axes = {None: {}, "batch": {"input": {0: "N"}}, "all": {"input": {0: "N", 2: "H", 3: "W"}}}[dynamic]
        torch.onnx.export(model, x, f"{folder}/{name}.onnx", opset_version=opset, input_names=["input"], dynamic_axes=axes, **options)

    gap, flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    flatten = SIDE // 4 * (SIDE // 4) * 6
    write("t_gap_bn", net(gap, flat, nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)), dynamic="batch")
    write("t_gap_bn_unfolded", net(gap, flat, nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3), bn=True), 11, dynamic="all", do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE)
    write("t_gmp_leaky_logsoftmax", net(nn.AdaptiveMaxPool2d(1), flat, nn.Linear(6, 8), nn.LeakyReLU(0.2), nn.Linear(8, 3), nn.LogSoftmax(1)), 9)
    write("t_mean_elu_softmax", net(Lambda(lambda x: x.mean([2, 3])), nn.Linear(6, 8), nn.ELU(), nn.Linear(8, 3), nn.Softmax(1)), dynamic="batch")
    write("t_mean_mean_gelu", net(Lambda(lambda x: x.mean(3).mean(2)), nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3)), 14, dynamic="all")
    write("t_amax_silu", net(Lambda(lambda x: x.amax((2, 3))), nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 3)), dynamic="batch")
    write("t_one_sigmoid", net(flat, nn.Linear(flatten, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid()), 16)
    write("t_labels", net(flat, nn.Linear(flatten, 8), nn.Sigmoid(), nn.Linear(8, 3), nn.Sigmoid()), dynamic="batch")
    write("t_l2", net(gap, flat, nn.Linear(6, 8), Lambda(lambda x: F.normalize(x)), nn.Linear(8, 3)), dynamic="batch")
    write("t_l2_map", net(gap, Lambda(lambda x: F.normalize(x)), flat, nn.Linear(6, 3)), 11, dynamic="batch")
    write("t_l2_own", net(flat, nn.Linear(flatten, 8), nn.ReLU(), Lambda(lambda x: x / (x * x).sum(1, keepdim=True).clamp(min=1e-12).sqrt()), nn.Linear(8, 3)), dynamic="batch")
    write("t_conv_head", net(gap, nn.Conv2d(6, 8, 1), nn.ReLU(), nn.Conv2d(8, 3, 1), flat), dynamic="batch")
    write("t_avgpool", net(nn.AvgPool2d(3), flat, nn.Linear(6, 3)), 12, dynamic="batch")
    write("t_view_sizes", net(Lambda(lambda x: x.reshape(x.shape[0], x.shape[1] * x.shape[2] * x.shape[3])), nn.Linear(flatten, 3)), 11, dynamic="all", do_constant_folding=False)
    write("t_view_gap", net(gap, Lambda(lambda x: x.view(x.size(0), x.size(1))), nn.Linear(6, 3)), 13, dynamic="all")
    write("t_squeeze", net(gap, Lambda(lambda x: x.squeeze(-1).squeeze(-1)), nn.Linear(6, 3)), dynamic="batch")
    write("t_unsqueeze", net(Lambda(lambda x: x.mean((2, 3))), Lambda(lambda x: x.unsqueeze(-1).unsqueeze(-1)), nn.Conv2d(6, 3, 1), flat), dynamic="batch")
    write("t_softmax_log", net(gap, flat, nn.Linear(6, 3), Lambda(lambda x: torch.log(x.softmax(1)))), dynamic="batch")
    write("t_own_softmax", net(gap, flat, nn.Linear(6, 3), Lambda(lambda x: (x - x.amax(1, keepdim=True)).exp()), Lambda(lambda x: x / x.sum(1, keepdim=True))), dynamic="batch")
    write("t_own_silu_gelu", net(gap, flat, nn.Linear(6, 8), Lambda(lambda x: torch.sigmoid(x) * x), nn.Linear(8, 8), Lambda(lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5))), nn.Linear(8, 3)), dynamic="batch")
    write("t_prelu_clamp", net(gap, flat, nn.Linear(6, 8), nn.PReLU(), nn.Linear(8, 8), Lambda(lambda x: x.clamp(min=0)), nn.Linear(8, 3)), dynamic="batch")
    write("t_probabilities", net(gap, flat, nn.Linear(6, 1), nn.Sigmoid(), Lambda(lambda p: torch.cat([1 - p, p], 1))), dynamic="batch")
    write("t_affine", net(gap, flat, nn.Linear(6, 8), nn.ReLU(), Lambda(lambda x: (x - 0.25) / 0.5 * torch.linspace(-1, 2, 8) + torch.linspace(1, -1, 8)), nn.Linear(8, 3)), dynamic="batch")

    # Preprocessing.
    normal = lambda m, x: (x - m.mean) / m.std
    write("t_unit_normalize", Before(normal, net(gap, flat, nn.Linear(6, 3))).eval(), dynamic="batch")
    write("t_255_normalize", Before(lambda m, x: (x / 255 - m.mean) / m.std, net(gap, flat, nn.Linear(6, 3))).eval(), dynamic="batch")
    write("t_bgr_mean", Before(lambda m, x: x[:, [2, 1, 0]] * 255 - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1), net(gap, flat, nn.Linear(6, 3))).eval(), dynamic="batch")
    write("t_flip_mean", Before(lambda m, x: x.flip(1) - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1), net(gap, flat, nn.Linear(6, 3))).eval(), dynamic="batch")
    each = lambda m, x: torch.cat([(x[:, i : i + 1] - MEAN[i]) / STD[i] for i in range(3)], 1)
    write("t_each_channel", Before(each, net(gap, flat, nn.Linear(6, 3))).eval(), dynamic="batch")
    inception = lambda m, x: torch.cat([torch.unsqueeze(x[:, i], 1) * (STD[i] / 0.5) + (MEAN[i] - 0.5) / 0.5 for i in range(3)], 1)
    write("t_transform_input", Before(inception, net(gap, flat, nn.Linear(6, 3))).eval(), dynamic="batch")
    write("t_bytes", Before(lambda m, x: (x.permute(0, 3, 1, 2).float() / 255 - m.mean) / m.std, net(gap, flat, nn.Linear(6, 3))).eval(), x=torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8))
    write("t_turned_mean", Before(lambda m, x: x - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1), net(gap, flat, nn.Linear(6, 3))).eval(), dynamic="batch")
    write("t_resize", Before(lambda m, x: F.interpolate(x, (SIDE, SIDE), mode="bilinear"), net(gap, flat, nn.Linear(6, 3))).eval(), side=24)

    write("t_vgg_flat", net(flat, nn.Linear(flatten, 8), nn.ReLU(True), nn.Dropout(), nn.Linear(8, 3)))

    # Several outputs, and what isn't followed.
    class Several(nn.Module):
        def __init__(self, f):
            super().__init__()
            self.net, self.head, self.other, self.f = net(), randomise(nn.Linear(6, 3), 91), randomise(nn.Linear(6, 3), 92), f

        def forward(self, x):
            x = self.net(x)
            return self.f(self, x, x.mean((2, 3)))

    write("t_features_too", Several(lambda m, x, y: (m.head(y), y, x)).eval(), dynamic="batch")
    write("t_argmax", Several(lambda m, x, y: (m.head(y).softmax(1), m.head(y).softmax(1).argmax(1))).eval(), dynamic="batch")
    write("t_class_only", Several(lambda m, x, y: m.head(y).argmax(1)).eval(), dynamic="batch")
    write("t_two_heads", Several(lambda m, x, y: (m.head(y), m.other(y))).eval(), dynamic="batch")
    write("t_gelu_tanh", net(gap, flat, nn.Linear(6, 8), Lambda(lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3)))), nn.Linear(8, 3)))
    write("t_relu6", net(gap, flat, nn.Linear(6, 8), nn.ReLU6(), nn.Linear(8, 3)))
    write("t_hardswish", net(gap, flat, nn.Linear(6, 8), nn.Hardswish(), nn.Linear(8, 3)), 14)
    write("t_l1", net(gap, flat, nn.Linear(6, 8), Lambda(lambda x: F.normalize(x, p=1)), nn.Linear(8, 3)))
    write("t_residual", net(gap, flat, nn.Linear(6, 6), Lambda(lambda x: x + torch.tanh(x)), nn.Linear(6, 3)))
    write("t_adaptive2", net(Lambda(lambda x: F.adaptive_avg_pool2d(x, (1, 3))), flat, nn.Linear(18, 3)))
    write("t_vgg16_flat", net(flat, nn.Linear(6, 8), nn.ReLU(True), nn.Dropout(), nn.Linear(8, 8), nn.ReLU(True), nn.Dropout(), nn.Linear(8, 3), row=(2, 2, "M", 3, 3, "M", 4, 4, 4, "M", 6, 6, 6, "M", 6, 6, 6, "M")), 7, side=32)


# The parts of Keras, of ONNX Runtime's quantiser and of onnx.helper.


def keras_models(folder):
    os.environ["TF_CPP_MIN_LOG_LEVEL"], os.environ["CUDA_VISIBLE_DEVICES"] = "3", ""
    import keras
    import tensorflow as tf
    import tf2onnx
    from keras import layers as L

    seed = 0

    def write(name, row, head, before=lambda x: x, side=SIDE, opset=13, bn=False, **options):
        nonlocal seed
        seed += 1
        keras.utils.set_random_seed(seed)
        x = i = keras.Input((side, side, 3))
        x = before(x)
        for r in row:
            if r == "M":
                x = L.MaxPooling2D()(x)
            elif bn:
                x = L.ReLU()(L.BatchNormalization()(L.Conv2D(r, 3, padding="same", use_bias=False)(x)))
            else:
                x = L.Conv2D(r, 3, padding="same", activation="relu")(x)
        for layer in head:
            x = layer(x)
        m = keras.Model(i, x)
        rng = np.random.default_rng(seed)
        m.set_weights([rng.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else rng.normal(size=w.shape) * (2 / np.prod(w.shape[:-1])) ** 0.5 for w in m.get_weights()])
        spec = (tf.TensorSpec((None, side, side, 3), tf.float32, name="input"),)
        tf2onnx.convert.from_keras(m, input_signature=spec, opset=opset, output_path=f"{folder}/{name}.onnx", **options)

    small, d, bn = (2, "M", 4, "M"), (2, 2, "M", 3, 3, "M", 4, 4, 4, "M", 4, 4, 4, "M", 4, 4, 4, "M"), L.BatchNormalization
    last = lambda: L.Dense(3, activation="softmax")
    write("k_vgg16_bn", d, [L.Flatten(), L.Dense(8, activation="relu"), bn(), L.Dense(7, activation="relu"), bn(), L.Dense(6, activation="relu"), bn(), L.Dropout(0.4), L.Dense(4, activation="softmax")], side=64)
    write("k_gap_bn", small, [L.GlobalAveragePooling2D(), L.Dense(8), bn(), L.ReLU(), last()], opset=17)
    write("k_gap_direct_bn", small, [L.GlobalAveragePooling2D(), bn(), last()])
    write("k_map_bn", small, [bn(), L.GlobalMaxPooling2D(), last()])
    write("k_conv_bn", small, [L.Flatten(), last()], bn=True)
    write("k_keepdims", small, [L.GlobalAveragePooling2D(keepdims=True), L.Conv2D(5, 1, activation="relu"), L.Conv2D(3, 1), L.Flatten(), L.Softmax()])
    write("k_average", small, [L.AveragePooling2D(3), L.Flatten(), last()])
    write("k_reshape", small, [L.GlobalAveragePooling2D(), L.Reshape((1, 1, 4)), L.Conv2D(3, 1), L.Reshape((3,)), L.Softmax()])
    for f in ("elu", "gelu", "silu", "tanh", "sigmoid", "leaky_relu", "log_softmax"):
        head = [L.Dense(6, activation=f), last()] if f != "log_softmax" else [L.Dense(3, activation=f)]
        write(f"k_{f}", small, [L.GlobalAveragePooling2D(), *head], opset=18 if f == "gelu" else 13)
    write("k_one_sigmoid", small, [L.GlobalAveragePooling2D(), L.Dense(1, activation="sigmoid")])
    write("k_l2", small, [L.GlobalAveragePooling2D(), L.Dense(6), L.UnitNormalization(), last()])
    write("k_nchw", small, [L.Flatten(), last()], inputs_as_nchw=["input"])
    end = [L.GlobalAveragePooling2D(), L.Dense(3, activation="softmax")]
    write("k_rescaling", small, end, L.Rescaling(1 / 127.5, offset=-1))
    write("k_normalization", small, end, lambda x: L.Normalization(mean=[123.0, 117.0, 104.0], variance=[58.0**2, 57.0**2, 56.0**2])(x))
    write("k_caffe", small, end, keras.applications.vgg16.preprocess_input)
    write("k_torch", small, end, lambda x: keras.applications.imagenet_utils.preprocess_input(x, mode="torch"))
    write("k_tf", small, end, lambda x: keras.applications.imagenet_utils.preprocess_input(x, mode="tf"))


def quantised_models(folder):
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self, shape):
            self.batches = iter([{"input": noise(2, SIDE, SIDE)}])

        def get_next(self):
            return next(self.batches, None)

    import logging

    logging.disable(logging.WARNING)
    for of in ("t_gap_bn", "t_vgg_flat"):
        path, prepared = f"{folder}/{of}.onnx", f"{folder}/prepared.onnx"
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        for name, options in {
            "qdq": dict(quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8),
            "qdq_int8": dict(quant_format=QuantFormat.QDQ, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8),
            "qoperator": dict(quant_format=QuantFormat.QOperator, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8),
        }.items():
            quantize_static(prepared, f"{folder}/q_{of[2:]}_{name}.onnx", Reader(None), **options)
        quantize_dynamic(prepared, f"{folder}/q_{of[2:]}_dynamic.onnx", weight_type=QuantType.QUInt8)
        os.remove(prepared)


class Graph:
    """A graph being built: two convolutions with their poolings, and what is added."""

    def __init__(self, seed):
        from onnx import helper

        self.helper, self.rng, self.nodes, self.tensors, self.x, self.count = helper, np.random.default_rng(seed), [], [], "input", 0

    def constant(self, a, dtype="f4", raw=True):
        from onnx import numpy_helper

        self.count += 1
        a = np.asarray(a, dtype)
        t = numpy_helper.from_array(a, f"c{self.count}")
        if not raw:
            t = self.helper.make_tensor(t.name, t.data_type, a.shape, a.flatten().tolist())
        self.tensors.append(t)
        return t.name

    def draw(self, *shape):
        return (self.rng.normal(size=shape) * (1.6 / np.prod(shape[1:]) ** 0.5 if len(shape) > 1 else 0.3)).astype("f4")

    def node(self, op, *inputs, value=None, **attributes):
        self.count += 1
        y = value or f"v{self.count}"
        self.nodes.append(self.helper.make_node(op, list(inputs), [y], f"{op.lower()}{self.count}", **attributes))
        return y

    def then(self, op, *inputs, **attributes):
        self.x = self.node(op, self.x, *inputs, **attributes)
        return self

    def features(self, weight=lambda g, w: g.constant(w), bias=lambda g, b: g.constant(b)):
        for c, k in ((3, 4), (4, 6)):
            self.then("Conv", weight(self, self.draw(k, c, 3, 3)), bias(self, self.draw(k)), pads=[1] * 4).then("Relu")
            self.then("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        return self

    def pools(self, *ops):
        self.features()
        self.x = self.node("Concat", *[self.node(op, self.x) for op in ops], axis=1)
        return self

    def gap(self):
        return self.then("GlobalAveragePool").then("Flatten")

    def fc(self, i, o):
        return self.then("Gemm", self.constant(self.draw(o, i)), self.constant(self.draw(o)), transB=1)

    def save(self, path, opset=13, ir=8, metadata={}, shape=("N", 3, SIDE, SIDE), inputs=(), outputs=("output",), domains={}, functions=(), checked=True, elem=1):
        import onnx

        h = self.helper
        self.nodes[-1].output[0] = "output"
        ports = [h.make_tensor_value_info(n, elem, shape) for n in ("input", *inputs)]
        graph = h.make_graph(self.nodes, "g", ports, [h.make_tensor_value_info(n, 1, ["N", "K"]) for n in outputs], self.tensors)
        model = h.make_model(graph, ir_version=ir, functions=list(functions), opset_imports=[h.make_opsetid("", opset)] + [h.make_opsetid(d, v) for d, v in domains.items()])
        h.set_model_props(model, metadata)
        if checked:
            onnx.checker.check_model(model, full_check=not domains)
        pathlib.Path(path).write_bytes(model.SerializeToString())


def helper_models(folder):
    import onnx
    from onnx import helper

    seed = 500

    def graph():
        nonlocal seed
        seed += 1
        return Graph(seed)

    def write(name, g, **options):
        g.save(f"{folder}/{name}.onnx", **options)

    def whole(dtype, zero, channels, raw=True):
        """Weights of whole numbers."""
        def weight(g, w, axis=0):
            q = np.iinfo(dtype)
            largest = np.abs(w).max(axis=tuple(a for a in range(w.ndim) if a != axis)) if channels else np.abs(w).max()
            scale = np.asarray(largest / 127, "f4")
            shape = [-1 if a == axis else 1 for a in range(w.ndim)] if channels else []
            at = np.clip(np.round(w / scale.reshape(shape)) + zero, q.min, q.max).astype(dtype)
            zeros = [g.constant(np.full(scale.shape, zero), dtype)] if zero is not None else []
            return g.node("DequantizeLinear", g.constant(at, dtype, raw), g.constant(scale), *zeros, **({"axis": axis} if channels else {}))
        return weight

    def bias(g, b):
        scale = np.float32(np.abs(b).max() / 1e6)
        return g.node("DequantizeLinear", g.constant(np.round(b / scale), "i4"), g.constant(scale))

    for name, w in {"uint8": whole("u1", 128, False), "int8_channels": whole("i1", 0, True), "int8_fields": whole("i1", 3, False, False), "int16": whole("i2", 0, True)}.items():
        g = graph().features(w, bias).gap()
        write(f"h_weights_{name}", g.then("MatMul", w(g, g.draw(6, 8), 1)).then("Add", bias(g, g.draw(8))).then("Relu").fc(8, 3), opset=21 if name == "int16" else 13, ir=10)
    g = graph().features().gap()
    scale = g.constant(0.01)
    q = g.node("QuantizeLinear", g.constant(g.draw(8, 6)), scale, g.constant(0, "i1"))
    write("h_weights_rounded", g.then("Gemm", g.node("DequantizeLinear", q, scale, g.constant(0, "i1")), transB=1).then("Relu").fc(8, 3))
    g = graph().features().gap()
    write("h_gemm_factors", g.then("Gemm", g.constant(g.draw(6, 8)), g.constant(g.draw(1, 8)), alpha=0.5, beta=2.0).then("Relu").fc(8, 3))
    write("h_gelu", graph().features().gap().fc(6, 8).then("Gelu").fc(8, 3), opset=20, ir=9)
    write("h_gelu_approximate", graph().features().gap().fc(6, 8).then("Gelu", approximate="tanh").fc(8, 3), opset=20, ir=9)
    write("h_swish", graph().features().gap().fc(6, 8).then("Swish").fc(8, 3), opset=24, ir=11)
    write("h_lpnorm", graph().features().gap().fc(6, 8).then("LpNormalization", axis=1).fc(8, 3))
    g = graph().features()
    g.then("ReduceMean", g.constant([2, 3], "i8"), keepdims=0).fc(6, 8)
    norm = g.node("Clip", g.node("ReduceL2", g.x, g.constant([1], "i8")), g.constant(1e-12))
    write("h_reduce_op18", g.then("Div", norm).fc(8, 3).then("Softmax"), opset=18)
    g = graph().features()
    write("h_max_op22", g.then("ReduceMax", g.constant([-1, -2], "i8")).then("Squeeze", g.constant([2, 3], "i8")).fc(6, 3).then("Softmax"), opset=22, ir=10)
    g = graph().features().gap().fc(6, 8)
    mean, var, gamma, beta = (g.constant(x) for x in (g.draw(8), g.rng.uniform(0.5, 2, 8), g.draw(8), g.draw(8)))
    inverse = g.node("Mul", g.node("Reciprocal", g.node("Sqrt", g.node("Add", var, g.constant(1e-3)))), gamma)
    write("h_bn_unfolded", g.then("Mul", inverse).then("Add", g.node("Sub", beta, g.node("Mul", mean, inverse))).then("Relu").fc(8, 3))
    g = graph().features().gap()
    write("h_clip_op7", g.fc(6, 8).then("Clip", min=0.0).fc(8, 3).then("Identity"), opset=7, ir=3, checked=False)
    g = graph()
    g.then("BatchNormalization", *(g.constant(v) for v in ([2.0, 1.5, 1], [0.1, 0.2, 0.3], MEAN, np.square(STD))), epsilon=1e-5)
    write("h_input_bn", g.features().gap().fc(6, 3))
    g = graph().then("Cast", to=10)
    half = lambda g, w: g.constant(w, "f2")
    g.features(half, half).gap().then("Gemm", half(g, g.draw(3, 6)), half(g, g.draw(3)), transB=1)
    write("h_float16", g.then("Softmax", axis=-1).then("Cast", to=1))
    g = graph().features().gap().fc(6, 3)
    g.tensors[0].name = g.nodes[0].input[1] = "conv1_1/weight"
    write("h_names", g.then("Softmax"), metadata={"names": "{0: 'tabby cat', 1: \"dog's\", 2: 'écureuil'}", "task": "classify", "imgsz": "[12, 12]"})
    write("h_classes", graph().features().gap().fc(6, 3).then("Softmax"), metadata={"class_names": '["tabby cat", "dog\'s", "écureuil"]'})
    write("h_max_average", graph().pools("GlobalMaxPool", "GlobalAveragePool").then("Flatten").fc(12, 3).then("Softmax"))
    g = graph().features()
    pools = [g.node("Flatten", g.node("GlobalMaxPool", g.x)), g.node("Flatten", g.node("GlobalAveragePool", g.x))]
    g.x = g.node("Concat", *pools, axis=-1)
    write("h_max_average_flat", g.fc(12, 3).then("Softmax"))
    write("h_average_max", graph().pools("GlobalAveragePool", "GlobalMaxPool").then("Flatten").fc(12, 3).then("Softmax"))
    g = graph()
    for c, k in ((3, 4), (4, 6)):
        g.then("Conv", g.constant(g.draw(k, c, 3, 3)), g.constant(g.draw(k)), auto_pad="SAME_UPPER").then("Relu")
        g.then("MaxPool", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER")
    write("h_same", g.gap().fc(6, 3).then("Softmax"))
    g = graph()
    g.then("Conv", g.constant(g.draw(4, 3, 3, 3)), g.constant(g.draw(4)), pads=[1] * 4).then("Relu").then("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    write("h_ceil", g.gap().fc(4, 3).then("Softmax"))
    g = graph()
    for c, k in ((3, 4), (4, 6)):
        g.then("Conv", g.constant(g.draw(k, c, 3, 3)), g.constant(g.draw(k)), pads=[1] * 4).then("Relu").then("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    write("h_ceil_odd", g.gap().fc(6, 3).then("Softmax"), shape=("N", 3, 14, 14))
    write("h_softmax_tanh", graph().features().gap().fc(6, 3).then("Softmax").then("Tanh"))
    g = graph().then("Cast", to=1)
    write("h_bytes", g.features().gap().fc(6, 3).then("Softmax"), elem=2)
    write("h_unused_input", graph().features().gap().fc(6, 3).then("Softmax"), inputs=["keras_learning_phase"])
    write("h_headless", graph().features().then("GlobalAveragePool").then("Flatten"))
    g = graph().features().gap().fc(6, 8)
    six = [g.constant(6 / 255), g.constant(0, "u1")]
    q = g.node("QuantizeLinear", g.x, *six)
    g.x = g.node("DequantizeLinear", q, *six)
    write("h_relu6_quantised", g.fc(8, 3))
    g = graph().features().gap().fc(6, 3)
    g.constant(np.zeros(5))
    g.node("Relu", g.x, value="unused")
    write("h_idle", g.then("Softmax"))

    # What isn't followed.
    g = graph().features().gap().fc(6, 3)
    branch = helper.make_graph([helper.make_node("Identity", [g.x], ["then"])], "then", [], [helper.make_tensor_value_info("then", 1, None)])
    other = helper.make_graph([helper.make_node("Neg", [g.x], ["else"])], "else", [], [helper.make_tensor_value_info("else", 1, None)])
    condition = g.node("Equal", g.node("Gather", g.node("Shape", g.x), g.constant(1, "i8")), g.constant(1, "i8"))  # as torch.jit.script writes squeeze(1)
    g.nodes.append(helper.make_node("If", [condition], ["v"], "choice", then_branch=branch, else_branch=other))
    write("h_if", g)
    g = graph().features().gap().fc(6, 8)
    g.x = g.node("FusedGelu", g.x, domain="com.example")
    write("h_domain", g.fc(8, 3), domains={"com.example": 1})
    f = helper.make_function("pkg.local", "Half", ["x"], ["y"], [helper.make_node("Mul", ["x", "x"], ["y"])], [helper.make_opsetid("", 18)])
    g = graph().features().gap().fc(6, 8)
    g.x = g.node("Half", g.x, domain="pkg.local")
    write("h_function", g.fc(8, 3), opset=18, domains={"pkg.local": 1}, functions=[f])
    for op, more in {"HardSigmoid": {}, "Selu": {}, "Celu": {"alpha": 2.0}, "Softplus": {}, "Elu": {"alpha": 0.5}, "ThresholdedRelu": {}}.items():
        write(f"h_{op.lower()}", graph().features().gap().fc(6, 8).then(op, **more).fc(8, 3))
    g = graph().features().gap()
    write("h_two_inputs", g.fc(6, 3).then("Add", "second"), inputs=["second"], checked=False)
    g = graph()
    write("h_dynamic_weight", g.then("Conv", g.node("Reshape", g.x, g.constant([4, 3, 3, -1], "i8"))).then("Relu"), checked=False)
    g = graph().features()
    write("h_softmax_op9", g.then("Softmax", axis=1).then("Flatten").fc(54, 3), opset=9, ir=4, checked=False)
    g = graph().features(whole("i1", 0, False)).gap()
    q = g.node("QuantizeLinear", g.x, g.constant(0.05), g.constant(0, "u1"))
    g.x = g.node("MatMulInteger", q, g.constant(g.rng.integers(-9, 9, (6, 3)), "i1"))
    write("h_integer_alone", g.then("Cast", to=1))


# What the files must give.


def remove(path):
    """The model with the weights of a quantised one in float32, and nothing else quantised."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    g = model.graph
    values = {t.name: numpy_helper.to_array(t) for t in g.initializer}
    made = {o: n for n in g.node for o in n.output}
    nodes, replaced, done = [], {}, set()
    at = lambda name: replaced.get(name, name)

    def whole(q, scale, zero, axis):
        s, z = values[scale], values[zero].astype("i4") if zero else 0
        shape = [-1 if a == axis else 1 for a in range(values[q].ndim)] if np.size(s) > 1 else []
        return ((values[q].astype("i4") - np.reshape(z, shape if np.size(z) > 1 else [])) * np.reshape(s, shape)).astype("f4")

    def constant(name, a):
        g.initializer.append(numpy_helper.from_array(a, name))
        return name

    for n in g.node:
        i = list(n.input) + [""] * 9
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute}
        if n.op_type == "DequantizeLinear" and i[0] in values:
            constant(n.output[0], whole(i[0], i[1], i[2], attributes.get("axis", 1)))
            continue
        if n.op_type in ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"):
            y = at(i[0])
            if n.op_type == "QuantizeLinear" and values[i[2]] == np.iinfo(values[i[2]].dtype).min and i[0] != "input":
                nodes.append(onnx.helper.make_node("Relu", [y], [n.output[0]]))  # which the quantiser left out
                y = n.output[0]
            replaced[n.output[0]] = y
            continue
        if n.op_type in ("QLinearConv", "QLinearMatMul", "QGemm"):
            gemm = n.op_type == "QGemm"
            axis = 0 if n.op_type == "QLinearConv" or attributes.get("transB") else 1
            inputs = [at(i[0]), constant(n.output[0] + "_w", whole(i[3], i[4], i[5], axis))]
            b, y_zero = (i[6], i[8]) if gemm else (i[8], i[7])
            if b:
                inputs.append(constant(n.output[0] + "_b", (values[b] * values[i[1]] * values[i[4]]).astype("f4")))
            nodes.append(onnx.helper.make_node({"QLinearConv": "Conv", "QLinearMatMul": "MatMul", "QGemm": "Gemm"}[n.op_type], inputs, [n.output[0] + "_y"], **attributes))
            relu = y_zero and values[y_zero] == np.iinfo(values[y_zero].dtype).min
            nodes.append(onnx.helper.make_node("Relu" if relu else "Identity", [n.output[0] + "_y"], [n.output[0]]))
            continue
        if n.op_type in ("MatMulInteger", "ConvInteger"):
            cast = next(m for m in g.node if n.output[0] in m.input)
            product = next(m for m in g.node if cast.output[0] in m.input)
            scales = made[next(x for x in product.input if x != cast.output[0])]
            w_scale = next(x for x in scales.input if x in values)
            w = constant(n.output[0] + "_w", whole(i[1], w_scale, i[3], 1 if n.op_type == "MatMulInteger" else 0))
            nodes.append(onnx.helper.make_node("MatMul" if n.op_type == "MatMulInteger" else "Conv", [at(i[0]), w], [product.output[0]], **attributes))
            done |= {cast.output[0], scales.output[0], product.output[0]}
            nodes[:] = [m for m in nodes if m is not scales]
            continue
        if n.op_type == "QLinearGlobalAveragePool":
            nodes.append(onnx.helper.make_node("GlobalAveragePool", [at(i[0])], [n.output[0]]))
            continue
        if n.output[0] in done:
            continue
        for k, x in enumerate(n.input):
            n.input[k] = at(x)
        nodes.append(n)
    for out in g.output:
        if out.name in replaced:
            nodes.append(onnx.helper.make_node("Identity", [replaced[out.name]], [out.name]))
    del g.node[:]
    g.node.extend(nodes)
    return model.SerializeToString()


# By file: the error; or how the posteriors are made of the first output, "softmax" unless given, and what the input is.
ERRORS = {
    "t_turned_mean": "--preprocess", "t_resize": "(Resize): resizes the pictures", "t_two_heads": "extract_model", "t_gelu_tanh": "approximated by tanh",
    "t_relu6": "(Clip): not an operator that is followed: a rectification bounded by 6 (ReLU6)", "t_hardswish": "hard swish", "t_l1": "(ReduceL1)",
    "t_residual": "joins two branches", "t_adaptive2": "AdaptiveAvgPool2d here, which torch.onnx.export writes so", "h_gelu_approximate": "approximated by tanh", "h_if": "(If): a choice made while the graph runs",
    "h_domain": "operator of domain com.example", "h_function": "onnx.inliner", "h_hardsigmoid": "hard sigmoid", "h_selu": "SELU", "h_celu": "(Celu)",
    "h_softplus": "(Softplus)", "h_elu": "alpha 0.5, want 1", "h_thresholdedrelu": "(ThresholdedRelu)", "h_two_inputs": "2 inputs (input, second)",
    "h_dynamic_weight": "(Reshape)", "h_softmax_op9": "in opset 9, over all axes", "h_integer_alone": "(MatMulInteger)",
    "h_average_max": "a second branch", "h_ceil_odd": "ceil_mode 1", "h_softmax_tanh": "after the soft-max", "h_relu6_quantised": "ReLU6",
    "t_transform_input": "don't tell the range of the pixels",
}
ENDINGS = {"softmax": lambda y: np.exp(y - y.max(1, keepdims=True)) / np.exp(y - y.max(1, keepdims=True)).sum(1, keepdims=True), "": lambda y: y, "log": np.exp, "one": lambda p: np.concatenate([1 - p, p], 1)}
END = {
    "log": ["t_gmp_leaky_logsoftmax", "t_softmax_log", "k_log_softmax"], "one": ["t_one_sigmoid", "k_one_sigmoid"],
    "": ["t_mean_elu_softmax", "t_labels", "t_own_softmax", "t_probabilities", "t_argmax", "h_reduce_op18", "h_max_op22", "h_float16", "h_names", "h_bytes", "h_idle", "h_classes", "h_max_average", "h_max_average_flat", "h_same", "h_ceil", "h_unused_input"],
}
PIXELS = ["t_255_normalize", "t_flip_mean", "t_bytes", "k_rescaling", "k_normalization", "k_caffe", "k_torch", "k_tf", "h_bytes"]
UNIT = ["t_unit_normalize", "t_bgr_mean", "t_each_channel", "h_input_bn"]


def expected(path):
    import onnx
    import onnxruntime

    name = path.stem
    if name in ERRORS:
        return {"error": ERRORS[name]}
    model = onnx.load(path)
    for n in model.graph.node:  # of tf2onnx, which ONNX doesn't have
        if n.op_type == "Erfc":
            erf = n.output[0] + "_erf"
            model.graph.node.append(onnx.helper.make_node("Erf", [n.input[0]], [erf]))
            one = onnx.numpy_helper.from_array(np.ones((), "f4"), erf + "_one")
            model.graph.initializer.append(one)
            n.CopyFrom(onnx.helper.make_node("Sub", [one.name, erf], list(n.output)))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    port = model.graph.input[0]
    shape = [d.dim_value or 2 if i == 0 else d.dim_value or SIDE + 1 for i, d in enumerate(port.type.tensor_type.shape.dim)]
    last = shape[3] == 3
    n, h, w = (shape[0], *shape[1:3]) if last else (shape[0], *shape[2:])
    kind = "pixels" if name in PIXELS else "unit" if name in UNIT else "noise"
    x = noise(n, h, w) if kind == "noise" else pixels(n, h, w).transpose(0, 3, 1, 2) / (255 if kind == "unit" else 1)
    x = x.transpose(0, 2, 3, 1) if last else x
    x = x.astype("u1" if port.type.tensor_type.elem_type == onnx.TensorProto.UINT8 else "f4")
    end = next((e for e, names in END.items() if name in names), "" if name.startswith("k_") else "softmax")

    def posteriors(file):
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        y = session.run(None, {p.name: x for p in session.get_inputs()})[0]
        if name in ("t_class_only", "h_headless"):
            return y.tolist()
        return ENDINGS[end](y.astype("f8")).tolist()

    want = {"input": kind, "shape": [n, h, w], "posteriors": posteriors(model.SerializeToString())}
    if path.stem.startswith("q_"):
        want["quantised"], want["posteriors"] = want["posteriors"], posteriors(remove(path))
    return want


def soften(path):
    """Halves the last layer's weights until no posterior is nearly 1, which would tell little."""
    import onnx
    from onnx import numpy_helper

    for _ in range(10):
        p = np.asarray(expected(path)["posteriors"])
        if p.max() < 0.97:
            return
        model = onnx.load(path)
        values = {t.name: t for t in model.graph.initializer}
        last = [n for n in model.graph.node if n.op_type in ("Gemm", "MatMul", "Conv")][-1]
        after = [n for n in model.graph.node if n.op_type == "Add" and last.output[0] in n.input]
        names = [x for n in [last, *after] for x in n.input if x in values]
        assert names, path
        for name in names:
            a = numpy_helper.to_array(values[name])
            values[name].CopyFrom(numpy_helper.from_array((a / 2).astype(a.dtype), name))
        path.write_bytes(model.SerializeToString())
    raise SystemExit(f"{path}: posteriors {p}")


def make():
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.glob("*.onnx"):
        old.unlink()
    subprocess.run([os.environ.get("TORCH_PYTHON", sys.executable), __file__, "torch", str(OUT)], check=True)
    keras_models(OUT)
    helper_models(OUT)
    for path in sorted(OUT.glob("*.onnx")):
        if path.stem not in ERRORS and path.stem not in ("t_class_only", "h_headless"):
            soften(path)
    quantised_models(OUT)
    files = sorted(OUT.glob("*.onnx"))
    all = {f.stem: expected(f) for f in files}
    (OUT / "expected.json").write_text(json.dumps(all, ensure_ascii=False, indent=1).replace("\n     ", "").replace("\n    ]", "]") + "\n")
    print(len(files), "files,", sum(f.stat().st_size for f in OUT.iterdir()), "bytes")


if __name__ == "__main__":
    if sys.argv[1:] == ["make"]:
        from pack import packed

        with packed(OUT):
            make()
    elif len(sys.argv) == 3 and sys.argv[1] == "torch":
        import warnings

        warnings.filterwarnings("ignore")
        torch_models(sys.argv[2])
    else:
        sys.exit(__doc__)

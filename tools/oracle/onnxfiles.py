#!/usr/bin/python3
"""Writes ONNX models of tiny networks as common tools write them.

    onnxfiles.py make                  write weights/testdata/onnx
    onnxfiles.py check FILE N H W …    check each FILE with onnx's checker, run it with ONNX
                                       Runtime on tiny.image(N, H, W), print outputs as JSON

Each NAME.onnx has a NAME.safetensors with the logits of tiny.image() before any soft-max,
which PyTorch computes in float64. This script fails if ONNX Runtime computes others.
torch.onnx.export writes torch_*. onnx.helper writes the rest: dynamo_*, the graph of later
versions of torch.onnx.export; keras_*, the graphs of tf2onnx for Keras's VGG, with its
transpositions; zoo_*, the graphs of the model zoo's VGG-19 (Caffe2) and VGG-16 (MXNet).

Needs torch, onnx and onnxruntime (`check`: the last two and numpy).
"""
import json
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

NHWC, NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


def run(model, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.astype("f4")})[0]


def image(n, h, w):
    """tiny.image() without PyTorch."""
    i = np.arange(n * 3 * h * w, dtype=np.int64)
    return (i * 40503 % 65536 // 256 - 128).astype("f4").reshape(n, 3, h, w)


def check(path, n, h, w):
    onnx.checker.check_model(path, full_check=True)
    y = run(path, image(n, h, w))
    metadata = {p.key: p.value for p in onnx.load(path).metadata_props}
    return {"shape": y.shape, "output": y.flatten().tolist(), "metadata": metadata}


class Graph:
    """A graph being built: the value it has come to, nodes and initialisers."""

    def __init__(self, store="raw"):
        self.nodes, self.initializers, self.store = [], [], store
        self.x, self.count = "input", 0

    def constant(self, name, a, typ=None):
        a = np.ascontiguousarray(a)
        if a.dtype == np.int64:
            t = numpy_helper.from_array(a, name)
        elif self.store == "raw":
            t = numpy_helper.from_array(a.astype("f4"), name)
        elif self.store == "float_data":
            t = helper.make_tensor(name, TensorProto.FLOAT, a.shape, a.flatten().tolist())
        else:  # float16, one per int32_data, cast when the graph runs
            t = helper.make_tensor(name + "_half", getattr(TensorProto, self.store), a.shape, a.flatten().tolist())
            self.nodes.append(helper.make_node("Cast", [name + "_half"], [name], name + "_cast", to=TensorProto.FLOAT))
        self.initializers.append(t)
        return name

    def node(self, op, *inputs, name=None, extra=(), **attributes):
        self.count += 1
        out = f"{name or op}_{self.count}:0"
        self.nodes.append(helper.make_node(op, [self.x, *inputs], [out, *extra], name if name is not None else f"{op}_{self.count}", **attributes))
        self.x = out

    def model(self, shape, opset, ir, classes, producer, inputs_too=False):
        self.nodes[-1].output[0] = "output"
        ports = [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)]
        if inputs_too:  # IR 3
            ports += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in self.initializers]
        out = helper.make_tensor_value_info("output", TensorProto.FLOAT, [shape[0], classes])
        graph = helper.make_graph(self.nodes, "graph", ports, [out], self.initializers)
        model = helper.make_model(graph, producer_name=producer, ir_version=ir, opset_imports=[helper.make_opsetid("", opset)])
        onnx.checker.check_model(model, full_check=True)
        return model


def keras(net, optimised):
    """NHWC: optimised, with the transpositions that are left at the ends; else with one on either side of every
    operator that wants NCHW, kernels as Keras has them, and zero padding by itself."""
    g, p = Graph(), {k: v.numpy() for k, v in net.params.items()}
    if optimised:
        g.node("Transpose", name="transpose_in", perm=NCHW)
    for kind, n, _, r in net.layers:
        name = f"StatefulPartitionedCall/vgg/{n}"
        if kind == "conv" and optimised:
            w = g.constant(f"{name}/Conv2D/ReadVariableOp:0", p[f"{n}.weight"])
            b = g.constant(f"{name}/BiasAdd/ReadVariableOp:0", p[f"{n}.bias"])
            g.node("Conv", w, b, name=f"{name}/BiasAdd", pads=[r // 2] * 4, kernel_shape=[r, r], strides=[1, 1])
            g.node("Relu", name=f"{name}/Relu")
        elif kind == "conv":
            w = g.constant(f"{name}/kernel", p[f"{n}.weight"].transpose(2, 3, 1, 0))
            g.nodes.append(helper.make_node("Transpose", [w], [f"{name}/kernel_oihw"], f"{name}/t", perm=[3, 2, 0, 1]))
            if r == 3 and n.endswith("_1"):
                pads = g.constant(f"{name}/pads", np.array([0, 1, 1, 0, 0, 1, 1, 0]))
                g.node("Pad", pads, name=f"{name}/Pad")
                g.node("Transpose", name=f"{name}/before", perm=NCHW)
                g.node("Conv", f"{name}/kernel_oihw", name=f"{name}/Conv2D", auto_pad="VALID", strides=[1, 1])
            else:
                g.node("Transpose", name=f"{name}/before", perm=NCHW)
                g.node("Conv", f"{name}/kernel_oihw", name=f"{name}/Conv2D", auto_pad="SAME_UPPER", strides=[1, 1])
            g.node("Transpose", name=f"{name}/after", perm=NHWC)
            g.node("Add", g.constant(f"{name}/bias", p[f"{n}.bias"]), name=f"{name}/BiasAdd")
            g.node("Relu", name=f"{name}/Relu")
        else:
            if not optimised:
                g.node("Transpose", name=f"{name}/before", perm=NCHW)
            g.node("MaxPool", name=f"{name}/MaxPool", kernel_shape=[2, 2], strides=[2, 2])
            if not optimised:
                g.node("Transpose", name=f"{name}/after", perm=NHWC)
    if optimised:
        g.node("Transpose", name="transpose_out", perm=NHWC)
    c = net.params["fc6.weight"].shape[1] // 4
    g.node("Reshape", g.constant("const_fold", np.array([-1, 4 * c])), name="StatefulPartitionedCall/vgg/flatten/Reshape")
    for n in ("fc6", "fc7", "fc8"):
        name, w = f"StatefulPartitionedCall/vgg/{n}", p[f"{n}.weight"]
        if n == "fc6":  # units in the order (H,W,C)
            w = w.reshape(-1, c, 2, 2).transpose(0, 2, 3, 1).reshape(len(w), -1)
        g.node("MatMul", g.constant(f"{name}/MatMul/ReadVariableOp:0", w.T), name=f"{name}/MatMul")
        g.node("Add", g.constant(f"{name}/BiasAdd/ReadVariableOp:0", p[f"{n}.bias"]), name=f"{name}/BiasAdd")
        g.node("Softmax" if n == "fc8" else "Relu", name=f"{name}/{'Softmax' if n == 'fc8' else 'Relu'}", **({"axis": -1} if n == "fc8" else {}))
    return g


def plain(net, flatten, store="raw", softmax=True, names=True):
    """NCHW with Gemm. flatten: flatten (each Gemm has one before it, as MXNet writes them) or reshape (Caffe2)."""
    g, p = Graph(store), {k: v.numpy() for k, v in net.params.items()}
    named = (lambda n: n) if names else (lambda n: "")
    for kind, n, _, r in net.layers:
        if kind == "conv":
            g.node("Conv", g.constant(f"{n}_w_0", p[f"{n}.weight"]), g.constant(f"{n}_b_0", p[f"{n}.bias"]),
                   name=named(n), kernel_shape=[r, r], pads=[r // 2] * 4, strides=[1, 1], dilations=[1, 1], group=1)
            g.node("Relu", name=named(f"relu{n[4:]}"))
        elif kind == "lrn":
            g.node("LRN", name=named(n), size=5, alpha=5e-4, beta=0.75, bias=2.0)
        else:
            g.node("MaxPool", name=named(n), kernel_shape=[2, 2], pads=[0] * 4, strides=[2, 2])
    for n in ("fc6", "fc7", "fc8"):
        w = p[f"{n}.weight"]
        if flatten == "flatten":
            g.node("Flatten", name=named(f"flatten_{n}"))
        elif n == "fc6":
            g.node("Reshape", g.constant("OC2_DUMMY_0", np.array([2, w.shape[1]])), name=named("flatten"))
        g.node("Gemm", g.constant(f"{n}_w_0", w), g.constant(f"{n}_b_0", p[f"{n}.bias"]), name=named(n), transB=1)
        if n != "fc8":
            g.node("Relu", name=named(f"relu{n[2:]}"))
            g.node("Dropout", name=named(f"drop{n[2:]}"), extra=[f"_{n}_mask"])
    if softmax:
        g.node("Softmax", name=named("prob"), axis=1)
    return g


def dynamo(net):
    """As torch.onnx.export(dynamo=True) writes torchvision's class with a dynamic batch, unoptimised: transposed
    weights, average pooling of single pixels, a shape of the batch and a constant."""
    g, p, i = Graph(), {k: v.numpy() for k, v in net.params.items()}, 0
    for kind, n, _, r in net.layers:
        if kind == "conv":
            g.node("Conv", g.constant(f"features.{i}.weight", p[f"{n}.weight"]), g.constant(f"features.{i}.bias", p[f"{n}.bias"]), name=f"node_conv2d_{i}",
                   group=1, pads=[r // 2] * 4, auto_pad="NOTSET", strides=[1, 1], dilations=[1, 1])
            g.node("Relu", name=f"node_relu_{i}")
            i += 2
        else:
            g.node("MaxPool", name=f"node_max_pool2d_{i}", storage_order=0, dilations=[1, 1], ceil_mode=0, pads=[0] * 4, auto_pad="NOTSET",
                   strides=[2, 2], kernel_shape=[2, 2])
            i += 1
    g.node("AveragePool", name="node_avg_pool", kernel_shape=[1, 1], strides=[1, 1], pads=[0] * 4, count_include_pad=1, ceil_mode=0)
    units = p["fc6.weight"].shape[1]
    g.nodes += [helper.make_node("Shape", ["input"], ["batch"], "node_Shape", start=0, end=1),
                helper.make_node("Constant", [], ["units"], "node_Constant", value=numpy_helper.from_array(np.array([units]))),
                helper.make_node("Concat", ["batch", "units"], ["shape"], "node_Concat", axis=0)]
    g.node("Reshape", "shape", name="node_view", allowzero=1)
    for i, n in ((0, "fc6"), (3, "fc7"), (6, "fc8")):
        w = g.constant(f"classifier.{i}.weight", p[f"{n}.weight"])
        g.nodes.append(helper.make_node("Transpose", [w], [f"t_{i}"], f"node_t_{i}", perm=[1, 0]))
        b = g.constant(f"classifier.{i}.bias", p[f"{n}.bias"])
        if i == 3:  # older versions don't fuse these
            g.node("MatMul", f"t_{i}", name=f"node_mm_{i}")
            g.node("Add", b, name=f"node_add_{i}")
        else:
            g.node("Gemm", f"t_{i}", b, name=f"node_addmm_{i}", alpha=1.0, beta=1.0, transA=0, transB=0)
        if i < 6:
            g.node("Relu", name=f"node_relu_fc{i}")
            g.node("Identity", name=f"node_clone_{i}")
    return g


def torchvision(net, flatten):
    """The network as torchvision's class has it, and its state dict's names."""
    import torch
    from torch import nn

    layers, c, p = [], 3, net.params
    state = {}
    for kind, n, k, r in net.layers:
        if kind == "conv":
            pairs = [("weight", "weight"), ("bias", "bias")]
            state |= {f"features.{len(layers)}.{a}": p[f"{n}.{b}"] for a, b in pairs}
            layers.append(nn.Conv2d(c, k, r, padding=r // 2))
            if net.bn:
                state |= {f"features.{len(layers)}.{a}": p[f"{n}.bn.{a}"] for a in ("weight", "bias", "running_mean", "running_var")}
                layers.append(nn.BatchNorm2d(k))
            layers.append(nn.ReLU(inplace=True))
            c = k
        else:
            layers.append(nn.MaxPool2d(2, 2))

    class VGG(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.avgpool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d((2, 2))
            self.classifier = nn.Sequential(nn.Linear(c * 4, 8), nn.ReLU(True), nn.Dropout(), nn.Linear(8, 8), nn.ReLU(True), nn.Dropout(),
                                            nn.Linear(8, 5))

        def forward(self, x):
            x = self.features(x)
            x = torch.flatten(self.avgpool(x), 1) if flatten == "flatten" else x.view(x.size(0), -1)
            return self.classifier(x)

    for i, n in enumerate(("fc6", "fc7", "fc8")):
        state |= {f"classifier.{3 * i}.{a}": p[f"{n}.{a}"] for a in ("weight", "bias")}
    m = VGG().eval()
    m.load_state_dict({k: v.float() for k, v in state.items()} | {k: v for k, v in m.state_dict().items() if "num_batches" in k})
    return m


def make():
    import io
    import warnings

    import torch

    import tiny

    warnings.filterwarnings("ignore")
    folder = tiny.ROOT / "weights/testdata/onnx"
    folder.mkdir(parents=True, exist_ok=True)
    x = tiny.image()
    seed = 200

    def write(name, config, make, softmax, external=False):
        nonlocal seed
        seed += 1
        net = tiny.Tiny(config, seed)
        model = make(net)
        path = folder / f"{name}.onnx"
        if external:
            (folder / f"{name}.onnx_data").unlink(missing_ok=True)  # or onnx appends to it
            onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=f"{name}.onnx_data", size_threshold=64)
        else:
            path.write_bytes(model.SerializeToString())
        assert path.stat().st_size <= 50_000, (name, path.stat().st_size)
        net.golden(folder, name, config, {})
        want = net.forward(net.params, x).numpy()
        if softmax:
            want = torch.from_numpy(want).softmax(1).numpy()
        got = run(str(path), x.numpy().transpose(0, 2, 3, 1) if name.startswith("keras") else x.numpy())
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max(), (name, got, want)
        print(path.name, path.stat().st_size)

    def torch_export(flatten, opset, **options):
        def export(net):
            b = io.BytesIO()
            torch.onnx.export(torchvision(net, flatten), x.float(), b, opset_version=opset, **options)
            return onnx.load_from_string(b.getvalue())
        return export

    def halves(kind):
        def build(net):  # the same numbers, rounded to the type
            return plain(net, "flatten", kind).model(["N", 3, 64, 64], 13, 8, 5, "onnx.helper")
        return build

    dynamic = {"input_names": ["input"], "output_names": ["output"], "dynamic_axes": {"input": {0: "batch"}, "output": {0: "batch"}}}
    write("torch_a_op9", "A", torch_export("flatten", 9), False)
    write("torch_b_dynamic_op16", "B", torch_export("view", 16, **dynamic), False)
    write("torch_c_unfolded_op11", "C", torch_export("view", 11, do_constant_folding=False, **dynamic), False)
    write("torch_d-bn_op14", "D-BN", torch_export("flatten", 14, training=torch.onnx.TrainingMode.PRESERVE), False)
    write("torch_e_op7", "E", torch_export("view", 7), False)
    write("keras_d_op13", "D", lambda net: keras(net, True).model(["N", 64, 64, 3], 13, 7, 5, "tf2onnx"), True)
    write("keras_c_unoptimised_op18", "C", lambda net: keras(net, False).model(["N", 64, 64, 3], 18, 8, 5, "tf2onnx"), True)
    write("zoo_e_caffe2_op7", "E", lambda net: plain(net, "reshape", names=False).model([2, 3, 64, 64], 7, 3, 5, "onnx-caffe2", True), True)
    write("zoo_d_mxnet_op8", "D", lambda net: plain(net, "flatten", softmax=False).model([2, 3, 64, 64], 8, 3, 5, "mxnet", True), False)
    write("a-lrn_float_data_op22", "A-LRN", lambda net: plain(net, "flatten", "float_data").model(["N", 3, 64, 64], 22, 10, 5, "onnx.helper"), True)
    write("a_half_op13", "A", halves("FLOAT16"), True)
    write("a_bhalf_op13", "A", halves("BFLOAT16"), True)
    write("a_external_op17", "A", lambda net: plain(net, "flatten").model(["N", 3, 64, 64], 17, 8, 5, "onnx.helper"), True, external=True)
    write("dynamo_b_op18", "B", lambda net: dynamo(net).model(["N", 3, 64, 64], 18, 10, 5, "pytorch"), False)


if __name__ == "__main__":
    if sys.argv[1:] == ["make"]:
        from pack import packed

        with packed(tiny.ROOT / "weights/testdata/onnx"):
            make()
    elif len(sys.argv) > 2 and sys.argv[1] == "check":
        args = iter(sys.argv[2:])
        print(json.dumps([check(path, *map(int, size)) for path, *size in zip(args, args, args, args)]))
    else:
        sys.exit(__doc__)

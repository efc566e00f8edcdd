#!/usr/bin/python3
"""Writes Caffe models of tiny networks with protobuf's own encoder.

Writes weights/testdata/caffe/*.caffemodel and, beside each, a .safetensors with its
tensors and the logits of tiny.image(), which PyTorch computes from the same weights. The
messages are the part of caffe.proto (BVLC/caffe, src/caffe/proto) that these files use.

Needs torch and protobuf.
"""
import sys

import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from nn import ROOT
from pack import packed
from tiny import Tiny

FOLDER = ROOT / "weights/testdata/caffe"

# message: [(name, number, type, repeated, packed)]
SCHEMA = {
    "BlobShape": ["dim 1 int64 packed"],
    "BlobProto": ["num 1 int32", "channels 2 int32", "height 3 int32", "width 4 int32", "data 5 float packed",
                  "diff 6 float packed", "shape 7 BlobShape", "double_data 8 double packed", "double_diff 9 double packed"],
    "UnpackedBlobProto": ["num 1 int32", "channels 2 int32", "height 3 int32", "width 4 int32", "data 5 float repeated"],
    "FillerParameter": ["type 1 string", "value 2 float"],
    "ParamSpec": ["name 1 string", "lr_mult 3 float", "decay_mult 4 float"],
    "ConvolutionParameter": ["num_output 1 uint32", "bias_term 2 bool", "pad 3 uint32 repeated", "kernel_size 4 uint32 repeated",
                             "group 5 uint32", "stride 6 uint32 repeated", "weight_filler 7 FillerParameter",
                             "bias_filler 8 FillerParameter", "pad_h 9 uint32", "pad_w 10 uint32", "kernel_h 11 uint32",
                             "kernel_w 12 uint32", "stride_h 13 uint32", "stride_w 14 uint32", "dilation 18 uint32 repeated"],
    "V1ConvolutionParameter": ["num_output 1 uint32", "bias_term 2 bool", "pad 3 uint32", "kernel_size 4 uint32", "stride 6 uint32"],
    "PoolingParameter": ["pool 1 uint32", "kernel_size 2 uint32", "stride 3 uint32", "pad 4 uint32"],
    "InnerProductParameter": ["num_output 1 uint32", "bias_term 2 bool", "weight_filler 3 FillerParameter",
                              "bias_filler 4 FillerParameter", "transpose 6 bool"],
    "LRNParameter": ["local_size 1 uint32", "alpha 2 float", "beta 3 float", "norm_region 4 uint32", "k 5 float"],
    "DropoutParameter": ["dropout_ratio 1 float"],
    "BatchNormParameter": ["use_global_stats 1 bool", "moving_average_fraction 2 float", "eps 3 float"],
    "ScaleParameter": ["axis 1 int32", "bias_term 4 bool"],
    "SoftmaxParameter": ["engine 1 uint32"],
    "LayerParameter": ["name 1 string", "type 2 string", "bottom 3 string repeated", "top 4 string repeated", "param 6 ParamSpec repeated",
                       "blobs 7 BlobProto repeated", "phase 10 uint32", "convolution_param 106 ConvolutionParameter",
                       "dropout_param 108 DropoutParameter", "inner_product_param 117 InnerProductParameter",
                       "lrn_param 118 LRNParameter", "pooling_param 121 PoolingParameter", "softmax_param 125 SoftmaxParameter",
                       "batch_norm_param 139 BatchNormParameter", "scale_param 142 ScaleParameter"],
    "V1LayerParameter": ["bottom 2 string repeated", "top 3 string repeated", "name 4 string", "type 5 uint32", "blobs 6 BlobProto repeated",
                         "blobs_lr 7 float repeated", "weight_decay 8 float repeated", "convolution_param 10 V1ConvolutionParameter",
                         "dropout_param 12 DropoutParameter", "inner_product_param 17 InnerProductParameter",
                         "lrn_param 18 LRNParameter", "pooling_param 19 PoolingParameter", "loss_weight 35 float repeated"],
    "NetParameter": ["name 1 string", "layers 2 V1LayerParameter repeated", "input 3 string repeated", "input_dim 4 int32 repeated",
                     "layer 100 LayerParameter repeated"],
}
V1_TYPES = {"Convolution": 4, "Data": 5, "Dropout": 6, "InnerProduct": 14, "LRN": 15, "Pooling": 17, "ReLU": 18, "Softmax": 20, "Split": 22}


def messages():
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for name, fields in SCHEMA.items():
        m = file.message_type.add(name=name)
        for text in fields:
            field, number, kind, *how = text.split()
            f = m.field.add(name=field, number=int(number), label=kinds.LABEL_REPEATED if how else kinds.LABEL_OPTIONAL)
            if kind in SCHEMA:
                f.type, f.type_name = kinds.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                f.type = getattr(kinds, "TYPE_" + kind.upper())
            f.options.packed = how == ["packed"]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}")) for name in SCHEMA}


CAFFE = messages()


def blob(t, form):
    """A BlobProto: legacy (four axes), shape (BlobShape) or double."""
    b = CAFFE["BlobProto"]()
    if form == "legacy":
        b.num, b.channels, b.height, b.width = [1] * (4 - t.dim()) + list(t.shape)
    else:
        b.shape.dim.extend(t.shape)
    values = t.flatten().tolist()
    if form == "double":
        b.double_data.extend(values)
    else:
        b.data.extend(values)
    if form == "shape":  # fields that a solver's snapshot adds to the values
        b.diff.extend([0.5] * len(values))
    return b


class Builder:
    def __init__(self, name, v1, weights_only=False, form="shape"):
        self.net = CAFFE["NetParameter"](name=name)
        self.v1, self.weights_only, self.form, self.top = v1, weights_only, form, "data"
        self.tensors = {}

    def layer(self, name, kind, blobs=(), inplace=False, **parameters):
        """parameters: convolution_param={...} and so on. blobs: (role, tensor)."""
        layers = self.net.layers if self.v1 else self.net.layer
        l = layers.add(name=name, type=V1_TYPES[kind] if self.v1 else kind)
        if not self.weights_only:
            l.bottom.append(self.top)
            self.top = self.top if inplace else name
            l.top.append(self.top)
            for field, values in parameters.items():
                message = getattr(l, field)
                message.SetInParent()
                for k, v in values.items():
                    if isinstance(v, list):
                        getattr(message, k).extend(v)
                    elif isinstance(v, dict):
                        getattr(message, k).CopyFrom(CAFFE["FillerParameter"](**v))
                    else:
                        setattr(message, k, v)
        for role, t in blobs:
            l.blobs.append(blob(t, self.form))
            self.tensors[f"{name}/{role}"] = t
        return l


def build(net, name, v1, weights_only=False, form="shape"):
    b, p = Builder(name, v1, weights_only, form), net.params
    if v1:
        b.net.input.append("data")
        b.net.input_dim.extend([10, 3, 64, 64])
    elif not weights_only:
        l = b.net.layer.add(name="data", type="Data")
        l.top.extend(["data", "label"])
    for kind, n, k, r in net.layers:
        if kind == "conv":
            c = {"num_output": k, "kernel_size": r, "pad": r // 2}
            if not v1:
                c = {"num_output": k, "kernel_size": [r], "pad": [r // 2], "stride": [1], "weight_filler": {"type": "xavier", "value": 0.0}}
            b.layer(n, "Convolution", [("weight", p[f"{n}.weight"]), ("bias", p[f"{n}.bias"])], convolution_param=c)
            if net.bn:
                bn = f"{n}.bn"
                sums = 999.982  # Caffe stores sums, and the factor that scales them as a third blob
                mean, var = p[f"{bn}.running_mean"], p[f"{bn}.running_var"]
                l = b.layer(bn, "BatchNorm", [], inplace=True, batch_norm_param={"use_global_stats": True})
                l.blobs.extend([blob(mean * sums, form), blob(var * sums, form), blob(torch.tensor([sums]).double(), form)])
                b.tensors[f"{bn}/mean"], b.tensors[f"{bn}/variance"] = mean, var
                b.layer(f"{n}.scale", "Scale", [("scale", p[f"{bn}.weight"]), ("shift", p[f"{bn}.bias"])], inplace=True,
                        scale_param={"bias_term": True})
            b.layer("relu" + n[4:], "ReLU", inplace=True)
        elif kind == "lrn":  # Caffe divides alpha by the size
            b.layer(n, "LRN", lrn_param={"local_size": 5, "alpha": 5e-4, "beta": 0.75, "k": 2.0})
        else:
            b.layer(n, "Pooling", pooling_param={"pool": 0, "kernel_size": 2, "stride": 2})
    for n in ("fc6", "fc7", "fc8"):
        filler = {} if v1 else {"weight_filler": {"type": "gaussian", "value": 0.005}, "bias_filler": {"type": "constant", "value": 1.0}}
        w = p[f"{n}.weight"]
        b.layer(n, "InnerProduct", [("weight", w), ("bias", p[f"{n}.bias"])], inner_product_param={"num_output": w.shape[0], **filler})
        if n != "fc8":
            b.layer("relu" + n[2:], "ReLU", inplace=True)
            b.layer("drop" + n[2:], "Dropout", inplace=True, dropout_param={"dropout_ratio": 0.5})
    b.layer("prob", "Softmax")
    return b


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for i, (name, config, v1, weights_only, form) in enumerate([
        ("a_v2", "A", False, False, "shape"),
        ("a-lrn_v1", "A-LRN", True, False, "legacy"),
        ("b_double", "B", False, False, "double"),
        ("c_v2", "C", False, False, "legacy"),
        ("d_v1", "D", True, False, "legacy"),  # as VGG_ILSVRC_16_layers.caffemodel
        ("d_weights", "D", False, True, "shape"),
        ("d-bn_v2", "D-BN", False, False, "shape"),
        ("e_v1", "E", True, False, "legacy"),
    ]):
        net = Tiny(config, 100 + i)
        b = build(net, f"VGG {config}", v1, weights_only, form)
        # One file with unpacked data, like files from before the [packed] option.
        data = unpacked(b.net) if name == "c_v2" else b.net.SerializeToString()
        path = FOLDER / f"{name}.caffemodel"
        path.write_bytes(data)
        assert len(data) <= 50_000, (path, len(data))
        net.golden(FOLDER, name, config, b.tensors)
        print(path.name, len(data))


def unpacked(net):
    """The net's bytes with the first blob's data unpacked."""
    layer, b = net.layer[1].SerializeToString(), net.layer[1].blobs[0]
    loose = CAFFE["UnpackedBlobProto"](num=b.num, channels=b.channels, height=b.height, width=b.width, data=list(b.data))
    old, new = ([b"\x3a", varint(len(m)), m] for m in (b.SerializeToString(), loose.SerializeToString()))
    assert layer.count(b"".join(old)) == 1
    layers = [l.SerializeToString() for l in net.layer]
    layers[1] = layer.replace(b"".join(old), b"".join(new))
    head = CAFFE["NetParameter"](name=net.name).SerializeToString()
    data = head + b"".join(varint(100 << 3 | 2) + varint(len(l)) + l for l in layers)
    assert CAFFE["NetParameter"].FromString(data) == net  # protobuf reads both forms alike
    return data


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


if __name__ == "__main__":
    with packed(FOLDER):
        main()

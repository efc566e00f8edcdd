#!/usr/bin/env python3
"""Times VGG in an inference library by its Python package and prints one line of JSON.

    runtime_vgg.py ort|openvino|ncnn|mnn --models FOLDER --mode infer|dense --batch N --size N ...

FOLDER is that of make_models.py. With --input FILE, images of float32 of that shape, the scores
of one pass are printed too.
"""
import argparse
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np

# Libraries print on standard output what they find in the machine; only the result belongs there.
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def ort(o, x):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = o.threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # With these the shapes are known when the graph is optimised; a model of crops has no h and w.
    for name, value in ("n", o.batch), ("h", o.size), ("w", o.size):
        options.add_free_dimension_override_by_name(name, value)
    session = onnxruntime.InferenceSession(o.models / f"{o.name}.onnx", options, providers=["CPUExecutionProvider"])
    return onnxruntime.__version__, lambda: session.run(None, {"x": x})[0]


def openvino(o, x):
    import openvino
    core = openvino.Core()
    model = core.read_model(o.models / f"{o.name}.onnx")
    model.reshape(list(x.shape))
    compiled = core.compile_model(model, "CPU", {
        "INFERENCE_NUM_THREADS": o.threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))

    def run():
        request.infer()
        return request.get_output_tensor().data

    return openvino.__version__.split("-")[0], run


def ncnn(o, x):
    import ncnn
    net = ncnn.Net()
    net.opt.num_threads = o.threads
    net.opt.use_winograd_convolution = net.opt.use_sgemm_convolution = net.opt.use_packing_layout = True
    for option in dir(net.opt):
        if option.startswith(("use_fp16", "use_bf16", "use_int8")):
            setattr(net.opt, option, False)
    if net.load_param(str(o.models / f"{o.name}.param")) or net.load_model(str(o.models / "ncnn.bin")):
        raise SystemExit("ncnn can't read its model")

    def run():  # it has no batches
        out = []
        for image in x:
            with net.create_extractor() as e:
                e.input("x", ncnn.Mat(image))
                out.append(np.array(e.extract("y")[1]))
        return np.stack(out)

    return ncnn.__version__, run


def mnn(o, x):
    import MNN
    net = MNN.Interpreter(str(o.models / f"{o.name}.mnn"))
    session = net.createSession({"backend": "CPU", "numThread": o.threads, "precision": "high", "power": "high", "memory": "high"})
    tensor = net.getSessionInput(session)
    net.resizeTensor(tensor, x.shape)
    net.resizeSession(session)
    given = MNN.Tensor(x.shape, MNN.Halide_Type_Float, x, MNN.Tensor_DimensionType_Caffe)

    def run():
        tensor.copyFrom(given)
        net.runSession(session)
        y = net.getSessionOutput(session)
        out = MNN.Tensor(y.getShape(), MNN.Halide_Type_Float, np.empty(y.getShape(), np.float32), MNN.Tensor_DimensionType_Caffe)
        y.copyToHostTensor(out)
        return np.array(out.getData(), np.float32).reshape(y.getShape())

    return MNN.version(), run


p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("runtime", choices=["ort", "openvino", "ncnn", "mnn"])
p.add_argument("--models", type=Path, required=True)
p.add_argument("--mode", choices=["infer", "dense"], default="infer")
p.add_argument("--batch", type=int, default=1)
p.add_argument("--size", type=int, default=224)
p.add_argument("--iters", type=int, default=10)
p.add_argument("--warmup", type=int, default=2)
p.add_argument("--threads", type=int, default=2)
p.add_argument("--input", type=Path)
o = p.parse_args()
o.name = "dense" if o.mode == "dense" else "crop"
shape = o.batch, 3, o.size, o.size
x = np.fromfile(o.input, np.float32).reshape(shape) if o.input else np.random.uniform(-1, 1, shape).astype(np.float32)
version, run = globals()[o.runtime](o, x)
times = []
for i in range(o.warmup + o.iters):
    start = time.perf_counter()
    y = run()
    if i >= o.warmup:
        times.append((time.perf_counter() - start) * 1e3)
result = {"version": version, "median_ms": statistics.median(times), "min_ms": min(times), "max_ms": max(times),
          "output": list(y.shape)}
if o.input:
    result["scores"] = y.reshape(-1).tolist()
print(json.dumps(result), file=answer)

#!/usr/bin/env python3
"""picture_server.py RUNTIME MODEL.onnx SPEC.json PORT THREADS: a picture by PUT, its classes as JSON.

A service as a Python user writes it: ThreadingHTTPServer, Pillow, NumPy and a runtime,
onnxruntime or openvino.
SPEC.json is the model's parameters as `vgg serve` tells them: the preprocessing and the
classes. Port 0 takes a free one. The first line of standard output is the port, after a pass.
"""
import io
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image, ImageOps

runtime, model, spec_file, port, threads = sys.argv[1:]
with open(spec_file) as f:
    about = json.load(f)
spec, side, classes = about["preprocess"], about["side"], about["classes"]
filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
if spec["filter"] not in filters or spec.get("fit", "keep") != "keep":
    sys.exit(f"preprocessing {spec}: want the aspect kept, by a bilinear or bicubic filter")
mean, std = (np.array(spec[k], np.float32).reshape(3, 1, 1) for k in ("mean", "std"))

if runtime == "onnxruntime":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def forward(x):
        return session.run(None, {name: x})[0]
elif runtime == "openvino":
    import openvino

    core = openvino.Core()
    hints = {"INFERENCE_NUM_THREADS": int(threads), "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    graph = core.read_model(model)
    graph.reshape([1, 3, side, side])
    request = core.compile_model(graph, "CPU", hints).create_infer_request()
    turn = threading.Lock()  # a request runs one pass at a time

    def forward(x):
        with turn:
            return request.infer([x])[0].copy()
else:
    sys.exit(f"runtime {runtime}, want onnxruntime or openvino")


def tensor(data):
    """The central crop of an image file as the network takes it, (1,3,side,side)."""
    image = Image.open(io.BytesIO(data))
    if spec.get("orient", "stored") == "upright":
        image = ImageOps.exif_transpose(image)
    image = image.convert("RGB")
    w, h = image.size
    q = spec["resize"]
    w, h = (q, h * q // w) if w < h else (w * q // h, q)
    image = image.resize((w, h), filters[spec["filter"]])
    x, y = (w - side) // 2, (h - side) // 2
    pixels = np.asarray(image.crop((x, y, x + side, y + side)), np.float32).transpose(2, 0, 1)
    return ((pixels * np.float32(spec["scale"]) - mean) / std)[None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_PUT(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            posteriors = forward(tensor(data)).reshape(-1)
            best = np.argsort(-posteriors)[:5]
            code, answer = 200, {"top": [{"class": classes[i], "index": int(i), "probability": float(posteriors[i])} for i in best]}
        except OSError as e:  # Pillow's, of a file that is no picture
            code, answer = 400, {"error": str(e)}
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


server = Server(("127.0.0.1", int(port)), Handler)
forward(np.zeros((1, 3, side, side), np.float32))
print(server.server_port, flush=True)
server.serve_forever()

"""Asks a running `vgg serve` by clients that others wrote: tritonclient over HTTP and gRPC,
or kserve's REST client. Everything asked is compared with `vgg classify`; the first
difference ends the script with an error.

    python3 tools/clients/oip.py triton|kserve ADDRESS MODEL PICTURE CLASSIFY.json

ADDRESS is HOST:PORT, MODEL a model of the service and CLASSIFY.json the output of
`vgg classify WEIGHTS PICTURE --json`. The two clients can't be in one process: both declare
the protocol's messages.

    pip install 'tritonclient[http,grpc]==2.73.0' kserve==0.21.0
"""

import json
import sys

import numpy as np

who, address, model, picture, classify = sys.argv[1:]
with open(picture, "rb") as f:
    data = f.read()
with open(classify) as f:
    top = json.load(f)["top"]


def same(got, want, what):
    if got != want:
        sys.exit(f"{what}: got {got!r}, want {want!r}")
    print("ok", what)


def close(got, want, what):
    if not np.array_equal(np.asarray(got), np.asarray(want)):
        sys.exit(f"{what}: other bits, off by {np.abs(np.asarray(got) - np.asarray(want)).max()}")
    print("ok", what)


def refused(call, want, what):
    try:
        call()
    except Exception as e:  # each client has its own kinds
        if want not in str(e):
            sys.exit(f"{what}: {e}, want {want!r}")
        print("ok", what)
        return
    sys.exit(f"{what}: no error, want {want!r}")


def triton(kind, module):
    client = module.InferenceServerClient(address)
    same(client.is_server_live(), True, f"{kind}: live")
    same(client.is_server_ready(), True, f"{kind}: ready")
    same(client.is_model_ready(model), True, f"{kind}: model ready")
    same(client.is_model_ready("none"), False, f"{kind}: an unknown model isn't ready")
    options = {} if kind == "HTTP" else {"as_json": True}
    about = client.get_model_metadata(model, **options)
    same(about["name"], model, f"{kind}: metadata")
    same([o["name"] for o in about["outputs"]], ["scores", "posteriors", "map"], f"{kind}: outputs")
    same("statistics" in client.get_server_metadata(**options)["extensions"], True, f"{kind}: extensions")

    def infer(values, datatype, outputs, **kwargs):
        tensor = module.InferInput("input", list(values.shape), datatype)
        if kind == "HTTP":
            tensor.set_data_from_numpy(values, binary_data=kwargs.pop("binary", True))
        else:
            tensor.set_data_from_numpy(values)
        return client.infer(model, [tensor], outputs=outputs, request_id="a1", **kwargs)

    def output(name, **kwargs):
        if kind == "gRPC":
            kwargs.pop("binary_data", None)
        return module.InferRequestedOutput(name, **kwargs)

    pictures = np.array([data, data], dtype=np.object_)
    answer = infer(pictures, "BYTES", [output("posteriors"), output("scores")])
    posteriors = answer.as_numpy("posteriors")
    same(posteriors.shape[0], 2, f"{kind}: two pictures")
    close(posteriors[0], posteriors[1], f"{kind}: the same picture twice")
    for t in top:
        same(float(posteriors[0][t["index"]]), float(np.float32(t["probability"])), f"{kind}: posterior of {t['class']}, as vgg classify has it")
    column = infer(pictures.reshape(2, 1), "BYTES", [output("posteriors")])
    close(column.as_numpy("posteriors"), posteriors, f"{kind}: pictures of shape [N,1]")
    everything = infer(pictures, "BYTES", None)
    close(everything.as_numpy("posteriors"), posteriors, f"{kind}: all outputs where none is named")
    named = infer(pictures, "BYTES", [output("posteriors", class_count=2)])
    best = [t.decode() for t in named.as_numpy("posteriors")[0]]
    same([b.split(":")[1:] for b in best], [[str(t["index"]), t["class"]] for t in top[:2]], f"{kind}: classification")

    side = client.get_model_config(model)["input"][0]["dims"][-1] if kind == "HTTP" else None
    x = np.random.default_rng(1).normal(size=(3, 3, 40, 48)).astype(np.float32) if side is None else np.random.default_rng(1).normal(size=(3, 3, side, side)).astype(np.float32)
    one = [infer(x[i : i + 1], "FP32", [output("scores")]).as_numpy("scores")[0] for i in range(3)]
    close(infer(x, "FP32", [output("scores")]).as_numpy("scores"), one, f"{kind}: three tensors together and alone")
    if kind == "HTTP":
        close(infer(x, "FP32", [output("scores", binary_data=False)], binary=False).as_numpy("scores"), one, f"{kind}: tensors in JSON")
        close(infer(x, "FP32", [output("scores")], request_compression_algorithm="gzip").as_numpy("scores"), one, f"{kind}: gzip")
        close(infer(x, "FP32", [output("scores")], request_compression_algorithm="deflate").as_numpy("scores"), one, f"{kind}: deflate")
    refused(lambda: infer(x[:, :2], "FP32", None), "[N,3,H,W]", f"{kind}: a wrong shape is told")
    refused(lambda: client.infer("none", []), "no such model", f"{kind}: an unknown model is told")
    refused(lambda: infer(np.array([b"text"], dtype=np.object_), "BYTES", None), "text", f"{kind}: a file that is no picture is told")
    stats = client.get_inference_statistics(model, **options)["model_stats"][0]
    same(int(stats["inference_count"]) > 0, True, f"{kind}: statistics")
    index = client.get_model_repository_index(**options)
    index = index if kind == "HTTP" else index["models"]
    same([m["state"] for m in index if m["name"] == model], ["READY"], f"{kind}: repository index")
    return posteriors[0]


def over_rest():
    import asyncio

    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

    async def ask():
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        base = f"http://{address}"
        same(await client.is_server_ready(base), True, "kserve: ready")
        same(await client.is_server_live(base), True, "kserve: live")
        same(await client.is_model_ready(base, model), True, "kserve: model ready")
        tensor = InferInput(name="input", shape=[1], datatype="BYTES")
        tensor.set_data_from_numpy(np.array([data], dtype=np.object_), binary_data=True)
        answer = await client.infer(base, InferRequest(model_name=model, infer_inputs=[tensor]), model_name=model)
        got = {o.name: o.as_numpy() for o in answer.outputs}
        for t in top:
            same(float(np.float32(got["posteriors"][0][t["index"]])), float(np.float32(t["probability"])), f"kserve: posterior of {t['class']}, as vgg classify has it")
        await client.close()

    asyncio.run(ask())


if who == "kserve":
    over_rest()
else:
    import tritonclient.grpc
    import tritonclient.http

    close(triton("HTTP", tritonclient.http), triton("gRPC", tritonclient.grpc), "HTTP and gRPC")
print("all answers agree")

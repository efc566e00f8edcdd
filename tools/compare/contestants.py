"""vgg and its peers, with the way to set each up and to run it.

A contestant has key, title and
    setup()               prepares everything that is not to be timed, or raises Unavailable
    variants(work)        the configurations to try for a work; none: the peer can't do it
    command(work, variant, iters, warmup)  → argv and what the environment has in addition
    describe(result)      its version, from the result of a run
The program prints one JSON object with median_ms and, if it is a peer's, output and
version; of images that a peer is given, as a last argument of command, also their scores.
"""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from work import THREADS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# vgg asks for huge pages itself. For the peers glibc does; they gain up to 3 %.
HUGE_PAGES = "glibc.malloc.hugetlb=1"


class Unavailable(Exception):
    """A contestant cannot be set up here. The message names what is missing."""


def call(*argv, **options):
    """Runs a command of the set-up and returns its standard output. Libraries, such as XLA's, write to standard error."""
    done = subprocess.run(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(map(str, argv))}: exit {done.returncode}: {(done.stdout + done.stderr)[-400:].strip()}")
    return done.stdout.strip()


def works(*argv):
    try:
        return subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def debian(*packages):
    """Installs Debian packages, as root only."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable("wants " + " ".join(packages) + " of Debian: apt-get install " + " ".join(packages))
    print("installing", *packages, file=sys.stderr)
    call("apt-get", "update")
    call("apt-get", "install", "-y", *packages)


def current(target, *sources):
    """Tells whether target is newer than its sources."""
    return target.exists() and all(target.stat().st_mtime >= s.stat().st_mtime for s in sources)


class VGG:
    key, title = "vgg", "vgg"

    def __init__(self, cache):
        self.binary = cache / "vgg"

    def setup(self):
        call("go", "build", "-trimpath", "-o", self.binary, "./cmd/vgg",
             cwd=ROOT, env=os.environ | {"CGO_ENABLED": "0"})

    def variants(self, work):
        return ((),)

    def posteriors(self, config, cache, picture):
        """The posteriors of a picture by the weights that the peers have, by class."""
        out = call(self.binary, "classify", cache / f"models-{config}" / "crop.onnx", picture, "--preprocess", "unit",
                   "--scale", "224", "--top", "1000", "--json", "--threads", str(THREADS))
        line = next(line for line in out.splitlines() if line.startswith("{"))
        return {p["index"]: p["probability"] for p in json.loads(line)["top"]}

    def command(self, work, variant, iters, warmup):
        return [str(self.binary), "bench", work.config, "--json", "--mode", work.mode,
                "--batch", str(work.batch), "--side", str(work.size), "--iters", str(iters),
                "--warmup", str(warmup), "--threads", str(THREADS)], {}

    def describe(self, result):
        commit = call("git", "describe", "--always", "--dirty", cwd=ROOT)
        return f"{commit}, {result['isa']}, {call('go', 'env', 'GOVERSION', cwd=ROOT)}, CGO_ENABLED=0"


class Models:
    """The Python that has the peers, and the files of one network in the forms that they read."""

    packages = ("torch==2.15.*", "onnxscript", "onnxruntime==1.32.*", "openvino==2026.4.*", "ncnn", "MNN==3.6.1", "numpy")
    given = None  # the Python that --python names

    def __init__(self, cache):
        self.cache = cache
        self.python = self.given or str(cache / "venv" / "bin" / "python")

    def install(self, module):
        """Makes sure that the Python has a module: that of --python must, a venv gets it by pip."""
        if works(self.python, "-c", f"import {module}"):
            return
        if self.given:
            raise Unavailable(f"{self.given} has no {module}")
        if not Path(self.python).exists():
            if not works(sys.executable, "-m", "venv", self.cache / "venv"):
                debian("python3-venv")
                call(sys.executable, "-m", "venv", self.cache / "venv")
        print("installing", *self.packages, file=sys.stderr)
        call(self.python, "-m", "pip", "install", "--quiet", *self.packages)

    def folder(self, config):
        return self.cache / f"models-{config}"

    def make(self, config):
        """Writes the models, three gigabytes for D, unless they are there."""
        folder, done = self.folder(config), self.folder(config) / "done"
        if current(done, HERE / "make_models.py", HERE / "network.py"):
            return
        self.install("torch")
        folder.mkdir(exist_ok=True)
        call(self.python, "-B", HERE / "make_models.py", config, folder)
        done.touch()


class Torch:
    key, title = "torch", "PyTorch"

    def __init__(self, cache):
        self.models = Models(cache)

    def setup(self):
        self.models.install("torch")

    def variants(self, work):
        if work.mode == "train":
            return (), ("--layout", "channels_last")
        return (("--layout", "channels_last"),
                ("--layout", "channels_last", "--optimize"),
                ("--layout", "mkldnn"))

    def command(self, work, variant, iters, warmup, given=None):
        argv = [self.models.python, "-B", str(HERE / "torch_vgg.py"), "--config", work.config, "--mode", work.mode,
                "--batch", str(work.batch), "--size", str(work.size), "--iters", str(iters),
                "--warmup", str(warmup), "--threads", str(THREADS), *variant]
        if given:
            argv += ["--weights", str(self.models.folder(work.config) / "weights.f32"), "--input", str(given)]
        return argv, {
            "OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS),
            # Keep freed memory; otherwise every pass faults its activations in again.
            "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=4294967296:"
                              "glibc.malloc.trim_threshold=4294967296:" + HUGE_PAGES,
        }

    def describe(self, result):
        return result["version"]


class Runtime:
    """A library for inference, by its Python package."""

    module = None  # as Python imports it

    def __init__(self, cache):
        self.models = Models(cache)

    def setup(self):
        self.models.install(self.module)
        self.models.make("D")

    def variants(self, work):
        return () if work.mode == "train" else ((),)

    def command(self, work, variant, iters, warmup, given=None):
        argv = [self.models.python, "-B", str(HERE / "runtime_vgg.py"), self.key,
                "--models", str(self.models.folder(work.config)), "--mode", work.mode,
                "--batch", str(work.batch), "--size", str(work.size), "--iters", str(iters),
                "--warmup", str(warmup), "--threads", str(THREADS)]
        return argv + (["--input", str(given)] if given else []), {
            "OMP_NUM_THREADS": str(THREADS), "GLIBC_TUNABLES": HUGE_PAGES}

    def describe(self, result):
        return result["version"]


class ONNXRuntime(Runtime):
    key, title, module = "ort", "ONNX Runtime", "onnxruntime"


class OpenVINO(Runtime):
    key, title, module = "openvino", "OpenVINO", "openvino"


class NCNN(Runtime):
    key, title, module = "ncnn", "ncnn", "ncnn"

    def variants(self, work):  # it has no batches
        return ((),) if work.mode != "train" and work.batch == 1 else ()


class MNN(Runtime):
    key, title, module = "mnn", "MNN", "MNN"

    def setup(self):
        super().setup()
        convert = Path(self.models.python).parent / "mnnconvert"
        for name in "crop", "dense":
            model = self.models.folder("D") / name
            if not current(model.with_suffix(".mnn"), model.with_suffix(".onnx")):
                call(convert, "-f", "ONNX", "--modelFile", model.with_suffix(".onnx"),
                     "--MNNModel", model.with_suffix(".mnn"), "--bizCode", "vgg")


class OneDNN:
    key, title = "onednn", "oneDNN, Winograd"

    def __init__(self, cache):
        self.binary, self.models = cache / "dnnl_vgg", Models(cache)

    def setup(self):
        source = HERE / "dnnl_vgg.cpp"
        if current(self.binary, source):
            return
        build = ["g++", "-O2", "-std=c++17", "-fopenmp", source, "-o", self.binary, "-ldnnl"]
        if not works(*build):
            debian("g++", "libdnnl-dev")
            call(*build)

    def variants(self, work):
        return () if work.mode == "train" else ((),)

    def command(self, work, variant, iters, warmup, given=None):
        mode = "dense" if work.mode == "dense" else "crop"
        argv = [str(self.binary), work.config, mode, str(work.batch), str(work.size), str(iters), str(warmup)]
        return argv + ([str(self.models.folder(work.config) / "weights.f32"), str(given)] if given else []), {
            "OMP_NUM_THREADS": str(THREADS), "OMP_PROC_BIND": "true", "GLIBC_TUNABLES": HUGE_PAGES}

    def describe(self, result):
        return result["version"]


PEERS = (ONNXRuntime, OpenVINO, OneDNN, NCNN, MNN, Torch)

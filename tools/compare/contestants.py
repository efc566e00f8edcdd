"""vgg and its peers, with the way to set each up and to run it.

A contestant has key, title and
    setup()               prepares everything that is not to be timed, or raises Unavailable
    variants(work)        the configurations to try for a work; none: the peer can't do it
    command(work, variant, iters, warmup)  → argv and what the environment has in addition
    describe(result)      its version, from the result of a run
The program prints one JSON object with median_ms and, if it is a peer's, output and
version.
"""
import glob
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
    """Runs a command of the set-up and returns its output."""
    done = subprocess.run(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(map(str, argv))}: exit {done.returncode}: {done.stdout[-400:].strip()}")
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

    def command(self, work, variant, iters, warmup):
        return [str(self.binary), "bench", work.config, "--json", "--mode", work.mode,
                "--batch", str(work.batch), "--side", str(work.size), "--iters", str(iters),
                "--warmup", str(warmup), "--threads", str(THREADS)], {}

    def describe(self, result):
        commit = call("git", "describe", "--always", "--dirty", cwd=ROOT)
        return f"{commit}, {result['isa']}, {call('go', 'env', 'GOVERSION', cwd=ROOT)}, CGO_ENABLED=0"


class Torch:
    key, title = "torch", "PyTorch"
    python = "/usr/bin/python3"  # the one that Debian's packages are for

    def __init__(self, cache):
        self.cache = cache
        self.blas = None

    def setup(self):
        self.install()
        self.blas = self.openblas()

    def install(self):
        if not works(self.python, "-c", "import torch"):
            debian("python3-torch")

    def openblas(self):
        """The folder of OpenBLAS. Without it Debian's PyTorch runs linear layers on the reference
    BLAS, more than ten times slower for a batch. If it is missing it is unpacked beside the
    peers, so that the system's choice of a BLAS stays.
        """
        pattern = "usr/lib/*/openblas-*/libblas.so.3"
        unpacked = self.cache / "openblas"
        found = glob.glob("/" + pattern) or glob.glob(str(unpacked / pattern))
        if not found:
            unpacked.mkdir(exist_ok=True)
            call("apt-get", "download", "libopenblas0-openmp", cwd=unpacked)
            call("dpkg-deb", "-x", *glob.glob(str(unpacked / "*.deb")), unpacked)
            found = glob.glob(str(unpacked / pattern))
        if not found:
            raise Unavailable("wants OpenBLAS: apt-get install libopenblas0-openmp")
        return str(Path(found[0]).parent)

    def variants(self, work):
        if work.mode == "train":
            return (), ("--layout", "channels_last")
        return (("--layout", "channels_last"),
                ("--layout", "channels_last", "--optimize"),
                ("--layout", "mkldnn"))

    def command(self, work, variant, iters, warmup):
        return [self.python, "-B", str(HERE / "torch_vgg.py"), "--config", work.config, "--mode", work.mode,
                "--batch", str(work.batch), "--size", str(work.size), "--iters", str(iters),
                "--warmup", str(warmup), "--threads", str(THREADS), *variant], {
            "LD_LIBRARY_PATH": self.blas,
            "OMP_NUM_THREADS": str(THREADS), "OPENBLAS_NUM_THREADS": str(THREADS),
            # Keep freed memory; otherwise every pass faults its activations in again.
            "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=4294967296:"
                              "glibc.malloc.trim_threshold=4294967296:" + HUGE_PAGES,
        }

    def describe(self, result):
        return result["version"]


class ONNXRuntime:
    key, title = "ort", "ONNX Runtime"
    package = "onnxruntime-node@1.30.0"

    def __init__(self, cache):
        self.cache = cache
        self.modules = cache / "ort" / "node_modules"

    def model(self, config, mode):
        return self.cache / f"vgg-{config}-{'dense' if mode == 'dense' else 'crop'}.onnx"

    def setup(self):
        if not shutil.which("npm"):
            debian("nodejs", "npm")
        if not (self.modules / "onnxruntime-node").exists():
            # Skips the install scripts, which fetch the libraries for GPUs.
            call("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund",
                 "--prefix", self.cache / "ort", self.package)
        torch = Torch(self.cache)  # exports the models
        torch.install()
        script = HERE / "make_onnx.py"
        for mode in "crop", "dense":
            model = self.model("D", mode)
            if not current(model, script, HERE / "network.py"):
                partial = model.with_suffix(".partial")
                call(torch.python, "-B", script, "D", mode, partial)
                partial.replace(model)

    def variants(self, work):
        return () if work.mode == "train" else ((),)

    def command(self, work, variant, iters, warmup):
        return ["node", str(HERE / "ort_vgg.js"), "--model", str(self.model(work.config, work.mode)),
                "--batch", str(work.batch), "--size", str(work.size), "--iters", str(iters),
                "--warmup", str(warmup), "--threads", str(THREADS)], {
            "NODE_PATH": str(self.modules), "GLIBC_TUNABLES": HUGE_PAGES}

    def describe(self, result):
        return result["version"]


class OneDNN:
    key, title = "onednn", "oneDNN, Winograd"

    def __init__(self, cache):
        self.binary = cache / "dnnl_vgg"

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

    def command(self, work, variant, iters, warmup):
        mode = "dense" if work.mode == "dense" else "crop"
        return [str(self.binary), work.config, mode, str(work.batch), str(work.size), str(iters), str(warmup)], {
            "OMP_NUM_THREADS": str(THREADS), "OMP_PROC_BIND": "true", "GLIBC_TUNABLES": HUGE_PAGES}

    def describe(self, result):
        return result["version"]


PEERS = (ONNXRuntime, OneDNN, Torch)

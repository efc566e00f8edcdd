"""Checks that the peers compute what vgg computes, before anything is timed."""
import math
import random
import struct
import zlib

from contestants import Models, Unavailable
from measure import Failed, measure
from work import THREADS, Work

# The largest difference of a class's log posterior, some roundings of float32 through 16 layers.
TOLERANCE = 1e-3
ONE = Work("D", "infer", 1, 224, iters=1, warmup=0)


def png(path, side, pixels):
    """Writes pixels (RGB, row by row) as a PNG file."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + pixels[y * side * 3:(y + 1) * side * 3] for y in range(side))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def log_posteriors(scores):
    top = max(scores)
    total = math.log(sum(math.exp(s - top) for s in scores))
    return [s - top - total for s in scores]


def check(contestants, variants, cache, say):
    """Yields each peer's largest difference from vgg, or why it gave no scores. All see one picture
    of noise, of 0 to 1, and have the weights of make_models.py."""
    vgg, *peers = contestants
    Models(cache).make("D")
    picture, values = cache / "noise.png", cache / "noise.f32"
    side = ONE.size
    pixels = random.Random(1).randbytes(3 * side * side)
    png(picture, side, pixels)
    values.write_bytes(b"".join(struct.pack("<f", p / 255) for c in range(3) for p in pixels[c::3]))
    ours = vgg.posteriors("D", cache, picture)
    for peer in peers:
        try:
            variant = (variants.get(peer) or peer.variants(ONE))[0]
            scores = measure(*peer.command(ONE, variant, 1, 0, values)).result["scores"]
        except (Failed, Unavailable) as e:
            yield peer, None, e
            continue
        theirs = log_posteriors(scores)
        worst = max(abs(theirs[k] - math.log(p)) for k, p in ours.items())
        if len(ours) != len(theirs) or not worst <= TOLERANCE:
            yield peer, None, Failed(f"its scores aren't vgg's: a log posterior differs by {worst:.2g}")
            continue
        say(f"{peer.title}: its posteriors are vgg's to {worst:.1e}")
        yield peer, worst, None

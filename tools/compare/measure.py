"""Runs one program and measures the time of its passes, its memory, and the load of others."""
import json
import os
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass

TIMEOUT = 1800  # seconds for a process


class Failed(Exception):
    """A program failed."""


@dataclass
class Measurement:
    result: dict  # what the program printed
    median: float  # of its passes, ms
    rss: int  # largest resident set of the whole process, set-up included, bytes
    others: float  # share of the machine that other processes used meanwhile


def busy():
    """Seconds that all processors have worked or that the hypervisor has taken from them."""
    with open("/proc/stat") as stat:
        user, nice, system, _, _, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def measure(argv, env):
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        before, start = busy(), time.monotonic()
        try:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=os.environ | env)
        except OSError as e:
            raise Failed(str(e)) from e
        timer = threading.Timer(TIMEOUT, process.kill)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
        others = busy() - before - usage.ru_utime - usage.ru_stime
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            raise Failed(f"exit {process.returncode}: {err.read()[-400:].strip()}")
        try:
            result = json.loads(out.read())
        except ValueError as e:
            raise Failed("printed no JSON") from e
    return Measurement(result, result["median_ms"], usage.ru_maxrss << 10,
                       max(0.0, others / seconds / os.cpu_count()))

#!/usr/bin/env python3
"""Packs a folder of fixtures into one file beside it, FOLDER.tar.zst, and unpacks it.

    pack.py pack FOLDER…      write FOLDER.tar.zst and remove FOLDER
    pack.py unpack FOLDER…    write FOLDER from FOLDER.tar.zst and remove that

Fixtures of one tool repeat the same weights in many files, which compression over all of them
finds. internal/vggtest.Folder reads the archives. Equal files give equal archives, with one
version of zstd (1.5 of Debian 12). Needs the program zstd.
"""
import contextlib
import io
import pathlib
import shutil
import subprocess
import sys
import tarfile


def archive(folder):
    folder = pathlib.Path(folder)
    return folder.with_name(folder.name + ".tar.zst")


def pack(folder):
    folder = pathlib.Path(folder)
    names = sorted((f for f in folder.rglob("*") if f.is_file()), key=lambda f: (f.suffix, f.relative_to(folder).as_posix()))
    b = io.BytesIO()
    with tarfile.open(fileobj=b, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for f in names:
            data = f.read_bytes()
            member = tarfile.TarInfo(f.relative_to(folder).as_posix())
            member.size, member.mode = len(data), 0o644
            t.addfile(member, io.BytesIO(data))
    out = subprocess.run(["zstd", "--ultra", "-22", "-q", "-c", f"--stream-size={b.tell()}"], input=b.getvalue(), stdout=subprocess.PIPE, check=True).stdout
    archive(folder).write_bytes(out)
    shutil.rmtree(folder)
    print(f"{archive(folder)}: {len(names)} files, {len(out)} bytes")


def unpack(folder):
    folder = pathlib.Path(folder)
    tar = subprocess.run(["zstd", "-d", "-q", "-c", archive(folder)], stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(tar)) as t:
        t.extractall(folder)
    archive(folder).unlink()


@contextlib.contextmanager
def packed(folder):
    """Unpacks the folder, if there is one, for what is done in it, and packs it afterwards."""
    folder = pathlib.Path(folder)
    if archive(folder).exists():
        unpack(folder)
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    pack(folder)


@contextlib.contextmanager
def renewed(folder):
    """Packs what is written into the folder, in place of what was in its archive."""
    archive(folder).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    with packed(folder):
        yield


if __name__ == "__main__":
    do = {"pack": pack, "unpack": unpack}.get(sys.argv[1] if len(sys.argv) > 2 else "")
    if do is None:
        sys.exit(__doc__)
    for f in sys.argv[2:]:
        do(f)

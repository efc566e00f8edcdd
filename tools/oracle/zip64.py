"""Writes dataset/testdata/zip64.zip with Python's zipfile: class folders of two pictures each, whose
directory and sizes are in ZIP64's form, which larger archives than 4 GiB or of more than 65,535
files have.

    python3 tools/oracle/zip64.py
"""

import io
import pathlib
import zipfile

from PIL import Image

zipfile.ZIP64_LIMIT = 1  # so that every size and place counts as too large
zipfile.ZIP_FILECOUNT_LIMIT = 1
out = pathlib.Path(__file__).parents[2] / "dataset/testdata/zip64.zip"
with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
    for c, colour in {"blue": (0, 0, 255), "red": (255, 0, 0)}.items():
        for i in range(2):
            png = io.BytesIO()
            Image.new("RGB", (4, 3 + i), colour).save(png, "PNG")
            with z.open(zipfile.ZipInfo(f"{c}/{i}.png"), "w", force_zip64=True) as f:
                f.write(png.getvalue())

# zipfile leaves what fits in the end of the directory; here all of it is in ZIP64's form alone.
data = bytearray(out.read_bytes())
end = data.rindex(b"PK\x05\x06")
data[end + 8 : end + 20] = b"\xff" * 12
out.write_bytes(data)
assert [i.filename for i in zipfile.ZipFile(out).infolist()] == ["blue/0.png", "blue/1.png", "red/0.png", "red/1.png"]
assert zipfile.ZipFile(out).testzip() is None

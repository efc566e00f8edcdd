"""Writes dataset/testdata/flowers with SciPy: the lists of Oxford's 102 flowers for twelve images.

The variables and their types are those of imagelabels.mat and setid.mat.
"""
import pathlib

import numpy as np
import scipy.io

out = pathlib.Path(__file__).parents[2] / "dataset/testdata/flowers"
out.mkdir(exist_ok=True)
scipy.io.savemat(out / "imagelabels.mat", {"labels": np.array([[77, 3, 5] * 4], np.uint8)})
scipy.io.savemat(
    out / "setid.mat",
    {"trnid": np.array([[1, 2, 3, 4, 5, 6]], np.uint16), "valid": np.array([[8, 7, 9]], np.uint16), "tstid": np.array([[12, 11, 10]], np.uint16)},
    do_compression=True,
)

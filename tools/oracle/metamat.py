"""Writes dataset/testdata/meta.mat with SciPy: a small version of the devkit's list of synsets.

The fields and their types are those of ILSVRC2012_devkit_t12/data/meta.mat. As there, the
last entry is a group of classes.
"""
import pathlib

import numpy as np
import scipy.io

SYNSETS = [  # ILSVRC2012_ID, WNID, words, number of children
    (1, "n02119789", "kit fox, Vulpes macrotis", 0),
    (2, "n02100735", "English setter", 0),
    (3, "n02110185", "Siberian husky", 0),
    (4, "n01440764", "tench, Tinca tinca", 0),
    (1001, "n00001740", "entity", 2),
]

fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height", "num_train_images"]
synsets = np.empty((len(SYNSETS), 1), dtype=[(f, object) for f in fields])
for i, (number, wnid, words, children) in enumerate(SYNSETS):
    below = np.array([[1.0, 2.0]]) if children else np.zeros((1, 0))
    synsets[i, 0] = (float(number), wnid, words, "what it is: " + words, float(children), below, float(children), 1300.0)

out = pathlib.Path(__file__).parents[2] / "dataset/testdata"
out.mkdir(exist_ok=True)
scipy.io.savemat(out / "meta.mat", {"synsets": synsets}, do_compression=True)
scipy.io.savemat(out / "meta-plain.mat", {"other": np.eye(2), "synsets": synsets})

"""Writes dataset/testdata/cars and dogs with SciPy: the lists of Stanford Cars, as one file and as
the devkit, and of Stanford Dogs, for twelve images of three classes each.

    python3 tools/oracle/matlists.py
"""

import pathlib

import numpy as np
from scipy.io import savemat

out = pathlib.Path(__file__).parents[2] / "dataset/testdata"
names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "smart fortwo Convertible 2012"]
breeds = ["n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02099267-flat-coated_retriever"]


def cells(values, column=False):
    a = np.array(values, dtype=object)
    return a.reshape(-1, 1) if column else a.reshape(1, -1)


def structs(rows):
    a = np.empty((1, len(rows)), dtype=[(k, object) for k in rows[0]])
    for i, row in enumerate(rows):
        for k, v in row.items():
            a[0, i][k] = np.uint8(v) if isinstance(v, int) else v
    return a


def write(name, variables):
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables, do_compression=True)


box = {"bbox_x1": 2, "bbox_y1": 3, "bbox_x2": 30, "bbox_y2": 31}
write("cars/whole/cars_annos.mat", {
    "annotations": structs([{"relative_im_path": f"car_ims/{i + 1:06d}.jpg", **box, "class": i % 3 + 1, "test": int(i >= 9)} for i in range(12)]),
    "class_names": cells(names),
})
write("cars/devkit/devkit/cars_meta.mat", {"class_names": cells(names)})
write("cars/devkit/devkit/cars_train_annos.mat", {"annotations": structs([{**box, "class": i % 3 + 1, "fname": f"{i + 1:05d}.jpg"} for i in range(9)])})
write("cars/devkit/devkit/cars_test_annos.mat", {"annotations": structs([{**box, "fname": f"{i + 1:05d}.jpg"} for i in range(3)])})
write("cars/labels/cars_test_annos_withlabels.mat", {"annotations": structs([{**box, "class": 3 - i, "fname": f"{i + 1:05d}.jpg"} for i in range(3)])})

files = {"train": [], "test": []}
for n, breed in enumerate(breeds):
    for i in range(4):
        files["train" if i < 3 else "test"].append((f"{breed}/{breed.split('-')[0]}_{i}.jpg", n + 1))
for part, listed in files.items():
    write(f"dogs/{part}_list.mat", {
        "file_list": cells([f for f, _ in listed], column=True),
        "annotation_list": cells([f[:-4] for f, _ in listed], column=True),
        "labels": np.array([[n] for _, n in listed], dtype=np.uint8),
    })

#!/usr/bin/python3
"""Makes the fixtures of package dataset's bounding boxes, in every format, from masks of
objects.

Writes to dataset/testdata/boxes: instances.json by pycocotools (COCO: boxes from run-length
encodings; sparse ids, a crowd, an image without objects); annots/*.xml with the columns and
rows of torchvision.ops.masks_to_boxes counted from 1 (PASCAL VOC's devkit); labels/*.txt with
centre and size by torchvision.ops.box_convert, in shares of six digits (YOLO), and
segments/*.txt with outlines; data.yaml; and boxes.json: for each image its size and, for each
object, class, crowd, the edges of its pixels by numpy, and the edges that box_convert makes of
YOLO's shares again.

Needs pycocotools (PyPI) beside torchvision.
"""
import json

import numpy as np
import torch
from pycocotools import mask as rle
from torchvision.ops import box_convert, masks_to_boxes

from nn import ROOT

FOLDER = ROOT / "dataset/testdata/boxes"
CLASSES = {90: "zebra", 3: "car", 17: "cat"}  # ids of COCO: neither dense nor in order
NUMBER = {"car": 0, "cat": 1, "zebra": 2}


def draw(rng, w, h, whole):
    """A mask of an ellipse's pixels, or of the whole image."""
    if whole:
        return np.ones((h, w), np.uint8)
    y, x = np.mgrid[0:h, 0:w] + 0.5
    cx, cy = rng.uniform(0, w), rng.uniform(0, h)
    rx, ry = rng.uniform(3, w / 2), rng.uniform(3, h / 2)
    return (((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1).astype(np.uint8)


def voc(name, w, h, objects):
    text = f"<annotation><filename>{name}.png</filename><source><database>The VOC2007 Database</database></source><size><width>{w}</width><height>{h}</height><depth>3</depth></size>\n"
    for o in objects:
        corners = [int(v) + 1 for v in masks_to_boxes(torch.from_numpy(o["mask"])[None])[0]]
        text += "<object><name>%s</name><difficult>%d</difficult><bndbox><xmin>%d</xmin><ymin>%d</ymin><xmax>%d</xmax><ymax>%d</ymax></bndbox></object>\n" % (o["class"], o["crowd"], *corners)
    return text + "</annotation>\n"


def main():
    rng = np.random.default_rng(17)
    for sub in ("annots", "labels", "segments"):
        (FOLDER / sub).mkdir(parents=True, exist_ok=True)
    coco = {"info": {"description": "made by tools/oracle/boxes.py"}, "licenses": [], "annotations": [], "images": [],
            "categories": [{"id": i, "name": n, "supercategory": "thing"} for i, n in CLASSES.items()]}
    truth = {}
    for i in range(6):
        name, w, h = f"{i:04d}", int(rng.integers(20, 70)), int(rng.integers(20, 70))
        image = {"id": 1000 + 37 * i, "file_name": f"{name}.png", "width": w, "height": h}
        coco["images"].append(image)
        objects = []
        for k in range(0 if i == 5 else 1 + i % 3):
            objects.append({"class": list(CLASSES.values())[(i + k) % 3], "crowd": int(i == 4 and k == 1), "mask": draw(rng, w, h, i == 1 and k == 0)})
        labels, segments, expected = "", "", []
        size = torch.tensor([w, h, w, h], dtype=torch.float64)
        for o in objects:
            code = rle.encode(np.asfortranarray(o["mask"]))
            category = next(c for c, n in CLASSES.items() if n == o["class"])
            coco["annotations"].append({
                "id": 5000 + len(coco["annotations"]), "image_id": image["id"], "category_id": category, "iscrowd": o["crowd"],
                "area": int(rle.area(code)), "bbox": [float(v) for v in rle.toBbox(code)],
                "segmentation": {"size": [h, w], "counts": code["counts"].decode()}})
            ys, xs = np.nonzero(o["mask"])
            edges = [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]
            shares = box_convert(torch.tensor([edges], dtype=torch.float64), "xyxy", "cxcywh")[0] / size
            line = " ".join(f"{v:.6f}" for v in shares)
            labels += f"{NUMBER[o['class']]} {line}\n"
            x0, y0, x1, y1 = (torch.tensor(edges) / size).tolist()
            outline = [x0, (y0 + y1) / 2, (x0 + x1) / 2, y0, x1, (y0 + y1) / 2, (x0 + x1) / 2, y1]
            segments += f"{NUMBER[o['class']]} " + " ".join(f"{v:.6f}" for v in outline) + "\n"
            back = box_convert(torch.tensor([[float(v) for v in line.split()]], dtype=torch.float64), "cxcywh", "xyxy")[0] * size
            expected.append({"class": o["class"], "crowd": bool(o["crowd"]), "edges": edges, "yolo": back.tolist()})
        truth[name] = {"w": w, "h": h, "objects": expected}
        if objects:
            (FOLDER / f"annots/{name}.xml").write_text(voc(name, w, h, objects))
            (FOLDER / f"labels/{name}.txt").write_text(labels)
            (FOLDER / f"segments/{name}.txt").write_text(segments)
    (FOLDER / "instances.json").write_text(json.dumps(coco) + "\n")
    (FOLDER / "data.yaml").write_text("path: /content/datasets/zoo\ntrain: images\nval: images\nnc: 3\nnames:\n  0: car\n  1: cat\n  2: zebra\n")
    (FOLDER / "boxes.json").write_text(json.dumps(truth) + "\n")


if __name__ == "__main__":
    main()

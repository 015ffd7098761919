#!/usr/bin/python3
"""Times the reference evaluator of COCO, cocoeval.py, and prints one JSON object.

It is the file PythonAPI/pycocotools/cocoeval.py of github.com/cocodataset/cocoapi,
run as it is. Its overlaps come from compiled code there; here numpy computes
them by the same rule, so that no compiler is needed. With --mended, annotation 0
is renumbered, so that it can be found.
"""
import argparse
import contextlib
import importlib.util
import json
import sys
import time
import types

import numpy as np


def iou(dets, truths, crowd):
    """Overlap of every detection with every truth, of the detection's area for crowds."""
    if len(dets) == 0 or len(truths) == 0:
        return []
    d = np.asarray(dets, dtype=np.float64)[:, None, :]
    g = np.asarray(truths, dtype=np.float64)[None, :, :]
    w = np.minimum(d[..., 0] + d[..., 2], g[..., 0] + g[..., 2]) - np.maximum(d[..., 0], g[..., 0])
    h = np.minimum(d[..., 1] + d[..., 3], g[..., 1] + g[..., 3]) - np.maximum(d[..., 1], g[..., 1])
    inter = np.maximum(w, 0) * np.maximum(h, 0)
    area = d[..., 2] * d[..., 3]
    union = np.where(np.asarray(crowd, dtype=bool)[None, :], area, area + g[..., 2] * g[..., 3] - inter)
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


class Data:
    """What cocoeval.py asks of a COCO object."""

    def __init__(self, images, categories, annotations):
        self.images, self.categories = images, categories
        self.byId = {a["id"]: a for a in annotations}
        self.order = annotations

    def getImgIds(self):
        return self.images

    def getCatIds(self):
        return self.categories

    def getAnnIds(self, imgIds, catIds):
        images, categories = set(imgIds), set(catIds)
        return [a["id"] for a in self.order if a["image_id"] in images and a["category_id"] in categories]

    def loadAnns(self, ids):
        return [self.byId[i] for i in ids]


def load_evaluator(path):
    """Imports cocoeval.py as if it stood in its package."""
    np.float = float  # gone from numpy 1.24 on
    package, mask = types.ModuleType("pycocotools"), types.ModuleType("pycocotools.mask")
    package.__path__, mask.iou, package.mask = [], iou, mask
    sys.modules.update({"pycocotools": package, "pycocotools.mask": mask})
    spec = importlib.util.spec_from_file_location("pycocotools.cocoeval", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.COCOeval


def read(annotations, detections, mended):
    with open(annotations, encoding="utf-8-sig") as f:
        truth = json.load(f)
    with open(detections, encoding="utf-8-sig") as f:
        dets = json.load(f)
    images = [i["id"] for i in truth["images"]]
    categories = [c["id"] for c in truth["categories"]]
    if mended:
        for i, a in enumerate(truth["annotations"]):
            a["id"] = i + 1
    for i, d in enumerate(dets):
        d.update(id=i + 1, iscrowd=0, area=d["bbox"][2] * d["bbox"][3])
    return Data(images, categories, truth["annotations"]), Data(images, categories, dets)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cocoeval", help="path of cocoeval.py")
    parser.add_argument("annotations")
    parser.add_argument("detections")
    parser.add_argument("--mended", action="store_true")
    args = parser.parse_args()
    evaluator = load_evaluator(args.cocoeval)
    begin = time.perf_counter()
    truth, dets = read(args.annotations, args.detections, args.mended)
    between = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        e = evaluator(truth, dets, "bbox")
        e.evaluate()
        e.accumulate()
        e.summarize()
    end = time.perf_counter()
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    print(json.dumps({"name": "cocoeval.py", "read_s": between - begin, "measure_s": end - between,
                      **dict(zip(names, map(float, e.stats)))}))


if __name__ == "__main__":
    main()

"""What pycocotools makes of a COCO file and a results file, as JSON on stdout.

usage: coco_numbers.py instances.json results.json

`stats`: the twelve numbers (-1: no such objects). `small`: the objects whose box is at most 32 x 32 and how many of them were matched at
IoU 0.5. `classes`: AP50 and AP by category id.
"""

import contextlib
import io
import json
import sys

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def evaluate(truth, found, change=lambda params: None):
    """A COCOeval that has run."""
    run = COCOeval(truth, found, "bbox")
    change(run.params)
    run.evaluate()
    run.accumulate()
    return run


def only_small(params):
    """Small objects at IoU 0.5, by the area of their boxes."""
    params.iouThrs = np.array([0.5])
    params.maxDets = [100]
    params.areaRng, params.areaRngLbl = [[0, 32**2]], ["small"]


def mean(values):
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0


def numbers(instances, results):
    truth = COCO(instances)
    found = truth.loadRes(results)
    run = evaluate(truth, found)
    run.summarize()
    precision = run.eval["precision"][:, :, :, 0, 2]  # [thresholds, recalls, classes]
    classes = {c: [mean(precision[0, :, k]), mean(precision[:, :, k])] for k, c in enumerate(run.params.catIds)}

    for annotation in truth.dataset["annotations"]:
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    truth.createIndex()
    cells = [cell for cell in evaluate(truth, found, only_small).evalImgs if cell is not None]
    counts = [(~cell["gtIgnore"].astype(bool), cell["gtMatches"][0] > 0) for cell in cells]
    small = dict(objects=sum(int(c.sum()) for c, _ in counts), found=sum(int((c & m).sum()) for c, m in counts))
    return dict(stats=run.stats.tolist(), small=small, classes=classes)


if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):
        result = numbers(*sys.argv[1:])
    print(json.dumps(result))

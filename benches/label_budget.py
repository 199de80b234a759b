#!/usr/bin/env python3
"""What `logitcache label` and `logitcache select` are worth on a cache whose images all have labels.

usage: label_budget.py --cache CACHE [--seeds N] [--program logitcache]

label: the labels of half of the images, drawn at random, calibrate the thresholds; the other half is labelled by the teacher
and held against its true labels. Printed: the share of right boxes that was asked for, expected, measured on the labelled half,
and reached on the other half, and the share of true labels that is found; mean and range over the seeds.

select: of all images 10 and 25 % are chosen. Printed for each method: the true objects on the chosen images, the classes among
them, the boxes of the teacher (score over 0.25) that are wrong there, and the labels that it misses. Random has one row for the mean over the
seeds. These numbers say what a budget buys; they do not say how much a student learns from it.
"""

import argparse
import csv
import json
import random
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.dataset as arrow

WANTED = [0.8, 0.9, 0.95]
METHODS = ["combined", "uncertainty", "balance", "diversity", "random"]


def overlap(box, others):
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), 1)
    area = lambda b: (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    return shared / np.maximum(area(box) + area(others) - shared, 1e-9)


def matched(found, labels):
    """How many boxes (class, corners; best first) find a label of their class (IoU 0.5, each label once)."""
    free, right = list(range(len(labels))), 0
    for class_id, *box in found:
        same = [i for i in free if labels[i][0] == class_id]
        if same:
            u = overlap(np.array(box), np.array([labels[i][1:] for i in same]))
            if u.max() >= 0.5:
                free.remove(same[int(u.argmax())])
                right += 1
    return right


def read_labels(cache):
    """{path: [(class id, corners)]} of view 0."""
    table = arrow.dataset(cache / "images").to_table(columns=["path", "view", "labels"]).to_pylist()
    rows = (row for row in table if row["view"] == 0)
    return {r["path"]: [(b["class_id"], b["x1"], b["y1"], b["x2"], b["y2"]) for b in r["labels"] or []] for r in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--program", default="logitcache")
    args = parser.parse_args()

    def run(*words):
        command = [args.program, *map(str, words), "--json", "--quiet"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    labels = read_labels(args.cache)
    names = {name: i for i, name in enumerate(run("inspect", args.cache)["teacher"]["class_names"])}
    with tempfile.TemporaryDirectory() as folder:
        label(run, args, labels, names, Path(folder))
        select(run, args, labels, names, Path(folder))


def label(run, args, labels, names, folder):
    print("wanted  labels  expected  measured  reached (mean, lowest, highest)  found")
    for wanted in WANTED:
        rows = []
        for seed in range(args.seeds):
            paths = sorted(labels)
            random.Random(seed).shuffle(paths)
            half = folder / "half.txt"
            half.write_text("\n".join(paths[: len(paths) // 2]))
            out = folder / f"{wanted}-{seed}"
            report = run("label", args.cache, "--labelled", half, "--precision", wanted, "--uncertain", 1, "--to", "coco", "--out", out)
            found = defaultdict(list)
            for row in csv.DictReader((out / "teacher_boxes.csv").open()):
                box = [float(row[key]) for key in ("x1_px", "y1_px", "x2_px", "y2_px")]
                found[row["image"]].append((float(row["score"]), names[row["class"]], *box))
            best = {path: [box[1:] for box in sorted(boxes, reverse=True)] for path, boxes in found.items()}
            right = sum(matched(boxes, labels[path]) for path, boxes in best.items())
            boxes = sum(map(len, best.values()))
            true = sum(len(labels[path]) for path in paths[len(paths) // 2 :])
            total = report["total"]
            assert total["labels"] == boxes
            rows.append((boxes, total["expected_precision"], total["measured"]["precision"], right / boxes, right / true))
        rows = np.array(rows)
        mean = rows.mean(0)
        print(f"{wanted:6.2f}  {mean[0]:6.0f}  {mean[1]:8.3f}  {mean[2]:8.3f}  "
              f"{mean[3]:.3f} {rows[:, 3].min():.3f} {rows[:, 3].max():.3f}                {mean[4]:.3f}")


def select(run, args, labels, names, folder):
    nobody = folder / "nobody.txt"
    nobody.write_text("")
    report = folder / "all"
    run("label", args.cache, "--labelled", nobody, "--conf", 0.25, "--uncertain", 1, "--to", "coco", "--out", report)
    found = defaultdict(list)
    for row in csv.DictReader((report / "teacher_boxes.csv").open()):
        box = [float(row[key]) for key in ("x1_px", "y1_px", "x2_px", "y2_px")]
        found[row["image"]].append((float(row["score"]), names[row["class"]], *box))
    right = {path: matched([b[1:] for b in sorted(found[path], reverse=True)], own) for path, own in labels.items()}
    print("share  method       objects  classes  wrong boxes  missed labels")
    for share in (0.1, 0.25):
        budget = round(len(labels) * share)
        for method in METHODS:
            rows = []
            for seed in range(args.seeds if method == "random" else 1):
                words = ["--labelled", nobody, "--budget", budget, "--method", method, "--seed", seed]
                paths = [image["path"] for image in run("select", args.cache, *words)["selected"]]
                objects = [label for path in paths for label in labels[path]]
                rows.append((len(objects), len({label[0] for label in objects}),
                             sum(len(found[path]) - right[path] for path in paths),
                             sum(len(labels[path]) - right[path] for path in paths)))
            mean = np.array(rows).mean(0)
            print(f"{share:5.2f}  {method:11}  {mean[0]:7.1f}  {mean[1]:7.1f}  {mean[2]:11.1f}  {mean[3]:13.1f}")


if __name__ == "__main__":
    main()

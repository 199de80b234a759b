#!/usr/bin/env python3
"""`logitcache issues`: how many of the faults that were put into labels it lists first, beside ObjectLab and FiftyOne.

usage: label_errors.py --data DATA --teacher T.onnx [--cache CACHE] [--split train] [--seeds 0 1 2 3 4] [--rates 0.05 0.1 0.2]
                       [--kinds dropped ...] [--program target/release/logitcache]

DATA is a folder with images/SPLIT*/ and YOLO labels beside them, and a data.yaml. The cache of the teacher is built at CACHE, if there is
none. Then, for each kind of fault, rate and seed, a copy of the labels gets that share of faults, and the three methods list every
suspicion of the kind:

  dropped    a label is removed
  shifted    a label is moved to where it overlaps its old place by 0.3 to 0.7
  swapped    a label gets another class of the data set
  doubled    a label is there a second time, each edge moved by at most 5 % of the side
  added      a box of another label's size and class where it overlaps no label by more than 0.3

The table has, for each, the precision at k (of the first k of the list, k being the number of faults, the share that is one; of
equal scores the mean over their orders) and the area under the ROC curve over all labels (of dropped ones over all images, by their
highest score), both as mean and standard deviation over the seeds. Suspicions that were in the data set before count as wrong. A
dash: the method does not look for this. FiftyOne and ObjectLab are the formulae in src/issues with calibrated scores.
"""
import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
#: Fault, and what each method calls it.
KINDS = {
    "dropped": dict(soft="missing", objectlab="missing", fiftyone="missing"),
    "shifted": dict(soft="location", objectlab="location", fiftyone="location"),
    "swapped": dict(soft="class", objectlab="class", fiftyone="class"),
    "doubled": dict(soft="duplicate", fiftyone="spurious"),
    "added": dict(soft="spurious", fiftyone="spurious"),
}
METHODS = ["soft", "objectlab", "fiftyone"]


def overlap(a, b):
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    shared = max(width, 0) * max(height, 0)
    area = lambda c: (c[2] - c[0]) * (c[3] - c[1])
    return shared / (area(a) + area(b) - shared) if shared > 0 else 0.0


class Labels:
    """Boxes of all images in fractions of their sides, `[class, x1, y1, x2, y2]`, and what was done to them."""

    def __init__(self, boxes):
        self.boxes = {name: [list(box) for box in own] for name, own in boxes.items()}
        self.faults = {name: [None] * len(own) for name, own in boxes.items()}
        self.dropped = {name: [] for name in boxes}

    def spoil(self, kind, rate, seed):
        """Gives the number of faults."""
        rng = np.random.default_rng([seed, list(KINDS).index(kind)])
        places = [(name, at) for name, own in self.boxes.items() for at in range(len(own))]
        originals = {name: [list(box) for box in own] for name, own in self.boxes.items()}
        classes = [int(self.boxes[name][at][0]) for name, at in places]
        wanted, made = max(1, round(rate * len(places))), 0
        order = [places[i] for i in rng.permutation(len(places))]
        names = list(self.boxes)
        while made < wanted:
            if kind == "added":
                name = names[rng.integers(len(names))]
                other, at = places[rng.integers(len(places))]
                _, x1, y1, x2, y2 = originals[other][at]
                width, height = x2 - x1, y2 - y1
                x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
                box = [classes[rng.integers(len(classes))], x, y, x + width, y + height]
                if all(overlap(box[1:], own[1:]) <= 0.3 for own in self.boxes[name]):
                    self.boxes[name].append(box)
                    self.faults[name].append(made)
                    made += 1
                continue
            if not order:
                break
            name, at = order.pop()
            box = self.boxes[name][at]
            width, height = box[3] - box[1], box[4] - box[2]
            if kind == "dropped":
                self.dropped[name].append(box)
                self.faults[name][at] = "dropped"
            elif kind == "swapped":
                others = sorted(set(classes) - {int(box[0])})
                box[0] = others[rng.integers(len(others))]
                self.faults[name][at] = made
            elif kind == "doubled":
                away = rng.uniform(-0.05, 0.05, 4) * [width, height, width, height]
                corners = np.clip(np.array(box[1:]) + away, 0, 1).tolist()
                self.boxes[name].append([box[0], *corners])
                # Either of the two is a find, once.
                self.faults[name][at] = made
                self.faults[name].append(made)
            else:
                for _ in range(100):
                    dx, dy = rng.uniform(-0.6, 0.6, 2) * [width, height]
                    moved = np.clip([box[1] + dx, box[2] + dy, box[3] + dx, box[4] + dy], 0, 1).tolist()
                    if 0.3 <= overlap(moved, box[1:]) <= 0.7:
                        break
                else:
                    continue
                box[1:] = moved
                self.faults[name][at] = made
            made += 1
        if kind == "dropped":
            for name, faults in self.faults.items():
                self.boxes[name] = [box for box, fault in zip(self.boxes[name], faults) if fault is None]
                self.faults[name] = [None] * len(self.boxes[name])
        return made

    def write(self, folder):
        shutil.rmtree(folder, ignore_errors=True)
        for name, own in self.boxes.items():
            path = folder / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = (f"{c} {(x1 + x2) / 2:.8f} {(y1 + y2) / 2:.8f} {x2 - x1:.8f} {y2 - y1:.8f}\n" for c, x1, y1, x2, y2 in own)
            path.write_text("".join(rows))


def read(folder):
    """Labels of a folder by image, without suffix."""
    found = {}
    for path in sorted(folder.rglob("*.txt")):
        rows = {tuple(map(float, line.split())) for line in path.read_text().splitlines() if line.strip()}
        corners = ([int(c), max(x - w / 2, 0), max(y - h / 2, 0), min(x + w / 2, 1), min(y + h / 2, 1)] for c, x, y, w, h in sorted(rows))
        found[path.relative_to(folder).with_suffix("").as_posix()] = list(corners)
    return found


def of_folder(path):
    """The name of an image as `read` has it."""
    return Path(path).relative_to("images").with_suffix("").as_posix()


def judged(report, labels, kind, class_names, count):
    """Score and truth of each item of the list, then of each item that the area is over."""
    listed, by_label = [], {}
    open_faults = {name: [list(box) for box in own] for name, own in labels.dropped.items()}
    found, best = set(), {name: -1.0 for name in labels.boxes}
    for issue in report["issues"]:
        name = of_folder(issue["path"])
        sides = np.array([issue["width"], issue["height"]] * 2)
        if kind == "dropped":
            teacher = issue["teacher"]
            box = np.array([teacher["box_xyxy_px"][k] for k in ("x1", "y1", "x2", "y2")]) / sides
            hits = [own for own in open_faults.get(name, []) if class_names[int(own[0])] == teacher["class"] and overlap(own[1:], box) >= 0.5]
            if hits:
                open_faults[name].remove(hits[0])
            listed.append((issue["score"], bool(hits)))
            best[name] = max(best[name], issue["score"])
            continue
        box = np.array([issue["label"]["box_xyxy_px"][k] for k in ("x1", "y1", "x2", "y2")]) / sides
        at = min(range(len(labels.boxes[name])), key=lambda i: (class_names[int(labels.boxes[name][i][0])] != issue["label"]["class"], np.abs(box - labels.boxes[name][i][1:]).max()))
        fault = labels.faults[name][at]
        listed.append((issue["score"], fault is not None and fault not in found))
        if fault is not None:
            found.add(fault)
        by_label[name, at] = issue["score"]
    if kind == "dropped":
        return listed, [(score, bool(labels.dropped[name])) for name, score in best.items()]
    scores = {}
    for name, own in labels.faults.items():
        for at, fault in enumerate(own):
            # The two labels of a doubled one are one case.
            key = (name, at) if fault is None else fault
            scores[key] = max(scores.get(key, -1.0), by_label.get((name, at), -1.0))
    return listed, [(score, not isinstance(key, tuple)) for key, score in scores.items()]


def precision(listed, k):
    """Of the first k; where equal scores are on both sides of the k-th, the mean over their orders."""
    groups = {}
    for score, right in listed:
        groups.setdefault(score, []).append(right)
    left, got = k, 0.0
    for score in sorted(groups, reverse=True):
        taken = min(left, len(groups[score]))
        got += taken * np.mean(groups[score])
        left -= taken
    return got / k


def area(items):
    right = np.array([score for score, fault in items if fault])
    wrong = np.array([score for score, fault in items if not fault])
    return float(np.mean((right[:, None] > wrong[None]) + 0.5 * (right[:, None] == wrong[None]))) if right.size and wrong.size else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.1, 0.2])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/logitcache")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        data = work / "data"
        data.mkdir()
        # Images are linked one by one, so that the labels beside them are those of the copy.
        for path in (args.data / "images").rglob("*"):
            if path.is_file():
                link = data / path.relative_to(args.data)
                link.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(path.resolve(), link)
        text = "\n".join(line for line in (args.data / "data.yaml").read_text().splitlines() if not line.startswith("path:"))
        (data / "data.yaml").write_text(text + "\n")
        original = read(args.data / "labels")
        seen = {of_folder(path.relative_to(data)) for path in (data / "images").rglob("*") if path.is_file()}
        original = {name: own for name, own in original.items() if name in seen}
        Labels(original).write(data / "labels")
        cache = args.cache or work / "cache"
        if not cache.exists():
            build = [args.program, "build", "--teacher", args.teacher, "--data", data / "data.yaml", "--split", args.split, "--out", cache]
            subprocess.run(build, check=True)
        class_names = json.loads((cache / "manifest.json").read_text())["dataset"]["class_names"]
        images = {of_folder(path) for path in cached_paths(args.program, cache)}
        original = {name: original.get(name, []) for name in sorted(images)}
        print(f"{len(original)} images, {sum(map(len, original.values()))} labels; precision at k, area under the curve")
        print("| fault | share | " + " | ".join(args.methods) + " |\n|---|---|" + "---|" * len(args.methods))
        for kind in args.kinds:
            for rate in args.rates:
                cells = []
                for method in args.methods:
                    if method not in KINDS[kind]:
                        cells.append("–")
                        continue
                    results = []
                    for seed in args.seeds:
                        labels = Labels(original)
                        count = labels.spoil(kind, rate, seed)
                        labels.write(data / "labels")
                        command = [args.program, "--quiet", "issues", cache, "--data", data / "data.yaml", "--method", method, "--kind", KINDS[kind][method], "--top", "1000000", "--json"]
                        done = subprocess.run(command, check=True, capture_output=True, text=True)
                        listed, every = judged(json.loads(done.stdout), labels, kind, class_names, count)
                        results.append((precision(listed, count), area(every)))
                    mean, spread = np.mean(results, 0), np.std(results, 0)
                    cells.append(f"{mean[0]:.2f} ± {spread[0]:.2f}, {mean[1]:.2f} ± {spread[1]:.2f}")
                print(f"| {kind} | {rate:.0%} | " + " | ".join(cells) + " |", flush=True)


def cached_paths(program, cache):
    """Of labelled images: those that any method lists as the worst ones are all."""
    done = subprocess.run([program, "--quiet", "issues", cache, "--method", "objectlab", "--top", "1000000", "--json"], check=True, capture_output=True, text=True)
    return [image["path"] for image in json.loads(done.stdout)["worst_images"]]


if __name__ == "__main__":
    main()

"""What `logitcache label` and `logitcache select` write, computed again from the cache with NumPy and read by pycocotools."""

import csv
import json
import math
from collections import defaultdict

import numpy as np
import pyarrow.dataset as arrow
import pytest
from pycocotools.coco import COCO
from test_label_errors import by_schema


def overlaps(box, others):
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), 1)
    area = lambda b: (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    return shared / np.maximum(area(box) + area(others) - shared, 1e-9)


def suppressed(boxes, conf):
    """Boxes (score, class, corners) over `conf` that no better one of their class overlaps by more than 0.7."""
    kept = []
    for box in sorted((b for b in boxes if b[0] > conf), key=lambda b: -b[0]):
        same = np.array([b[2:] for b in kept if b[1] == box[1]]).reshape(-1, 4)
        if not (overlaps(np.array(box[2:]), same) > 0.7).any():
            kept.append(box)
    return kept


@pytest.fixture(scope="module")
def seen(compact_cache):
    """{path: (boxes, labels)} of view 0: (score, class, corners) and (class, corners)."""
    images = arrow.dataset(compact_cache / "images").to_table(columns=["image_id", "path", "labels"]).to_pylist()
    columns = ["image_id", "score", "class_id", "x1", "y1", "x2", "y2"]
    table = arrow.dataset(compact_cache / "predictions").to_table(columns=columns)
    boxes = defaultdict(list)
    for image_id, *box in zip(*(table[name].to_pylist() for name in columns)):
        boxes[image_id].append(tuple(box))
    corners = lambda label: tuple(label[key] for key in ("x1", "y1", "x2", "y2"))
    return {i["path"]: (boxes[i["image_id"]], [(l["class_id"], *corners(l)) for l in i["labels"]]) for i in images}


@pytest.fixture(scope="module")
def half(seen, tmp_path_factory):
    """Every second image counts as labelled: their paths, and a list of them."""
    paths = sorted(seen)[::2]
    file = tmp_path_factory.mktemp("half") / "half.txt"
    file.write_text("\n".join(paths))
    return set(paths), file


def matched(found, labels):
    """How many boxes, best first, find a label of their class (IoU 0.5, each label once)."""
    free, right = list(range(len(labels))), 0
    for _, class_id, *box in found:
        same = [i for i in free if labels[i][0] == class_id]
        if same and (u := overlaps(np.array(box), np.array([labels[i][1:] for i in same]))).max() >= 0.5:
            free.remove(same[int(u.argmax())])
            right += 1
    return right


@pytest.mark.parametrize("rule", ["precision", "conf"])
def test_pseudo_labels(logitcache, compact_cache, seen, half, tmp_path, rule):
    labelled, file = half
    words = ["--labelled", file, f"--{rule}", 0.9 if rule == "precision" else 0.4, "--uncertain", 0.3]
    report = by_schema(logitcache("label", compact_cache, *words, "--to", "coco", "--out", tmp_path / "out", "--json").stdout, "label")
    conf = {c["name"]: c["conf"] for c in report["classes"]}
    names = [c["name"] for c in report["classes"]]
    assert report["labelled_images"] == len(labelled) and report["pseudo_labelled_images"] == len(seen) - len(labelled)
    told = defaultdict(list)
    for row in csv.DictReader((tmp_path / "out/teacher_boxes.csv").open()):
        box = tuple(float(row[key]) for key in ("x1_px", "y1_px", "x2_px", "y2_px"))
        told[row["image"]].append((row["use"], row["class"], float(row["score"]), float(row["probability"]), box))
    assert not labelled & told.keys()
    for path in seen.keys() - labelled:
        kept = [b for b in suppressed(seen[path][0], 0.001) if conf[names[b[1]]] is not None and b[0] >= conf[names[b[1]]] - 1e-6]
        labels = [t for t in told[path] if t[0] == "label"]
        assert [(t[1], t[2]) for t in labels] == [(names[b[1]], pytest.approx(b[0], abs=6e-5)) for b in kept], path
        for t, b in zip(labels, kept):
            assert t[4] == pytest.approx(b[2:], abs=0.01)
        assert all(t[3] >= 0.3 for t in told[path] if t[0] == "uncertain")
    all_told = [t for boxes in told.values() for t in boxes]
    labels = [t for t in all_told if t[0] == "label"]
    assert report["total"]["labels"] == len(labels)
    assert report["total"]["uncertain"] == len(all_told) - len(labels) > 0
    assert report["total"]["expected_precision"] == pytest.approx(np.mean([t[3] for t in labels]), abs=1e-4)

    coco = COCO(str(next((tmp_path / "out/annotations").iterdir())))
    assert sum(a["iscrowd"] for a in coco.dataset["annotations"]) == len(all_told) - len(labels)
    people = sum(len(seen[path][1]) for path in labelled)
    assert sum(not a["iscrowd"] for a in coco.dataset["annotations"]) == len(labels) + people

    measured = report["total"]["measured"]
    assert measured["labels"] == people
    if rule == "conf":
        # One score for all: what is measured needs no folds.
        found = {path: [b for b in suppressed(seen[path][0], 0.001) if b[0] >= 0.4] for path in labelled}
        assert measured["boxes"] == sum(map(len, found.values()))
        assert measured["right"] == sum(matched(found[path], seen[path][1]) for path in labelled)
    else:
        # The teacher knows these images as well as the others: what it promises must hold there.
        right = sum(matched([(0, names.index(t[1]), *t[4]) for t in told[path] if t[0] == "label"], seen[path][1])
                    for path in seen.keys() - labelled)
        assert right / len(labels) > 0.85 and measured["precision"] > 0.85


def entropy(p):
    return -sum(q * math.log2(q) for q in (p, 1 - p) if q > 0)


def test_choices(logitcache, compact_cache, seen, half):
    labelled, file = half

    def chosen(method):
        words = ["--labelled", file, "--budget", 12, "--method", method, "--json"]
        return by_schema(logitcache("select", compact_cache, *words).stdout, "select")["selected"]

    boxes = {path: suppressed(own, 0.05) for path, (own, _) in seen.items()}
    bits = {path: sum(entropy(b[0]) for b in own) for path, own in boxes.items() if path not in labelled}
    best = sorted(bits, key=lambda path: (-bits[path], path))[:12]
    report = chosen("uncertainty")
    assert [image["path"] for image in report] == best
    assert [image["uncertainty_bits"] for image in report] == pytest.approx([bits[path] for path in best], rel=1e-5)
    assert [i["expected_objects"] for i in report] == pytest.approx([sum(b[0] for b in boxes[p]) for p in best], rel=1e-5)

    # The greedy choice without its shortcut.
    objects = np.zeros(80)
    for path in labelled:
        for class_id, *_ in seen[path][1]:
            objects[class_id] += 1
    expected = {path: np.bincount([b[1] for b in boxes[path]], [b[0] for b in boxes[path]], 80) for path in bits}
    wanted = []
    for _ in range(12):
        gains = {path: np.log1p(own / (1 + objects)).sum() for path, own in expected.items() if path not in wanted}
        wanted.append(max(gains, key=gains.get))
        objects += expected[wanted[-1]]
    assert [image["path"] for image in chosen("balance")] == wanted

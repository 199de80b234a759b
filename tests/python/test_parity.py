"""The cache against an independent computation of the same thing: same anchors, same logits, same boxes, same precision."""

import contextlib
import io
from pathlib import Path

import cv2
import numpy as np
import oracle
import pytest
from cache_files import read_cache
from compare import assert_rows_equal
from conftest import EXACT, FIXTURES, PLAIN
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

@pytest.fixture(scope="module")
def teacher(shared):
    return oracle.Teacher(shared / "models/yolov12n.onnx")


@pytest.fixture(scope="module")
def coco(coco_cache, shared, teacher):
    """(image row, predictions, oracle record) for each image of COCO128."""
    folder = shared / "data/coco128/images/train2017"
    entries = read_cache(coco_cache)
    return [(image, rows, oracle.record(teacher, folder / Path(image["path"]).name)) for image, rows in entries]


def assert_probabilities_close(entries, least=0.999, within=0.02):
    """Of all class probabilities of all kept anchors, the share `least` is `within` of the oracle's."""
    differences = [
        np.abs(oracle.sigmoid(rows["class_logits"]) - oracle.sigmoid(expected.class_logits[rows["anchor"]])).ravel()
        for _, rows, expected in entries
    ]
    differences = np.concatenate(differences)
    assert differences.size > 1000
    assert (differences <= within).mean() >= least


def test_every_image_of_coco128_is_cached(coco):
    assert [image["image_id"] for image, _, _ in coco] == list(range(128))
    assert sum(image["row_count"] for image, _, _ in coco) > 10_000


def test_jpegs_give_the_same_rows(coco):
    for image, rows, expected in coco:
        assert_rows_equal(image, rows, expected)


def test_jpegs_give_the_same_probabilities(coco):
    assert_probabilities_close(coco)


def test_pngs_that_need_no_resize_give_the_same_rows(shared, teacher, logitcache, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in sorted((shared / "data/coco128/images/train2017").glob("*.jpg"))[:12]:
        picture = oracle.decode(path)[:640, :640]
        canvas = np.full((640, 640, 3), 90, np.uint8)
        canvas[: picture.shape[0], : picture.shape[1]] = picture
        assert cv2.imwrite(str(pictures / f"{path.stem}.png"), canvas)
    model = shared / "models/yolov12n.onnx"
    logitcache("build", "--teacher", model, "--data", pictures, "--out", tmp_path / "cache", *PLAIN)
    entries = read_cache(tmp_path / "cache")
    assert len(entries) == 12
    for image, rows in entries:
        assert not image["labelled"]
        assert_rows_equal(image, rows, oracle.record(teacher, pictures / Path(image["path"]).name))


@pytest.mark.parametrize("imgsz, rows, columns", [("416", 416, 416), ("480x640", 480, 640)])
def test_a_dynamic_export_at_another_size_gives_the_same_probabilities(shared, logitcache, tmp_path, imgsz, rows, columns):
    model = FIXTURES / "models/yolov8-dynamic.onnx"
    # Random weights give every anchor about the same score: a limit that nothing reaches would prove nothing.
    settings = ["--imgsz", imgsz, "--ignore-labels", "--min-score", 0, "--top-k", oracle.TOP_K, *EXACT]
    data = shared / "data/coco128/data.yaml"
    logitcache("build", "--teacher", model, "--data", data, "--out", tmp_path / "cache", *settings)
    teacher = oracle.Teacher(model)
    folder = shared / "data/coco128/images/train2017"
    entries = [
        (image, kept, oracle.record(teacher, folder / Path(image["path"]).name, columns, rows, min_score=0))
        for image, kept in read_cache(tmp_path / "cache")
    ]
    assert len(entries) == 128
    assert all(len(rows["anchor"]) == oracle.TOP_K for _, rows, _ in entries)
    for image, rows, expected in entries:
        assert_rows_equal(image, rows, expected, min_score=0)
    assert_probabilities_close(entries)


def test_labels_are_those_of_the_files(coco, shared):
    """Centre, width and height of the text files in pixels, clipped, in the files' order."""
    boxes = 0
    for image, _, _ in coco:
        path = shared / "data/coco128/labels/train2017" / (Path(image["path"]).stem + ".txt")
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        assert image["labelled"] and len(image["labels"]) == len(lines), image["path"]
        for label, (class_id, *fractions) in zip(image["labels"], lines):
            x, y, width, height = map(float, fractions)
            corners = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
            size = np.array([image["width"], image["height"]] * 2)
            expected = np.clip(corners * size, 0, size)
            assert label["class_id"] == int(class_id)
            np.testing.assert_allclose([label[k] for k in ("x1", "y1", "x2", "y2")], expected, atol=1e-2)
            boxes += 1
    assert boxes > 900


def average_precision(truth, detections):
    """COCO AP (0.50:0.95) of `{image_id: (boxes, scores, classes)}`."""
    rows = [
        dict(image_id=image_id, category_id=int(c), score=float(s), bbox=[b[0], b[1], b[2] - b[0], b[3] - b[1]])
        for image_id, found in detections.items()
        for b, s, c in zip(found[0].astype(float).tolist(), found[1], found[2])
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0]


def test_average_precision_is_the_same(coco):
    images, annotations = [], []
    for image, _, _ in coco:
        images.append(dict(id=image["image_id"], width=image["width"], height=image["height"]))
        for label in image["labels"]:
            width, height = label["x2"] - label["x1"], label["y2"] - label["y1"]
            annotations.append(
                dict(id=len(annotations) + 1, image_id=image["image_id"], category_id=label["class_id"], iscrowd=0)
                | dict(bbox=[label["x1"], label["y1"], width, height], area=width * height)
            )
    truth = COCO()
    truth.dataset = dict(info={}, images=images, annotations=annotations, categories=[dict(id=i) for i in range(80)])
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    cached, selected, dense = {}, {}, {}
    for image, rows, expected in coco:
        boxes = np.stack([rows[side] for side in ("x1", "y1", "x2", "y2")], axis=1)
        cached[image["image_id"]] = oracle.nms(boxes, oracle.sigmoid(rows["class_logits"]))
        # Once with the oracle's selection, once with every anchor that has a class over the limit.
        for detections, anchors in [(selected, expected.kept), (dense, expected.scores >= oracle.MIN_SCORE)]:
            probabilities = oracle.sigmoid(expected.class_logits[anchors])
            detections[image["image_id"]] = oracle.nms(expected.boxes[anchors], probabilities)
    ap = {name: average_precision(truth, found) for name, found in dict(c=cached, s=selected, d=dense).items()}
    print(f"AP of the cached boxes {ap['c']:.4f}; of the oracle's {ap['s']:.4f}, without a selection {ap['d']:.4f}")
    assert ap["d"] > 0.3, "the oracle itself must detect something"
    assert abs(ap["c"] - ap["s"]) <= 0.0005
    # The distance that remains is what the 300 best anchors of an image leave out.
    assert abs(ap["c"] - ap["d"]) <= 0.002

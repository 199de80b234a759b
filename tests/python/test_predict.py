"""`predict` against a plain pipeline of OpenCV, ONNX Runtime and NumPy; its files read by those that should read them."""

import contextlib
import io
import json

import cv2
import jsonschema
import numpy as np
import oracle
import pytest
from conftest import FIXTURES, ROOT
from pycocotools.coco import COCO

CONF, IOU = 0.25, 0.7
SIDES = ("x1", "y1", "x2", "y2")


def run(logitcache, tmp_path, model, pictures, *more):
    """(report, folder of results)."""
    out = tmp_path / "out"
    done = logitcache("predict", "--model", model, pictures, "--out", out, "--save-conf", "--json", *more)
    return json.loads(done.stdout), out


@pytest.fixture(scope="module")
def drawn(logitcache, drawn_data, tmp_path_factory):
    """Drawn pictures under the committed teacher, whose random weights give scores near this limit."""
    model = FIXTURES / "models/yolov8-dynamic.onnx"
    options = ["--imgsz", 160, "--conf", 0.0009]
    return run(logitcache, tmp_path_factory.mktemp("drawn"), model, drawn_data.parent / "images", *options)


@pytest.fixture(scope="module")
def real(logitcache, shared, tmp_path_factory):
    """COCO128 under a real model."""
    pictures = shared / "data/coco128/images/train2017"
    return run(logitcache, tmp_path_factory.mktemp("real"), shared / "models/yolov12n.onnx", pictures)


@pytest.fixture(params=["drawn", "real"])
def predicted(request):
    """Both, where both can be had."""
    return request.getfixturevalue(request.param)


def corners(image):
    """Boxes [n, 4] of a report's image."""
    return np.array([[d["box_xyxy_px"][side] for side in SIDES] for d in image["detections"]]).reshape(-1, 4)


def test_the_object_is_as_its_schema_says(predicted):
    schema = json.loads((ROOT / "schemas/predict.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(predicted[0], schema)


def test_counts_are_those_of_the_detections(predicted):
    report, _ = predicted
    names, totals = report["class_names"], {}
    assert sum(len(image["detections"]) for image in report["images"]) > 30
    for image in report["images"]:
        found = [names[d["class_id"]] for d in image["detections"]]
        assert {c["class"]: c["count"] for c in image["counts"]} == {name: found.count(name) for name in found}
        counts = [c["count"] for c in image["counts"]]
        assert counts == sorted(counts, reverse=True)
        for name in found:
            totals[name] = totals.get(name, 0) + 1
    assert {c["class"]: c["count"] for c in report["totals"]} == totals


def test_pycocotools_reads_the_results(predicted):
    report, out = predicted
    truth = COCO()
    truth.dataset = dict(
        info={},
        images=[dict(id=image["image_id"], **image["size"]) for image in report["images"]],
        annotations=[],
        categories=[dict(id=i, name=name) for i, name in enumerate(report["class_names"])],
    )
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        results = truth.loadRes(str(out / "detections.json"))
    for image in report["images"]:
        found = results.loadAnns(results.getAnnIds(imgIds=[image["image_id"]]))
        assert [f["category_id"] for f in found] == [d["class_id"] for d in image["detections"]]
        assert [f["score"] for f in found] == [d["score"] for d in image["detections"]]
        assert all(f["file_name"] == image["path"] for f in found)
        boxes = np.array([f["bbox"] for f in found]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(boxes, corners(image), atol=1e-3)


def test_label_files_give_the_same_boxes(predicted):
    report, out = predicted
    for image in report["images"]:
        text = (out / "labels" / image["path"]).with_suffix(".txt").read_text()
        rows = np.array([line.split() for line in text.splitlines()], float).reshape(-1, 6)
        assert rows[:, 0].tolist() == [d["class_id"] for d in image["detections"]]
        width, height = image["size"]["width"], image["size"]["height"]
        x, y, w, h = (rows[:, 1:5] * [width, height, width, height]).T
        boxes = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)
        # Six digits behind the point: half of the last digit of the centre, and of half the side.
        np.testing.assert_allclose(boxes, corners(image), atol=max(width, height) * 1e-6)
        np.testing.assert_allclose(rows[:, 5], [d["score"] for d in image["detections"]], atol=1e-6)


def test_opencv_reads_the_pictures(predicted):
    report, out = predicted
    for image in report["images"]:
        drawn = cv2.imread(str(out / image["path"]))
        assert drawn.shape == (image["size"]["height"], image["size"]["width"], 3)


def plain(session, path, columns=640, rows=640, conf=CONF):
    """Detections of one picture: boxes [n, 4] in its pixels, scores, classes. Highest score first."""
    canvas, geometry = oracle.letterbox(oracle.decode(path), columns, rows)
    (output,) = session.run(None, {session.get_inputs()[0].name: oracle.to_tensor(canvas)})
    centre, size, probabilities = output[0, :2].T, output[0, 2:4].T, output[0, 4:].T
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    over = probabilities.max(axis=1) > conf
    boxes, probabilities = boxes[over], probabilities[over]
    # An anchor counts for its best class alone.
    only_best = np.where(probabilities == probabilities.max(axis=1, keepdims=True), probabilities, 0)
    boxes, scores, classes = oracle.nms(boxes, only_best, conf, IOU)
    return geometry.boxes_to_image(boxes), scores, classes


def compared(report, model, folder, within_px, within, *size):
    """How many boxes there are, and how many are the same in the report and from a plain pipeline."""
    session = oracle.session(model)
    assert not report["failures"]
    found = matched = 0
    for image in report["images"]:
        boxes, scores, classes = plain(session, folder / image["path"], *size)
        ours, detections = corners(image), image["detections"]
        found += max(len(boxes), len(ours))
        for box, score, class_id in zip(boxes, scores, classes):
            same = [
                abs(d["score"] - score) < within and d["class_id"] == class_id and np.abs(ours[i] - box).max() < within_px
                for i, d in enumerate(detections)
            ]
            matched += any(same)
    print(f"{matched} of {found} boxes are the same")
    return found, matched


def test_detections_are_those_of_a_plain_pipeline(real, shared):
    report, _ = real
    folder = shared / "data/coco128/images/train2017"
    found, matched = compared(report, shared / "models/yolov12n.onnx", folder, 0.05, 1e-3)
    assert len(report["images"]) == 128 and found > 500
    assert matched >= 0.995 * found


def test_detections_at_480x640_are_those_of_a_plain_pipeline(logitcache, shared, tmp_path):
    """Every box must be the same: as PNG, since decoders of JPEG differ, and pale, since the made-up model gives thousands of
    boxes of a photograph the same score, 1.
    """
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in sorted((shared / "data/coco128/images/train2017").glob("*.jpg"))[:16]:
        pale = (85 + 0.25 * oracle.decode(path)).astype(np.uint8)
        assert cv2.imwrite(str(pictures / f"{path.stem}.png"), pale)
    model = FIXTURES / "models/yolov8-dynamic.onnx"
    report, _ = run(logitcache, tmp_path, model, pictures, "--imgsz", "480x640", "--conf", 0.002)
    found, matched = compared(report, model, pictures, 0.5, 1e-4, 640, 480, 0.002)
    assert len(report["images"]) == 16 and found > 400
    assert matched == found

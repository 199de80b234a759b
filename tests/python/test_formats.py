"""The same pictures and boxes as YOLO, COCO, Pascal VOC and a plain folder: the caches hold the same labels and predictions."""

import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import yaml
from cache_files import read_cache
from conftest import FIXTURES

TINY = FIXTURES / "models/yolov8-dynamic.onnx"
SIDES = ("x1", "y1", "x2", "y2")


def by_name(cache):
    """{file name: (image row, predictions)}; the formats differ in what the `path` column is relative to."""
    entries = read_cache(cache)
    named = {Path(image["path"]).name: (image, rows) for image, rows in entries}
    assert len(named) == len(entries)
    return named


def labels_of(image):
    """Class ids, and boxes [n, 4] in pixels."""
    labels = image["labels"] or []
    return [label["class_id"] for label in labels], np.array([[label[k] for k in SIDES] for label in labels]).reshape(-1, 4)


def assert_same_labels(found, expected, within_px):
    """The same pictures with the same boxes in the same order."""
    assert found.keys() == expected.keys()
    boxes = 0
    for name, (image, _) in found.items():
        (classes, corners), (other_classes, other_corners) = labels_of(image), labels_of(expected[name][0])
        assert image["labelled"] and expected[name][0]["labelled"], name
        assert classes == other_classes, name
        np.testing.assert_allclose(corners, other_corners, atol=within_px, err_msg=name)
        boxes += len(classes)
    return boxes


def assert_same_predictions(found, expected):
    """What the teacher said does not depend on how the data set is written down, to the last bit."""
    assert found.keys() == expected.keys()
    for name, (image, rows) in found.items():
        other_image, other_rows = expected[name]
        for key in ("image_id", "width", "height", "file_sha256", "dropped_max_score", "dropped_mean_prob"):
            assert image[key] == other_image[key], name
        assert rows.keys() == other_rows.keys()
        for key, column in rows.items():
            np.testing.assert_array_equal(column, other_rows[key], f"{name}: {key}")


def yolo_boxes(data_yaml, split="train"):
    """{picture's path: (width, height, [(class id, x1, y1, x2, y2)])} of the text files of an Ultralytics data set, unclipped."""
    described = yaml.safe_load(data_yaml.read_text())
    images = data_yaml.parent / described.get("path", ".") / described[split]
    found = {}
    for path in sorted(images.iterdir()):
        height, width = cv2.imread(str(path)).shape[:2]
        text = Path(str(path.parent).replace("images", "labels")) / f"{path.stem}.txt"
        boxes = []
        for line in text.read_text().splitlines() if text.exists() else []:
            class_id, x, y, w, h = map(float, line.split())
            corners = (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height
            boxes.append((int(class_id), *corners))
        found[path] = (width, height, boxes)
    names = described["names"]
    return found, (list(names.values()) if isinstance(names, dict) else names)


def write_coco(data_yaml, target):
    """An `instances.json` of the same labels; the ids of images and categories begin where they like, as COCO's own do."""
    found, names = yolo_boxes(data_yaml)
    images, annotations = [], []
    for number, (path, (width, height, boxes)) in enumerate(found.items()):
        images.append(dict(id=9000 - number, file_name=path.name, width=width, height=height))
        for class_id, x1, y1, x2, y2 in boxes:
            box = dict(category_id=7 + 3 * class_id, bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1), iscrowd=0)
            annotations.append(dict(id=len(annotations) + 1, image_id=9000 - number, **box))
    categories = [dict(id=7 + 3 * class_id, name=name) for class_id, name in enumerate(names)]
    target.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return target


def write_voc(data_yaml, folder):
    """Pascal VOC XML of the same labels, one file per picture, in a folder without pictures."""
    found, names = yolo_boxes(data_yaml)
    folder.mkdir()
    for path, (width, height, boxes) in found.items():
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = path.name
        size = ElementTree.SubElement(root, "size")
        for tag, value in [("width", width), ("height", height), ("depth", 3)]:
            ElementTree.SubElement(size, tag).text = str(value)
        for class_id, *corners in boxes:
            node = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(node, "name").text = names[class_id]
            box = ElementTree.SubElement(node, "bndbox")
            for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), corners):
                ElementTree.SubElement(box, tag).text = repr(value)
        ElementTree.ElementTree(root).write(folder / f"{path.stem}.xml")
    return folder


@pytest.fixture
def build(logitcache, inspect, tmp_path):
    """Builds into a new folder, verifies, gives the summary and the content by file name."""

    def run(name, teacher, data, *settings):
        out = tmp_path / f"{name}-cache"
        logitcache("build", "--teacher", teacher, "--data", data, "--out", out, *settings)
        logitcache("verify", out)
        return inspect(out), by_name(out)

    return run


def test_drawn_pictures_in_every_format(build, drawn_data, tmp_path):
    pictures = drawn_data.parent / "images"
    settings = ["--imgsz", 160]
    summary, yolo = build("yolo", TINY, drawn_data, *settings)
    assert summary["dataset"]["format"] == "yolo"
    beside = ["--images", pictures, *settings]
    for form, data in [
        ("coco", write_coco(drawn_data, tmp_path / "instances.json")),
        ("voc", write_voc(drawn_data, tmp_path / "voc")),
    ]:
        summary, found = build(form, TINY, data, *beside)
        assert (summary["dataset"]["format"], summary["labelled_images"]) == (form, 40)
        assert assert_same_labels(found, yolo, within_px=1e-3) == 96
        assert_same_predictions(found, yolo)

    summary, plain = build("folder", TINY, pictures, *settings)
    assert (summary["dataset"]["format"], summary["labelled_images"], summary["label_boxes"]) == ("folder", 0, 0)
    assert not any(image["labelled"] or image["labels"] for image, _ in plain.values())
    assert_same_predictions(plain, yolo)


def test_without_the_pictures_folder_it_says_what_is_missing(logitcache, drawn_data, tmp_path):
    out = tmp_path / "cache"
    for data in (write_coco(drawn_data, tmp_path / "instances.json"), write_voc(drawn_data, tmp_path / "voc")):
        # COCO knows at once; VOC names every picture that it did not find, and keeps the reasons.
        done = logitcache("build", "--teacher", TINY, "--data", data, "--out", out, "--imgsz", 160, expect=2)
        assert "drawn000" in done.stdout + done.stderr
        assert out.exists() == (data.suffix != ".json")


def test_blood_cells_as_voc_and_as_yolo(build, shared, tmp_path):
    folder = shared / "data/bccd"
    # The labels are matched by name; the teacher may know more classes, in another order.
    names = tmp_path / "names.txt"
    names.write_text("Platelets\nbackground\nRBC\nnothing\nWBC\nnobody\n")
    settings = ["--imgsz", 64, "--names", names]
    for split, images in [("train", 205), ("val", 87)]:
        summary, yolo = build(f"yolo-{split}", TINY, folder / "data.yaml", "--split", split, *settings)
        assert summary["images"] == summary["labelled_images"] == images
        pictures = ["--images", folder / "images" / split]
        summary, voc = build(f"voc-{split}", TINY, folder / "voc" / split, *pictures, *settings)
        assert summary["dataset"]["format"] == "voc"
        # Six digits of a fraction of 640 pixels.
        boxes = assert_same_labels(voc, yolo, within_px=2e-3)
        assert boxes == summary["label_boxes"] > 500
        assert {c for image, _ in voc.values() for c in labels_of(image)[0]} == {0, 2, 4}
        assert_same_predictions(voc, yolo)


def test_coco128_as_coco_and_as_yolo(build, compact_cache, shared, tmp_path):
    data = shared / "data/coco128/data.yaml"
    instances = write_coco(data, tmp_path / "instances.json")
    pictures = ["--images", shared / "data/coco128/images/train2017"]
    summary, found = build("coco", shared / "models/yolov12n.onnx", instances, *pictures)
    assert summary["dataset"]["format"] == "coco"
    expected = by_name(compact_cache)
    assert assert_same_labels(found, expected, within_px=1e-3) == summary["label_boxes"] > 900
    assert_same_predictions(found, expected)

"""What `logitcache data` writes, read by others: pycocotools, and ElementTree and json by the formats' own rules."""

import json
from collections import defaultdict
from xml.etree import ElementTree

import cv2
import jsonschema
import numpy as np
import pytest
import yaml
from conftest import ROOT
from pycocotools.coco import COCO

# What the formats' rounding may change, in pixels.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def first(drawn_data):
    """{file name: (width, height, [(class name, left, top, right, bottom)])} of the drawn data set, read here."""
    names = yaml.safe_load(drawn_data.read_text())["names"]
    found = {}
    for picture in sorted((drawn_data.parent / "images").iterdir()):
        height, width = cv2.imread(str(picture)).shape[:2]
        boxes = []
        for line in (drawn_data.parent / "labels" / f"{picture.stem}.txt").read_text().splitlines():
            class_id, cx, cy, w, h = map(float, line.split())
            left, right = np.clip([(cx - w / 2) * width, (cx + w / 2) * width], 0, width)
            top, bottom = np.clip([(cy - h / 2) * height, (cy + h / 2) * height], 0, height)
            boxes.append((names[int(class_id)], left, top, right, bottom))
        found[picture.name] = width, height, boxes
    return found


@pytest.fixture(scope="module")
def written(logitcache, drawn_data, tmp_path_factory):
    """Folder of the data set in each format, the one after the other from the one before."""
    folder, source, folders = tmp_path_factory.mktemp("formats"), drawn_data, {}
    schema = json.loads((ROOT / "schemas/data-manifest.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for name in ("coco", "voc", "cvat", "label-studio", "yolo"):
        more = ["--split", "train"] if source == drawn_data else []
        printed = logitcache("data", "convert", source, "--to", name, "--out", folder / name, "--json", *more).stdout
        jsonschema.validate(json.loads(printed), schema)
        source = folders[name] = folder / name
    return folders


def read_coco(folder):
    coco = COCO(str(folder / "annotations/instances_train.json"))
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    assert list(names.values()) == ["circle", "square"]
    for image in coco.loadImgs(coco.getImgIds()):
        boxes = []
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            x, y, w, h = annotation["bbox"]
            assert annotation["area"] == pytest.approx(w * h, abs=0.01)
            boxes.append((names[annotation["category_id"]], x, y, x + w, y + h))
        yield folder / "images/train" / image["file_name"], image["width"], image["height"], boxes


def read_voc(folder):
    assert (folder / "labelmap.txt").read_text().splitlines()[1:] == ["circle:::", "square:::"]
    for stem in (folder / "ImageSets/Main/train.txt").read_text().split():
        root = ElementTree.parse(folder / f"Annotations/{stem}.xml").getroot()
        boxes = []
        for thing in root.iter("object"):
            corners = [float(thing.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
            boxes.append((thing.findtext("name"), *corners))
        size = int(root.findtext("size/width")), int(root.findtext("size/height"))
        yield folder / "JPEGImages" / root.findtext("filename"), *size, boxes


def read_cvat(folder):
    root = ElementTree.parse(folder / "annotations.xml").getroot()
    assert [name.text for name in root.findall("meta/project/labels/label/name")] == ["circle", "square"]
    for image in root.iter("image"):
        sides = ("xtl", "ytl", "xbr", "ybr")
        boxes = [(box.get("label"), *(float(box.get(side)) for side in sides)) for box in image.iter("box")]
        path = folder / "images" / image.get("subset") / image.get("name")
        yield path, int(image.get("width")), int(image.get("height")), boxes


def read_label_studio(folder):
    labels = [label.get("value") for label in ElementTree.parse(folder / "label_config.xml").iter("Label")]
    assert labels == ["circle", "square"]
    for task in json.loads((folder / "tasks.json").read_text()):
        boxes, width, height = [], None, None
        for region in task["annotations"][0]["result"]:
            width, height, value = region["original_width"], region["original_height"], region["value"]
            x, y, w, h = (value[name] / 100 * side for name, side in zip(("x", "y", "width", "height"), (width, height) * 2))
            boxes.append((value["rectanglelabels"][0], x, y, x + w, y + h))
        yield folder / task["data"]["image"].split("?d=")[1], width, height, boxes


def read_yolo(folder):
    description = yaml.safe_load((folder / "data.yaml").read_text())
    names = description["names"]
    assert names == {0: "circle", 1: "square"}
    for path in sorted((folder / description["train"]).iterdir()):
        height, width = cv2.imread(str(path)).shape[:2]
        boxes = []
        for line in (folder / "labels/train" / f"{path.stem}.txt").read_text().splitlines():
            class_id, cx, cy, w, h = map(float, line.split())
            corners = (cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height
            boxes.append((names[int(class_id)], *corners))
        yield path, width, height, boxes


READERS = {"coco": read_coco, "voc": read_voc, "cvat": read_cvat, "label-studio": read_label_studio, "yolo": read_yolo}


@pytest.mark.parametrize("name", READERS)
def test_others_read_the_same_boxes(name, written, first, drawn_data):
    found = {path.name: (path, width, height, boxes) for path, width, height, boxes in READERS[name](written[name])}
    assert sorted(found) == sorted(first)
    for file, (width, height, boxes) in first.items():
        path, found_width, found_height, found_boxes = found[file]
        assert path.read_bytes() == (drawn_data.parent / "images" / file).read_bytes()
        # A Label Studio task without regions does not tell the size.
        assert (found_width, found_height) in {(width, height), (None, None)}
        assert [box[0] for box in found_boxes] == [box[0] for box in boxes], file
        for one, other in zip(boxes, found_boxes):
            np.testing.assert_allclose(one[1:], other[1:], atol=TOLERANCE)


def test_stats_are_those_of_numpy(logitcache, drawn_data, first):
    stats = json.loads(logitcache("data", "stats", drawn_data, "--split", "train", "--json").stdout)
    jsonschema.validate(stats, json.loads((ROOT / "schemas/data-stats.schema.json").read_text()))
    boxes = [box for _, _, boxes in first.values() for box in boxes]
    areas = np.array([(right - left) * (bottom - top) for _, left, top, right, bottom in boxes])
    expected = {"small": (areas < 32**2).sum(), "medium": ((areas >= 32**2) & (areas < 96**2)).sum(), "large": (areas >= 96**2).sum()}
    assert stats["sizes"] == expected and stats["boxes"] == len(boxes)
    by_class, images = defaultdict(int), defaultdict(set)
    for file, (_, _, boxes) in first.items():
        for box in boxes:
            by_class[box[0]] += 1
            images[box[0]].add(file)
    assert {c["name"]: (c["boxes"], c["images"]) for c in stats["classes"]} == {n: (by_class[n], len(images[n])) for n in by_class}
    assert [pair["images"] for pair in stats["together"]] == [len(images["circle"] & images["square"])]
    assert sum(bucket["count"] for bucket in stats["objects_per_image"]) == len(first)


def test_reports_fit_their_schemas(logitcache, drawn_data, written):
    for words, schema, status in [
        (("check", drawn_data), "data-check", 1),
        (("dedup", drawn_data), "data-dedup", 0),
        (("diff", written["coco"], written["yolo"]), "data-diff", 0),
    ]:
        printed = json.loads(logitcache("data", *words, "--json", expect=status).stdout)
        jsonschema.validate(printed, json.loads((ROOT / f"schemas/{schema}.schema.json").read_text()))


def near_copies(picture):
    """What happens to a picture on its way: smaller, compressed again, brighter."""
    height, width = picture.shape[:2]
    yield ".png", cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    yield ".png", cv2.convertScaleAbs(picture, alpha=1.05, beta=6)
    yield ".png", cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)


def test_near_copies_are_found_and_nothing_else(logitcache, shared, tmp_path):
    pictures = sorted((shared / "data/coco128/images/train2017").glob("*.jpg"))[:40]
    for number, path in enumerate(pictures):
        picture = cv2.imread(str(path))
        cv2.imwrite(str(tmp_path / f"{number:02}-0.png"), picture)
        for copy, (suffix, image) in enumerate(near_copies(picture), 1):
            cv2.imwrite(str(tmp_path / f"{number:02}-{copy}{suffix}"), image)
    report = json.loads(logitcache("data", "dedup", tmp_path, "--json").stdout)
    groups = [{member["path"] for member in group["members"]} for group in report["groups"]]
    assert all(len({path.split("-")[0] for path in group}) == 1 for group in groups), "only copies of one picture are a group"
    assert report["duplicates"] >= 0.97 * 3 * len(pictures), f"{report['duplicates']} of {3 * len(pictures)} copies were found"

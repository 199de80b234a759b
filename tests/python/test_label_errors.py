"""What `logitcache issues` and `logitcache cache` write, read by others: pycocotools, ElementTree and json; their objects by the schemas."""

import csv
import json
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest
from conftest import ROOT
from pycocotools.coco import COCO


def by_schema(text, name):
    schema = json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    report = json.loads(text)
    jsonschema.validate(report, schema)
    return report


@pytest.fixture(scope="module", params=["soft", "objectlab", "fiftyone"])
def review(request, logitcache, compact_cache, tmp_path_factory):
    """Report and folder of each method."""
    folder = tmp_path_factory.mktemp("issues") / request.param
    words = ["--method", request.param, "--top", 300, "--pictures", 5, "--out", folder, "--json"]
    return by_schema(logitcache("issues", compact_cache, *words).stdout, "issues"), folder


def assert_same(found, report):
    """Boxes as (path, kind, class, corners): those of the report, whose numbers are float32."""
    of = [(issue, issue["label"] or issue["teacher"]) for issue in report["issues"]]
    expected = [(i["path"], i["kind"], o["class"], *(o["box_xyxy_px"][k] for k in ("x1", "y1", "x2", "y2"))) for i, o in of]
    found, expected = sorted(found), sorted(expected)
    assert [box[:3] for box in found] == [box[:3] for box in expected]
    np.testing.assert_allclose([box[3:] for box in found], [box[3:] for box in expected], atol=1e-3)


def test_coco_has_the_boxes(review):
    report, folder = review
    coco = COCO(str(folder / "coco.json"))
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    paths = {image["id"]: image["file_name"] for image in coco.loadImgs(coco.getImgIds())}
    found = []
    for annotation in coco.loadAnns(coco.getAnnIds()):
        x, y, w, h = annotation["bbox"]
        found.append((paths[annotation["image_id"]], annotation["issue"], names[annotation["category_id"]], x, y, x + w, y + h))
    assert_same(found, report)


def test_cvat_has_the_boxes(review):
    report, folder = review
    found = []
    for image in ElementTree.parse(folder / "cvat/annotations.xml").iter("image"):
        for box in image.iter("box"):
            kind = box.find("attribute[@name='issue']").text
            corners = (float(box.get(k)) for k in ("xtl", "ytl", "xbr", "ybr"))
            found.append((image.get("name"), kind, box.get("label"), *corners))
    assert_same(found, report)


def test_label_studio_has_the_boxes(review):
    report, folder = review
    labels = [label.get("value") for label in ElementTree.parse(folder / "label-studio/label_config.xml").iter("Label")]
    count = 0
    for task in json.loads((folder / "label-studio/tasks.json").read_text()):
        assert task["data"]["image"].endswith(task["data"]["path"])
        for region in task["predictions"][0]["result"]:
            value = region["value"]
            assert value["rectanglelabels"][0] in labels
            assert 0 <= value["x"] <= value["x"] + value["width"] <= 100.001
            count += 1
    assert count == len(report["issues"])


def test_tables_have_the_list(review):
    report, folder = review
    rows = list(csv.DictReader((folder / "issues.csv").open()))
    assert [(row["path"], row["kind"], row["why"]) for row in rows] == [(i["path"], i["kind"], i["why"]) for i in report["issues"]]
    images = list(csv.DictReader((folder / "images.csv").open()))
    assert [row["path"] for row in images] == [image["path"] for image in report["worst_images"]]


def test_caches_that_were_written(logitcache, compact_cache, tmp_path):
    written = logitcache("cache", "subset", compact_cache, "--class", "person", "--out", tmp_path / "people", "--json")
    report = by_schema(written.stdout, "cache-written")
    assert 0 < report["images"] < 128
    diff = by_schema(logitcache("cache", "diff", compact_cache, tmp_path / "people", "--json").stdout, "cache-diff")
    assert (diff["images_in_both"], diff["mean_disagreement"]) == (report["images"], 0)
    assert diff["images_only_in_a"] + diff["images_in_both"] == 128

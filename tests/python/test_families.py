"""Every family on photographs against the detections of its own project (tests/fixtures/generate_families.py)."""

import json

import cv2
import numpy as np
import oracle
import pytest
from conftest import FIXTURES

FOLDER = FIXTURES / "families"
NAMES = ["circle", "square", "triangle", "star", "cross", "ring"]
WITHIN, WITHIN_PX = 1e-4, 0.5
#: As in the generator.
CONF, BEST = 0.05, 20
MODELS = sorted(path.stem for path in FOLDER.glob("*.json"))
#: Of a file that does not tell its family.
FAMILIES = {"detr-hf": "detr"}


@pytest.fixture(scope="module")
def pictures(shared, tmp_path_factory):
    """The first 16 images of COCO128, pale as in the generator; as PNG, since other decoders of JPEG differ by some levels."""
    folder = tmp_path_factory.mktemp("photographs")
    for path in sorted((shared / "data/coco128/images/train2017").glob("*.jpg"))[:16]:
        pale = (85 + 0.25 * oracle.decode(path)).astype(np.uint8)
        assert cv2.imwrite(str(folder / f"{path.stem}.png"), pale)
    return folder


def same(detection, row):
    box = [detection["box_xyxy_px"][side] for side in ("x1", "y1", "x2", "y2")]
    near = abs(detection["score"] - row[1]) <= WITHIN and np.abs(np.array(box) - row[2:]).max() <= WITHIN_PX
    return detection["class_id"] == row[0] and near


@pytest.mark.parametrize("model", MODELS)
def test_detections_are_those_of_the_project(logitcache, pictures, tmp_path, model):
    golden = json.loads((FOLDER / f"{model}.json").read_text())
    names = tmp_path / "names.txt"
    own = NAMES if golden["classes"] == len(NAMES) else map(str, range(golden["classes"]))
    names.write_text("\n".join(own))
    settings = ["--names", names, "--conf", CONF, "--json"]
    if model in FAMILIES:
        settings += ["--family", FAMILIES[model]]
    done = logitcache("predict", "--model", FOLDER / f"{model}.onnx", pictures, *settings)
    images = json.loads(done.stdout)["images"]
    assert len(images) == len(golden["photographs"]) == 16
    for image, rows in zip(images, golden["photographs"]):
        ours, where = image["detections"], f"{model}, {image['path']}"
        missing = [row for row in rows if not any(same(detection, row) for detection in ours)]
        assert not missing, f"{where}: {missing[0]} is not found"
        # Of those that are no better than the last of theirs, which they leave out, more may be found.
        lowest = rows[-1][1] + WITHIN
        more = [d for d in ours if d["score"] > lowest and not any(same(d, row) for row in rows)]
        assert not more, f"{where}: {more[0]} is not theirs"
    assert sum(map(len, golden["photographs"])) > 150

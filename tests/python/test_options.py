"""Every kind of export and every setting that decides what is kept, each against the oracle. Needs nothing beside the project."""

from pathlib import Path

import numpy as np
import oracle
import pytest
from cache_files import read_cache
from compare import assert_rows_equal
from conftest import EXACT, FIXTURES

SHAPES = "circle\nsquare\ntriangle\nstar\ncross\nring\n"
EVERY_ANCHOR = 10**9
# Random weights may give no anchor of a small input more than 0.01: the best 50 of all are compared.
SETTINGS, KEPT = ["--min-score", 0, "--top-k", 50], dict(min_score=0, top_k=50)


@pytest.fixture
def build(logitcache, drawn_data, tmp_path):
    """Builds the drawn pictures without labels, verifies, gives the cache's entries."""

    def run(model, *settings):
        out = tmp_path / f"cache{len(list(tmp_path.iterdir()))}"
        teacher = FIXTURES / f"models/{model}.onnx"
        logitcache("build", "--teacher", teacher, "--data", drawn_data, "--out", out, "--ignore-labels", *EXACT, *settings)
        logitcache("verify", out)
        return read_cache(out)

    return run


@pytest.fixture
def assert_as_oracle(drawn_data):
    """Compares every row of every image."""

    def check(entries, model, columns, rows, *, min_score, top_k, dfl=True, half=False, **how):
        teacher = oracle.Teacher(FIXTURES / f"models/{model}.onnx", dfl)
        assert len(entries) == 40
        for image, stored in entries:
            path = drawn_data.parent / "images" / Path(image["path"]).name
            expected = oracle.record(teacher, path, columns, rows, min_score=min_score, top_k=top_k, **how)
            assert_rows_equal(image, stored, expected, min_score, top_k, half)
        assert sum(image["row_count"] for image, _ in entries) > 100, "a comparison of nothing"

    return check


@pytest.mark.parametrize(
    "model, columns, rows",
    [
        ("yolov8-static", 64, 64),
        ("yolov8-batch4", 64, 64),
        ("yolov9-opset12", 64, 64),
        ("yolov10-one2many", 160, 96),
        ("yolo11-wide", 128, 64),
    ],
)
def test_static_exports(model, columns, rows, build, assert_as_oracle):
    assert_as_oracle(build(model, *SETTINGS), model, columns, rows, **KEPT)


@pytest.mark.parametrize("model", ["yolov8-dynamic", "yolo12-dynamic"])
@pytest.mark.parametrize("batch", [1, 4])
def test_dynamic_exports(model, batch, build, assert_as_oracle):
    """Parts of 7 images: batches of 4 cross their borders."""
    entries = build(model, "--imgsz", 96, "--batch", batch, "--images-per-part", 7, *SETTINGS)
    assert_as_oracle(entries, model, 96, 96, **KEPT)


def test_an_export_without_metadata(build, assert_as_oracle, tmp_path, logitcache, drawn_data):
    names = tmp_path / "names.txt"
    names.write_text(SHAPES)
    entries = build("yolov8-raw-export", "--names", names, *SETTINGS)
    assert_as_oracle(entries, "yolov8-raw-export", 64, 64, **KEPT)
    teacher = FIXTURES / "models/yolov8-raw-export.onnx"
    done = logitcache("build", "--teacher", teacher, "--data", drawn_data, "--out", tmp_path / "none", expect=2)
    assert "--names" in done.stderr and not (tmp_path / "none").exists()


def test_a_head_with_a_finer_level(build, assert_as_oracle):
    assert_as_oracle(build("yolov8-p2", *SETTINGS), "yolov8-p2", 64, 64, strides=(4, 8, 16, 32), **KEPT)


@pytest.mark.parametrize("model, size, settings", [("yolov8-fp16", 64, []), ("yolov8-fp16-io", 96, ["--imgsz", 96])])
def test_half_precision_exports(model, size, settings, build, assert_as_oracle):
    # Boxes that the export itself decodes in half precision are this coarse.
    assert_as_oracle(build(model, *settings, *SETTINGS), model, size, size, half=True, box_atol_px=0.25, **KEPT)


@pytest.mark.parametrize(
    "settings, kept",
    [
        (["--min-score", 0, "--top-k", 300], dict(min_score=0, top_k=300)),
        (["--min-score", 0, "--top-k", 10], dict(min_score=0, top_k=10)),
        (["--min-score", 0.001], dict(min_score=0.001, top_k=1000)),
        (["--min-score", 0.001, "--top-k", 20], dict(min_score=0.001, top_k=20)),
        (["--profile", "dense"], dict(min_score=0, top_k=EVERY_ANCHOR)),
    ],
)
def test_what_is_kept(settings, kept, build, assert_as_oracle):
    """The scores are such that 0.001 keeps 1 to 39 of the 525 anchors."""
    entries = build("yolov8-dynamic", "--imgsz", 160, *settings)
    counts = {image["row_count"] for image, _ in entries}
    assert max(counts) <= kept["top_k"]
    assert counts == {min(kept["top_k"], 525)} if kept["min_score"] == 0 else len(counts) > 5
    assert_as_oracle(entries, "yolov8-dynamic", 160, 160, **kept)


def test_nothing_reaches_the_highest_limit(build):
    entries = build("yolov8-dynamic", "--imgsz", 96, "--min-score", 0.9999)
    assert [image["row_count"] for image, _ in entries] == [0] * 40
    assert all(0 < image["dropped_mean_prob"] < image["dropped_max_score"] < 1 for image, _ in entries)


def test_class_logits_alone_are_the_same_without_dfl(build):
    everything = build("yolov8-dynamic", "--imgsz", 160)
    classes = build("yolov8-dynamic", "--imgsz", 160, "--store", "cls")
    for (image, rows), (other_image, other_rows) in zip(everything, classes, strict=True):
        assert rows.keys() - other_rows.keys() == {"dfl_logits"}
        assert image["dropped_mean_prob"] == other_image["dropped_mean_prob"]
        for name, column in other_rows.items():
            np.testing.assert_array_equal(column, rows[name], f"{image['path']}: {name}")


def test_a_head_without_dfl(build, assert_as_oracle):
    entries = build("yolo26-no-dfl", "--store", "cls", *SETTINGS)
    assert all("dfl_logits" not in rows for _, rows in entries)
    assert_as_oracle(entries, "yolo26-no-dfl", 64, 64, dfl=False, **KEPT)

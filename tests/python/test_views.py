"""Views against another computation of the same: numbers, pixels and boxes by docs/format.md in NumPy, the teacher in Python."""

from pathlib import Path

import duckdb
import numpy as np
import oracle
import pyarrow.dataset as ds
import pytest
import views
from cache_files import read_cache, sql_table
from compare import assert_rows_equal
from conftest import EXACT, FIXTURES, PLAIN

# Random weights may give no anchor of a small input more than 0.01: the best 50 of all are compared.
SETTINGS, KEPT = ["--min-score", 0, "--top-k", 50], dict(min_score=0, top_k=50)
TEACHER = FIXTURES / "models/yolov8-dynamic.onnx"


#: Columns and rows of the input.
SIZE = 160, 96


@pytest.fixture(scope="module")
def cache(logitcache, drawn_data, tmp_path_factory):
    """Drawn pictures with three views each, at 96 x 160 pixels (height x width)."""
    out = tmp_path_factory.mktemp("views") / "cache"
    settings = ["--imgsz", "96x160", "--views", 3, "--seed", 5, *SETTINGS, *EXACT]
    logitcache("build", "--teacher", TEACHER, "--data", drawn_data, "--out", out, *settings)
    logitcache("verify", out)
    return out


def numbers(image):
    return tuple(image[name] for name in views.NAMES)


def test_the_numbers_are_those_that_the_document_draws(cache):
    entries = read_cache(cache)
    assert [(image["image_id"], image["view"]) for image, _ in entries] == [(i, v) for i in range(40) for v in range(4)]
    for image, _ in entries:
        assert numbers(image) == views.drawn(5, image["image_id"], image["view"], *SIZE), image["path"]
    assert len({numbers(image) for image, _ in entries}) == 1 + 120
    flips = sum(image["view_flip"] for image, _ in entries)
    assert 30 < flips < 90


def test_the_predictions_of_a_view_are_of_its_pixels(cache, drawn_data):
    teacher = oracle.Teacher(TEACHER)
    for image, rows in read_cache(cache):
        path = drawn_data.parent / "images" / Path(image["path"]).name
        assert_rows_equal(image, rows, oracle.record(teacher, path, *SIZE, view=image, **KEPT), **KEPT)


def test_the_predictions_of_another_view_are_other_ones(cache, drawn_data):
    """The comparison above can fail: a mirror or a shift by one pixel is noticed."""
    teacher = oracle.Teacher(TEACHER)
    image, rows = next((image, rows) for image, rows in read_cache(cache) if image["view"] == 2)
    path = drawn_data.parent / "images" / Path(image["path"]).name
    for wrong in [dict(view_flip=not image["view_flip"]), dict(view_offset_x=image["view_offset_x"] + 1), dict(view_value=0.0)]:
        expected = oracle.record(teacher, path, *SIZE, view=image | wrong, **KEPT)
        with pytest.raises(AssertionError):
            assert_rows_equal(image, rows, expected, **KEPT)


def test_photographs_under_a_real_teacher(logitcache, shared, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in sorted((shared / "data/coco128/images/train2017").glob("*.jpg"))[:5]:
        (pictures / path.name).symlink_to(path)
    model = shared / "models/yolov12n.onnx"
    out = tmp_path / "cache"
    logitcache("build", "--teacher", model, "--data", pictures, "--out", out, "--views", 2, "--seed", 1, *PLAIN)
    teacher, entries = oracle.Teacher(model), read_cache(out)
    assert len(entries) == 15 and sum(len(rows["anchor"]) for image, rows in entries if image["view"]) > 300
    for image, rows in entries:
        expected = oracle.record(teacher, pictures / Path(image["path"]).name, view=image)
        assert_rows_equal(image, rows, expected)


def test_the_objects_of_a_view_are_where_those_of_the_image_are(logitcache, shared, tmp_path):
    """Boxes of a view are in pixels of the image, so that what the teacher is sure of lies at the same place in both."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in sorted((shared / "data/coco128/images/train2017").glob("*.jpg"))[:20]:
        (pictures / path.name).symlink_to(path)
    out = tmp_path / "cache"
    model = shared / "models/yolov12n.onnx"
    logitcache("build", "--teacher", model, "--data", pictures, "--out", out, "--views", 1, "--seed", 2)
    sure = duckdb.sql(
        f"""
        WITH p AS (SELECT *, row_number() OVER (PARTITION BY image_id, view ORDER BY score DESC) AS place
                   FROM {sql_table(out, 'predictions')}),
             best AS (SELECT * FROM p WHERE view = 0 AND place = 1 AND score > 0.8)
        SELECT best.image_id, max(greatest(0, least(p.x2, best.x2) - greatest(p.x1, best.x1))
               * greatest(0, least(p.y2, best.y2) - greatest(p.y1, best.y1))
               / ((best.x2 - best.x1) * (best.y2 - best.y1)))
        FROM best JOIN p USING (image_id, class_id) WHERE p.view = 1 AND p.score > 0.25 GROUP BY ALL
        """
    ).fetchall()
    assert len(sure) >= 8
    # Most of the object is in the view as well; a box that was not brought back would miss it.
    assert np.median([share for _, share in sure]) > 0.85, sure


def test_engines_read_the_columns(cache):
    flips, scales, hues = duckdb.sql(
        f"SELECT sum(view_flip::INT), sum(view_scale::DOUBLE), sum(view_hue::DOUBLE) FROM {sql_table(cache, 'images')}"
    ).fetchall()[0]
    table = ds.dataset(cache / "images", format="parquet").to_table()
    assert flips == sum(table["view_flip"].to_pylist()) > 0
    assert scales == pytest.approx(sum(table["view_scale"].to_pylist()), rel=1e-9)
    assert hues == pytest.approx(sum(table["view_hue"].to_pylist()), abs=1e-9)
    # Labels are joined with the predictions of any view in the same pixels.
    joined = duckdb.sql(
        f"""
        SELECT i.view, count(*) FROM (SELECT image_id, view, unnest(labels) FROM {sql_table(cache, 'images')}) i
        JOIN {sql_table(cache, 'predictions')} p USING (image_id, view) GROUP BY ALL ORDER BY ALL
        """
    ).fetchall()
    assert [view for view, _ in joined] == [0, 1, 2, 3]
    assert len({count for _, count in joined}) == 1, "as many labels and rows in every view"

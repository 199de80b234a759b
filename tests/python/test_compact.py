"""The default cache against the oracle: which anchors, which of them with class logits, what a byte stands for, what is said of the rest."""

import json
from pathlib import Path

import codebook
import numpy as np
import oracle
import pytest
from cache_files import read_cache


def covering(scores, share):
    """The fewest of the highest scores, in their order, whose squares make up the share of all."""
    order = np.argsort(-scores, kind="stable")
    sums = np.cumsum(scores[order].astype(np.float64) ** 2)
    return order[: np.searchsorted(sums, share * sums[-1]) + 1]


@pytest.fixture(scope="module", params=["compact_cache", "coarse_cache"])
def entries(request, shared):
    """(image row, predictions, oracle record, settings) of every fourth image."""
    cache = request.getfixturevalue(request.param)
    teacher = oracle.Teacher(shared / "models/yolov12n.onnx")
    folder = shared / "data/coco128/images/train2017"
    settings = json.loads((cache / "manifest.json").read_text())["settings"]
    found = read_cache(cache)[::4]
    return [(image, rows, oracle.record(teacher, folder / Path(image["path"]).name), settings) for image, rows in found]


def test_the_best_anchors_are_kept_and_the_best_of_them_with_class_logits(entries):
    for image, rows, expected, settings in entries:
        best = covering(expected.scores, settings["coverage"])[: settings["top_k"]]
        # The last few have almost equal scores: another summation order may exchange them.
        assert abs(len(best) - len(rows["anchor"])) <= 1, image["path"]
        assert len(set(best) ^ set(rows["anchor"])) <= 4, image["path"]
        with_logits = covering(expected.scores, settings["class_coverage"])
        found = rows["anchor"][rows["has_class_logits"]]
        assert abs(len(with_logits) - len(found)) <= 1 and len(set(with_logits) ^ set(found)) <= 4, image["path"]
        assert len(found) == image["class_row_count"] <= len(rows["anchor"])
    assert sum(image["class_row_count"] for image, *_ in entries) < 0.7 * sum(len(rows["anchor"]) for _, rows, *_ in entries)


def test_a_logit_is_the_nearest_of_256(entries):
    equal, values = 0, 0
    for image, rows, expected, settings in entries:
        exact = expected.class_logits[rows["anchor"][rows["has_class_logits"]]]
        bins = codebook.lowered(expected.dfl_logits[rows["anchor"]])
        coded = [(rows["dfl_logits"], bins, codebook.DFL)]
        if settings["logits"] == "8bit":
            coded.append((rows["class_logits"], exact, codebook.CLASS))
        else:
            assert settings["logits"] == "8bit-dfl"
            np.testing.assert_allclose(rows["class_logits"], exact, atol=1e-3, rtol=1e-3, err_msg=image["path"])
        for stored, exact, book in coded:
            assert np.isin(stored.astype(np.float64), book).all()
            same = stored == codebook.nearest(exact.astype(np.float64), book)
            # At the border between two, the other one is as good.
            assert (np.abs(exact - stored)[~same] <= 0.25 + 1e-3).all(), image["path"]
            equal, values = equal + same.sum(), values + same.size
        assert (rows["dfl_logits"].reshape(len(rows["anchor"]), 4, -1).max(axis=2) == 0).all()
    assert equal / values > 0.998


def test_scores_and_boxes_are_not_rounded(entries):
    for image, rows, expected, _ in entries:
        np.testing.assert_allclose(rows["score"], expected.scores[rows["anchor"]], atol=1e-4, err_msg=image["path"])
        boxes = np.stack([rows[side] for side in ("x1", "y1", "x2", "y2")], axis=1)
        np.testing.assert_allclose(boxes, expected.boxes[rows["anchor"]], atol=0.02, rtol=1e-5, err_msg=image["path"])


def test_what_is_said_of_the_rest(entries):
    for image, rows, expected, _ in entries:
        probabilities = oracle.sigmoid(expected.class_logits)
        dropped = np.setdiff1d(np.arange(len(probabilities)), rows["anchor"])
        assert image["dropped_mean_prob"] == pytest.approx(probabilities[dropped].mean(), rel=1e-3)
        assert image["dropped_score_sum"] == pytest.approx(probabilities[dropped].max(axis=1).sum(), rel=1e-3)
        without = np.sort(probabilities[rows["anchor"][~rows["has_class_logits"]]], axis=1)[:, :-1]
        assert image["rest_mean_prob"] == pytest.approx(without.mean() if len(without) else 0, rel=1e-3)


@pytest.mark.parametrize(("cache", "bytes_per_image"), [("compact_cache", 45_000), ("coarse_cache", 30_000)])
def test_it_is_small(cache, bytes_per_image, request):
    files = [path for path in request.getfixturevalue(cache).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) / 128 < bytes_per_image

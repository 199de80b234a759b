"""One image of a cache against what the oracle computes of it."""

import numpy as np
import oracle
import pytest

# An anchor may be kept by one side only where its score is this near to the limit.
NEAR = 1e-4


def assert_same_anchors(image, rows, expected, min_score, top_k):
    """The same anchors, but for those at the limit."""
    lowest = max(min_score, expected.scores[expected.kept].min(initial=1.0) if len(expected.kept) == top_k else 0)
    for anchor in set(rows["anchor"]) ^ set(expected.kept):
        assert abs(expected.scores[anchor] - lowest) < NEAR, f"{image['path']}: anchor {anchor}, {expected.scores[anchor]}"
    assert (np.diff(rows["anchor"]) > 0).all()


def assert_rows_equal(image, rows, expected, min_score=oracle.MIN_SCORE, top_k=oracle.TOP_K, half=False):
    """Every value of every row, to the rounding of how it is stored.

    `half`: the model computes in half precision, where each rounding depends on which operators ONNX Runtime fuses.
    """
    assert_same_anchors(image, rows, expected, min_score, top_k)
    anchors = rows["anchor"]
    where = image["path"]
    logits = {"class_logits": expected.class_logits, "dfl_logits": expected.dfl_logits}
    for name in logits.keys() & rows.keys() if len(anchors) else ():
        stored, exact = rows[name], logits[name][anchors]
        assert stored.dtype == np.float16
        rounded = exact.astype(np.float16)
        # Another summation order within ONNX Runtime may move a value over a rounding border, by one step and rarely.
        step = np.spacing(np.abs(rounded)).astype(np.float64)
        assert (np.abs(stored.astype(np.float64) - exact) <= (0.02 if half else step + 1e-4)).all(), f"{where}: {name}"
        assert half or (stored == rounded).mean() > 0.995, f"{where}: {name}"
    np.testing.assert_array_equal(rows["stride"], expected.strides[anchors], where)
    np.testing.assert_allclose(rows["score"], expected.scores[anchors], atol=1e-4, err_msg=where)
    probabilities = oracle.sigmoid(expected.class_logits[anchors])
    chosen = probabilities[np.arange(len(anchors)), rows["class_id"]] if len(anchors) else np.zeros(0)
    np.testing.assert_allclose(chosen, probabilities.max(axis=1, initial=0), atol=1e-5, err_msg=where)
    boxes = np.stack([rows[side] for side in ("x1", "y1", "x2", "y2")], axis=1)
    np.testing.assert_allclose(boxes, expected.boxes[anchors], atol=0.5 if half else 0.02, rtol=1e-5, err_msg=where)
    assert image["dropped_max_score"] == pytest.approx(expected.dropped_max_score, abs=NEAR), where
    assert image["dropped_mean_prob"] == pytest.approx(expected.dropped_mean_prob, rel=1e-2 if half else 1e-3), where
    assert image["dropped_score_sum"] == pytest.approx(expected.dropped_score_sum, rel=1e-2 if half else 1e-3), where
    geometry = expected.geometry
    assert (image["width"], image["height"]) == geometry.image, where
    found = image["scale"], image["pad_left"], image["pad_top"]
    assert found == (np.float32(geometry.scale), geometry.left, geometry.top), where

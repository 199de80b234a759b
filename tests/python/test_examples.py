"""`examples/read_cache.py`, run as a user runs it, prints what `inspect` prints."""

import re
import subprocess
import sys

import pyarrow.dataset
import pytest
from conftest import FIXTURES, ROOT


def run_example(*arguments):
    command = [sys.executable, str(ROOT / "examples/read_cache.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def check(cache, image_id, inspect):
    """Compares one image; gives the number of its predictions."""
    done = run_example(cache, image_id)
    assert done.returncode == 0, done.stderr
    expected = inspect(cache, "--image", image_id)
    names = inspect(cache)["teacher"]["class_names"]
    size, predictions = expected["size"], expected["predictions"]
    # A path can hold a line feed.
    head = f"image {image_id}  {expected['path']}  {size['width']} x {size['height']}\n"
    assert done.stdout.startswith(head)
    table, _, distribution = done.stdout.removeprefix(head).partition("\n\n")
    counts, *rows = table.splitlines()
    labels = "not labelled" if expected["labels"] is None else f"{len(expected['labels'])} labels"
    assert counts == f"{len(predictions)} predictions, {labels}"
    assert len(rows) == min(10, len(predictions))
    by_anchor = {prediction["anchor"]: prediction for prediction in predictions}
    scores = []
    for row in rows:
        anchor, score, name, *box = re.match(r"anchor (\d+)  (\S+)  (.+?)" + r"  (\S+)" * 4 + "$", row).groups()
        prediction = by_anchor.pop(int(anchor))
        scores.append(prediction["score"])
        assert (score, name) == (f"{prediction['score']:.3f}", prediction["class"])
        sides = [prediction["box_xyxy_px"][side] for side in ("x1", "y1", "x2", "y2")]
        assert [float(side) for side in box] == pytest.approx(sides, abs=0.051)
    assert scores == sorted(scores, reverse=True)
    assert all(rest["score"] <= scores[-1] for rest in by_anchor.values())
    if not predictions:
        assert distribution == ""
        return 0

    title, *lines = distribution.splitlines()
    best = next(p for p in predictions if title == f"anchor {p['anchor']}, probability of each class:")
    assert best["score"] == scores[0]
    shown = {name: float(probability) for probability, name in (line.split("  ", 1) for line in lines)}
    assert sorted(shown) == sorted(names), "every class"
    assert list(shown.values()) == sorted(shown.values(), reverse=True)
    # A logit of 8 bits moves a probability; the score is that of the teacher's own logit.
    assert shown[best["class"]] == pytest.approx(best["score"], abs=0.01)
    for other in best["runners_up"]:
        assert shown[other["class"]] == pytest.approx(other["prob"], abs=1e-6)
    return len(predictions)


def image_ids(cache):
    """Some images of a committed cache: without and with predictions, labelled and not, one with a line feed in its path."""
    return pyarrow.dataset.dataset(cache / "images").to_table(["image_id"])["image_id"].unique().to_pylist()[:4]


@pytest.mark.parametrize("name", ["cache-v1", "compact-v1"])
def test_what_inspect_says(name, inspect):
    """The committed caches: float16, logits of 8 bits."""
    cache = FIXTURES / name
    assert sum(check(cache, image_id, inspect) for image_id in image_ids(cache)) > 0


def test_an_archive_gives_the_same_as_its_cache():
    for image_id in image_ids(FIXTURES / "cache-v1"):
        of_cache, of_archive = (run_example(FIXTURES / name, image_id) for name in ("cache-v1", "archive-v1"))
        assert of_cache.returncode == 0 and of_archive.stdout == of_cache.stdout != ""


def test_a_real_cache(compact_cache, inspect):
    assert check(compact_cache, 0, inspect) > 10


def test_what_is_not_there_is_named(tmp_path):
    done = run_example(FIXTURES / "cache-v1", 123456)
    assert done.returncode == 1 and "no image 123456" in done.stderr
    (tmp_path / "manifest.json").write_text('{"format": {"name": "logitcache", "version": 2, "reader_features": []}}')
    done = run_example(tmp_path)
    assert done.returncode == 1 and "not a cache of format 1" in done.stderr and "Traceback" not in done.stderr

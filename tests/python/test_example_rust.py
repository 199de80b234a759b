"""The Rust example reads a cache with the format's package alone: against pyarrow."""

import json
import os
import subprocess

import numpy as np
import pyarrow.parquet as pq
from conftest import FIXTURES, ROOT


def test_it_shows_what_is_in_the_files():
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    cache = FIXTURES / "cache-v1"
    run = subprocess.run([f"{target}/debug/examples/read_cache", cache], capture_output=True, text=True, check=True)
    images = pq.read_table(cache / "images").to_pylist()
    rows = pq.read_table(cache / "predictions").to_pylist()
    shown = run.stdout.splitlines()
    for image in images[:5]:
        own = [row for row in rows if (row["image_id"], row["view"]) == (image["image_id"], image["view"])]
        at = shown.index(f"{json.dumps(image['path'], ensure_ascii=False)} ({len(own)} predictions)")
        if not own:
            continue
        best = max(own, key=lambda row: row["score"])
        box = f"x {best['x1']:.0f} to {best['x2']:.0f}, y {best['y1']:.0f} to {best['y2']:.0f} px"
        assert shown[at + 1] == f"  score {best['score']:.3f} at {box}"
        scores = np.sort(1 / (1 + np.exp(-np.array(best["class_logits"], np.float32))))[::-1][:3]
        assert [line.split()[0] for line in shown[at + 2 : at + 5]] == [f"{score:.3f}" for score in scores][:3]
        bins = np.array(best["dfl_logits"], np.float32).reshape(4, -1)
        weights = np.exp(bins - bins.max(1, keepdims=True))
        sides = (weights / weights.sum(1, keepdims=True)) @ np.arange(bins.shape[1])
        assert shown[at + 5] == f"    left, top, right, bottom in cells: [{', '.join(f'{s:.2f}' for s in sides)}]"


def test_what_is_no_cache_is_an_error():
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    run = subprocess.run([f"{target}/debug/examples/read_cache", FIXTURES], capture_output=True, text=True)
    assert run.returncode == 2 and "manifest.json" in run.stderr

"""The code in README.md and docs/ runs as it stands there and gives what stands below it."""

import json
import os
import re
import subprocess
import sys

import duckdb
import numpy as np
import pandas as pd
import pyarrow.dataset
import pytest
from conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def blocks(page):
    """[(language, text, the block after it or None)] of a page."""
    found = [(m.group(1), m.group(2)) for m in BLOCK.finditer(page.read_text())]
    return [(language, text, found[i + 1] if i + 1 < len(found) else None) for i, (language, text) in enumerate(found)]


def snippets(language):
    """Every block of one language, with the page's name and the printed output below it."""
    return [
        pytest.param(text, after[1] if after and after[0] == "" else None, id=f"{page.name}-{number}")
        for page in PAGES
        for number, (name, text, after) in enumerate(blocks(page))
        if name == language
    ]


@pytest.fixture(scope="module")
def workplace(shared, compact_cache, tmp_path_factory):
    """A folder with what the snippets name: `cache`, `run/best.onnx`, `street.jpg`."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "run").mkdir()
    (folder / "cache").symlink_to(compact_cache)
    (folder / "run/best.onnx").symlink_to(shared / "models/yolov12n.onnx")
    (folder / "street.jpg").symlink_to(shared / "data/coco128/images/train2017/000000000641.jpg")
    return folder


def run_python(text, folder):
    """What a snippet prints."""
    done = subprocess.run([sys.executable, "-c", text], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("text, printed", snippets("sql"))
def test_sql(text, printed, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    rows = duckdb.sql(text).fetchall()
    assert printed and rows, "a query of the docs shows its result"
    shown = [line.split("│")[1 : len(rows[0]) + 1] for line in printed.splitlines() if line.startswith("│")]
    assert shown, printed
    # The docs may show the first rows only.
    for cells, row in zip(shown, rows[: len(shown)], strict=True):
        for cell, value in zip(cells, row, strict=True):
            same = cell.strip() == value if isinstance(value, str) else abs(float(cell) - value) < 1e-6
            assert same, f"{cell} in the docs, {value} now"


@pytest.mark.parametrize("text, printed", snippets("python"))
def test_python(text, printed, workplace):
    """Snippets print, or end in an expression; that is printed here and compared with the same answer by other means."""
    if "print(" in text:
        found = run_python(text, workplace)
        assert printed is not None and found == printed
        return
    *statements, last = re.split(r"\n(?=\S)", text.rstrip())
    table = run_python("\n".join([*statements, f"_answer = {last}", "print(_answer.to_dicts() if hasattr(_answer, 'to_dicts') "
                                  "else _answer.to_dict())"]), workplace)
    rows = pyarrow.dataset.dataset(workplace / "cache/predictions").to_table(["image_id", "class_id", "score"]).to_pandas()
    score = rows.score.astype(np.float64)
    answer = eval(table, {"nan": float("nan")})
    if "entropy" in text:
        bits = -(score * np.log2(score) + (1 - score) * np.log2(1 - score))
        expected = bits.groupby(rows.image_id).sum().sort_values(ascending=False).head(5)
        assert [row["image_id"] for row in answer] == list(expected.index)
        np.testing.assert_allclose([row["entropy_bits"] for row in answer], expected, rtol=1e-3)
    elif "describe" in text:
        means = score.groupby(rows.class_id).mean()
        np.testing.assert_allclose(pd.Series(answer["mean"]).sort_index(), means.sort_index(), rtol=1e-5)
    else:
        raise AssertionError(f"no other way is written here to check this snippet:\n{text}")


def test_the_snippet_for_the_device_finds_what_predict_finds(workplace, logitcache):
    text = next(text for language, text, _ in blocks(ROOT / "docs/tutorial.md") if language == "python")
    exact = text.replace(".2f", ".9f").replace(".round())", ".tolist())")
    assert exact != text
    found = [line.split(maxsplit=2) for line in run_python(exact, workplace).splitlines()]
    picture, model = workplace / "street.jpg", workplace / "run/best.onnx"
    report = json.loads(logitcache("predict", "--model", model, picture, "--json").stdout)
    expected = report["images"][0]["detections"]
    assert len(found) == len(expected) > 5
    for (class_id, score, box), detection in zip(sorted(found, key=lambda f: -float(f[1])), expected, strict=True):
        assert int(class_id) == detection["class_id"]
        assert abs(float(score) - detection["score"]) < 1e-4
        sides = [detection["box_xyxy_px"][side] for side in ("x1", "y1", "x2", "y2")]
        np.testing.assert_allclose(json.loads(box), sides, atol=0.05)


def commands():
    """Every command line of the docs: (command, flags)."""
    found = []
    for page in PAGES:
        for language, text, _ in blocks(page):
            for line in text.replace("\\\n", " ").splitlines() if language in ("", "sh", "bash", "console") else []:
                words = re.match(r"^(?:\$ )?logitcache ([a-z]+)\b([^#|]*)", line)
                if words:
                    found.append(pytest.param(words[1], re.findall(r"(?<=\s)--[a-z][a-z-]*", words[2]), id=f"{page.name}-{line[:60]}"))
    return found


@pytest.mark.parametrize("command, flags", commands())
def test_commands_exist_with_their_flags(command, flags, logitcache):
    known = logitcache(command, "--help").stdout
    for flag in flags:
        assert re.search(rf"{flag}\b", known), f"logitcache {command} has no {flag}"

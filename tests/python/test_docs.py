"""The code in README.md and docs/ runs as it stands there and gives what stands below it; links lead somewhere, lines are short."""

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

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROSE = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "assets/README.md", "fuzz/README.md", "python/PACKAGE.md"))]
WIDTH = 100
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page):
    """[(language, text, the block after it or None)] of a page."""
    found = [(m.group(1), m.group(2)) for m in BLOCK.finditer(page.read_text())]
    return [(language, text, found[i + 1] if i + 1 < len(found) else None) for i, (language, text) in enumerate(found)]


def snippets(language):
    """Every block of one language, with the page's name and the printed output below it."""
    return [
        pytest.param(text, after[1] if after and after[0] == "" else None, id=f"{name_of(page)}-{number}")
        for page in PAGES
        for number, (name, text, after) in enumerate(blocks(page))
        # What imports the Python package is run by python/tests/test_docs.py and test_clusters.py.
        if name == language and "import logitcache" not in text and "from logitcache." not in text
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
    text = next(text for language, text, _ in blocks(ROOT / "docs/how-to/deploy-a-student.md") if language == "python")
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
                words = re.match(r"^(?:\$ )?logitcache ((?:data|cache) [a-z]+|[a-z]+)\b([^#|]*)", line)
                if words:
                    found.append(pytest.param(words[1], re.findall(r"(?<=\s)--[a-z][a-z-]*", words[2]), id=f"{name_of(page)}-{line[:60]}"))
    return found


@pytest.mark.parametrize("command, flags", commands())
def test_commands_exist_with_their_flags(command, flags, logitcache):
    known = logitcache(*command.split(), "--help").stdout
    for flag in flags:
        assert re.search(rf"{flag}\b", known), f"logitcache {command} has no {flag}"


def prose(text):
    """[(number of the line, line)] of what is not code."""
    kept, code = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code:
            kept.append((number, line))
    return kept


def too_long(text):
    """The numbers of the lines of prose that are over the width. A table has no other way, a link target cannot be broken."""
    lines = [(number, line) for number, line in prose(text) if not line.startswith("|")]
    return [n for n, line in lines if len(line) > WIDTH and len(re.sub(r"\]\([^)]*\)|https?://\S+", "", line)) > WIDTH]


@pytest.mark.parametrize("page", PROSE, ids=name_of)
def test_lines_are_short(page):
    found = too_long(page.read_text(encoding="utf-8"))
    assert not found, f"{name_of(page)}: over {WIDTH} columns in lines {found}: wrap the text by hand"


def test_what_counts_as_a_long_line():
    long = "word " * 30
    text = f"short\n{long}\n| {long} |\n```\n{long}\n```\n[a link]({'x' * 120})\nhttps://{'x' * 120}\n- {long}\n"
    assert too_long(text) == [2, 9]


def anchors(page):
    """The names that the headings of a page give, as GitHub makes them."""
    titles = [match[1] for _, line in prose(page.read_text(encoding="utf-8")) if (match := re.match(r"#+ (.*)", line))]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PROSE, ids=name_of)
def test_links_lead_somewhere(page):
    text = "\n".join(line for _, line in prose(page.read_text(encoding="utf-8")))
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name_of(page)}: no file {path}"
        assert not anchor or anchor in anchors(file), f"{name_of(page)}: no heading #{anchor} in {path or 'this page'}"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / target).resolve() for target in re.findall(r"\]\(([^)#]+)", index) if "://" not in target}
    missing = [name_of(page) for page in PAGES if page not in linked and page.parent != ROOT and page != ROOT / "docs/README.md"]
    assert not missing, f"docs/README.md does not name {missing}"


def test_every_schema_is_named():
    page = (ROOT / "docs/reference/schemas.md").read_text(encoding="utf-8")
    missing = [path.name for path in (ROOT / "schemas").iterdir() if f"(../../schemas/{path.name})" not in page]
    assert not missing, f"docs/reference/schemas.md does not name {missing}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150

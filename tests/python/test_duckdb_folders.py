"""A cache below folders named key=value: DuckDB takes those for columns, unless it is told not to."""

import json
import re
import subprocess
import sys

import duckdb
import pytest
from cache_files import sql_table
from conftest import EXACT, FIXTURES, ROOT

# Folders, and which columns their names hide.
PLACES = {
    "plain": [],
    "model=v8n": [],
    "model=v8n/class_id=3": ["class_id"],
    "run=7/image_id=5": ["image_id"],
    "Score=0.5/view=0": ["score", "view"],
}


@pytest.fixture(scope="module")
def built(logitcache, drawn_data, tmp_path_factory):
    """The same cache in each place, and what the build said."""
    base, caches = tmp_path_factory.mktemp("places"), {}
    teacher = FIXTURES / "models/yolov8-dynamic.onnx"
    for place in PLACES:
        out = base / place / "cache"
        # All rows: random weights give low scores.
        settings = ["--imgsz", 64, "--min-score", 0, "--top-k", 20, *EXACT, "--json"]
        run = logitcache("build", "--teacher", teacher, "--data", drawn_data, "--out", out, *settings)
        caches[place] = (out, json.loads(run.stdout)["notes"])
    return caches


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def queries_of_the_docs():
    """The SQL of README.md and docs/; random weights never give the scores that it asks for."""
    blocks = [block for page in PAGES for block in re.findall(r"```sql\n(.*?)```", page.read_text(), re.DOTALL)]
    assert len(blocks) > 1
    return [re.sub(r"(score|overlap\)) > [\d.]+", r"\1 > 0", re.sub(r"LIMIT \d+", "", block)) for block in blocks]


def ordered(rows):
    return sorted(rows, key=repr)


@pytest.mark.parametrize("place", PLACES)
def test_every_place_gives_the_same(place, built):
    (cache, notes), (plain, _) = built[place], built["plain"]
    hidden = [note for note in notes if "hive_partitioning" in note]
    assert len(hidden) == (len(PLACES[place]) > 0), notes
    for column in PLACES[place]:
        assert f"(column {column})" in hidden[0]
    for query in queries_of_the_docs():
        found = {c: duckdb.sql(query.replace("cache/", f"{c}/")).fetchall() for c in (plain, cache)}
        assert ordered(found[cache]) == ordered(found[plain]) != []
    classes = "SELECT DISTINCT class_id FROM {}"
    found = [duckdb.sql(classes.format(sql_table(c, "predictions"))).fetchall() for c in (plain, cache)]
    assert ordered(found[0]) == ordered(found[1])
    rows = duckdb.sql(f"SELECT count(*) FROM {sql_table(cache, 'predictions')}").fetchall()
    join = f"FROM {sql_table(cache, 'predictions')} p JOIN {sql_table(cache, 'images')} i USING (image_id, view)"
    assert duckdb.sql(f"SELECT count(*) {join}").fetchall() == rows == [(40 * 20,)]


def test_without_it_the_path_wins(built):
    """Should DuckDB change its mind, the note is not needed any more."""
    cache, _ = built["model=v8n/class_id=3"]
    found = duckdb.sql(f"SELECT DISTINCT class_id FROM '{cache}/predictions/*.parquet'").fetchall()
    assert found == [(3,)]


def test_the_demonstration_s_query_reads_the_file(built):
    def asked(place):
        command = [sys.executable, str(ROOT / "scripts/demo_query.py"), str(built[place][0])]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert asked("run=7/image_id=5") == asked("plain")


def test_no_text_of_ours_reads_a_cache_otherwise():
    texts = [*PAGES, *(path for name in ("scripts", "examples") for path in (ROOT / name).glob("*.py"))]
    for path in texts:
        for query in re.findall(r"```sql\n(.*?)```", path.read_text(), re.DOTALL) or [path.read_text()]:
            # A path in quotes by itself, or read_parquet without the argument.
            assert not re.search(r"(FROM|JOIN)\s+'[^']*\.parquet'", query), path
            for call in re.findall(r"(?<!\.)read_parquet\([^)]*\)", query):
                assert "hive_partitioning = false" in call, (path, call)

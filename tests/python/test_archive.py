"""An archive is ordinary Parquet too: pyarrow, pandas, polars and DuckDB read from it, column by column, what they read from the
cache, and its digests follow from its values."""

import json

import duckdb
import pandas
import polars
import pyarrow.parquet as pq
import pytest
import test_digests
import test_engines

TABLES = ["images", "predictions"]


@pytest.fixture(scope="module")
def archives(logitcache, tmp_path_factory):
    """{cache's folder: its archive}, made once."""
    made = {}

    def archive_of(cache):
        if cache not in made:
            made[cache] = tmp_path_factory.mktemp("archive") / "archive"
            logitcache("convert", cache, "--profile", "archive", "--out", made[cache])
            logitcache("verify", made[cache])
        return made[cache]

    return archive_of


@pytest.fixture(params=["drawn_cache", "coco_cache", "compact_cache"])
def pair(request, archives):
    """A cache and its archive."""
    cache = request.getfixturevalue(request.param)
    return cache, archives(cache)


def files(cache, table):
    found = sorted((cache / table).glob("*.parquet"))
    assert found
    return found


def test_pyarrow_reads_the_same_columns(pair):
    cache, archive = pair
    for table in TABLES:
        for ours, theirs in zip(files(cache, table), files(archive, table), strict=True):
            assert ours.name == theirs.name
            expected, found = pq.read_table(ours), pq.read_table(theirs)
            assert found.schema.equals(expected.schema)
            for name in expected.column_names:
                assert found[name].equals(expected[name]), name
            # The check can fail.
            assert not found["image_id"].equals(expected["view"])


def test_pandas_reads_the_same_columns(pair):
    cache, archive = pair
    for table in TABLES:
        for ours, theirs in zip(files(cache, table), files(archive, table), strict=True):
            pandas.testing.assert_frame_equal(pandas.read_parquet(theirs), pandas.read_parquet(ours), check_exact=True)


def test_polars_reads_the_same_columns(pair):
    cache, archive = pair
    for table in TABLES:
        expected = polars.read_parquet(cache / table / "*.parquet")
        found = polars.read_parquet(archive / table / "*.parquet")
        assert found.schema == expected.schema
        for name in expected.columns:
            assert found[name].equals(expected[name]), name


def test_duckdb_reads_the_same_columns(pair):
    cache, archive = pair
    for table in TABLES:
        for ours, theirs in zip(files(cache, table), files(archive, table), strict=True):
            described = [duckdb.sql(f"DESCRIBE SELECT * FROM '{path}'").fetchall() for path in (ours, theirs)]
            assert described[0] == described[1]
            rows = duckdb.sql(f"SELECT count(*) FROM '{ours}'").fetchall()[0][0]
            for name in (column[0] for column in described[0]):
                different = duckdb.sql(
                    f"SELECT count(*), count(*) FILTER (a.{name} IS DISTINCT FROM b.{name}) "
                    f"FROM '{ours}' a POSITIONAL JOIN '{theirs}' b"
                ).fetchall()[0]
                assert different == (rows, 0), name


@pytest.mark.parametrize("engine", test_engines.ENGINES)
def test_every_engine_agrees_with_inspect(engine, pair, inspect):
    cache, archive = pair
    summary = inspect(archive)
    assert summary["archive"] and not inspect(cache)["archive"]
    test_engines.check(engine, archive, summary)


def test_its_digests_follow_from_its_values(pair):
    cache, archive = pair
    entries = test_digests.check(archive)
    digests = [json.loads((folder / "manifest.json").read_text())["digests"] for folder in pair]
    assert digests[0] == digests[1] and len(entries) == pq.read_table(files(cache, "images")).num_rows


def test_it_is_smaller_and_every_column_is_compressed(pair):
    cache, archive = pair
    size = [sum(path.stat().st_size for table in TABLES for path in files(folder, table)) for folder in pair]
    assert size[1] < 0.85 * size[0]
    for table in TABLES:
        for path in files(archive, table):
            metadata = pq.ParquetFile(path).metadata
            for group in range(metadata.num_row_groups):
                for column in range(metadata.num_columns):
                    assert metadata.row_group(group).column(column).compression == "ZSTD"

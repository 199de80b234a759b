"""Both tables as Arrow, for pyarrow, polars and DuckDB."""

import duckdb
import polars as pl
import pyarrow as pa
import pytest

import logitcache
from test_cache import read_table

SMALL = ["image_id", "class_id", "score"]


@pytest.mark.parametrize("table", ["images", "predictions"])
def test_a_table_is_the_one_in_the_files(cache_folder, table):
    ours, theirs = getattr(logitcache.Cache(cache_folder), table), read_table(cache_folder, table)
    assert pa.table(ours).equals(theirs) and len(ours) == len(theirs)
    assert pa.schema(ours).equals(theirs.schema)
    assert logitcache.Cache(cache_folder).to_arrow(table).equals(theirs)
    assert pl.DataFrame(ours).equals(pl.DataFrame(theirs))


def test_some_columns(built):
    cache = logitcache.Cache(built)
    selected = cache.predictions.select(SMALL)
    theirs = read_table(built, "predictions").select(SMALL)
    assert selected.to_arrow().equals(theirs)
    query = "SELECT class_id, count(*), max(score) FROM {} GROUP BY ALL ORDER BY ALL"
    assert duckdb.sql(query.format("selected")).fetchall() == duckdb.sql(query.format("theirs")).fetchall()
    with pytest.raises(logitcache.Error, match="nothing") as caught:
        cache.predictions.select(["nothing"])
    assert "score" in caught.value.remedy
    with pytest.raises(ValueError, match="predictions"):
        cache.to_arrow("nothing")


def test_a_stream_outlives_its_cache(built):
    cache = logitcache.Cache(built)
    stream = pa.RecordBatchReader.from_stream(cache.images)
    cache.close()
    del cache
    assert stream.read_all().equals(read_table(built, "images"))


def test_damaged_pages_are_an_exception(built, tmp_path):
    import shutil

    folder = tmp_path / "cache"
    shutil.copytree(built, folder)
    part = next((folder / "predictions").iterdir())
    content = bytearray(part.read_bytes())
    # Over the whole of the first chunks, page headers among it; the end of the file stays as it was.
    content[4:4000] = b"\xa5" * 3996
    part.write_bytes(content)
    with pytest.raises(Exception, match="verify|damaged"):
        pa.table(logitcache.Cache(folder).predictions)

"""The files are ordinary Parquet: DuckDB, pandas, pyarrow and polars read them and agree with `inspect`."""

import duckdb
import pandas
import polars
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from cache_files import sql_table


def by_duckdb(cache):
    images = duckdb.sql(f"SELECT count(*), sum(row_count) FROM {sql_table(cache, 'images')}").fetchall()[0]
    rows = duckdb.sql(f"SELECT count(*) FROM {sql_table(cache, 'predictions')}").fetchall()[0][0]
    classes = duckdb.sql(
        f"SELECT class_id, count(*), avg(score::DOUBLE) FROM {sql_table(cache, 'predictions')} GROUP BY class_id"
    ).fetchall()
    boxes = duckdb.sql(f"SELECT coalesce(sum(len(labels)), 0) FROM {sql_table(cache, 'images')}").fetchall()[0][0]
    widths = duckdb.sql(
        f"SELECT DISTINCT len(class_logits), len(dfl_logits) FROM {sql_table(cache, 'predictions')}"
    ).fetchall()
    top = duckdb.sql(f"SELECT max(list_max(class_logits)) FROM {sql_table(cache, 'predictions')}").fetchall()[0][0]
    return images[0], int(images[1]), rows, {c: (n, m) for c, n, m in classes}, int(boxes), widths, top


def by_pandas(cache):
    images = pandas.concat([pandas.read_parquet(path) for path in sorted((cache / "images").glob("*.parquet"))])
    parts = [pandas.read_parquet(path) for path in sorted((cache / "predictions").glob("*.parquet"))]
    rows = pandas.concat(parts)
    groups = rows.astype({"score": "float64"}).groupby("class_id")["score"].agg(["count", "mean"])
    classes = {int(c): (int(g["count"]), g["mean"]) for c, g in groups.iterrows()}
    widths = set(zip(rows["class_logits"].map(len), rows["dfl_logits"].map(len)))
    boxes = int(images["labels"].map(lambda labels: 0 if labels is None else len(labels)).sum())
    top = max(float(logits.max()) for logits in rows["class_logits"] if len(logits))
    return len(images), int(images["row_count"].sum()), len(rows), classes, boxes, list(widths), top


def by_pyarrow(cache):
    images = ds.dataset(cache / "images", format="parquet").to_table()
    rows = ds.dataset(cache / "predictions", format="parquet").to_table()
    rows = rows.append_column("score64", rows["score"].cast("double"))
    groups = rows.group_by("class_id").aggregate([("score64", "count"), ("score64", "mean")]).to_pylist()
    classes = {g["class_id"]: (g["score64_count"], g["score64_mean"]) for g in groups}
    lengths = zip(pc.list_value_length(rows["class_logits"]).to_pylist(), pc.list_value_length(rows["dfl_logits"]).to_pylist())
    boxes = pc.sum(pc.list_value_length(images["labels"])).as_py() or 0
    top = pc.max(pc.cast(pc.list_flatten(rows["class_logits"]), "float")).as_py()
    return len(images), pc.sum(images["row_count"]).as_py(), len(rows), classes, boxes, list(set(lengths)), top


def by_polars(cache):
    images = polars.read_parquet(cache / "images" / "*.parquet")
    rows = polars.read_parquet(cache / "predictions" / "*.parquet")
    score = polars.col("score").cast(polars.Float64)
    groups = rows.group_by("class_id").agg(score.count().alias("n"), score.mean().alias("mean"))
    classes = {c: (n, m) for c, n, m in groups.iter_rows()}
    widths = rows.select(
        polars.col("class_logits").list.len().alias("c"), polars.col("dfl_logits").list.len().alias("d")
    ).unique()
    boxes = images["labels"].list.len().sum()
    top = rows["class_logits"].list.max().max()
    return len(images), images["row_count"].sum(), len(rows), classes, boxes, widths.rows(), float(top)


ENGINES = [by_duckdb, by_pandas, by_pyarrow, by_polars]


def check(engine, cache, summary):
    images, row_sum, rows, classes, boxes, widths, top = engine(cache)
    assert images == summary["images"]
    assert rows == row_sum == summary["rows"]
    assert boxes == summary["label_boxes"]
    expected = {c["class_id"]: (c["count"], c["mean_score"]) for c in summary["classes"] if c["count"]}
    assert set(classes) == set(expected)
    for class_id, (count, mean) in expected.items():
        assert classes[class_id][0] == count
        assert classes[class_id][1] == pytest.approx(mean, rel=1e-6)
    teacher = summary["teacher"]
    bins = 4 * teacher["reg_max"]
    without = {(0, bins)} if summary["settings"]["class_coverage"] < 1 else set()
    assert {tuple(map(int, pair)) for pair in widths} == {(teacher["num_classes"], bins)} | without
    # The logits are numbers in every engine: the highest one is that of the highest score.
    best = duckdb.sql(f"SELECT max(score) FROM {sql_table(cache, 'predictions')}").fetchall()[0][0]
    assert 1 / (1 + 2.718281828459045**-top) == pytest.approx(best, abs=2e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_drawn_pictures(engine, drawn_cache, inspect):
    summary = inspect(drawn_cache)
    assert summary["images"] == 40 and summary["rows"] > 0
    assert len(list((drawn_cache / "images").glob("*.parquet"))) == 3
    check(engine, drawn_cache, summary)


@pytest.mark.parametrize("engine", ENGINES)
def test_coco128(engine, coco_cache, inspect):
    summary = inspect(coco_cache)
    assert summary["images"] == 128 and summary["rows"] > 10_000
    check(engine, coco_cache, summary)


@pytest.mark.parametrize("engine", ENGINES)
def test_compact_logits(engine, compact_cache, inspect):
    summary = inspect(compact_cache)
    assert summary["images"] == 128 and summary["rows"] > 20_000
    check(engine, compact_cache, summary)

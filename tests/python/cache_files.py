"""A cache as any program sees it: Parquet through pyarrow, image by image, and in SQL."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq


def matrix(column, width):
    """The lists of a LIST column that are not empty, all of `width` values, as an array [lists, width]."""
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)


def sql_table(cache, name):
    """One of the cache's tables in SQL, wherever the cache lies (docs/format.md, "DuckDB")."""
    return f"read_parquet('{cache}/{name}/*.parquet', hive_partitioning = false)"


def read_cache(cache):
    """One entry per image in the order of the files: the row of `images`, and the columns of its predictions as arrays.

    `class_logits` are those of the rows that have them; `has_class_logits` says which.
    """
    cache, entries = Path(cache), []
    for part in sorted((cache / "images").glob("*.parquet")):
        images = pq.read_table(part).to_pylist()
        predictions = pq.read_table(cache / "predictions" / part.name)
        lists = [name for name in predictions.column_names if name.endswith("_logits")]
        widths = {name: max(pc.max(pc.list_value_length(predictions[name])).as_py() or 1, 1) for name in lists}
        for image in images:
            rows = predictions.slice(image["first_row"], image["row_count"])
            flat = [name for name in rows.column_names if not name.endswith("_logits")]
            columns = {name: rows[name].to_numpy() for name in flat}
            columns |= {name: matrix(rows[name], width) for name, width in widths.items()}
            columns["has_class_logits"] = pc.list_value_length(rows["class_logits"]).to_numpy() > 0
            assert (columns["image_id"] == image["image_id"]).all() and (columns["view"] == image["view"]).all()
            entries.append((image, columns))
    return entries

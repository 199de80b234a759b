"""A cache as any program sees it: Parquet through pyarrow, image by image."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def matrix(column, rows):
    """A LIST column of equal lengths as an array [rows, values]; [rows, 0] where the lists are empty."""
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(rows, -1) if rows else values.reshape(0, 0)


def read_cache(cache):
    """One entry per image in the order of the files: the row of `images`, and the columns of its predictions as arrays."""
    cache, entries = Path(cache), []
    for part in sorted((cache / "images").glob("*.parquet")):
        images = pq.read_table(part).to_pylist()
        table = pq.read_table(cache / "predictions" / part.name)
        for image in images:
            rows = table.slice(image["first_row"], image["row_count"])
            flat = [name for name in rows.column_names if not name.endswith("_logits")]
            columns = {name: rows[name].to_numpy() for name in flat}
            for name in ("class_logits", "dfl_logits"):
                if name in rows.column_names:
                    columns[name] = matrix(rows[name], len(rows))
            assert (columns["image_id"] == image["image_id"]).all() and (columns["view"] == image["view"]).all()
            entries.append((image, columns))
    return entries

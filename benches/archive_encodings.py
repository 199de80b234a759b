"""Bytes an image of every column of a mapped cache under the encodings that an archive could use, each with zstd.

    .venv/bin/python benches/archive_encodings.py CACHE

`pages 2` shows what data pages of version 2 cost, whose levels are not compressed; the other columns are of version 1.
"""

import io
import sys
from pathlib import Path

import pyarrow.parquet as pq

ENCODINGS = {
    "INT32": ["PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"],
    "INT64": ["PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"],
    "FLOAT": ["PLAIN", "BYTE_STREAM_SPLIT"],
    "FIXED_LEN_BYTE_ARRAY": ["PLAIN", "BYTE_STREAM_SPLIT"],
    "BYTE_ARRAY": ["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"],
    "BOOLEAN": ["PLAIN", "RLE"],
}


def compressed_bytes(table, leaf, encoding, level=19, pages="1.0"):
    """Bytes of a leaf column in one row group and one page."""
    whole = 1 << 30
    how = dict(use_dictionary=[leaf]) if encoding == "DICTIONARY" else dict(use_dictionary=False, column_encoding={leaf: encoding})
    file = io.BytesIO()
    pq.write_table(
        table, file, compression="zstd", compression_level=level, data_page_version=pages, row_group_size=whole,
        data_page_size=whole, dictionary_pagesize_limit=whole, write_statistics=False, store_schema=False, **how,
    )
    group = pq.ParquetFile(file).metadata.row_group(0)
    columns = (group.column(i) for i in range(group.num_columns))
    return next(c.total_compressed_size for c in columns if c.path_in_schema == leaf)


def main(cache):
    images = sum(pq.ParquetFile(path).metadata.num_rows for path in (cache / "images").glob("*.parquet"))
    print("column  encoding: bytes an image at level 19 (1, 9; pages 2)")
    for folder in ("images", "predictions"):
        paths = sorted((cache / folder).glob("*.parquet"))
        schema = pq.ParquetFile(paths[0]).schema
        for leaf in (schema.column(i) for i in range(len(schema))):
            tables = [pq.read_table(path, columns=[leaf.path.split(".")[0]]) for path in paths]
            found = []
            for encoding in ENCODINGS[leaf.physical_type] + ["DICTIONARY"]:
                def size(**more):
                    return sum(compressed_bytes(table, leaf.path, encoding, **more) for table in tables) / images

                found.append(f"{encoding}: {size():,.1f} ({size(level=1):,.1f}, {size(level=9):,.1f}; {size(pages='2.0'):,.1f})")
            print(f"{folder}.{leaf.path}  " + ", ".join(found), flush=True)


main(Path(sys.argv[1]))

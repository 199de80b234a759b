"""Reads a cache with everything but logitcache and prints what it found as JSON.

Recomputes every digest by the rules of docs/format.md with hashlib and numpy, parses one page by the byte map, and
reads the tables with pyarrow, pandas, polars and DuckDB. An assertion that fails is a fault of the cache or the document.
"""

import glob
import hashlib
import json
import struct
import sys

import codebook
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import views

folder = sys.argv[1]
manifest_bytes = open(f"{folder}/manifest.json", "rb").read()
manifest = json.loads(manifest_bytes)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def check_manifest():
    head, tail = manifest_bytes[:-90], manifest_bytes[-90:].decode()
    digest = sha256(head)
    assert tail == f'  "manifest_sha256": "{digest}"\n}}\n', tail
    assert digest == manifest["manifest_sha256"]


def check_files():
    for part in manifest["parts"]:
        assert part["name"] == f"part-{part['first_image_id']:09d}-{part['content_sha256'][:8]}"
        for table in ("images", "predictions"):
            data = open(f"{folder}/{table}/{part['name']}.parquet", "rb").read()
            entry = part[f"{table}_file"]
            assert len(data) == entry["bytes"] and sha256(data) == entry["sha256"]
            footer = struct.unpack("<I", data[-8:-4])[0] + 8
            assert data[-4:] == b"PAR1" and sha256(data[-footer:]) == entry["footer_sha256"]
            check_layout(data, f"{folder}/{table}/{part['name']}.parquet")


# The values that bytes stand for, by docs/format.md.
dictionaries = {
    "stride": manifest["teacher"]["strides"],
    "class_id": list(range(manifest["teacher"]["num_classes"])),
    "class_logits.list.element": codebook.CLASS,
    "dfl_logits.list.element": codebook.DFL,
}


def check_layout(data, path):
    """One uncompressed page per column chunk, chunks back to back, fixed-width values the last bytes of theirs."""
    widths = {"INT32": 4, "FLOAT": 4, "INT64": 8, "FIXED_LEN_BYTE_ARRAY": 2}
    teacher = manifest["teacher"]
    logits = manifest["settings"]["logits"]
    coded = logits in ("8bit", "8bit-dfl") and "/predictions/" in path
    forms = {"image_id": "runs", "view": "runs"} | {name: "codes" for name in dictionaries}
    if logits == "8bit-dfl":
        forms["class_logits.list.element"] = "plain"
    if teacher["num_classes"] > 256:
        forms["class_id"] = "plain"
    file = pq.ParquetFile(path)
    table = file.read()
    position = 4
    assert file.metadata.num_row_groups == 1, "this check reads small caches"
    group = file.metadata.row_group(0)
    for i in range(group.num_columns):
        chunk = group.column(i)
        name = chunk.path_in_schema
        form = forms.get(name, "plain") if coded else "plain"
        assert chunk.compression == "UNCOMPRESSED" and chunk.has_dictionary_page == (form != "plain"), name
        assert (chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset) == position
        position += chunk.total_compressed_size
        values = table.column(name.split(".")[0]).combine_chunks()
        for field in name.split(".")[1:]:
            if field not in ("list",):
                values = values.flatten() if field == "element" else values.field(field)
        if chunk.physical_type in widths:
            kind = {"INT32": "<i4", "FLOAT": "<f4", "INT64": "<i8", "FIXED_LEN_BYTE_ARRAY": "<f2"}[chunk.physical_type]
            if form == "codes":
                # One byte each, in whole groups of eight, at the end of the chunk; the dictionary right before the data page.
                size, width = -(-len(values) // 8) * 8, widths[chunk.physical_type]
                codes = np.frombuffer(data[position - size : position], "u1")
                entries = dictionaries[name]
                start = chunk.data_page_offset - len(entries) * width
                raw = np.frombuffer(data[start : chunk.data_page_offset], kind)
                assert np.array_equal(raw, np.array(entries, kind)), name
                assert np.array_equal(raw[codes[: len(values)]], values.to_numpy(zero_copy_only=False)), name
                assert not codes[len(values) :].any()
            if form != "plain":
                continue
            size = len(values) * widths[chunk.physical_type]
            raw = np.frombuffer(data[position - size : position], kind)
            assert np.array_equal(raw, values.to_numpy(zero_copy_only=False)), name
    footer = struct.unpack("<I", data[-8:-4])[0] + 8
    assert position == len(data) - footer


def arrays(rows, name, kind):
    return np.concatenate([np.ravel(value) for value in rows[name]] or [[]]).astype(kind).tobytes()


def image_digests(image, rows, classes, bins):
    h = hashlib.sha256(b"logitcache/record/1\0")
    path = image.path.encode()
    h.update(struct.pack("<qiI", image.image_id, image.view, len(path)) + path)
    h.update(struct.pack("<ii", image.width, image.height) + bytes.fromhex(image.file_sha256))
    h.update(struct.pack("<fff", image.scale, image.pad_left, image.pad_top))
    h.update(struct.pack("<fff?fff", *(getattr(image, name) for name in views.NAMES)))
    h.update(struct.pack("<ii", len(rows), sum(map(len, rows.class_logits)) // classes))
    h.update(struct.pack("<ff", image.dropped_max_score, image.dropped_mean_prob))
    h.update(struct.pack("<ff", image.dropped_score_sum, image.rest_mean_prob))
    h.update(struct.pack("<II", classes, bins))
    kinds = {"x1": "<f4", "y1": "<f4", "x2": "<f4", "y2": "<f4", "score": "<f4", "class_logits": "<f2", "dfl_logits": "<f2"}
    for name in rows.columns:
        if name not in ("image_id", "view"):
            h.update(arrays(rows, name, kinds.get(name, "<i4")))
    g = hashlib.sha256(b"logitcache/labels/1\0")
    labels = list(image.labels)
    g.update(struct.pack("<BI", image.labelled, len(labels)))
    g.update(np.array([l["class_id"] for l in labels], "<u4").tobytes())
    for edge in ("x1", "y1", "x2", "y2"):
        g.update(np.array([l[edge] for l in labels], "<f4").tobytes())
    return h.digest(), g.digest()


def check_digests():
    images = pd.read_parquet(f"{folder}/images").sort_values(["image_id", "view"])
    predictions = pd.read_parquet(f"{folder}/predictions")
    of_image = dict(tuple(predictions.groupby(["image_id", "view"])))
    classes = manifest["teacher"]["num_classes"]
    bins = 4 * manifest["teacher"]["reg_max"] if manifest["settings"]["store"] == "all" else 0
    content = hashlib.sha256(b"logitcache/content/1\0")
    files = hashlib.sha256(b"logitcache/images/1\0")
    label_set = hashlib.sha256(b"logitcache/label-set/1\0")
    for image in images.itertuples():
        rows = of_image.get((image.image_id, image.view), predictions.iloc[:0])
        record, labels = image_digests(image, rows, classes, bins)
        assert record.hex() == image.record_sha256 and labels.hex() == image.labels_sha256, image.path
        content.update(record + labels)
        files.update(bytes.fromhex(image.file_sha256))
        label_set.update(labels)
    digests = manifest["digests"]
    assert content.hexdigest() == digests["content_sha256"]
    assert files.hexdigest() == digests["images_sha256"]
    assert label_set.hexdigest() == digests["labels_sha256"]


def check_class_rows():
    """Which rows have class logits follows from their number and the scores; their places follow one another."""
    for part in manifest["parts"]:
        images = pd.read_parquet(f"{folder}/images/{part['name']}.parquet")
        rows = pd.read_parquet(f"{folder}/predictions/{part['name']}.parquet")
        before = 0
        for image in images.itertuples():
            own = rows.iloc[image.first_row : image.first_row + image.row_count]
            has = np.array([len(logits) > 0 for logits in own.class_logits], bool)
            best = np.lexsort([np.arange(len(own)), -own.score.to_numpy(float)])[: image.class_row_count]
            assert image.first_class_row == before and set(np.flatnonzero(has)) == set(best), image.path
            before += image.class_row_count


def check_views():
    """Every image has all its views, each made by what its seed draws."""
    settings, teacher = manifest["settings"], manifest["teacher"]
    images = pd.read_parquet(f"{folder}/images").sort_values(["image_id", "view"])
    for _, of_image in images.groupby("image_id"):
        assert list(of_image["view"]) == list(range(settings["views"] + 1))
        assert len(set(zip(of_image["path"], of_image["file_sha256"], of_image["labels_sha256"]))) == 1
    size = teacher["input_width"], teacher["input_height"]
    for image in images.itertuples():
        found = tuple(getattr(image, name) for name in views.NAMES)
        expected = views.drawn(settings["view_seed"], image.image_id, image.view, *size)
        assert np.array_equal(np.array(found, "<f4"), np.array(expected, "<f4")), (found, expected)


def engines():
    """The same questions to four engines, over the globs of all parts."""
    images, predictions = f"{folder}/images/*.parquet", f"{folder}/predictions/*.parquet"
    sums = "count(*), sum(score::double), sum(list_sum(class_logits)::double)"
    duck = duckdb.sql(f"select {sums} from '{predictions}'").fetchall()[0]
    duck_labels = duckdb.sql(f"select count(*), sum(len(labels)), sum(label_count) from '{images}'").fetchall()[0]
    frame = pd.read_parquet(f"{folder}/predictions")
    assert len(frame) == 0 or max(frame.class_logits, key=len).dtype == np.float16
    pandas = (len(frame), frame.score.astype(float).sum(), sum(x.astype(float).sum() for x in frame.class_logits))
    lazy = pl.scan_parquet(predictions).collect()
    assert lazy.schema["class_logits"] == pl.List(pl.Float16)
    logits = lazy["class_logits"].explode().cast(pl.Float64).sum()
    polars = (lazy.height, lazy["score"].cast(pl.Float64).sum(), logits)
    arrow = sum(pq.read_table(f).num_rows for f in glob.glob(predictions))
    for other in (pandas, polars):
        assert np.allclose(duck, other, rtol=1e-5, atol=1e-3), (duck, other)
    assert arrow == duck[0] and duck_labels[1] == duck_labels[2]
    return {"images": duck_labels[0], "labels": int(duck_labels[1]), "rows": duck[0], "score_sum": duck[1]}


check_manifest()
check_files()
check_digests()
check_class_rows()
check_views()
print(json.dumps(engines()))

"""Caches as sequences of images, and their values against those that pyarrow reads."""

import hashlib
import operator
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import logitcache
from conftest import FIXTURES, manifest_of

# What an image says of each column of `images`. None: nothing; it is a place in the files or a digest for `verify`, or `labels` has it.
SAID = {
    "image_id": "image_id",
    "view": "view",
    "path": "path",
    "width": "width",
    "height": "height",
    "file_sha256": "file_sha256",
    "record_sha256": None,
    "labels_sha256": None,
    "scale": "letterbox.scale",
    "pad_left": "letterbox.pad_left",
    "pad_top": "letterbox.pad_top",
    "view_scale": "change.scale",
    "view_offset_x": "change.offset_x",
    "view_offset_y": "change.offset_y",
    "view_flip": "change.flip",
    "view_hue": "change.hue",
    "view_saturation": "change.saturation",
    "view_value": "change.value",
    "first_row": None,
    "row_count": None,
    "first_class_row": None,
    "class_row_count": None,
    "dropped_max_score": "dropped_max_score",
    "dropped_mean_prob": "dropped_mean_prob",
    "dropped_score_sum": "dropped_score_sum",
    "rest_mean_prob": "rest_mean_prob",
    "labelled": None,
    "label_count": None,
    "labels": None,
}


def columns(table):
    """The columns of predictions that an image has as arrays, in the order of the file."""
    return [name for name in table.column_names if name not in ("image_id", "view")]


def values(table, name):
    """A column as one array; of a list column without the rows that have no values."""
    column = table[name]
    return lists(column, np.float16) if pa.types.is_list(column.type) else column.to_numpy()


def read_table(folder, table):
    """A table of a cache by pyarrow, from the files that the manifest names."""
    files = [folder / table / f"{part['name']}.parquet" for part in manifest_of(folder)["parts"]]
    return pa.concat_tables([pq.read_table(file) for file in files]).replace_schema_metadata(None)


def by_image(folder):
    """The rows of predictions of each (image_id, view), and its row of images, by pyarrow."""
    predictions, images = read_table(folder, "predictions"), read_table(folder, "images")
    keys = np.stack([predictions["image_id"].to_numpy(), predictions["view"].to_numpy()], axis=1)
    for row in images.to_pylist():
        mine = (keys == [row["image_id"], row["view"]]).all(axis=1)
        yield row, predictions.filter(pa.array(mine))


def lists(column, dtype):
    """The values of a list column, rows without values left out."""
    values = [row for row in column.to_pylist() if row]
    return np.array(values, dtype=dtype)


def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def test_values_are_those_that_pyarrow_reads(cache_folder):
    cache = logitcache.Cache(cache_folder)
    seen = 0
    for row, rows in by_image(cache_folder):
        image = cache.image(row["image_id"], row["view"])
        assert SAID.keys() == row.keys()
        for column, said in SAID.items():
            assert said is None or operator.attrgetter(said)(image) == row[column], column
        for name in columns(rows):
            ours, theirs = getattr(image, name), values(rows, name)
            assert ours.dtype == theirs.dtype and digest(ours) == digest(theirs), name
        assert len(image) == len(rows) == len(image.boxes)
        assert np.array_equal(image.boxes, np.stack([rows[side].to_numpy() for side in ("x1", "y1", "x2", "y2")], axis=1))
        has = np.array([bool(row) for row in rows["class_logits"].to_pylist()], dtype=bool)
        assert np.array_equal(image.has_class_logits, has)
        assert image.all_class_logits.shape == (len(rows), len(cache.class_names))
        assert np.array_equal(image.all_class_logits[has], image.class_logits.astype(np.float32))
        labels = image.labels
        assert (labels is not None) == row["labelled"]
        if labels is not None:
            assert labels.class_id.tolist() == [label["class_id"] for label in row["labels"]]
            assert labels.boxes.tolist() == [[label[side] for side in ("x1", "y1", "x2", "y2")] for label in row["labels"]]
            assert np.array_equal(labels.boxes[:, 2], labels.x2) and len(labels) == row["label_count"]
        seen += 1
    assert seen == len(cache) * (cache.views + 1)


def test_a_cache_is_a_sequence(built):
    cache = logitcache.Cache(built)
    ids = [image.image_id for image in cache]
    assert ids == sorted(ids) and len(ids) == len(cache) > 10
    assert cache[0].image_id == ids[0] and cache[-1].image_id == ids[-1]
    assert cache[np.int64(3)].image_id == ids[3]
    for beyond in (len(cache), -len(cache) - 1, 2**62):
        with pytest.raises(IndexError):
            cache[beyond]
    path = cache[2].path
    assert path in cache and "nothing.jpg" not in cache and 3 not in cache
    assert cache[path].image_id == cache[path.rsplit("/")[-1]].image_id == ids[2]
    for wrong in (1.5, None, slice(0, 2)):
        with pytest.raises(TypeError):
            cache[wrong]
    with pytest.raises(logitcache.MissingImage, match="nothing.jpg") as caught:
        cache["nothing.jpg"]
    assert isinstance(caught.value, KeyError) and caught.value.remedy and caught.value.path == str(built)
    with pytest.raises(logitcache.MissingImage, match=r"cache.image\(3\)"):
        cache["3"]
    assert [cache[0].with_view(view).view for view in range(cache.views + 1)] == [0, 1, 2]
    with pytest.raises(logitcache.MissingImage, match="view 3"):
        cache[0].with_view(3)
    assert cache.info["teacher"]["class_names"] == list(cache.class_names)
    assert cache.content_sha256 == manifest_of(built)["digests"]["content_sha256"]


def file_offset(array, folder):
    """Which file of the cache an array points into, and where."""
    address = array.ctypes.data
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            span, _, offset, _, _, *name = line.rstrip("\n").split(maxsplit=5)
            start, end = (int(side, 16) for side in span.split("-"))
            if name and name[0].startswith(str(folder)) and start <= address < end:
                return name[0], address - start + int(offset, 16)
    return None


def test_plain_columns_are_the_bytes_of_the_file(cache_folder):
    cache = logitcache.Cache(cache_folder)
    form = manifest_of(cache_folder)["settings"]["logits"]
    image = max(cache, key=len)
    copied = {"float16": set(), "8bit": {"stride", "class_id", "class_logits", "dfl_logits"}}
    copied["8bit-dfl"] = copied["8bit"] - {"class_logits"}
    for name in columns(read_table(cache_folder, "predictions")):
        array = getattr(image, name)
        assert not array.flags.writeable and array.size > 0
        place = file_offset(array, cache_folder)
        assert (place is None) == (name in copied[form]), name
        if place is None:
            codes, table = image.codes(name), image.table(name)
            assert file_offset(codes, cache_folder) and file_offset(table, cache_folder)
            assert codes.dtype == np.uint8 and np.array_equal(table[codes], array)
            continue
        if name in copied["8bit"]:
            assert image.codes(name) is None and image.table(name) is None
        # Two reads give the same address, in whatever order.
        assert getattr(cache[image.path], name).ctypes.data == array.ctypes.data
        assert array.base is image
        with open(place[0], "rb") as file:
            file.seek(place[1])
            assert file.read(array.nbytes) == array.tobytes()
        with pytest.raises(ValueError):
            array[...] = 0
    labelled = next(image for image in cache if image.labels is not None and len(image.labels))
    assert file_offset(labelled.labels.x1, cache_folder)
    with pytest.raises(ValueError, match="class_logits"):
        image.codes("score")


def test_what_was_taken_from_a_closed_cache_stays(built):
    with logitcache.Cache(built) as cache:
        image = cache[0]
        score = image.score
        copy, path = score.copy(), image.path
        images = iter(cache)
    for use in (lambda: cache[0], lambda: len(cache), lambda: cache.info, lambda: cache.images, lambda: next(images),
                lambda: cache.detections(0), lambda: cache.verify(), lambda: cache.__enter__(), lambda: path in cache):
        with pytest.raises(logitcache.Error, match="closed") as caught:
            use()
        assert "Cache(path)" in caught.value.remedy
    assert "closed" in repr(cache)
    assert np.array_equal(score, copy) and np.array_equal(image.score, copy)
    del image, cache
    assert np.array_equal(score, copy)


def test_detections_are_the_best_boxes(built):
    cache = logitcache.Cache(built)
    all_rows, few = cache.detections(0, conf=0.0, iou=1.0), cache.detections(0, conf=0.5)
    assert len(all_rows) == min(len(cache[0]), 300)
    assert np.array_equal(all_rows.score, np.sort(cache[0].score)[::-1][:300])
    assert (few.score > 0.5).all() and few.boxes.shape == (len(few), 4) and few.class_id.dtype == np.int32
    assert len(few) <= len(cache.detections(cache[0].path, conf=0.1))
    for wrong in ({"conf": 1.5}, {"iou": -0.1}, {"conf": float("nan")}):
        with pytest.raises(ValueError, match="from 0 to 1"):
            cache.detections(0, **wrong)


def test_what_is_no_finished_cache_is_refused(tmp_path, built, program, shapes):
    def refused(folder):
        with pytest.raises(logitcache.Error) as caught:
            logitcache.Cache(folder)
        error = caught.value
        assert error.remedy and error.path and str(folder) in str(error)
        return error

    assert "no such folder" in refused(tmp_path / "nothing").found
    archive = refused(FIXTURES / "archive-v1")
    assert "archive" in archive.found and "convert(" in archive.remedy
    damaged = tmp_path / "damaged"
    shutil.copytree(built, damaged)
    text = (damaged / "manifest.json").read_text()
    (damaged / "manifest.json").write_text(text.replace('"complete": true', '"complete": false'))
    assert "manifest" in str(refused(damaged))
    newer = tmp_path / "newer"
    shutil.copytree(built, newer)
    rewritten = text.replace('"version": 1,', '"version": 2,')
    body = rewritten[: rewritten.rindex('  "manifest_sha256"')]
    digest = hashlib.sha256(body.encode()).hexdigest()
    (newer / "manifest.json").write_text(f'{body}  "manifest_sha256": "{digest}"\n}}\n')
    assert "2" in refused(newer).found
    unfinished = tmp_path / "unfinished"
    shutil.copytree(built, unfinished)
    body = text.replace('"complete": true', '"complete": false')
    body = body[: body.rindex('  "manifest_sha256"')]
    digest = hashlib.sha256(body.encode()).hexdigest()
    (unfinished / "manifest.json").write_text(f'{body}  "manifest_sha256": "{digest}"\n}}\n')
    error = refused(unfinished)
    assert "unfinished" in error.found and "build()" in error.remedy


def test_damage_is_an_exception(tmp_path, built):
    folder = tmp_path / "cache"
    shutil.copytree(built, folder)
    part = next((folder / "predictions").iterdir())
    content = bytearray(part.read_bytes())
    content[100] ^= 0xFF
    part.write_bytes(content)
    with pytest.raises(logitcache.Error) as caught:
        logitcache.Cache(folder).verify()
    assert part.name in caught.value.found and len(caught.value.report["problems"]) >= 1
    with pytest.raises(logitcache.Error):
        logitcache.verify(folder)
    part.write_bytes(content[:-1])
    with pytest.raises(logitcache.Error, match="bytes"):
        logitcache.Cache(folder)

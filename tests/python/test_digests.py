"""Every digest of a cache again, from the values that pyarrow reads: `docs/format.md`, "Digests", is enough to do it."""

import hashlib
import json
import struct

import numpy as np
from cache_files import read_cache


def record_digest(image, rows, classes, bins):
    """All that is kept of an image but its labels."""
    path = image["path"].encode()
    parts = [b"logitcache/record/1\0", struct.pack("<qi", image["image_id"], image["view"])]
    parts += [struct.pack("<I", len(path)), path, struct.pack("<ii", image["width"], image["height"])]
    parts += [bytes.fromhex(image["file_sha256"])]
    names = ("scale", "pad_left", "pad_top", "view_scale", "view_offset_x", "view_offset_y")
    parts += [struct.pack("<6f", *(image[name] for name in names)), bytes([image["view_flip"]])]
    parts += [struct.pack("<3f", *(image[name] for name in ("view_hue", "view_saturation", "view_value")))]
    parts += [struct.pack("<ii", image["row_count"], image["class_row_count"])]
    names = ("dropped_max_score", "dropped_mean_prob", "dropped_score_sum", "rest_mean_prob")
    parts += [struct.pack("<4f", *(image[name] for name in names)), struct.pack("<II", classes, 4 * bins)]
    kinds = dict(anchor="<i4", stride="<i4", score="<f4", class_id="<i4", x1="<f4", y1="<f4", x2="<f4", y2="<f4")
    kinds |= dict(class_logits="<f2", dfl_logits="<f2")
    parts += [np.ascontiguousarray(rows[name], kind).tobytes() for name, kind in kinds.items() if name in rows]
    return hashlib.sha256(b"".join(parts))


def labels_digest(image):
    """An image's labels."""
    labels = image["labels"] or []
    parts = [b"logitcache/labels/1\0", bytes([image["labelled"]]), struct.pack("<I", len(labels))]
    parts += [np.array([label["class_id"] for label in labels], "<u4").tobytes()]
    parts += [np.array([label[side] for label in labels], "<f4").tobytes() for side in ("x1", "y1", "x2", "y2")]
    return hashlib.sha256(b"".join(parts))


def check(cache):
    manifest = json.loads((cache / "manifest.json").read_text())
    teacher = manifest["teacher"]
    content, files = hashlib.sha256(b"logitcache/content/1\0"), hashlib.sha256(b"logitcache/images/1\0")
    label_set = hashlib.sha256(b"logitcache/label-set/1\0")
    entries = read_cache(cache)
    for image, rows in entries:
        record, labels = record_digest(image, rows, teacher["num_classes"], teacher["reg_max"]), labels_digest(image)
        assert record.hexdigest() == image["record_sha256"], image["path"]
        assert labels.hexdigest() == image["labels_sha256"], image["path"]
        content.update(record.digest() + labels.digest())
        files.update(bytes.fromhex(image["file_sha256"]))
        label_set.update(labels.digest())
    found = dict(content_sha256=content, images_sha256=files, labels_sha256=label_set)
    assert manifest["digests"] == {name: digest.hexdigest() for name, digest in found.items()}
    for part in manifest["parts"]:
        for folder, entry in [("images", part["images_file"]), ("predictions", part["predictions_file"])]:
            data = (cache / folder / f"{part['name']}.parquet").read_bytes()
            assert len(data) == entry["bytes"]
            assert hashlib.sha256(data).hexdigest() == entry["sha256"]
            # A Parquet file ends with its footer, four bytes of the footer's length, and PAR1.
            (length,) = struct.unpack("<I", data[-8:-4])
            assert hashlib.sha256(data[-8 - length :]).hexdigest() == entry["footer_sha256"]
    return entries


def test_drawn_pictures(drawn_cache):
    assert len(check(drawn_cache)) == 40


def test_coco128(coco_cache, shared):
    entries = check(coco_cache)
    assert len(entries) == 128
    by_name = {path.name: path for path in (shared / "data/coco128/images/train2017").iterdir()}
    for image, _ in entries[:10]:
        data = by_name[image["path"].rsplit("/", 1)[-1]].read_bytes()
        assert hashlib.sha256(data).hexdigest() == image["file_sha256"]


def test_compact_logits(compact_cache):
    entries = check(compact_cache)
    with_logits = sum(image["class_row_count"] for image, _ in entries)
    assert with_logits < sum(image["row_count"] for image, _ in entries)


def test_one_changed_value_changes_the_digests(drawn_cache):
    image, rows = next((image, rows) for image, rows in read_cache(drawn_cache) if image["row_count"])
    before = record_digest(image, rows, 6, 16).hexdigest()
    rows = rows | {"score": np.nextafter(rows["score"], np.float32(2))}
    assert record_digest(image, rows, 6, 16).hexdigest() != before
    assert labels_digest(image | {"labelled": not image["labelled"]}).hexdigest() != labels_digest(image).hexdigest()

"""`TrainingSet`: the batches of `train`, against an oracle that draws them by
docs/training-data.md.
"""

import shutil

import cv2
import logitcache
import numpy as np
import pytest
from conftest import FIXTURES, TEACHER, manifest_of, run
from logitcache._native import TrainingSet
from train_oracle import Oracle, order


@pytest.fixture(scope="module", params=["square", "96x160"])
def wide(tmp_path_factory, request):
    """A cache of images that do not fill the teacher's input, without views: a square, and a rectangle."""
    folder = tmp_path_factory.mktemp("wide")
    run("synth", "--out", folder / "shapes", "--images", 20, "--imgsz", 128)
    for file in (folder / "shapes/images").rglob("*.jpg"):
        image = cv2.imread(str(file))
        cv2.imwrite(str(file), image[: 128 - 8 * (int(file.stem) % 6)])
    # Random weights say little of anything, so every anchor of the rectangle is kept.
    teacher, settings = TEACHER, []
    if request.param != "square":
        teacher, settings = FIXTURES / "models/yolov8-dynamic.onnx", ["--imgsz", request.param, "--min-score", 0]
    run("build", "--teacher", teacher, "--data", folder / "shapes/data.yaml", "--out", folder / "cache", *settings)
    return folder / "cache"


def stills(images):
    return [images.batch([index], 0, 0, False, False) for index in range(len(images))]


def letterboxes(cache, images):
    """Left, top, width and height of each image in its letterbox."""
    out = []
    for image_id, _ in images.images:
        image = cache.image(image_id)
        box = image.letterbox
        out.append((round(box.pad_left), round(box.pad_top), round(image.width * box.scale), round(image.height * box.scale)))
    return out


def test_an_unchanged_image_is_what_the_teacher_saw_and_said(wide):
    cache, images = logitcache.Cache(wide), TrainingSet(wide)
    teacher = manifest_of(wide)["teacher"]
    size = (teacher["input_height"], teacher["input_width"])
    assert images.input == size and len(images) == len(cache) and images.views == 0
    for index, (image_id, path) in enumerate(images.images):
        image, arrays = cache.image(image_id), images.batch([index], 3, 2, False, True)
        (left, top, width, height), read = letterboxes(cache, images)[index], cv2.imread(str(path))
        expected = np.full((*size, 3), 114, np.uint8)
        expected[top : top + height, left : left + width] = cv2.resize(read, (width, height))[:, :, ::-1]
        difference = np.abs(arrays["pixels"][0].astype(int) - expected.astype(int))
        # Other decoders of JPEG differ by some levels.
        assert difference.mean() < 1
        assert np.array_equal(arrays["anchor"], image.anchor) and np.array_equal(arrays["score"], image.score)
        assert np.array_equal(arrays["class_logits"], image.all_class_logits)
        assert np.array_equal(arrays["dfl_logits"], image.dfl_logits.reshape(len(image), -1).astype(np.float32))
        assert (arrays["floor_prob"] == image.dropped_mean_prob).all()
        assert arrays["dropped_score_sum"][0] == pytest.approx(image.dropped_score_sum)
        box = image.letterbox
        inside = (image.boxes[:, :2] > 0).all(1) & (image.boxes[:, 2:] < (image.width, image.height)).all(1)
        # Each axis has its own scale: the image lies there with whole sides.
        moved = image.boxes * np.tile([width / image.width, height / image.height], 2) + np.float32([box.pad_left, box.pad_top] * 2)
        np.testing.assert_allclose(arrays["boxes_xyxy_input_px"][inside], moved[inside], atol=1e-2)
        labels = images.labels(index)
        assert np.array_equal(labels[0], image.labels.class_id) and np.array_equal(labels[1], image.labels.boxes)
    with pytest.raises(IndexError):
        images.batch([len(images)], 0, 0, False, False)
    with pytest.raises(IndexError):
        images.labels(len(images))


@pytest.mark.parametrize("mosaic", [False, True])
def test_changed_images_are_as_documented(wide, mosaic):
    cache, images = logitcache.Cache(wide), TrainingSet(wide)
    strides = manifest_of(wide)["teacher"]["strides"]
    oracle = Oracle(stills(images), letterboxes(cache, images), [True] * len(images), images.input, strides)
    seen = 0
    for seed, epoch in ((0, 0), (5, 3)):
        rows = order(seed, epoch, len(images))
        assert images.order(seed, epoch).tolist() == rows
        arrays = images.batch(rows[:6], seed, epoch, True, mosaic)
        for place, index in enumerate(rows[:6]):
            pixels, labels, anchors, floor = oracle.row(seed, epoch, index, mosaic)
            assert np.array_equal(arrays["pixels"][place], pixels)
            assert np.array_equal(arrays["floor_prob"][place], floor, equal_nan=True)
            own = arrays["label_batch_index"] == place
            assert arrays["label_class_id"][own].tolist() == [class_id for class_id, _ in labels]
            boxes = np.reshape([box for _, box in labels], (-1, 4))
            np.testing.assert_allclose(arrays["label_boxes_xyxy_input_px"][own], boxes, atol=1e-3)
            own = arrays["batch_index"] == place
            assert sorted(arrays["anchor"][own]) == sorted(anchors)
            for at in np.flatnonzero(own):
                score, class_logits, dfl_logits, box = anchors[arrays["anchor"][at]]
                assert arrays["score"][at] == score and np.array_equal(arrays["class_logits"][at], class_logits)
                assert np.array_equal(arrays["dfl_logits"][at], dfl_logits)
                np.testing.assert_allclose(arrays["boxes_xyxy_input_px"][at], box, atol=2e-2)
                seen += 1
    assert seen > 50


def test_views_are_shown_in_turn(built):
    cache, images = logitcache.Cache(built), TrainingSet(built)
    assert images.views == 2
    ids = [image_id for image_id, _ in images.images]
    for index, image_id in enumerate(ids):
        floors = [
            images.batch([index], 7, epoch, True, False)["floor_prob"][0] for epoch in range(4)
        ]
        shown = [float(floor[~np.isnan(floor)][0]) for floor in floors]
        of_views = [cache.image(image_id, view).dropped_mean_prob for view in (1, 2)]
        assert shown[0] == shown[2] and shown[1] == shown[3]
        assert sorted(np.float32(shown[:2])) == sorted(np.float32(of_views))


def test_kept_pixels_are_the_same(wide, tmp_path):
    kept, decoded = TrainingSet(wide, pixels=tmp_path / "pixels"), TrainingSet(wide)
    for changed in (False, True):
        a, b = (images.batch([0, 3, 5], 1, 1, changed, changed) for images in (kept, decoded))
        assert all(np.array_equal(a[name], b[name], equal_nan=a[name].dtype == np.float32) for name in a if name != "sources")
        assert a["sources"] == b["sources"] and len(a["sources"]) == (12 if changed else 3)
    assert list((tmp_path / "pixels").glob("pixels-*.bin"))


def test_what_cannot_be_trained_on_is_refused(wide, tmp_path):
    root = wide.parent / "shapes"

    def refused(match, cache=wide, **options):
        with pytest.raises(logitcache.Error, match=match) as caught:
            TrainingSet(cache, **options)
        assert caught.value.remedy

    moved = tmp_path / "moved"
    root.rename(moved)
    try:
        refused("has moved")
        images = TrainingSet(wide, data=moved / "data.yaml")
        assert images.images[0][1].is_relative_to(moved)
        text = (moved / "data.yaml").read_text()
        (moved / "data.yaml").write_text(text.replace("circle", "disc"))
        refused("disc", data=moved / "data.yaml")
        (moved / "data.yaml").write_text(text)
        refused("not in the data set", data=moved / "data.yaml", split="val")
        file = images.images[0][1]
        content = file.read_bytes()
        file.write_bytes(content + b"\0")
        with pytest.raises(logitcache.Error, match="changed"):
            TrainingSet(wide, data=moved / "data.yaml").batch([0], 0, 0, False, False)
        file.write_bytes(content)
    finally:
        moved.rename(root)
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    refused("cache", cache=unfinished)
    shutil.rmtree(unfinished)

"""What a notebook shows."""

import base64
import re

import cv2
import numpy as np

import logitcache
from conftest import FIXTURES


def test_an_image_is_shown_with_its_boxes(built):
    cache = logitcache.Cache(built)
    image = cache[0]
    assert repr(image).startswith(f'<logitcache.ImagePredictions "{image.path}": image {image.image_id}, view 0')
    for shown, (width, height) in ((image, (image.width, image.height)), (image.with_view(1), (160, 160))):
        html = shown._repr_html_()
        jpeg = base64.b64decode(re.search(r"data:image/jpeg;base64,([^\"]+)", html)[1])
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (height, width, 3)
        assert "<table>" in html and cache.class_names[shown.class_id[shown.score.argmax()]] in html


def test_without_the_data_set_the_reason_is_shown():
    html = logitcache.Cache(FIXTURES / "cache-v1")["x"]._repr_html_()
    assert "No picture:" in html and "Move it back" in html


def test_caches_and_their_parts_have_a_line(built):
    cache = logitcache.Cache(built)
    assert "16 images with 2 views" in repr(cache) and "teacher.onnx" in repr(cache)
    assert cache.content_sha256 in cache._repr_html_()
    assert "rows" in repr(cache.images) and "Labels" in repr(cache[0].labels)
    assert repr(cache[0].letterbox).startswith("Letterbox(scale=") and "flip=False" in repr(cache[0].change)
    assert "<script" not in cache._repr_html_()

"""Fixtures of the tests that hold the built program against Python."""

import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FIXTURES = ROOT / "tests" / "fixtures"

# What the best 300 anchors over 0.01 of the teacher's are, to the last bit that float16 holds.
EXACT = ["--logits", "float16", "--coverage", 1, "--class-coverage", 1]
PLAIN = [*EXACT, "--min-score", 0.01, "--top-k", 300]

# Its assertions then say what they compared, as those of a test do.
pytest.register_assert_rewrite("compare")


def find_binary():
    """`LOGITCACHE_BIN`, or the newest program that cargo built."""
    named = os.environ.get("LOGITCACHE_BIN")
    if named:
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [path for kind in ("debug", "release") if (path := target / kind / "logitcache").exists()]
    return max(built, key=lambda path: path.stat().st_mtime, default=None)


@pytest.fixture(scope="session")
def shared():
    """The folder of real images and models: `LOGITCACHE_SHARED`, or `../shared` beside the project."""
    folder = Path(os.environ.get("LOGITCACHE_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there (LOGITCACHE_SHARED can name another place)")
    return folder


@pytest.fixture(scope="session")
def logitcache():
    """Runs the program; gives the finished process after its exit status was checked."""
    binary = find_binary()
    assert binary is not None, "no program: run `cargo build`, or set LOGITCACHE_BIN"

    def run(*arguments, expect=0):
        command = [str(binary), *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == expect, f"{' '.join(command)}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def inspect(logitcache):
    """`inspect --json` of a cache."""
    return lambda cache, *more: json.loads(logitcache("inspect", cache, "--json", *more).stdout)


@pytest.fixture(scope="session")
def coco_cache(logitcache, shared, tmp_path_factory):
    """COCO128 under the real teacher, every kept value as the teacher gave it."""
    out = tmp_path_factory.mktemp("coco") / "cache"
    teacher, data = shared / "models/yolov12n.onnx", shared / "data/coco128/data.yaml"
    logitcache("build", "--teacher", teacher, "--data", data, "--split", "train", "--out", out, *PLAIN)
    return out


@pytest.fixture(scope="session")
def compact_cache(logitcache, shared, tmp_path_factory):
    """COCO128 under the real teacher with the default settings: the cache of the docs."""
    out = tmp_path_factory.mktemp("compact") / "cache"
    teacher, data = shared / "models/yolov12n.onnx", shared / "data/coco128/data.yaml"
    logitcache("build", "--teacher", teacher, "--data", data, "--split", "train", "--out", out)
    return out


@pytest.fixture(scope="session")
def coarse_cache(logitcache, shared, tmp_path_factory):
    """The same with class logits of 8 bits too, and of fewer anchors."""
    out = tmp_path_factory.mktemp("coarse") / "cache"
    teacher, data = shared / "models/yolov12n.onnx", shared / "data/coco128/data.yaml"
    settings = ["--logits", "8bit", "--top-k", 1000, "--class-coverage", 0.995]
    logitcache("build", "--teacher", teacher, "--data", data, "--split", "train", "--out", out, *settings)
    return out


def draw_data_set(folder, images=40):
    """Rectangles and discs on noise, with labels in Ultralytics' form: 0 to 5 objects a picture, of two sizes of picture."""
    rng = np.random.default_rng(5)
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for number in range(images):
        width, height = (160, 120) if number % 3 else (97, 160)
        picture = rng.integers(90, 130, (height, width, 3), dtype=np.uint8)
        lines = []
        for _ in range(number % 6):
            x, y, side = (int(rng.integers(low, high)) for low, high in [(20, width - 20), (20, height - 20), (5, 18)])
            colour, class_id = rng.integers(0, 256, 3).tolist(), int(rng.integers(0, 2))
            if class_id == 0:
                cv2.circle(picture, (x, y), side, colour, -1)
            else:
                cv2.rectangle(picture, (x - side, y - side), (x + side, y + side), colour, -1)
            lines.append(f"{class_id} {x / width:.6f} {y / height:.6f} {2 * side / width:.6f} {2 * side / height:.6f}")
        suffix = ".png" if number % 2 else ".jpg"
        assert cv2.imwrite(str(folder / "images" / f"drawn{number:03}{suffix}"), picture)
        (folder / "labels" / f"drawn{number:03}.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text("train: images\nval: images\nnames: [circle, square]\n")
    return folder / "data.yaml"


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory):
    """The `data.yaml` of 40 drawn pictures."""
    return draw_data_set(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def drawn_cache(logitcache, drawn_data, tmp_path_factory):
    """Drawn pictures under a committed tiny teacher, in parts of 16 images: needs nothing beside the project."""
    cache, teacher = tmp_path_factory.mktemp("cache") / "drawn", FIXTURES / "models/yolov8-dynamic.onnx"
    settings = ["--imgsz", 160, "--images-per-part", 16, *PLAIN]
    logitcache("build", "--teacher", teacher, "--data", drawn_data, "--out", cache, *settings)
    return cache

"""Fixtures of the tests that hold the built program against Python."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FIXTURES = ROOT / "tests" / "fixtures"


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
    """COCO128 under the real teacher: the command of the README."""
    out = tmp_path_factory.mktemp("coco") / "cache"
    teacher, data = shared / "models/yolov12n.onnx", shared / "data/coco128/data.yaml"
    logitcache("build", "--teacher", teacher, "--data", data, "--split", "train", "--out", out)
    return out


@pytest.fixture(scope="session")
def synth_cache(logitcache, tmp_path_factory):
    """Drawn shapes under the committed tiny teacher, in parts of 16 images: needs nothing beside the project."""
    folder = tmp_path_factory.mktemp("synth")
    logitcache("synth", "--out", folder / "shapes", "--images", 40, "--imgsz", 160, "--seed", 3)
    teacher = FIXTURES / "models/yolov8-dynamic.onnx"
    data = folder / "shapes/data.yaml"
    settings = ["--imgsz", 160, "--images-per-part", 16]
    logitcache("build", "--teacher", teacher, "--data", data, "--out", folder / "cache", *settings)
    return folder / "cache"

"""Where the package under test comes from, and the caches that the tests read.

`LOGITCACHE_WHEELHOUSE` names the folder of a wheel; else it is put together of the sources and the module that cargo built
(`cargo test --workspace --no-run`, or `cargo build -p logitcache-python`).
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
TEACHER = ROOT / "assets" / "teacher.onnx"

WHEELHOUSE = Path(named).resolve() if (named := os.environ.get("LOGITCACHE_WHEELHOUSE")) else None

_made = None


def _newest_module():
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    places = ["debug", "debug/deps", "release"]
    built = [path for place in places if (path := target / place / "liblogitcache_python.so").exists()]
    return max(built, key=lambda path: path.stat().st_mtime, default=None)


def _package():
    """The folder to import the package from; None where it is not built."""
    global _made
    module = None if WHEELHOUSE else _newest_module()
    if WHEELHOUSE is None and module is None:
        return None
    _made = tempfile.TemporaryDirectory(prefix="logitcache-package-")
    folder = Path(_made.name)
    if WHEELHOUSE:
        (wheel,) = WHEELHOUSE.glob("logitcache-*.whl")
        zipfile.ZipFile(wheel).extractall(folder)
        return folder
    shutil.copytree(ROOT / "python" / "logitcache", folder / "logitcache", ignore=shutil.ignore_patterns("bin", "__pycache__"))
    shutil.copy(module, folder / "logitcache" / "_native.abi3.so")
    return folder


PACKAGE = _package()
collect_ignore_glob = [] if PACKAGE else ["test_*.py"]
if PACKAGE:
    sys.path.insert(0, str(PACKAGE))
    # Of processes that the tests start.
    os.environ["PYTHONPATH"] = str(PACKAGE)


def pytest_unconfigure():
    if _made is not None:
        _made.cleanup()


def run(*arguments, expect=0, **options):
    """The program of the package in a process of its own."""
    command = [sys.executable, "-P", "-m", "logitcache", *map(str, arguments)]
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, **options}
    done = subprocess.run(command, **options)
    assert done.returncode == expect, f"{command}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def shared():
    """The folder of real images and models: `LOGITCACHE_SHARED`, or `../shared` beside the project."""
    folder = Path(os.environ.get("LOGITCACHE_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there (LOGITCACHE_SHARED can name another place)")
    return folder


@pytest.fixture(scope="session")
def program():
    """Runs the program; gives the finished process after its exit status was checked."""
    return run


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """A small labelled data set of drawn shapes."""
    folder = tmp_path_factory.mktemp("shapes") / "shapes"
    run("synth", "--out", folder, "--images", 20, "--imgsz", 128)
    return folder


@pytest.fixture(scope="session")
def built(shapes, tmp_path_factory):
    """A cache of the shapes with two views of each image, built by the program."""
    cache = tmp_path_factory.mktemp("built") / "cache"
    run("build", "--teacher", TEACHER, "--data", shapes / "data.yaml", "--views", 2, "--out", cache)
    return cache


@pytest.fixture(params=["cache-v1", "compact-v1", "built"])
def cache_folder(request):
    """Caches of every form: float16, 8 bits, `8bit-dfl` with views."""
    name = request.param
    return request.getfixturevalue(name) if name == "built" else FIXTURES / name


def manifest_of(folder):
    """The manifest of a cache."""
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))

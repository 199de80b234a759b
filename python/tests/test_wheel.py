"""The wheel in a fresh environment: no compiler, no network, no variable. Runs where `LOGITCACHE_WHEELHOUSE` names its folder."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from conftest import ROOT, TEACHER, WHEELHOUSE

pytestmark = pytest.mark.skipif(WHEELHOUSE is None, reason="LOGITCACHE_WHEELHOUSE is not set; `make test-wheel` sets it")

MOST_BYTES = 20_000_000
#: Where `make setup` put libtorch.
TORCH = ROOT / ".venv" / "torch"


class Fresh:
    """An environment with the wheel and what it depends on."""

    def __init__(self, folder):
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        self.packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}
        self.python("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--find-links", WHEELHOUSE,
                    "logitcache")

    def run(self, name, *arguments, expect=0):
        command = [str(self.folder / "bin" / name), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == expect, f"{command}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def python(self, *arguments):
        return self.run("python", *arguments).stdout

    def __call__(self, *arguments, expect=0):
        return self.run("logitcache", *arguments, expect=expect)


@pytest.fixture(scope="session")
def fresh(tmp_path_factory):
    return Fresh(tmp_path_factory.mktemp("fresh") / "environment")


@pytest.fixture(scope="session")
def data(fresh, tmp_path_factory):
    """Drawn shapes; the detector that comes with the program knows them."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    fresh("synth", "--out", folder, "--images", 40, "--imgsz", 128)
    return folder / "data.yaml"


def test_the_wheel_is_small():
    (wheel,) = WHEELHOUSE.glob("logitcache-*.whl")
    assert wheel.stat().st_size <= MOST_BYTES
    assert "-cp311-abi3-" in wheel.name and list(WHEELHOUSE.glob("logitcache-*.tar.gz"))


def test_the_program_finds_the_runtime_that_was_installed_with_it(fresh):
    said = fresh("--version").stdout.splitlines()
    assert said[0].startswith("logitcache ") and str(fresh.packages / "onnxruntime") in said[1]
    assert "cannot be used: the trainer needs PyTorch 2.11.0" in said[2]


def commands(fresh, teacher, data, folder):
    """build, inspect, verify and predict, each of what the one before made."""
    cache = folder / "cache"
    report = json.loads(fresh("build", "--teacher", teacher, "--data", data, "--out", cache, "--json").stdout)
    assert report["complete"] and json.loads(fresh("inspect", cache, "--json").stdout)["images"] == report["images"]
    fresh("inspect", cache, "--image", 0, "--out", folder / "seen.png")
    assert fresh("verify", cache).stdout.startswith(f"valid: {report['images']} images")
    seen = json.loads(fresh("predict", folder / "seen.png", "--model", teacher, "--json").stdout)
    assert len(seen["images"]) == 1
    return report


def test_commands_on_drawn_shapes(fresh, data, tmp_path):
    assert commands(fresh, TEACHER, data, tmp_path)["images"] == 32
    text = (ROOT / "python" / "PACKAGE.md").read_text(encoding="utf-8")
    example = tmp_path / "example.py"
    example.write_text("import os; os.chdir(os.path.dirname(__file__))\n" + text.split("```python\n")[1].split("```")[0])
    assert len(fresh.python(example).splitlines()) == 32


def test_commands_on_coco128(fresh, shared, tmp_path):
    report = commands(fresh, shared / "models/yolov12n.onnx", shared / "data/coco128/data.yaml", tmp_path)
    assert report["images"] == 128
    script = f"import logitcache; print(sum(map(len, logitcache.Cache({str(tmp_path / 'cache')!r}))))"
    assert int(fresh.python("-c", script)) == report["rows"]


def test_importing_is_quick(fresh):
    script = "import time; t = time.perf_counter(); import logitcache; print(time.perf_counter() - t)"
    # Reported, not asserted: a busy machine is no fault of the package.
    print(f"import logitcache: {1e3 * min(float(fresh.python('-c', script)) for _ in range(5)):.1f} ms")


def test_another_release_of_torch_is_refused_before_anything_is_computed(fresh, data, tmp_path):
    torch = fresh.packages / "torch"
    torch.mkdir()
    (torch / "version.py").write_text("__version__ = '2.10.0+cpu'\n")
    try:
        train = ["train", "--distill", "none", "--data", data, "--model", "yolov8f", "--out", tmp_path / "run"]
        said = fresh(*train, expect=2).stderr
        assert "needs PyTorch 2.11.0" in said and "is version 2.10.0+cpu" in said and "logitcache[train]" in said
        assert not (tmp_path / "run").exists()
    finally:
        (torch / "version.py").unlink()
        torch.rmdir()


def test_the_trainer_runs_with_the_torch_beside_it(fresh, data, tmp_path):
    if not (TORCH / "lib").is_dir():
        pytest.skip(f"{TORCH} is not there: run `make setup`")
    # As pip would install it, without copying 1.3 GB.
    links = [(fresh.packages / name, TORCH.resolve().parent / name) for name in ("torch", "nvidia")]
    for link, package in links:
        if package.exists():
            link.symlink_to(package)
    try:
        assert "libtorch 2.11.0" in fresh("--version").stdout
        fresh("train", "--distill", "none", "--data", data, "--model", "yolov8f", "--imgsz", 64, "--epochs", 1, "--batch", 8,
              "--threads", 1, "--val-split", "none", "--out", tmp_path / "run")
        assert (tmp_path / "run" / "best.onnx").is_file()
    finally:
        for link, _ in links:
            link.unlink(missing_ok=True)


def test_the_source_distribution_is_complete(tmp_path):
    (source,) = WHEELHOUSE.glob("logitcache-*.tar.gz")
    subprocess.run(["tar", "xzf", source, "-C", tmp_path], check=True)
    (folder,) = tmp_path.iterdir()
    # Every package of the workspace and every path is there; to compile it takes minutes.
    command = ["cargo", "metadata", "--format-version", "1", "--offline", "--manifest-path", folder / "python" / "Cargo.toml"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=os.environ)
    if "no matching package" in done.stderr or "unable to update registry" in done.stderr:
        pytest.skip("the packages of the registry are not on this machine")
    assert done.returncode == 0, done.stderr

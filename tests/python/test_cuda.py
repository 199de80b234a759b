"""The trainer on an NVIDIA GPU, held against the same run on the processor. Skipped where there is no GPU."""

import csv
import shutil
import subprocess

import pytest
from conftest import ROOT

TEACHER = ROOT / "assets/teacher.onnx"
LOSSES = ["train/box_loss", "train/cls_loss", "train/dfl_loss"]
TAUGHT = ["distill/box_loss", "distill/cls_loss", "distill/dfl_loss"]


@pytest.fixture(scope="module", autouse=True)
def gpu():
    if not shutil.which("nvidia-smi") or subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode:
        pytest.skip("no NVIDIA GPU")


@pytest.fixture(scope="module")
def drawn(logitcache, tmp_path_factory):
    """Drawn shapes and their cache."""
    folder = tmp_path_factory.mktemp("cuda")
    logitcache("synth", "--out", folder / "shapes", "--images", 40)
    data = folder / "shapes/data.yaml"
    logitcache("build", "--teacher", TEACHER, "--data", data, "--views", 1, "--out", folder / "cache")
    return folder


def train(logitcache, drawn, name, *options, expect=0):
    out = drawn / name
    common = ["--model", "yolov8p", "--batch", 8, "--warmup-epochs", 0, "--out", out]
    done = logitcache("train", "--cache", drawn / "cache", *common, *options, expect=expect)
    return done if expect else list(csv.DictReader((out / "results.csv").open()))


# What a GPU may differ by: PyTorch's convolutions in float32 round their factors to TF32 there.
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 3e-3), ("bf16", 3e-2)])
def test_losses_are_those_of_the_processor(logitcache, drawn, precision, tolerance):
    # With a rate this low the weights hardly change: each epoch's losses are those of the same network.
    options = ["--epochs", 2, "--lr", 1e-7, "--precision", precision]
    here = train(logitcache, drawn, f"cpu-{precision}", *options, "--device", "cpu")
    there = train(logitcache, drawn, f"cuda-{precision}", *options, "--device", "cuda")
    for one, other in zip(here, there, strict=True):
        for name in LOSSES + TAUGHT:
            assert float(one[name]) > 0
            assert float(other[name]) == pytest.approx(float(one[name]), rel=tolerance), name


def test_it_learns(logitcache, drawn):
    options = ["--epochs", 6, "--lr", 2e-3, "--device", "cuda:0"]
    rows = train(logitcache, drawn, "learns", *options)
    total = [sum(float(row[name]) for name in LOSSES + TAUGHT) for row in rows]
    assert len(rows) == 6 and total[-1] < 0.8 * total[0]


def test_a_loss_that_is_no_number_ends_the_run(logitcache, drawn):
    done = train(logitcache, drawn, "diverges", "--epochs", 3, "--lr", 1e9, "--device", "cuda", expect=2)
    assert "is NaN" in done.stderr or "is inf" in done.stderr
    assert "epoch 1, batch" in done.stderr

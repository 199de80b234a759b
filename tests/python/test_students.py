"""What `train` leaves of a student of each family, opened by Ultralytics: its weights load strictly, and its export gives what
Ultralytics' own model gives. Needs the full environment: `make test-torch`.
"""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

try:
    import ultralytics  # noqa: F401
except (ImportError, OSError) as error:
    pytest.skip(f"Ultralytics cannot be imported ({error}): see `make test-torch`", allow_module_level=True)


@pytest.mark.parametrize("model", ["yolov8n", "yolo11n", "yolo26n"])
def test_ultralytics_opens_a_student(logitcache, model, tmp_path):
    data, out = tmp_path / "data", tmp_path / "run"
    logitcache("synth", "--images", 10, "--imgsz", 128, "--out", data)
    words = ["train", "--distill", "none", "--data", data / "data.yaml", "--model", model, "--imgsz", 64, "--out", out]
    logitcache(*words, "--epochs", 1, "--val-split", "none", "--precision", "fp32", "--threads", 2)
    picture = next((data / "images/val").iterdir())
    script = [sys.executable, ROOT / "scripts/check_with_ultralytics.py"]
    files = [out / "weights/best.safetensors", out / "best.onnx", picture]
    said = subprocess.run([*script, *files], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "All keys matched" in said.stdout and "predict: " in said.stdout
    found = re.findall(r"boxes within (\S+) px, probabilities within (\S+)", said.stdout)
    assert found and all(float(boxes) < 1e-3 and float(scores) < 1e-5 for boxes, scores in found), said.stdout

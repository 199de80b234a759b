"""The code for this package in README.md and docs/ runs as it stands there and prints what stands below it."""

import re
import subprocess
import sys

import pytest

from conftest import ROOT, run

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SNIPPET = re.compile(r"^```python\n(.*?)^```$(?:\n```\n(.*?)^```$)?", re.M | re.S)


@pytest.fixture(scope="module")
def workplace(shared, tmp_path_factory):
    """A folder with the `cache` that the docs speak of."""
    folder = tmp_path_factory.mktemp("docs")
    teacher, data = shared / "models/yolov12n.onnx", shared / "data/coco128/data.yaml"
    run("build", "--teacher", teacher, "--data", data, "--split", "train", "--out", folder / "cache")
    return folder


@pytest.mark.parametrize(
    "text, printed",
    [
        pytest.param(*match.groups(), id=f"{page.relative_to(ROOT).as_posix()}-{number}")
        for page in PAGES
        for number, match in enumerate(SNIPPET.finditer(page.read_text(encoding="utf-8")))
        if "import logitcache" in match[1]
    ],
)
def test_python(text, printed, workplace):
    done = subprocess.run([sys.executable, "-c", text], cwd=workplace, capture_output=True, text=True)
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    assert printed is None or done.stdout == printed

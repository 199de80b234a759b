"""`scripts/run_tests.py` refuses to run with a `LOGITCACHE_SHARED` that leads nowhere: the skipped tests would look like a pass."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT


def run(shared, tmp_path):
    """The runner where no cargo is to be found: whatever it does after its check ends in an error of another kind."""
    environment = {key: value for key, value in os.environ.items() if key != "LOGITCACHE_SHARED"}
    environment |= {"PATH": str(tmp_path)} | ({} if shared is None else {"LOGITCACHE_SHARED": str(shared)})
    command = [sys.executable, str(ROOT / "scripts/run_tests.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("kind", ["missing", "file", "closed", "empty name"])
def test_a_folder_that_cannot_be_read_stops_it_at_once(kind, tmp_path):
    shared = tmp_path / "shared"
    if kind == "file":
        shared.write_text("no folder")
    if kind == "closed":
        shared.mkdir(mode=0)
        if os.access(shared, os.R_OK):
            pytest.skip("this user may read every folder")
    if kind == "empty name":
        shared = ""
    done = run(shared, tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert f"LOGITCACHE_SHARED is set to {str(shared)!r}, which cannot be read" in done.stderr
    assert "Correct the variable or unset it." in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("named", [True, False])
def test_a_folder_that_can_be_read_or_none_at_all_lets_it_go_on(named, tmp_path):
    done = run(tmp_path if named else None, tmp_path)
    assert "cargo" in done.stdout and "LOGITCACHE_SHARED" not in done.stderr

"""The stubs against the module, and the package against mypy."""

import subprocess
import sys

import pytest

from conftest import PACKAGE

pytest.importorskip("mypy")


def test_the_package_is_typed():
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--cache-dir=/dev/null", "-p", "logitcache"]
    done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_stubs_are_those_of_the_module():
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "logitcache._native"], cwd=PACKAGE, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr

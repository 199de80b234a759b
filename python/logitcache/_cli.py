"""The program ``logitcache``."""

from __future__ import annotations

import signal
import sys

from . import _native
from ._install import run_from_package


def main() -> None:
    """Runs the program with the arguments of this process, and ends the process with its exit status."""
    # The program has its own ways to end at Ctrl-C; before it has begun nothing is to be kept.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    run_from_package()
    sys.exit(_native.main(["logitcache", *sys.argv[1:]]))

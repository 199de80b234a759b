"""Where the pieces of this installation lie."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from . import _native


def run_from_package() -> None:
    """Tells the program where its pieces lie. Imports none of the packages that it looks for."""
    found = importlib.util.find_spec("onnxruntime")
    folders = (found and found.submodule_search_locations) or []
    libraries = [Path(folder) / "capi" for folder in folders]
    _native.run_from(sys.executable, Path(__file__).parent.parent, next(iter(libraries), None))

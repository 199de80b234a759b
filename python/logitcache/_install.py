"""Where the pieces of this installation lie."""

from __future__ import annotations

import os
import sys

from . import _native


def run_from_package() -> None:
    """Tells the program where its pieces lie. Imports none of the packages that it looks for."""
    # Not needed to import the package, which is to be quick.
    import importlib.util

    found = importlib.util.find_spec("onnxruntime")
    folders = (found and found.submodule_search_locations) or []
    libraries = [os.path.join(folder, "capi") for folder in folders]
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    _native.run_from(sys.executable, here, next(iter(libraries), None))

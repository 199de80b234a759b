"""Read caches of detector outputs as NumPy arrays, and run the commands of ``logitcache`` as functions.

Examples
--------
>>> import logitcache
>>> cache = logitcache.Cache("cache")
>>> image = cache[0]
>>> image.score, image.class_logits, image.boxes
"""

from ._commands import audit, build, eval, issues, label, predict, quantize, select, verify
from ._error import Error, MissingImage
from ._native import (
    Cache,
    Detections,
    ImagePredictions,
    Labels,
    Letterbox,
    Table,
    ViewChange,
    __version__,
)

__all__ = [
    "Cache",
    "Detections",
    "Error",
    "ImagePredictions",
    "Labels",
    "Letterbox",
    "MissingImage",
    "Table",
    "ViewChange",
    "__version__",
    "audit",
    "build",
    "eval",
    "issues",
    "label",
    "predict",
    "quantize",
    "select",
    "verify",
]

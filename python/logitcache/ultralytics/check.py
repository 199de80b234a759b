"""What must fit between a cache and what Ultralytics is to train with."""

# Ultralytics has few types, and may be missing where the package is checked.
# mypy: disable-error-code="import-not-found, misc, no-untyped-call"

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ultralytics.utils import DEFAULT_CFG

from .._error import Error
from .._native import Cache

#: Ultralytics' changes of pictures: `exact` makes those of ``train`` in their place.
CHANGES = (
    "hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr", "bgr",
    "mixup", "cutmix", "copy_paste", "augmentations",
)  # fmt: skip
#: Those that the teacher's outputs cannot follow.
NOT_FOLLOWED = ("degrees", "shear", "perspective", "mixup", "cutmix", "copy_paste", "augmentations")


def check_student(cache: Cache, head: Any, names: Mapping[int, str] | Iterable[str], args: Any, bins: bool) -> None:
    """Refuses a student, classes or settings that do not fit the cache.

    Parameters
    ----------
    cache : Cache
        The teacher's outputs.
    head : Detect
        The student's head.
    names : dict or list of str
        The classes of the data set.
    args : namespace
        Ultralytics' settings.
    bins : bool
        Whether the bins are distilled.
    """
    teacher, folder = cache.info["teacher"], str(cache.path)
    ours = list(names.values()) if isinstance(names, Mapping) else list(names)
    if ours != list(cache.class_names):
        raise Error(_other_classes(ours, list(cache.class_names)), _MAP_CLASSES, folder)
    height, width = teacher["input_height"], teacher["input_width"]
    if height != width:
        raise Error(
            f"the cache was built at {height} x {width} pixels (height x width), and Ultralytics trains on squares alone",
            "Train with `logitcache train` or with `logitcache.torch`, or build a cache of a square.",
            folder,
        )
    if height != args.imgsz:
        raise Error(
            f"the student's input is {args.imgsz} x {args.imgsz} pixels, the cache was built at {height} x {height}",
            f"Train with `imgsz={height}`, or build a cache at {args.imgsz}.",
            folder,
        )
    strides = [int(stride) for stride in head.stride]
    if strides != list(teacher["strides"]):
        raise Error(
            f"the student has the strides {strides}, the teacher {teacher['strides']}",
            "Use a student and a teacher of the same strides.",
            folder,
        )
    first = next((image.dfl_logits for image in cache if len(image)), None)
    of_teacher = 1 if first is None else first.shape[2]
    if bins and 1 not in (head.reg_max, of_teacher) and head.reg_max != of_teacher:
        raise Error(
            f"the teacher has {of_teacher} DFL bins a side, the student {head.reg_max}",
            'Distil classes alone: `distill="cls"`.',
            folder,
        )
    if args.multi_scale:
        raise Error(
            f"`multi_scale={args.multi_scale}` changes the input's size, and the teacher's outputs are of one size",
            "Leave `multi_scale` out.",
        )


def check_exact(args: Any) -> None:
    """Refuses changes of pictures that `exact` does not make."""
    changed = [f"`{name}={getattr(args, name)}`" for name in CHANGES if _is_set(args, name)]
    if args.mosaic not in (0.0, 1.0):
        changed.append(f"`mosaic={args.mosaic}`")
    if args.rect:
        changed.append("`rect=True`")
    if args.classes is not None:
        changed.append(f"`classes={args.classes}`")
    if args.fraction != 1.0:
        changed.append(f"`fraction={args.fraction}`")
    if changed:
        raise Error(
            f"{', '.join(changed)} has no effect with the geometry exact, which changes pictures as `logitcache train` does",
            'Leave it out, or use `geometry="free"`.',
        )


def check_free(args: Any) -> None:
    """Refuses changes of pictures that the teacher's outputs cannot follow."""
    changed = [f"`{name}={getattr(args, name)}`" for name in NOT_FOLLOWED if getattr(args, name, None)]
    if args.rect:
        changed.append("`rect=True`")
    if changed:
        raise Error(
            f"the teacher's outputs cannot follow {', '.join(changed)}: only mosaics, scales, shifts and mirrors",
            "Leave it out.",
        )


def _is_set(args: Any, name: str) -> bool:
    return bool(getattr(args, name, None) != getattr(DEFAULT_CFG, name, None))


_MAP_CLASSES = (
    "Use a data.yaml whose `names` are the teacher's in its order (`Cache.class_names`), or build the cache with a teacher of "
    "these classes. See docs/classes.md."
)


def _other_classes(ours: list[str], theirs: list[str]) -> str:
    if len(ours) != len(theirs):
        return f"the data set has {len(ours)} classes, the teacher {len(theirs)}"
    at, (own, other) = next((at, pair) for at, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1])
    return f"class {at} is {own!r} in the data set and {other!r} of the teacher"

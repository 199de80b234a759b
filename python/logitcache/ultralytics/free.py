"""The geometry ``free``: Ultralytics' own changes of pictures, and the teacher's outputs carried
along.

Each change of geometry writes down where it puts every image (`Placed`). The teacher's boxes follow
exactly. Its logits go to the anchor that fits: a student's anchor learns what the teacher said at
the place that it shows, on the level that fits the scale. The bins of a side are shared out anew
among the distances from the new centre.
"""

# Ultralytics has few types, and may be missing where the package is checked.
# mypy: disable-error-code="import-not-found, misc, no-untyped-call"

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ultralytics.data.augment import Compose, Mosaic, RandomFlip, RandomPerspective
from ultralytics.data.dataset import YOLODataset

from .._error import Error
from .._native import Cache, ImagePredictions, TrainingSet
from ..torch import Anchors, TeacherTargets

_Array = npt.NDArray[Any]
#: Share of the mass that each bin has at least, so that its logarithm is a number.
_LEAST = 1e-6


@dataclass(frozen=True)
class Placed:
    """Where an image lies in a picture: ``picture = image * scale + offset`` in pixels along x and
    y; a mirror has a scale below 0.

    Attributes
    ----------
    index : int
        Its position in the data set.
    scale, offset : numpy.ndarray
        float64 [2].
    area : numpy.ndarray
        float64 [4]: x1, y1, x2, y2 of the part of the picture that shows it.
    """

    index: int
    scale: _Array
    offset: _Array
    area: _Array

    def then(self, scale: Any, offset: Any) -> Placed:
        """After another change of the picture."""
        scale, offset = np.asarray(scale, np.float64), np.asarray(offset, np.float64)
        corners = self.area.reshape(2, 2) * scale + offset
        area = np.concatenate([corners.min(0), corners.max(0)])
        return replace(self, scale=self.scale * scale, offset=self.offset * scale + offset, area=area)


class _Mosaic(Mosaic):
    def apply_instances(self, labels: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
        assert params is not None
        placed = []
        for tile in params["layout"]:
            shown = np.array([tile["x1a"], tile["y1a"], tile["x2a"], tile["y2a"]], np.float64)
            moved = (one.then(1.0, (tile["padw"], tile["padh"])) for one in tile["labels_patch"]["placed"])
            placed += [replace(one, area=shown) for one in moved]
        labels = super().apply_instances(labels, params)
        labels["placed"] = placed
        return labels


class _RandomPerspective(RandomPerspective):
    def apply_instances(self, labels: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
        assert params is not None
        # Without rotation, shear and perspective (`check_free`) the axes stay apart.
        matrix = params["M"]
        labels["placed"] = [one.then(np.diag(matrix)[:2], matrix[:2, 2]) for one in labels["placed"]]
        moved: dict[str, Any] = super().apply_instances(labels, params)
        return moved


class _RandomFlip(RandomFlip):
    def apply_instances(self, labels: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
        assert params is not None
        if params["flip"]:
            height, width = labels["img"].shape[:2]
            across = params["direction"] == "horizontal"
            scale, offset = ((-1, 1), (width, 0)) if across else ((1, -1), (0, height))
            labels["placed"] = [one.then(scale, offset) for one in labels["placed"]]
        moved: dict[str, Any] = super().apply_instances(labels, params)
        return moved


_RECORDING = {Mosaic: _Mosaic, RandomPerspective: _RandomPerspective, RandomFlip: _RandomFlip}


def _record(transforms: Any) -> None:
    """Makes the changes of geometry write down what they do."""
    for transform in transforms.transforms:
        if isinstance(transform, Compose):
            _record(transform)
        elif type(transform) in _RECORDING:
            transform.__class__ = _RECORDING[type(transform)]


class _WithTeacher(YOLODataset):
    """Ultralytics' data set whose batches have the teacher's outputs."""

    teacher: Teacher

    def get_image_and_label(self, index: int) -> dict[str, Any]:
        label: dict[str, Any] = super().get_image_and_label(index)
        (height, width), (now_height, now_width) = label["ori_shape"], label["resized_shape"]
        self.teacher.refuse_other_size(index, (width, height))
        area = np.array([0, 0, now_width, now_height], np.float64)
        scale = np.array([now_width / width, now_height / height])
        label["placed"] = [Placed(index, scale, np.zeros(2), area)]
        return label

    def build_transforms(self, hyp: Any) -> Any:
        transforms = super().build_transforms(hyp)
        _record(transforms)
        return transforms

    def collate_fn(self, batch: list[dict[str, Any]]) -> dict[str, Any]:  # type: ignore[override, unused-ignore]
        placed = [sample.pop("placed") for sample in batch]
        out: dict[str, Any] = YOLODataset.collate_fn(batch)
        out["teacher"] = TeacherTargets.cat([self.teacher.targets(image) for image in placed])
        return out


def with_teacher(dataset: Any, images: TrainingSet, cache: Cache, args: Any) -> Any:
    """Makes Ultralytics' data set one whose batches have the teacher's outputs.

    Raises
    ------
    logitcache.Error
        If an image of the data set is not in the cache.
    """
    ids = {os.path.realpath(path): image_id for image_id, path in images.images}
    found = [ids.get(os.path.realpath(file)) for file in dataset.im_files]
    missing = [file for file, image_id in zip(dataset.im_files, found, strict=True) if image_id is None]
    if missing:
        raise Error(
            f"{len(missing)} of {len(found)} images are not in the cache, the first is {missing[0]}",
            "Build the cache over the training images of this data set.",
            str(cache.path),
        )
    dataset.__class__ = _WithTeacher
    dataset.teacher = Teacher(cache, [image_id for image_id in found if image_id is not None])
    dataset.transforms = dataset.build_transforms(hyp=args)
    return dataset


class Teacher:
    """The teacher's outputs, carried to changed pictures.

    Parameters
    ----------
    cache : Cache
        The teacher's outputs.
    ids : list of int
        The id of each image of the data set.
    """

    def __init__(self, cache: Cache, ids: list[int]) -> None:
        self._cache, self._ids = cache, ids
        teacher = cache.info["teacher"]
        self._size = (teacher["input_height"], teacher["input_width"])
        self._strides = np.array(teacher["strides"])
        grid = Anchors.of_grid(self._size, teacher["strides"])
        self._stride = grid.strides.numpy()[:, 0].astype(np.float64)
        self._centre = grid.centres.numpy().astype(np.float64) * self._stride[:, None]
        self._level = np.searchsorted(self._strides, self._stride)
        self._columns = self._size[1] // self._strides
        self._first = np.searchsorted(self._level, np.arange(len(self._strides)))
        self._classes = len(cache.class_names)

    def refuse_other_size(self, index: int, size: tuple[int, int]) -> None:
        """Refuses a file that is another picture than the teacher saw."""
        image = self._cache.image(self._ids[index])
        if (image.width, image.height) != size:
            raise Error(
                f"{image.path} has {size[0]} x {size[1]} pixels, in the cache {image.width} x {image.height}",
                "Restore the file, or build the cache over the data set as it is now.",
                str(self._cache.path),
            )

    def targets(self, placed: Sequence[Placed]) -> TeacherTargets:
        """Of one picture that shows these images."""
        floor, dropped = np.full(len(self._stride), np.nan, np.float32), 0.0
        rows = []
        for one in placed:
            image = self._cache.image(self._ids[one.index])
            shown = np.flatnonzero(self._inside(self._centre, one.area))
            rows.append(self._rows(image, one, shown))
            floor[shown] = image.dropped_mean_prob
            # Which dropped anchors had which score is not known: a picture is taken to hold its
            # share of the sum.
            lacking = len(self._stride) - len(image)
            share = (len(shown) - len(rows[-1]["anchor"])) / lacking if lacking > 0 else 0.0
            dropped += image.dropped_score_sum * min(share, 1.0)
        columns: dict[str, Any] = {
            name: None if column is None else torch.from_numpy(np.concatenate([row[name] for row in rows]))
            for name, column in rows[0].items()
        }
        return TeacherTargets(
            batch_index=torch.zeros(len(columns["anchor"]), dtype=torch.int64),
            floor_prob=torch.from_numpy(floor)[None],
            dropped_score_sum=torch.tensor([dropped], dtype=torch.float32),
            **columns,
        )

    def _inside(self, points: _Array, area: _Array) -> _Array:
        """Which points lie in the window and in the part of it that shows an image."""
        low, high = np.maximum(area[:2], 0), np.minimum(area[2:], self._size[::-1])
        inside: _Array = np.all((points >= low) & (points < high), axis=1)
        return inside

    def _rows(self, image: ImagePredictions, placed: Placed, shown: _Array) -> dict[str, Any]:
        """What the teacher says of the anchors `shown`, which lie on an image."""
        letterbox = image.letterbox
        # From the teacher's input to the window. The image lies in the input with whole sides, so
        # each axis has its own scale.
        size, room = np.array([image.width, image.height]), np.array(self._size[::-1])
        scale = placed.scale * size / np.rint(size * (room / size).min()).clip(1, room)
        offset = placed.offset - scale * (letterbox.pad_left, letterbox.pad_top)
        anchor, used = self._fitting(image, scale, offset, shown)
        source = image.anchor[used]
        stored = image.boxes[used]
        boxes = stored * np.tile(placed.scale, 2) + np.tile(placed.offset, 2)
        logits = None
        if (dfl := image.dfl_logits) is not None:
            edges, probs = self._edges(source, dfl[used].astype(np.float64), scale, offset)
            # A stored box that ends at the edge of its image was clipped there; its bins were not.
            clipped = (stored[:, :2] <= 0).any(1) | (stored[:, 2:] >= (image.width, image.height)).any(1)
            boxes[clipped] = (edges * probs).sum(2)[clipped]
            logits = self._shared_out(anchor, edges, probs, scale)
        boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1)
        return {
            "anchor": anchor,
            "score": image.score[used],
            "class_logits": image.all_class_logits[used],
            "dfl_logits": logits,
            "boxes": boxes.astype(np.float32),
        }

    def _fitting(self, image: ImagePredictions, scale: _Array, offset: _Array, shown: _Array) -> tuple[_Array, _Array]:
        """The anchors of `shown` that a row of the image fits, and that row."""
        row_at = np.full(len(self._stride), -1)
        row_at[image.anchor] = np.arange(len(image))
        # Between half and double size the level stays: detectors find an object on it over that
        # range.
        up = int(np.log2(abs(scale[0] * scale[1])) / 2)
        last = len(self._strides) - 1
        anchors, rows = [], []
        for level, stride in enumerate(self._strides):
            # The finest level takes in what would be finer still, the coarsest likewise.
            here = shown[self._level[shown] == np.clip(level + up, 0, last)]
            column, row = np.floor((self._centre[here] - offset) / scale / stride).astype(np.int64).T
            inside = (column >= 0) & (column < self._columns[level]) & (row >= 0) & (row < self._size[0] // stride)
            found = row_at[(self._first[level] + row * self._columns[level] + column)[inside]]
            anchors.append(here[inside][found >= 0])
            rows.append(found[found >= 0])
        anchor, used = np.concatenate(anchors), np.concatenate(rows)
        # Of several that fit, the highest score.
        order = np.argsort(-image.score[used], kind="stable")
        best = order[np.unique(anchor[order], return_index=True)[1]]
        return anchor[best], used[best]

    def _edges(self, source: _Array, dfl: _Array, scale: _Array, offset: _Array) -> tuple[_Array, _Array]:
        """Where each bin of each side says the edge is, in the window, and how probable it says
        that is: [n, 4, bins] each.
        """
        probs = np.exp(dfl - dfl.max(2, keepdims=True))
        probs /= probs.sum(2, keepdims=True)
        distance = np.arange(dfl.shape[2]) * self._stride[source][:, None]
        x, y = self._centre[source].T[:, :, None]
        edges = np.stack([x - distance, y - distance, x + distance, y + distance], 1)
        return edges * np.tile(scale, 2)[None, :, None] + np.tile(offset, 2)[None, :, None], probs

    def _shared_out(self, anchor: _Array, edges: _Array, probs: _Array, scale: _Array) -> _Array:
        """Logits [n, 4 * bins] of the same edges, seen from other anchors."""
        # A mirror makes the left edge the right one.
        for axis in np.flatnonzero(scale < 0):
            swap = [2, 1, 0, 3] if axis == 0 else [0, 3, 2, 1]
            edges, probs = edges[:, swap], probs[:, swap]
        bins = probs.shape[2]
        centre = np.tile(self._centre[anchor], 2)[:, :, None]
        outwards = (edges - centre) * np.array([-1, -1, 1, 1])[None, :, None] / self._stride[anchor][:, None, None]
        place = outwards.clip(0, bins - 1)
        low = np.minimum(place.astype(np.int64), bins - 2)
        share = place - low
        shared = np.full((len(anchor) * 4, bins), _LEAST)
        row = np.repeat(np.arange(len(shared)), bins)
        np.add.at(shared, (row, low.ravel()), (probs * (1 - share)).ravel())
        np.add.at(shared, (row, low.ravel() + 1), (probs * share).ravel())
        logits: _Array = np.log(shared).reshape(len(anchor), 4 * bins).astype(np.float32)
        return logits

"""The images of a cache for a `DataLoader`."""

# PyTorch may be missing where the package is checked: its classes are then unknown.
# mypy: disable-error-code="import-not-found, misc"

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from .._native import TrainingSet
from .targets import TeacherTargets


class DistillDataset(Dataset[dict[str, Any]]):
    """The images of a cache with their labels and the teacher's outputs, map-style.

    ``dataset[i]`` is a dictionary:

    - ``image``: uint8 [3, H, W], RGB, letterboxed to the teacher's input; divided by 255 it is what
      the teacher saw
    - ``labelled``: whether the image is labelled, be it with no object
    - ``class_id``: int64 [m]; ``boxes``: float32 [m, 4], x1, y1, x2, y2 in input pixels
    - ``teacher``: `TeacherTargets` of this image
    - ``path``: the image file

    Parameters
    ----------
    cache : str or os.PathLike
        Folder of the cache.
    data : str or os.PathLike, optional
        The data set with its labels as they are now; by default the cache's labels, and images
        where the cache says.
    split : str, optional
        Which of the splits of `data` the cache is of.
    augment : bool, optional
        Change images as ``train`` does, in a way that the teacher's outputs can follow: mirrored,
        shifted and put into mosaics on the grid of the anchors, with other colours; of a cache with
        views, each view in its turn.
    seed : int, optional
        What the changes follow from, together with the epoch that was set with `set_epoch`.

    Raises
    ------
    logitcache.Error
        If the cache is unfinished, its data set has moved or changed, or no student can be trained
        on its predictions.
    """

    def __init__(
        self,
        cache: str | os.PathLike[str],
        data: str | os.PathLike[str] | None = None,
        split: str = "train",
        augment: bool = False,
        seed: int = 0,
    ) -> None:
        self._arguments = (cache, data, split, augment, seed)
        self._set = TrainingSet(cache, data, split)
        self._paths = [str(path) for _, path in self._set.images]
        self.augment, self.seed, self.epoch, self.mosaic = augment, seed, 0, True

    @property
    def input(self) -> tuple[int, int]:
        """Height and width of the images in pixels."""
        return self._set.input

    @property
    def notes(self) -> list[str]:
        """What you should know: images that are left out, labels that have changed."""
        return self._set.notes

    def set_epoch(self, epoch: int, mosaic: bool = True) -> None:
        """Makes the changes of another epoch, from 0; without mosaics in the last ones.

        Workers of a `DataLoader` with ``persistent_workers`` do not hear of it.
        """
        self.epoch, self.mosaic = epoch, mosaic

    def __len__(self) -> int:
        return len(self._set)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        index %= len(self)
        arrays = self._set.batch([index], self.seed, self.epoch, self.augment, self.mosaic)
        return {
            "image": torch.from_numpy(arrays["pixels"])[0].permute(2, 0, 1),
            "labelled": bool(arrays["labelled"][0]),
            "class_id": torch.from_numpy(arrays["label_class_id"]),
            "boxes": torch.from_numpy(arrays["label_boxes_xyxy_input_px"]),
            "teacher": TeacherTargets.of_arrays(arrays),
            "path": self._paths[index],
        }

    def __getstate__(self) -> dict[str, Any]:
        return {"arguments": self._arguments, "epoch": (self.epoch, self.mosaic)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        DistillDataset.__init__(self, *state["arguments"])
        self.set_epoch(*state["epoch"])


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The batch of some images of a `DistillDataset`: ``collate_fn`` of a `DataLoader`.

    Returns
    -------
    dict
        ``image`` uint8 [B, 3, H, W], ``labelled`` bool [B], ``batch_index`` int64 [M], ``class_id``
        int64 [M], ``boxes`` float32 [M, 4] of all labels in order of their image, ``teacher`` of
        the whole batch, ``path`` a list.
    """
    counts = torch.tensor([len(sample["class_id"]) for sample in samples])
    return {
        "image": torch.stack([sample["image"] for sample in samples]),
        "labelled": torch.tensor([sample["labelled"] for sample in samples]),
        "batch_index": torch.arange(len(samples)).repeat_interleave(counts),
        "class_id": torch.cat([sample["class_id"] for sample in samples]),
        "boxes": torch.cat([sample["boxes"] for sample in samples]),
        "teacher": TeacherTargets.cat([sample["teacher"] for sample in samples]),
        "path": [sample["path"] for sample in samples],
    }

"""The geometry ``exact``: the batches of ``logitcache train``, made by the same code."""

# Ultralytics has few types, and may be missing where the package is checked.
# mypy: disable-error-code="import-not-found, misc, no-untyped-call"

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import torch

from .._native import Cache, TrainingSet
from ..torch import TeacherTargets


class ExactImages:
    """What Ultralytics asks of a data set beside batches: its length and its labels."""

    def __init__(self, images: TrainingSet, cache: Cache) -> None:
        self.images = images
        self.im_files = [str(path) for _, path in images.images]
        self.labels = [self._label(index, cache.image(image_id)) for index, (image_id, _) in enumerate(images.images)]

    def _label(self, index: int, image: Any) -> dict[str, Any]:
        found = self.images.labels(index)
        classes, boxes = found if found is not None else (np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
        size = np.array([image.width, image.height], np.float32)
        centre, side = (boxes[:, :2] + boxes[:, 2:]) / 2 / size, (boxes[:, 2:] - boxes[:, :2]) / size
        return {
            "im_file": self.im_files[index],
            "cls": classes.astype(np.float32).reshape(-1, 1),
            "bboxes": np.concatenate([centre, side], 1),
            "normalized": True,
            "bbox_format": "xywh",
        }

    def __len__(self) -> int:
        return len(self.im_files)


class _Sampler:
    """How many images a process gets of an epoch."""

    def __init__(self, length: int) -> None:
        self._length = length

    def set_epoch(self, epoch: int) -> None:
        """Nothing: the loader asks for the epoch itself."""

    def __len__(self) -> int:
        return self._length


class ExactLoader:
    """The batches of an epoch in the order of ``train``, made ahead by threads of the native
    module.

    Parameters
    ----------
    dataset : ExactImages
        The images.
    batch : int
        Images of a batch, for one process.
    seed : int
        What order and changes follow from.
    epoch : callable
        Gives the epoch, from 0.
    mosaic : callable
        Whether an epoch has mosaics.
    threads : int
        How many make batches.
    rank, world : int
        Which of how many processes this is: together they see the batches of a single one with
        ``batch * world`` images.
    drop_last : bool
        Whether an epoch ends without its last batch, where that has fewer images.
    """

    def __init__(
        self,
        dataset: ExactImages,
        batch: int,
        seed: int,
        epoch: Callable[[], int],
        mosaic: Callable[[int], bool],
        threads: int,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = False,
    ) -> None:
        self.dataset, self.batch_size, self.drop_last = dataset, min(batch, len(dataset)), drop_last
        self.sampler = _Sampler(-(-len(dataset) // world))
        self.num_workers = 0
        self._seed, self._epoch, self._mosaic, self._threads = seed, epoch, mosaic, threads
        self._rank, self._world = rank, world

    def __len__(self) -> int:
        whole, rest = divmod(len(self.dataset), self.batch_size * self._world)
        return whole + (rest > 0 and not (self.drop_last and whole > 0))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch = self._epoch()
        order = self.dataset.images.order(self._seed, epoch).tolist()
        mosaic = self._mosaic(epoch)
        with ThreadPoolExecutor(self._threads, "logitcache") as pool:
            jobs = (pool.submit(self._make, self._part(order, number), epoch, mosaic) for number in range(len(self)))
            ahead = deque(islice(jobs, self._threads + 1))
            while ahead:
                batch = ahead.popleft().result()
                ahead.extend(islice(jobs, 1))
                yield batch

    def reset(self) -> None:
        """Nothing: each epoch asks for what it needs."""

    def close(self) -> None:
        """Nothing: threads end with their epoch."""

    def _part(self, order: list[int], number: int) -> list[int]:
        """This process's images of a batch: all processes get as many, the first images again where
        some lack.
        """
        size = self.batch_size * self._world
        rows = order[number * size : (number + 1) * size]
        rows += order[: -len(rows) % self._world]
        each = len(rows) // self._world
        return rows[self._rank * each : (self._rank + 1) * each]

    def _make(self, rows: list[int], epoch: int, mosaic: bool) -> dict[str, Any]:
        arrays = self.dataset.images.batch(rows, self._seed, epoch, True, mosaic)
        return as_batch(arrays, [self.dataset.im_files[row] for row in rows])


def as_batch(arrays: dict[str, Any], files: list[str]) -> dict[str, Any]:
    """A batch of the native module as Ultralytics has it: pixels [B, 3, H, W], boxes as centre and
    size, in shares of the input.
    """
    height, width = arrays["pixels"].shape[1:3]
    corners = torch.from_numpy(arrays["label_boxes_xyxy_input_px"])
    size = torch.tensor([width, height])
    centre, side = (corners[:, :2] + corners[:, 2:]) / 2 / size, (corners[:, 2:] - corners[:, :2]) / size
    return {
        "img": torch.from_numpy(arrays["pixels"]).permute(0, 3, 1, 2),
        "cls": torch.from_numpy(arrays["label_class_id"]).float().view(-1, 1),
        "bboxes": torch.cat([centre, side], 1),
        "batch_idx": torch.from_numpy(arrays["label_batch_index"]).float(),
        "labelled": torch.from_numpy(arrays["labelled"]),
        "im_file": files,
        "teacher": TeacherTargets.of_arrays(arrays),
    }

"""The teacher's cached outputs for a batch, and the places of a student's outputs."""

# PyTorch may be missing where the package is checked: its classes are then unknown.
# mypy: disable-error-code="import-not-found, misc"

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Anchors:
    """Where a student's outputs lie: A anchors, level by level, row major.

    Attributes
    ----------
    centres : Tensor
        float32 [A, 2]: x and y in cells.
    strides : Tensor
        float32 [A, 1]: input pixels per cell.
    """

    centres: Tensor
    strides: Tensor

    @classmethod
    def of_grid(cls, size: tuple[int, int], strides: Sequence[int] = (8, 16, 32)) -> Anchors:
        """The anchors of a YOLO head.

        Parameters
        ----------
        size : (int, int)
            Height and width of the input in pixels.
        strides : sequence of int, optional
            Input pixels per cell of each level.
        """
        centres = []
        for stride in strides:
            rows, columns = (torch.arange(side // stride) + 0.5 for side in size)
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            centres.append(torch.stack([x, y], -1).view(-1, 2))
        of_level = [torch.full((len(c), 1), float(s)) for c, s in zip(centres, strides, strict=True)]
        return cls(torch.cat(centres), torch.cat(of_level))

    def to(self, device: Any) -> Anchors:
        """The same on another device."""
        return Anchors(self.centres.to(device), self.strides.to(device))

    def __len__(self) -> int:
        return len(self.strides)


@dataclass(frozen=True)
class TeacherTargets:
    """What the cache holds of the teacher for a batch of B images: N kept anchors, no anchor of an
    image twice.

    Attributes
    ----------
    batch_index : Tensor
        int64 [N]: position in the batch.
    anchor : Tensor
        int64 [N]: 0 to A - 1.
    score : Tensor
        float32 [N]: the teacher's highest class probability, the anchor's weight.
    class_logits : Tensor
        float32 [N, C], before the sigmoid. Of a row that the cache keeps without class logits: what
        its score and `rest_mean_prob` say.
    dfl_logits : Tensor or None
        float32 [N, 4 * reg_max], before the softmax: left, top, right, bottom. None where the cache
        has none.
    boxes : Tensor
        float32 [N, 4]: x1, y1, x2, y2 in input pixels, not clipped to the input.
    floor_prob : Tensor
        float32 [B, A]: mean class probability over the anchors that were dropped from the image
        under the anchor; NaN where no image lies there. Values at kept anchors are not used.
    dropped_score_sum : Tensor
        float32 [B]: sum of the highest class probabilities of the anchors that were dropped.
    """

    batch_index: Tensor
    anchor: Tensor
    score: Tensor
    class_logits: Tensor
    dfl_logits: Tensor | None
    boxes: Tensor
    floor_prob: Tensor
    dropped_score_sum: Tensor

    @classmethod
    def of_arrays(cls, batch: Mapping[str, Any]) -> TeacherTargets:
        """From a batch of `logitcache._native.TrainingSet`; nothing is copied."""
        names = ("batch_index", "anchor", "score", "class_logits", "floor_prob", "dropped_score_sum")
        dfl_logits, boxes = batch["dfl_logits"], torch.from_numpy(batch["boxes_xyxy_input_px"])
        return cls(
            dfl_logits=None if dfl_logits is None else torch.from_numpy(dfl_logits),
            boxes=boxes,
            **{name: torch.from_numpy(batch[name]) for name in names},
        )

    @classmethod
    def cat(cls, parts: Sequence[TeacherTargets]) -> TeacherTargets:
        """One batch of several, in order."""
        starts = torch.tensor([0, *(len(part) for part in parts)]).cumsum(0).tolist()
        moved = [replace(part, batch_index=part.batch_index + start) for part, start in zip(parts, starts, strict=False)]
        columns = {name: [getattr(part, name) for part in moved] for name in cls.__dataclass_fields__}
        joined: dict[str, Any] = {name: None if of[0] is None else torch.cat(of) for name, of in columns.items()}
        return cls(**joined)

    def to(self, device: Any, non_blocking: bool = False) -> TeacherTargets:
        """The same on another device."""
        names = [name for name in self.__dataclass_fields__ if getattr(self, name) is not None]
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=non_blocking) for name in names})

    def pin_memory(self) -> TeacherTargets:
        """The same in pinned memory: called by a `DataLoader`."""
        names = [name for name in self.__dataclass_fields__ if getattr(self, name) is not None]
        return replace(self, **{name: getattr(self, name).pin_memory() for name in names})

    def __len__(self) -> int:
        """B, the number of images."""
        return len(self.floor_prob)


def dense_targets(teacher: TeacherTargets) -> tuple[Tensor, dict[str, Tensor | None]]:
    """Where the kept anchors lie in a student's outputs, for a loss of your own.

    Parameters
    ----------
    teacher : TeacherTargets
        Of a batch of B images with A anchors each.

    Returns
    -------
    index : Tensor
        int64 [N]: ``image * A + anchor``, for `index_select` from outputs laid out as [B * A, ...].
    values : dict of Tensor
        What the teacher says there: `score` [N], `class_logits` [N, C], `dfl_logits` [N, 4 *
        reg_max] or None, `boxes` [N, 4].

    Examples
    --------
    >>> index, values = dense_targets(batch["teacher"])
    >>> rows = class_logits.transpose(1, 2).flatten(0, 1).index_select(0, index)
    >>> loss = (values["score"] * (rows - values["class_logits"]).square().mean(1)).sum()
    """
    index = teacher.batch_index * teacher.floor_prob.shape[1] + teacher.anchor
    return index, {name: getattr(teacher, name) for name in ("score", "class_logits", "dfl_logits", "boxes")}

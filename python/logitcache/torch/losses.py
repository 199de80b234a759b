"""The losses between a student and the cached teacher: those of ``logitcache train``, with the same
numbers.

Every module gives a loss of each image, ``[B]``: their sum is the loss of the batch, and each can
be given a weight. A student's outputs are ``[B, C, A]`` class logits and ``[B, 4 * reg_max, A]``
logits of the bins of a box's sides, left, top, right, bottom; with a `reg_max` of 1 these are the
distances themselves, in cells, as of YOLO26. All of it is computed in float32.
"""

# PyTorch may be missing where the package is checked: its classes are then unknown.
# mypy: disable-error-code="import-not-found, misc"

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._error import Error
from .targets import Anchors, TeacherTargets

ClassLossKind = Literal["softmax-kl", "bckd", "bce"]
Parts = Literal["all", "cls"]

#: Weights of the parts: box, classes, bins. Ultralytics' `box`, `cls`, `dfl`.
GAINS = (7.5, 0.5, 1.5)


class ClassLoss(nn.Module):
    """Classes.

    - ``softmax-kl``: ``T^2 * KL(softmax(t / T) || softmax(s / T))`` over the classes, ``sum(w *
      loss) / sum(w)`` over the kept anchors with the teacher's score as ``w`` (Hinton et al. 2015).
      It is silent about the level of the logits: use it beside a loss of the labels.
    - ``bce``: sum over the classes of ``BCE(p_s, p_t)``, over **all** anchors, divided by
      ``max(sum(w), 1)`` with the ``w`` of all anchors. An anchor that was not kept has the floor of
      its image as ``p_t`` of every class.
    - ``bckd``: the same of ``BCE(p_s, p_t) * |p_t - p_s|`` (Yang et al. 2023); gradients flow
      through the weight too.

    Parameters
    ----------
    kind : {"softmax-kl", "bckd", "bce"}, optional
        Which one.
    temperature : float, optional
        ``T`` of ``softmax-kl``; 3 to 6 is sensible.
    """

    def __init__(self, kind: ClassLossKind = "softmax-kl", temperature: float = 4.0) -> None:
        super().__init__()
        if kind not in ("softmax-kl", "bckd", "bce"):
            raise ValueError(f'{kind!r} is no loss of classes: "softmax-kl", "bckd", "bce"')
        self.kind, self.temperature = kind, _positive(temperature)

    def forward(self, class_logits: Tensor, teacher: TeacherTargets) -> Tensor:
        """``[B]`` of ``[B, C, A]`` class logits."""
        _check_classes(class_logits, teacher)
        class_logits = class_logits.float()
        rows = _rows(class_logits, teacher)
        if self.kind == "softmax-kl":
            return _weighted_mean(_kl(rows, teacher.class_logits, self.temperature), teacher)
        of_kept = self._binary(rows, teacher.class_logits.sigmoid()).sum(1)
        counts = (~teacher.floor_prob.isnan()).float()
        counts[teacher.batch_index, teacher.anchor] = 0.0
        floor = teacher.floor_prob.nan_to_num(0.0) * counts
        if self.kind == "bce":
            # Over the classes: softplus(x) - x f, with one f for all of them.
            of_dropped = F.softplus(class_logits).sum(1) * counts - class_logits.sum(1) * floor
        else:
            of_dropped = self._binary(class_logits, floor.unsqueeze(1)).sum(1) * counts
        divisor = (teacher.score.sum() + teacher.dropped_score_sum.sum()).clamp_min(1.0)
        return (_by_image(of_kept, teacher) + of_dropped.sum(1)) / divisor

    def _binary(self, student: Tensor, target: Tensor) -> Tensor:
        bce = F.softplus(student) - student * target
        return bce * (target - student.sigmoid()).abs() if self.kind == "bckd" else bce


class DflLoss(nn.Module):
    """Bins: ``T^2 * KL(softmax(t / T) || softmax(s / T))`` over the bins of a side, mean of the
    four sides (LD, Zheng et al. 2022), weighted by the teacher's score.

    Zero where the teacher has no bins, or the student none (a `reg_max` of 1).

    Parameters
    ----------
    temperature : float, optional
        ``T``.
    """

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        self.temperature = _positive(temperature)

    def forward(self, box_logits: Tensor, teacher: TeacherTargets) -> Tensor:
        """``[B]`` of ``[B, 4 * reg_max, A]`` logits."""
        _check_places(box_logits, teacher)
        if teacher.dfl_logits is None or box_logits.shape[1] == 4:
            return box_logits.new_zeros(len(teacher), dtype=torch.float32)
        _check_bins(box_logits, teacher.dfl_logits)
        rows = _rows(box_logits, teacher).float()
        per_side = _kl(_sides(rows), _sides(teacher.dfl_logits), self.temperature)
        return _weighted_mean(per_side.mean(1), teacher)


class BoxLoss(nn.Module):
    """Boxes: ``1 - CIoU`` of the student's box and the teacher's, in cells, weighted by the
    teacher's score.
    """

    def forward(self, box_logits: Tensor, anchors: Anchors, teacher: TeacherTargets) -> Tensor:
        """``[B]`` of ``[B, 4 * reg_max, A]`` logits."""
        _check_places(box_logits, teacher)
        rows = _rows(box_logits, teacher).float()
        centres = anchors.centres.float().index_select(0, teacher.anchor)
        truth = teacher.boxes / anchors.strides.float().index_select(0, teacher.anchor)
        return _weighted_mean(1.0 - _ciou(_decode(rows, centres), truth), teacher)


@dataclass(frozen=True)
class Losses:
    """The distillation loss of a batch; every tensor holds one number.

    Attributes
    ----------
    total : Tensor
        Sum of the parts with the weights of the images, times the number of images, as Ultralytics
        scales it: start `backward` here.
    box, cls, dfl : Tensor
        The parts with their gains, without weights of images, not times their number; detached.
    """

    total: Tensor
    box: Tensor
    cls: Tensor
    dfl: Tensor


class DistillLoss(nn.Module):
    """All of it: boxes, classes and bins with their gains.

    Parameters
    ----------
    cls_loss : {"softmax-kl", "bckd", "bce"}, optional
        The loss of the classes, see `ClassLoss`.
    temperature : float, optional
        ``T`` of ``softmax-kl`` and of the bins.
    distill : {"all", "cls"}, optional
        Classes, bins and boxes, or classes alone.
    """

    def __init__(
        self, cls_loss: ClassLossKind = "softmax-kl", temperature: float = 4.0, distill: Parts = "all"
    ) -> None:
        super().__init__()
        if distill not in ("all", "cls"):
            raise ValueError(f'{distill!r} cannot be distilled: "all", "cls"')
        self.distill = distill
        self.classes, self.bins, self.boxes = ClassLoss(cls_loss, temperature), DflLoss(temperature), BoxLoss()

    def forward(
        self,
        class_logits: Tensor,
        box_logits: Tensor,
        anchors: Anchors,
        teacher: TeacherTargets,
        image_weight: Tensor | None = None,
    ) -> Losses:
        """The loss of a batch.

        Parameters
        ----------
        class_logits : Tensor
            [B, C, A], before the sigmoid.
        box_logits : Tensor
            [B, 4 * reg_max, A].
        anchors : Anchors
            Where the outputs lie, on the device of the student.
        teacher : TeacherTargets
            On the device of the student.
        image_weight : Tensor, optional
            float32 [B]: weight of each image in the total. ``train`` gives ``1 - alpha`` to a
            labelled image and 1 to others.
        """
        cls = self.classes(class_logits, teacher)
        if self.distill == "all":
            parts = self.boxes(box_logits, anchors, teacher), cls, self.bins(box_logits, teacher)
        else:
            parts = cls.new_zeros(len(cls)), cls, cls.new_zeros(len(cls))
        box, cls, dfl = (part * gain for part, gain in zip(parts, GAINS, strict=True))
        by_image = box + cls + dfl
        total = (by_image if image_weight is None else by_image * image_weight).sum() * len(by_image)
        return Losses(total, box.detach().sum(), cls.detach().sum(), dfl.detach().sum())


def _rows(of: Tensor, teacher: TeacherTargets) -> Tensor:
    """``[N, channels]`` of ``[B, channels, A]``."""
    return of.transpose(1, 2)[teacher.batch_index, teacher.anchor]


def _by_image(of_kept: Tensor, teacher: TeacherTargets) -> Tensor:
    """``[B]`` sums of ``[N]``."""
    return of_kept.new_zeros(len(teacher)).index_add(0, teacher.batch_index, of_kept)


def _weighted_mean(loss: Tensor, teacher: TeacherTargets) -> Tensor:
    # No weights at all give a loss and gradients of 0, not NaN.
    return _by_image(loss * teacher.score, teacher) / teacher.score.sum().clamp_min(1e-9)


def _kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T^2 * KL(softmax(t / T) || softmax(s / T))`` over the last dimension."""
    s, t = (student / temperature).log_softmax(-1), (teacher / temperature).log_softmax(-1)
    return (t.exp() * (t - s)).sum(-1) * temperature**2


def _sides(rows: Tensor) -> Tensor:
    """``[n, 4, reg_max]`` of ``[n, 4 * reg_max]``."""
    # Of no rows the number of bins cannot be told from the rest.
    return rows.view(len(rows), 4, rows.shape[1] // 4)


def _decode(rows: Tensor, centres: Tensor) -> Tensor:
    """``[n, 4]`` x1, y1, x2, y2 in cells: a side's distance is the expectation of its bins."""
    sides = _sides(rows)
    bins = torch.arange(sides.shape[2], dtype=rows.dtype, device=rows.device)
    distances = sides[..., 0] if sides.shape[2] == 1 else (sides.softmax(-1) * bins).sum(-1)
    return torch.cat([centres - distances[:, :2], centres + distances[:, 2:]], 1)


def _ciou(a: Tensor, b: Tensor) -> Tensor:
    """``[n]`` complete IoU of ``[n, 4]`` boxes, row by row (Zheng et al. 2020); epsilons where
    Ultralytics has them.
    """
    eps = 1e-7
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a.unbind(1), b.unbind(1)
    aw, ah, bw, bh = ax2 - ax1, ay2 - ay1 + eps, bx2 - bx1, by2 - by1 + eps
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp_min(0.0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp_min(0.0)
    overlap = width * height
    iou = overlap / (aw * ah + bw * bh - overlap + eps)
    across = torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)
    down = torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    diagonal = across.square() + down.square() + eps
    distance = ((bx1 + bx2 - ax1 - ax2).square() + (by1 + by2 - ay1 - ay2).square()) / 4.0
    proportions = ((bw / bh).atan() - (aw / ah).atan()).square() * (4.0 / math.pi**2)
    with torch.no_grad():
        weight = proportions / (1.0 - iou + proportions + eps)
    return iou - (distance / diagonal + proportions * weight)


def _positive(temperature: float) -> float:
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature is {temperature}; expected a number above 0, 3 to 6 is sensible")
    return temperature


# A wrong shape would broadcast into a number that looks like a loss.


def _check_places(outputs: Tensor, teacher: TeacherTargets) -> None:
    (batch, _, count), (images, anchors) = outputs.shape, teacher.floor_prob.shape
    if count != anchors:
        raise Error(
            f"the student has {count} anchors for an image, the teacher {anchors}: it is of another input size, or of other "
            "strides",
            "Give the student images of the cache's size, and use a student with the teacher's strides; or build a cache at "
            "the student's size.",
        )
    if batch != images:
        raise Error(
            f"the student's outputs are of {batch} images, the targets of {images}",
            "Give the targets of the same batch.",
        )


def _check_classes(class_logits: Tensor, teacher: TeacherTargets) -> None:
    _check_places(class_logits, teacher)
    if (own := class_logits.shape[1]) != (other := teacher.class_logits.shape[1]):
        raise Error(
            f"the student has {own} classes, the teacher {other}",
            "Give the student the teacher's classes: `Cache.class_names`.",
        )


def _check_bins(box_logits: Tensor, dfl_logits: Tensor) -> None:
    if (own := box_logits.shape[1] // 4) != (other := dfl_logits.shape[1] // 4):
        raise Error(
            f"the teacher has {other} DFL bins a side, the student {own}",
            'Distil classes alone: `distill="cls"`.',
        )

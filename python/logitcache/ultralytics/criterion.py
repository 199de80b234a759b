"""Ultralytics' loss of the labels and the loss against the cached teacher, as one criterion of a
model.
"""

# Ultralytics has few types, and may be missing where the package is checked.
# mypy: disable-error-code="import-not-found, misc, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from ultralytics.utils.tal import make_anchors

from ..torch import Anchors, DistillLoss

#: What the teacher's losses are called beside Ultralytics' own; no longer than its columns are
#: wide.
TEACHER_LOSSES = ("teach_box", "teach_cls", "teach_dfl")


class DistillCriterion:
    """``alpha`` of the labels' loss and ``1 - alpha`` of the teacher's; the labels' alone for a
    batch without targets of a teacher.

    Parameters
    ----------
    task : v8DetectionLoss or E2ELoss
        Ultralytics' criterion. Of the two branches of an end-to-end head, the teacher teaches the
        one-to-many one, whose targets its outputs are like; the other has one box for an object and
        learns from the labels.
    distill : DistillLoss
        The loss against the teacher.
    alpha : float
        Weight of the labels' loss.
    """

    def __init__(self, task: Any, distill: DistillLoss, alpha: float) -> None:
        self.task, self.distill, self.alpha = task, distill, alpha

    def __call__(self, preds: Any, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        if batch.get("teacher") is None:
            of_labels: tuple[Tensor, dict[str, Tensor]] = self.task(preds, batch)
            return of_labels
        if not hasattr(self.task, "one2many"):
            return self._both(self.task, self.task.parse_output(preds), batch)
        preds = self.task.one2many.parse_output(preds)
        many, teacher_items = self._both(self.task.one2many, preds["one2many"], batch)
        one, items = _of_labels(self.task.one2one, preds["one2one"], batch)
        # Ultralytics shows the losses of the one-to-one branch.
        teacher_items = {name: teacher_items[name] for name in TEACHER_LOSSES}
        return many * self.task.o2m + one * self.task.o2o, {**items, **teacher_items}

    def update(self) -> None:
        """At the end of an epoch: what Ultralytics' criterion does."""
        if hasattr(self.task, "update"):
            self.task.update()

    def _both(self, criterion: Any, preds: dict[str, Any], batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        of_labels, items = _of_labels(criterion, preds, batch)
        anchors = Anchors(*make_anchors(preds["feats"], criterion.stride, 0.5))
        teacher = batch["teacher"]
        weight = torch.full([len(teacher)], 1.0 - self.alpha, device=teacher.score.device)
        if (labelled := batch.get("labelled")) is not None:
            weight[~labelled] = 1.0
        taught = self.distill(preds["scores"], preds["boxes"], anchors, teacher, weight)
        parts = zip(TEACHER_LOSSES, (taught.box, taught.cls, taught.dfl), strict=True)
        return of_labels * self.alpha + taught.total, {**items, **dict(parts)}


def _of_labels(criterion: Any, preds: dict[str, Any], batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of the labels over the images that have some, scaled to the whole batch."""
    labelled = batch.get("labelled")
    if labelled is None or bool(labelled.all()):
        loss, items = criterion.loss(preds, batch)
        return loss.sum(), items
    count = int(labelled.sum())
    if count == 0:
        # In the graph, with a gradient of zero.
        zero = (preds["scores"].sum() + preds["boxes"].sum()) * 0.0
        return zero, dict.fromkeys(criterion.loss_names, zero.detach())
    position = labelled.cumsum(0) - 1
    of_them = {**preds, "scores": preds["scores"][labelled], "boxes": preds["boxes"][labelled]}
    index = position[batch["batch_idx"].long()].to(batch["batch_idx"].dtype)
    loss, items = criterion.loss(of_them, {**batch, "batch_idx": index})
    return loss.sum() * (len(labelled) / count), items

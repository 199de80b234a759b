"""Distil from a cache in a training loop of your own, with PyTorch: the data and the losses of
``logitcache train``.

Examples
--------
>>> from logitcache.torch import Anchors, DistillDataset, DistillLoss, collate
>>> data = DistillDataset("cache")
>>> loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True, collate_fn=collate)
>>> criterion, anchors = DistillLoss(), Anchors.of_grid(data.input)
>>> for batch in loader:
...     class_logits, box_logits = student(batch["image"].float() / 255)
...     criterion(class_logits, box_logits, anchors, batch["teacher"]).total.backward()
"""

from .data import DistillDataset, collate
from .losses import BoxLoss, ClassLoss, DflLoss, DistillLoss, Losses
from .targets import Anchors, TeacherTargets, dense_targets

__all__ = [
    "Anchors",
    "BoxLoss",
    "ClassLoss",
    "DflLoss",
    "DistillDataset",
    "DistillLoss",
    "Losses",
    "TeacherTargets",
    "collate",
    "dense_targets",
]

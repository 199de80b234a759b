"""Ultralytics' trainer of detectors with a cached teacher beside the labels."""

# Ultralytics has few types, and may be missing where the package is checked.
# mypy: disable-error-code="import-not-found, misc, no-untyped-call"

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import DEFAULT_CFG, LOGGER, RANK
from ultralytics.utils.torch_utils import torch_distributed_zero_first, unwrap_model

from .._error import Error
from .._native import Cache, TrainingSet
from ..torch import DistillLoss
from ..torch.losses import ClassLossKind, Parts
from .check import check_exact, check_free, check_student
from .criterion import TEACHER_LOSSES, DistillCriterion
from .exact import ExactImages, ExactLoader
from .free import with_teacher

Geometry = Literal["exact", "free"]
#: Beside `args.yaml` in the folder of a run.
RECORD = "distillation.json"


@dataclass(frozen=True)
class Distillation:
    """How a student is distilled: see `DistillTrainer.with_cache`."""

    cache: str
    geometry: Geometry = "exact"
    alpha: float = 0.7
    cls_loss: ClassLossKind = "softmax-kl"
    temperature: float = 4.0
    distill: Parts = "all"

    def __post_init__(self) -> None:
        if self.geometry not in get_args(Geometry):
            raise ValueError(f'{self.geometry!r} is no geometry: "exact", "free"')
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"alpha is {self.alpha}; expected a number from 0 to 1")
        self.loss()

    def loss(self) -> DistillLoss:
        """The loss against the teacher."""
        return DistillLoss(self.cls_loss, self.temperature, self.distill)


class DistillTrainer(DetectionTrainer):
    """Trains on the labels and on the cached outputs of a teacher.

    Give `with_cache` as ``trainer`` to ``YOLO(...).train``. The results have the teacher's losses
    beside Ultralytics' own: `teach_box`, `teach_cls`, `teach_dfl`. A run is resumed with the same
    trainer.
    """

    distillation: ClassVar[Distillation | None] = None

    @classmethod
    def with_cache(
        cls,
        cache: str | os.PathLike[str],
        *,
        geometry: Geometry = "exact",
        alpha: float = 0.7,
        cls_loss: ClassLossKind = "softmax-kl",
        temperature: float = 4.0,
        distill: Parts = "all",
    ) -> type[DistillTrainer]:
        """The trainer for a cache. Its options travel with the type, to the processes of several
        GPUs too.

        Parameters
        ----------
        cache : str or os.PathLike
            Folder of the cache: of the images in `train` of the data set, by a teacher with its
            classes, built at the size to train at.
        geometry : {"exact", "free"}, optional
            ``exact``: images are changed as by ``logitcache train``, so that the teacher's outputs
            stay exact: mirrored, shifted and put into mosaics on the grid of the anchors; of a
            cache with views, each view in its turn. ``free``: Ultralytics' own changes; boxes
            follow them exactly, logits go to the anchor that fits.
        alpha : float, optional
            Weight of the labels' loss; the teacher's has ``1 - alpha``.
        cls_loss : {"softmax-kl", "bckd", "bce"}, optional
            Loss between the classes of student and teacher.
        temperature : float, optional
            Temperature of ``softmax-kl`` and of the loss of the bins.
        distill : {"all", "cls"}, optional
            Classes, bins and boxes, or classes alone.

        Returns
        -------
        type
            A subclass of this class.
        """
        options = Distillation(os.path.abspath(cache), geometry, alpha, cls_loss, temperature, distill)
        return type(cls.__name__, (cls,), {"distillation": options, "__doc__": cls.__doc__})

    def __init__(
        self, cfg: Any = DEFAULT_CFG, overrides: dict[str, Any] | None = None, _callbacks: dict[str, Any] | None = None
    ) -> None:
        if self.distillation is None:
            raise Error("this trainer has no cache", 'Give `trainer=DistillTrainer.with_cache("cache")`.')
        # What cannot be used is told of before anything is made.
        self.cache = Cache(self.distillation.cache)
        super().__init__(cfg, overrides, _callbacks)

    @property
    def options(self) -> Distillation:
        """How the student is distilled."""
        assert self.distillation is not None
        return self.distillation

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        """The batches with the teacher's outputs; for validation those of Ultralytics."""
        if mode != "train":
            return super().get_dataloader(dataset_path, batch_size, rank, mode)
        head = self._network().model[-1]
        check_student(self.cache, head, self.data["names"], self.args, self.options.distill == "all")
        if self.options.geometry == "free":
            check_free(self.args)
            return super().get_dataloader(dataset_path, batch_size, rank, mode)
        check_exact(self.args)
        with torch_distributed_zero_first(rank):
            images = self._images()
        return ExactLoader(
            ExactImages(images, self.cache),
            batch_size,
            self.args.seed,
            epoch=lambda: int(getattr(self, "epoch", 0)),
            mosaic=lambda epoch: self.args.mosaic > 0 and epoch < self.epochs - self.args.close_mosaic,
            threads=max(self.args.workers, 1),
            rank=max(rank, 0),
            world=self.world_size if rank != -1 else 1,
            drop_last=bool(self.args.compile),
        )

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
        """Ultralytics' data set; with the geometry `free`, each training image brings the teacher's
        outputs along.
        """
        dataset = super().build_dataset(img_path, mode, batch)
        if mode != "train" or self.options.geometry != "free":
            return dataset
        return with_teacher(dataset, self._images(), self.cache, self.args)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ultralytics' own, and the teacher's outputs on the device."""
        batch = super().preprocess_batch(batch)
        if batch.get("teacher") is not None:
            batch["teacher"] = batch["teacher"].to(self.device, non_blocking=self.device.type == "cuda")
        return batch

    def label_loss_items(self, loss_items: dict[str, Any] | None = None, prefix: str = "train") -> Any:
        """Ultralytics' own; a validation has no teacher, and so no losses of one."""
        if prefix == "train":
            return super().label_loss_items(loss_items, prefix)
        if loss_items is None:
            names: tuple[str, ...] = self.loss_names
            return [f"{prefix}/{name}" for name in names if name not in TEACHER_LOSSES]
        return super().label_loss_items({k: v for k, v in loss_items.items() if k not in TEACHER_LOSSES}, prefix)

    def _setup_train(self) -> None:
        self._compare_with_record()
        super()._setup_train()
        if RANK in {-1, 0}:
            text = json.dumps(self._record(), indent=2) + "\n"
            (Path(self.save_dir) / RECORD).write_text(text, encoding="utf-8")

    def _model_train(self) -> None:
        # At the start of each epoch: Ultralytics makes a new criterion where a run is resumed or
        # recovers.
        super()._model_train()
        model = self._network()
        if not isinstance(getattr(model, "criterion", None), DistillCriterion):
            task = getattr(model, "criterion", None) or model.init_criterion()
            model.criterion = DistillCriterion(task, self.options.loss(), self.options.alpha)

    def _network(self) -> Any:
        """The student itself, whatever wraps it."""
        network: Any = self.model
        return unwrap_model(network)

    def _images(self) -> TrainingSet:
        """The cache's images, found through the data set that the training is given."""
        data = self.data.get("yaml_file")
        pixels = Path(self.save_dir) / "pixels" if self.args.cache and self.options.geometry == "exact" else None
        images = TrainingSet(self.options.cache, data, "train", pixels)
        if RANK in {-1, 0}:
            for note in images.notes:
                LOGGER.info(f"logitcache: {note}")
        unlabelled = sum(images.labels(index) is None for index in range(len(images)))
        if unlabelled and self.options.cls_loss == "softmax-kl":
            raise Error(
                f"{unlabelled} of {len(images)} images have no labels, and softmax-kl alone cannot train scores",
                'Use `cls_loss="bckd"` or "bce".',
                self.options.cache,
            )
        return images

    def _record(self) -> dict[str, Any]:
        options = asdict(self.options)
        del options["cache"]
        return {"cache_sha256": self.cache.content_sha256, **options}

    def _compare_with_record(self) -> None:
        """A run is resumed with the cache and the options that it was begun with."""
        if not self.resume:
            return
        path = Path(self.save_dir) / RECORD
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            found = f"the run to resume was not begun with a cache: {error}"
            raise Error(found, "Resume it with Ultralytics' own trainer, or begin a new run.", str(path)) from error
        now = self._record()
        other = [f"{name} {begun.get(name)} (now {now[name]})" for name in now if begun.get(name) != now[name]]
        if other:
            raise Error(
                f"the run to resume was begun with {', '.join(other)}",
                "Resume it with the same cache and the same options, or begin a new run.",
                str(path),
            )

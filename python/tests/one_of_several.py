"""One process of several that train together on the processor (gloo). What Ultralytics does for GPUs alone is put right here.

usage: one_of_several.py gradients CACHE IMAGES OUT.npz
       one_of_several.py train CACHE DATA OUT_FOLDER EPOCHS
"""

import json
import os
import sys

import numpy as np
import torch
from logitcache._native import Cache, TrainingSet
from logitcache.torch import DistillLoss
from logitcache.ultralytics import DistillTrainer
from logitcache.ultralytics.criterion import DistillCriterion
from logitcache.ultralytics.exact import ExactImages, ExactLoader
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import v8DetectionLoss

RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def student():
    torch.manual_seed(0)
    model = DetectionModel("yolov8n.yaml", nc=6, verbose=False)
    model.args = get_cfg()
    model.criterion = DistillCriterion(v8DetectionLoss(model), DistillLoss(), 0.7)
    return model.train()


def first_batch(cache, images, rank, world):
    """This process's part of the first batch of `images` images."""
    set_ = ExactImages(TrainingSet(cache), Cache(cache))
    loader = ExactLoader(set_, images // world, 0, lambda: 0, lambda _: True, 1, rank, world)
    batch = next(iter(loader))
    return {**batch, "img": batch["img"].float() / 255}


def gradients(model, batch, parts):
    """Of the loss as Ultralytics scales it for so many processes."""
    loss, _ = model(batch)
    (loss.sum() * parts).backward()
    return {name.removeprefix("module."): p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}


class OnProcessor(DistributedDataParallel):
    def __init__(self, model, device_ids=None, **options):
        super().__init__(model, **options)


def train(cache, data, out, epochs):
    def set_up(self):
        self.device = torch.device("cpu")
        distributed.init_process_group("gloo", rank=RANK, world_size=WORLD)

    DistillTrainer._setup_ddp = set_up
    # It asks for the current GPU.
    DistillTrainer.final_eval = lambda self: None
    torch.nn.parallel.DistributedDataParallel = OnProcessor
    overrides = dict(model="yolov8n.yaml", data=data, imgsz=160, epochs=int(epochs), batch=4, close_mosaic=1, device="cpu", plots=False,
                     verbose=False, amp=False, project=out, name="run", exist_ok=True, workers=1)
    trainer = DistillTrainer.with_cache(cache)(overrides=overrides)
    trainer.world_size = WORLD
    seen = []
    begun = trainer.preprocess_batch
    trainer.preprocess_batch = lambda batch: seen.append([trainer.epoch, batch["im_file"]]) or begun(batch)
    trainer.train()
    digest = float(sum(p.double().abs().sum() for p in trainer.model.parameters()))
    with open(f"{out}/{RANK}.json", "w") as file:
        json.dump({"seen": seen, "weights": digest}, file)


def main():
    torch.set_num_threads(1)
    command, cache, *rest = sys.argv[1:]
    if command == "train":
        return train(cache, *rest)
    images, out = rest
    distributed.init_process_group("gloo", rank=RANK, world_size=WORLD)
    model = DistributedDataParallel(student(), find_unused_parameters=True, broadcast_buffers=False)
    found = gradients(model, first_batch(cache, int(images), RANK, WORLD), WORLD)
    np.savez(f"{out}-{RANK}.npz", **found)


if __name__ == "__main__":
    main()
    if distributed.is_initialized():
        distributed.destroy_process_group()

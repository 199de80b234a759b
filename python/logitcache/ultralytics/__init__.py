"""Distil from a cache inside Ultralytics' trainer.

Examples
--------
>>> from logitcache.ultralytics import DistillTrainer
>>> from ultralytics import YOLO
>>> YOLO("yolo11n.pt").train(trainer=DistillTrainer.with_cache("cache"), data="coco128.yaml", imgsz=640)
"""

from .trainer import Distillation, DistillTrainer

__all__ = ["DistillTrainer", "Distillation"]

#!/usr/bin/env python3
"""Opens a student's files with Ultralytics: the weights must load strictly, the ONNX export must predict the same.

usage: check_with_ultralytics.py WEIGHTS.safetensors EXPORT.onnx [IMAGE]

Needs `make oracle-env`. The safetensors file is read by the format's description alone (8 bytes of length, JSON, values).
"""

import json
import os
import struct
import sys

os.environ.setdefault("YOLO_OFFLINE", "1")

import numpy as np
import onnxruntime
import torch
import ultralytics
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel


def read_safetensors(path):
    data = open(path, "rb").read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    own = json.loads(header.pop("__metadata__")["logitcache"])
    kinds = {"F32": np.float32, "I64": np.int64}
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[begin:end], kinds[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(values.copy())
    return tensors, own


def main(weights, export, image=None):
    tensors, own = read_safetensors(weights)
    model = DetectionModel(f"{own['scale']}.yaml", nc=len(own["names"]), verbose=False)
    print(f"ultralytics {ultralytics.__version__}, torch {torch.__version__}, {own['scale']}, {len(own['names'])} classes, {own['imgsz']} px")
    print("load_state_dict(strict=True):", model.load_state_dict(tensors, strict=True))
    print("parameters:", sum(p.numel() for p in model.parameters()))

    size = own["imgsz"]
    pixels = np.random.default_rng(0).random((1, 3, size, size), dtype=np.float32)
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(pixels))[0].numpy()
    found = onnxruntime.InferenceSession(export, providers=["CPUExecutionProvider"]).run(None, {"images": pixels})[0]
    print(f"ONNX against Ultralytics' torch model: boxes within {np.abs(found - expected)[:, :4].max():.2e} px,", end=" ")
    print(f"probabilities within {np.abs(found - expected)[:, 4:].max():.2e}")

    picture = image or (pixels[0].transpose(1, 2, 0) * 255).astype(np.uint8)
    results = YOLO(export, task=None).predict(picture, imgsz=size, conf=0.001, verbose=False)
    print(f"YOLO({os.path.basename(export)!r}).predict: {len(results[0].boxes)} boxes, names {results[0].names}")


if __name__ == "__main__":
    main(*sys.argv[1:])

#!/usr/bin/env python3
"""Opens a student's files with Ultralytics: the weights must load strictly, the ONNX export must predict the same.

usage: check_with_ultralytics.py WEIGHTS.safetensors EXPORT.onnx [IMAGE ...]

Compared on noise and on the images, letterboxed by Ultralytics; with OpenVINO too where its package is installed. Needs `make oracle-env`. The safetensors file is read by the format's description alone (8 bytes of length, JSON, values).
"""

import json
import os
import struct
import sys

os.environ.setdefault("YOLO_OFFLINE", "1")

import cv2
import numpy as np
import onnxruntime
import torch
import ultralytics
from ultralytics import YOLO
from ultralytics.data.augment import LetterBox
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


def letterboxed(path, size):
    image = cv2.cvtColor(LetterBox((size, size), auto=False)(image=cv2.imread(path)), cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32) / 255


def engines(export):
    session = onnxruntime.InferenceSession(export, providers=["CPUExecutionProvider"])
    yield "ONNX Runtime", lambda pixels: session.run(None, {"images": pixels})[0]
    try:
        import openvino
    except ImportError:
        return
    # Without the hint it computes in bfloat16 on processors that have it.
    compiled = openvino.Core().compile_model(export, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    yield f"OpenVINO {openvino.__version__}", lambda pixels: compiled({"images": pixels})[0]


def main(weights, export, *images):
    tensors, own = read_safetensors(weights)
    model = DetectionModel(f"{own['scale']}.yaml", nc=len(own["names"]), verbose=False)
    print(f"ultralytics {ultralytics.__version__}, torch {torch.__version__}, {own['scale']}, {len(own['names'])} classes, {own['imgsz']} px")
    print("load_state_dict(strict=True):", model.load_state_dict(tensors, strict=True))
    print("parameters:", sum(p.numel() for p in model.parameters()))

    size = own["imgsz"]
    noise = np.random.default_rng(0).random((1, 3, size, size), dtype=np.float32)
    inputs = [noise, *(letterboxed(image, size) for image in images)]
    with torch.no_grad():
        expected = [model.eval()(torch.from_numpy(pixels))[0].numpy() for pixels in inputs]
    for name, run in engines(export):
        differences = [np.abs(run(pixels) - e) for pixels, e in zip(inputs, expected)]
        boxes, probabilities = (max(d[:, part].max() for d in differences) for part in (slice(0, 4), slice(4, None)))
        print(f"{name} against Ultralytics' torch model, noise and {len(images)} images: boxes within {boxes:.2e} px, probabilities within {probabilities:.2e}")

    picture = images[0] if images else (noise[0].transpose(1, 2, 0) * 255).astype(np.uint8)
    results = YOLO(export, task=None).predict(picture, imgsz=size, conf=0.001, verbose=False)
    print(f"YOLO({os.path.basename(export)!r}).predict: {len(results[0].boxes)} boxes, names {results[0].names}")


if __name__ == "__main__":
    main(*sys.argv[1:])

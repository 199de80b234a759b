"""Checks an exported student with the packages onnx and onnxruntime; run by trainer/tests/student/export.rs.

The folder given holds student.onnx, one picture, and the raw head outputs of the torch network for it. The decoding is computed
here from those by the formulas of Ultralytics' `Detect`, `DFL` and `dist2bbox` in numpy; without bins the outputs are distances.
"""

import ast
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

folder = Path(sys.argv[1])
model = onnx.load(folder / "student.onnx")
onnx.checker.check_model(model, full_check=True)
assert model.ir_version <= 10 and [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]

metadata = {entry.key: entry.value for entry in model.metadata_props}
assert ast.literal_eval(metadata["names"]) == {i: f"class {i}" for i in range(5)}
assert ast.literal_eval(metadata["imgsz"]) == [96, 160]
assert ast.literal_eval(metadata["args"])["nms"] is False
assert (metadata["stride"], metadata["task"], metadata["batch"], metadata["channels"]) == ("32", "detect", "1", "3")

pixels = np.fromfile(folder / "pixels.f32", "<f4").reshape(1, 3, 96, 160)
anchors = sum((96 // stride) * (160 // stride) for stride in (8, 16, 32))
boxes = np.fromfile(folder / "box_values.f32", "<f4").reshape(4, -1, anchors).astype(np.float64)
classes = np.fromfile(folder / "class_logits.f32", "<f4").reshape(5, anchors).astype(np.float64)

if boxes.shape[1] == 1:
    left, top, right, bottom = boxes[:, 0]
else:
    bins = np.exp(boxes - boxes.max(1, keepdims=True))
    left, top, right, bottom = (bins / bins.sum(1, keepdims=True) * np.arange(16)[None, :, None]).sum(1)
grids = [(x + 0.5, y + 0.5, stride) for stride in (8, 16, 32) for y in range(96 // stride) for x in range(160 // stride)]
x, y, stride = np.array(grids).T
expected = np.stack([x + (right - left) / 2, y + (bottom - top) / 2, left + right, top + bottom]) * stride
expected = np.concatenate([expected, 1 / (1 + np.exp(-classes))])

session = onnxruntime.InferenceSession(folder / "student.onnx", providers=["CPUExecutionProvider"])
assert [(i.name, i.shape) for i in session.get_inputs()] == [("images", [1, 3, 96, 160])]
assert [(o.name, o.shape) for o in session.get_outputs()] == [("output0", [1, 9, anchors])]
found = session.run(None, {"images": pixels})[0][0]
np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)

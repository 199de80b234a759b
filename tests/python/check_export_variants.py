"""Checks exports of one student with several opsets; run by trainer/tests/student/variants.rs.

The folder given holds plain-OPSET.onnx and nms-OPSET.onnx (float16, free sizes, suppression inside). The
rows of the latter are compared with a suppression written here, of the former's output.
"""

import ast
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

CONF, IOU, ROWS = 1e-5, 0.7, 20


def iou(a, b):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def suppress(output):
    boxes, scores = output[:4].T, output[4:].max(0)
    classes = output[4:].argmax(0)
    corners = np.c_[boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2]
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        same = [j for j in kept if classes[j] == classes[i]]
        if scores[i] > CONF and all(iou(corners[i], corners[j]) <= IOU for j in same):
            kept.append(i)
    return np.c_[corners, scores, classes][kept[:ROWS]]


def run(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [i.type for i in session.get_inputs()] == ["tensor(float)"]
    return session.run(None, {"images": images})[0]


folder = Path(sys.argv[1])
images = np.random.default_rng(1).random((2, 3, 96, 160), np.float32)
outputs = {}
for path in sorted(folder.glob("*.onnx")):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    opset = int(re.search(r"-(\d+)", path.stem)[1])
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    lowest = {version: row[1] for row in onnx.helper.VERSION_TABLE for version in [row[2]]}[opset]
    assert model.ir_version >= lowest or opset <= 18, (opset, model.ir_version, lowest)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    args = ast.literal_eval(metadata["args"])
    special = path.stem.startswith("nms")
    assert (args["opset"], args["nms"], args["half"], args["dynamic"]) == (opset, special, special, special)
    if special:
        halves = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]
        assert any(t.name == "model.0.conv.weight" for t in halves)
        outputs.setdefault("nms", []).append(run(path, images))
    else:
        outputs.setdefault("plain", []).append(np.concatenate([run(path, image[None]) for image in images]))

for kind in outputs.values():
    assert len(kind) == 8
    for other in kind[1:]:
        np.testing.assert_allclose(other, kind[0], rtol=1e-3, atol=1e-3)
# In float16 the scores of a random network are nearly equal: their order is not compared, the scores are.
for found, plain in zip(outputs["nms"][0], outputs["plain"][0]):
    expected = suppress(plain)
    assert len(expected) == ROWS and found.shape == (ROWS, 6)
    np.testing.assert_allclose(np.sort(found[:, 4]), np.sort(expected[:, 4]), atol=2e-3)
    assert (np.diff(found[:, 4]) <= 0).all()

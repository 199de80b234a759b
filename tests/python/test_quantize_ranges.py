"""The ranges that `quantize` measures, against the lowest and highest values that onnxruntime gives for the same tensors."""

import json

import numpy as np
import onnx
import oracle
from conftest import ROOT, draw_data_set

TEACHER = ROOT / "assets/teacher.onnx"
# What has a range of its own; other operators only rearrange values, or give 0 to 1.
MEASURED = {"Conv", "MatMul", "Add", "Mul", "Concat"}


def test_min_max_is_that_of_onnxruntime(logitcache, tmp_path):
    (tmp_path / "data").mkdir()
    data = draw_data_set(tmp_path / "data", images=9)
    cache, out = tmp_path / "cache", tmp_path / "int8.onnx"
    logitcache("build", "--teacher", TEACHER, "--data", data, "--out", cache, "--ignore-labels")
    words = ["--calibration", "min-max", "--keep-float", 0, "--latency-runs", 0, "--json"]
    report = json.loads(logitcache("quantize", TEACHER, "--cache", cache, "--out", out, *words).stdout)
    # So few that all are used for the ranges.
    assert report["images"] == 9 and report["accuracy"] is None

    graph = onnx.load(out).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    written = {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            scale, zero = (onnx.numpy_helper.to_array(constants[name]) for name in node.input[1:])
            written[node.input[0]] = float(scale), int(zero)

    model = onnx.load(TEACHER)
    wanted = [node.output[0] for node in model.graph.node if node.op_type in MEASURED and node.output[0] in written]
    assert len(wanted) > 60
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted)
    session = oracle.session(model.SerializeToString())
    read = session.get_inputs()[0]
    low, high = np.zeros(len(wanted)), np.zeros(len(wanted))
    pictures = sorted((data.parent / "images").rglob("*.*"))
    assert len(pictures) == 9
    for picture in pictures:
        canvas, _ = oracle.letterbox(oracle.decode(picture), read.shape[3], read.shape[2])
        given = session.run(wanted, {read.name: oracle.to_tensor(canvas)})
        low = np.minimum(low, [values.min() for values in given])
        high = np.maximum(high, [values.max() for values in given])
    scales = np.array([written[name][0] for name in wanted])
    np.testing.assert_allclose(scales, (high - low) / 255, rtol=1e-4)
    zeros = np.array([written[name][1] for name in wanted])
    np.testing.assert_allclose(zeros, np.round(-low / scales), rtol=0, atol=1)

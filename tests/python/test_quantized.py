"""Quantized teachers: what is cached against what onnxruntime says of the same tensors, on the same machine."""

from pathlib import Path

import numpy as np
import onnx
import oracle
import pytest
from cache_files import read_cache
from conftest import EXACT, FIXTURES

EVERY_ANCHOR = ["--profile", "dense"]


class Quantized:
    """A quantized export: its own output, and the tensors before its last Sigmoid and Softmax, before any rounding of these."""

    def __init__(self, path):
        self.model = model = onnx.load(str(path))
        self.maker = {name: node for node in model.graph.node for name in node.output}
        self.own = model.graph.output[0].name
        self.logits = self.before("Sigmoid")
        self.bins = self.before("Softmax")
        wanted = dict.fromkeys([self.logits[0], self.bins[0]])
        for name in wanted:
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        self.session = oracle.session(model.SerializeToString())
        self.input = self.session.get_inputs()[0]

    def before(self, op):
        """(tensor, scale, zero point), the last two None where the tensor is float."""
        node = [node for node in self.model.graph.node if node.op_type in (op, f"QLinear{op}")][-1]
        name, integers = node.input[0], node.op_type.startswith("QLinear")
        scale, zero_point = (self.constant(node.input[i]) for i in (1, 2)) if integers else (None, None)
        while name in self.maker and self.maker[name].op_type in ("DequantizeLinear", "QuantizeLinear", "Transpose", "Reshape"):
            if self.maker[name].op_type == "Reshape" and op == "Sigmoid":
                break
            name = self.maker[name].input[0]
        return name, scale, zero_point

    def constant(self, name):
        tensor = next(tensor for tensor in self.model.graph.initializer if tensor.name == name)
        return onnx.numpy_helper.to_array(tensor).astype(np.float64)

    def run(self, tensor):
        """(class logits [anchors, C], DFL logits [anchors, 4 * bins], the file's own output [4 + C, anchors])."""
        given = self.session.run([self.own, self.logits[0], self.bins[0]], {self.input.name: tensor})
        own, *raw = (values[0].astype(np.float64) for values in given)
        for i, (_, scale, zero_point) in enumerate([self.logits, self.bins]):
            if scale is not None:
                raw[i] = (raw[i] - zero_point) * scale
        return raw[0].T, raw[1].T, own


def check(logitcache, out, model, pictures, columns, rows, exact):
    """Builds and compares every anchor of every picture; gives the largest score that the file's own output has anywhere."""
    logitcache(
        "build", "--jobs", 1, "--teacher", model, "--data", pictures, "--out", out, "--ignore-labels", *EXACT, *EVERY_ANCHOR
    )
    teacher, highest = Quantized(model), 0
    entries = read_cache(out)
    assert entries
    for image, stored in entries:
        canvas, _ = oracle.letterbox(oracle.decode(pictures / image["path"]), columns, rows)
        classes, bins, own = teacher.run(oracle.to_tensor(canvas))
        highest = max(highest, own[4:].max())
        assert len(stored["anchor"]) == len(classes)
        for name, expected in (("class_logits", classes), ("dfl_logits", bins)):
            np.testing.assert_allclose(stored[name].astype(np.float64), expected, rtol=2e-3, atol=2e-3, err_msg=name)
        np.testing.assert_allclose(stored["score"], oracle.sigmoid(classes).max(axis=1), rtol=1e-4, atol=1e-6)
        if exact:
            np.testing.assert_allclose(oracle.sigmoid(classes), own[4:].T, rtol=0, atol=3e-7)
    return highest


@pytest.fixture
def pictures(drawn_data, tmp_path):
    """Eight of the drawn pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for path in sorted((drawn_data.parent / "images").iterdir())[:8]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("form", ["convs", "full", "qoperator", "dynamic", "weights"])
def test_every_form(form, logitcache, pictures, tmp_path):
    """Where only convolutions are quantized, sigmoid of the logits is the file's own probability."""
    model = FIXTURES / f"models/yolov8-int8-{form}.onnx"
    highest = check(logitcache, tmp_path / "cache", model, pictures, 64, 64, exact=form in ("convs", "dynamic", "weights"))
    assert (highest == 0) == (form in ("full", "qoperator")), "one scale for boxes and probabilities leaves no probability"


@pytest.mark.parametrize(
    "name, columns", [("wide_convs_per_channel", 128), ("wide_head_left_out", 128), ("p2_full", 64)]
)
def test_exports_of_the_field(name, columns, logitcache, shared, tmp_path):
    folder = shared / "field/02-int8-teacher"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    model = Path(folder / f"{name}.onnx")
    check(logitcache, tmp_path / "cache", model, folder / "pics", columns, 64, exact=name != "p2_full")

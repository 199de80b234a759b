"""`eval` against a pipeline of OpenCV, ONNX Runtime, NumPy and pycocotools on the same JPEG files."""

import contextlib
import csv
import io
import json

import oracle
import pytest
from coco_numbers import numbers
from conftest import FIXTURES


@pytest.fixture(scope="module")
def report(logitcache, shared):
    """What the program says of yolov12n.onnx on COCO128."""
    model, data = shared / "models/yolov12n.onnx", shared / "data/coco128/data.yaml"
    arguments = ["--model", model, "--data", data, "--split", "train", "--latency-runs", 0, "--json"]
    return json.loads(logitcache("eval", *arguments).stdout)


@pytest.fixture(scope="module")
def expected(shared, tmp_path_factory):
    """What the other pipeline says."""
    folder = shared / "data/coco128"
    session = oracle.session(shared / "models/yolov12n.onnx")
    images, annotations, results = [], [], []
    for image_id, path in enumerate(sorted((folder / "images/train2017").glob("*.jpg")), 1):
        picture = oracle.decode(path)
        height, width = picture.shape[:2]
        images.append(dict(id=image_id, file_name=path.name, width=width, height=height))
        labels = folder / "labels/train2017" / f"{path.stem}.txt"
        for line in labels.read_text().splitlines() if labels.exists() else []:
            class_id, x, y, w, h = (float(number) for number in line.split())
            box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
            common = dict(id=len(annotations) + 1, image_id=image_id, category_id=int(class_id), iscrowd=0)
            annotations.append(dict(common, bbox=box, area=box[2] * box[3]))
        canvas, geometry = oracle.letterbox(picture, 640, 640)
        (output,) = session.run(None, {session.get_inputs()[0].name: oracle.to_tensor(canvas)})
        for (x1, y1, x2, y2), score, class_id in zip(*oracle.detections(output[0], geometry)):
            box = [float(v) for v in (x1, y1, x2 - x1, y2 - y1)]
            results.append(dict(image_id=image_id, category_id=int(class_id), bbox=box, score=float(score)))
    out = tmp_path_factory.mktemp("coco")
    categories = [dict(id=class_id, name=str(class_id)) for class_id in range(80)]
    truth = dict(info={}, images=images, annotations=annotations, categories=categories)
    for name, content in (("instances", truth), ("results", results)):
        (out / f"{name}.json").write_text(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):
        return dict(numbers(str(out / "instances.json"), str(out / "results.json")), detections=len(results))


def test_average_precision_is_within_two_thousandths(report, expected):
    scores = report["models"][0]["scores"]
    keys = ["ap", "ap_50", "ap_75", "ap_small", "ap_medium", "ap_large", "ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"]
    assert list(scores["coco"]) == keys
    assert expected["stats"][1] > 0.6
    assert scores["coco"]["ap"] == pytest.approx(expected["stats"][0], abs=0.002)
    assert scores["coco"]["ap_50"] == pytest.approx(expected["stats"][1], abs=0.002)
    # Single classes and sizes have few objects: one detection more moves them further.
    assert list(scores["coco"].values()) == pytest.approx(expected["stats"], abs=0.01)


def test_counts_are_the_same(report, expected):
    scores = report["models"][0]["scores"]
    assert scores["small"]["objects"] == expected["small"]["objects"]
    assert abs(scores["small"]["found"] - expected["small"]["found"]) <= 2
    assert scores["detections"] == pytest.approx(expected["detections"], rel=0.01)


def test_csv_and_json_hold_the_same_numbers(logitcache, drawn_data, tmp_path):
    models = [FIXTURES / "models" / name for name in ("yolov8-dynamic.onnx", "yolov8-fp16.onnx")]
    names = tmp_path / "names.txt"
    names.write_text("circle\nsquare\n" + "".join(f"other {i}\n" for i in range(4)))
    out = tmp_path / "scores"
    arguments = [word for model in models for word in ("--model", model)]
    arguments += ["--data", drawn_data, "--names", names, "--latency-runs", 1, "--out", out]
    logitcache("eval", *arguments)
    report = json.loads((out / "eval.json").read_text())
    rows = list(csv.DictReader((out / "eval.csv").open()))
    assert len(rows) == len(report["models"]) == 2
    for row, model in zip(rows, report["models"]):
        scores = model["scores"]
        pairs = [("map_50", scores["coco"]["ap_50"]), ("map_50_95", scores["coco"]["ap"]), ("f1", scores["best_f1"]["f1"])]
        pairs += [("parameters", model["parameters"]), ("file_bytes", model["file_bytes"])]
        assert {name: float(row[name]) for name, _ in pairs} == dict(pairs)
        assert float(row["latency_p50_ms_1_threads"]) == model["latency"][0]["p50_ms"]
    assert rows[0]["map_50_change"] == "" and float(rows[1]["map_50_low"]) == report["models"][1]["against_first"]["ap_50"]["low"]
    assert (out / "eval.md").read_text().count("\n| ") > 9

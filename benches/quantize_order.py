"""Does the order in which `logitcache quantize` keeps layers float32 agree with what rounding them costs?

Each of some layers (spread over the order) is quantized alone, then groups of layers that follow each other in the order; the
loss of mAP@0.5:0.95 is set beside the divergence that `quantize` measured, as Spearman's rank correlation. Accuracy is
measured against the labels, and against the detections of the float32 model (scores over 0.25), which move with every rounding.

    python3 -m venv /tmp/order && /tmp/order/bin/pip install onnx pycocotools
    cargo build --release
    /tmp/order/bin/python benches/quantize_order.py MODEL.onnx --cache CACHE --data data.yaml --split val --work DIR
"""

import argparse
import contextlib
import io
import json
import pathlib
import random
import subprocess

import onnx

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target/release/logitcache"
SEEN = 0.25
LEAST_SCORE = 0.001


def run(*words):
    return subprocess.run([str(word) for word in (PROGRAM, *words)], check=True, stdout=subprocess.PIPE).stdout


class Parts:
    """A quantized file, of which any layers can be made float32 again, as `quantize` itself does it."""

    def __init__(self, original, quantized):
        self.original, self.full = onnx.load(original).graph, onnx.load(quantized)
        graph = self.full.graph
        self.constants = {tensor.name for tensor in graph.initializer}
        self.constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
        self.own = {node.output[0]: node for node in self.original.node}
        levels = {node.output[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
        # The tensor of each rounded one.
        self.restored = {
            node.output[0]: levels[node.input[0]].input[0]
            for node in graph.node
            if node.op_type == "DequantizeLinear" and node.input[0] in levels
        }
        self.rounded = set(self.restored.values())
        self.layers = [
            node.output[0] for node in graph.node if len(node.input) > 1 and node.input[1].endswith("/weights_rounded")
        ]

    def only(self, layers, path):
        """Writes the file in which `layers` alone compute with integers."""
        layers, integer, kept = set(layers), set(), set()
        for node in self.original.node:
            output = node.output[0]
            computed = [name for name in node.input if name and name not in self.constants]
            if output in layers:
                kept.add(node.input[0])
            elif output in self.layers or output not in self.rounded or not set(computed) <= kept:
                continue
            integer.add(output)
            kept.update(name for name in node.output if name in self.rounded)
        model = onnx.ModelProto()
        model.CopyFrom(self.full)
        del model.graph.node[:]
        for node in self.full.graph.node:
            output = node.output[0]
            tensor = self.restored.get(output) or (node.op_type == "QuantizeLinear" and node.input[0])
            if tensor and tensor not in kept:
                continue
            node = onnx.NodeProto.FromString(node.SerializeToString())
            if output in self.layers and output not in layers:
                node.input[:] = [node.input[0], *self.own[output].input[1:]]
            for i, name in enumerate(node.input):
                if name in self.restored and not tensor:
                    raw = self.restored[name]
                    # A layer that stays float reads what its producer gave, unless that was made of integers.
                    stays = raw in kept and (output in integer or raw in integer)
                    node.input[i] = name if stays else raw
            model.graph.node.append(node)
        have = {tensor.name for tensor in model.graph.initializer}
        read = {name for node in model.graph.node for name in node.input}
        missing = [tensor for tensor in self.original.initializer if tensor.name in read - have]
        wanted = [tensor for tensor in model.graph.initializer if tensor.name in read]
        del model.graph.initializer[:]
        model.graph.initializer.extend(wanted + missing)
        # Constants and roundings that nothing reads any more.
        ends = {output.name for output in model.graph.output}
        while True:
            read = {name for node in model.graph.node for name in node.input} | ends
            used = [node for node in model.graph.node if read & set(node.output)]
            if len(used) == len(model.graph.node):
                break
            del model.graph.node[:]
            model.graph.node.extend(used)
        wanted = [tensor for tensor in model.graph.initializer if tensor.name in read]
        del model.graph.initializer[:]
        model.graph.initializer.extend(wanted)
        onnx.save(model, path)


def detections(model, images):
    """COCO results; image ids count the files."""
    report = json.loads(run("predict", "--model", model, images, "--conf", LEAST_SCORE, "--json", "--quiet"))
    found, names = [], []
    for image_id, image in enumerate(sorted(report["images"], key=lambda image: image["path"])):
        names.append(image["path"])
        for one in image["detections"]:
            left, top, right, bottom = (one["box_xyxy_px"][side] for side in ("x1", "y1", "x2", "y2"))
            box = [left, top, right - left, bottom - top]
            found.append(
                {"image_id": image_id, "category_id": one["class_id"], "bbox": box, "score": one["score"]}
            )
    return names, found


def truth(boxes, images, classes):
    """A COCO data set of `(image id, class id, box)`."""
    from pycocotools.coco import COCO

    data = COCO()
    data.dataset = {
        "images": [{"id": image} for image in range(images)],
        "categories": [{"id": i} for i in range(classes)],
        "annotations": [
            {"id": i + 1, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for i, (image, category, box) in enumerate(boxes)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        data.createIndex()
    return data


def average_precision(data, found):
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        scored = COCOeval(data, data.loadRes(found), "bbox")
        scored.evaluate(), scored.accumulate(), scored.summarize()
    return scored.stats[0]


def ranks(values):
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    for value in set(values):
        same = [place for place, i in enumerate(order) if values[i] == value]
        for place in same:
            found[order[place]] = sum(same) / len(same)
    return found


def spearman(a, b):
    a, b = ranks(a), ranks(b)
    mean = (len(a) - 1) / 2
    covariance = sum((x - mean) * (y - mean) for x, y in zip(a, b))
    return covariance / (sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b)) ** 0.5


def interval(a, b, draws=2000):
    """95 % over the choice of what is ranked."""
    chance = random.Random(0)
    found = []
    while len(found) < draws:
        drawn = [chance.randrange(len(a)) for _ in a]
        if len(set(drawn)) > 2:
            with contextlib.suppress(ZeroDivisionError):
                found.append(spearman([a[i] for i in drawn], [b[i] for i in drawn]))
    found.sort()
    return found[draws // 40], found[-draws // 40]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--layers", type=int, default=25)
    parser.add_argument("--groups", type=int, default=10)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)

    # A share that no layer fits in: all are measured and all are quantized.
    whole, report = args.work / "whole.onnx", args.work / "whole.json"
    if not report.exists():
        words = ("--keep-float", 1e-9, "--calibration", "mse", "--latency-runs", 0, "--json", "--quiet", "--out", whole)
        report.write_bytes(run("quantize", args.model, "--cache", args.cache, *words))
    parts = Parts(args.model, whole)
    measured = [layer for layer in json.loads(report.read_text())["layers"] if layer["divergence"] is not None]
    assert len(measured) == len(parts.layers), (len(measured), len(parts.layers))
    order = sorted(zip(parts.layers, measured), key=lambda pair: pair[1]["divergence"])

    coco = args.work / "labels"
    if not coco.exists():
        run("data", "convert", args.data, "--split", args.split, "--to", "coco", "--link", "--out", coco, "--quiet")
    labels = json.loads(next((coco / "annotations").glob("*.json")).read_text())
    images = args.work / "images"
    images.mkdir(exist_ok=True)
    for image in labels["images"]:
        link = images / pathlib.Path(image["file_name"]).name
        if not link.exists():
            link.symlink_to(next(coco.rglob(link.name)).resolve())

    names, base = detections(args.model, images)
    place = {pathlib.Path(name).name: i for i, name in enumerate(names)}
    of_image = {image["id"]: place[pathlib.Path(image["file_name"]).name] for image in labels["images"]}
    category = {c["id"]: i for i, c in enumerate(sorted(labels["categories"], key=lambda c: c["id"]))}
    people = [(of_image[a["image_id"]], category[a["category_id"]], a["bbox"]) for a in labels["annotations"]]
    own = [(one["image_id"], one["category_id"], one["bbox"]) for one in base if one["score"] > SEEN]
    kinds = {"labels": truth(people, len(names), len(category)), "detections": truth(own, len(names), len(category))}
    float_ap = {kind: average_precision(data, base) for kind, data in kinds.items()}
    print(f"{len(names)} images, {len(order)} layers; float32: " + ", ".join(f"{k} {v:.4f}" for k, v in float_ap.items()))

    def losses(layers, name):
        path = args.work / f"{name}.onnx"
        parts.only(layers, path)
        _, found = detections(path, images)
        path.unlink()
        return {kind: float_ap[kind] - average_precision(data, found) for kind, data in kinds.items()}

    def compare(title, sets):
        print(f"\n{title}\n{'first layer':34} {'divergence':>11} {'loss, labels':>13} {'loss, detections':>17}")
        divergences, lost = [], []
        for i, chosen in enumerate(sets):
            divergences.append(sum(layer["divergence"] for _, layer in chosen))
            lost.append(losses([output for output, _ in chosen], f"part{i}"))
            row = f"{lost[-1]['labels']:13.5f} {lost[-1]['detections']:17.5f}"
            print(f"{chosen[0][1]['name']:34} {divergences[-1]:11.6f} {row}", flush=True)
        for kind in kinds:
            values = [one[kind] for one in lost]
            low, high = interval(divergences, values)
            print(f"Spearman, {kind}: {spearman(divergences, values):.3f} (95 % interval {low:.2f} to {high:.2f})", flush=True)

    count = min(args.groups, len(order))
    compare(
        f"{count} groups, each quantized alone",
        [order[i * len(order) // count : (i + 1) * len(order) // count] for i in range(count)],
    )
    count = min(args.layers, len(order))
    compare(
        f"{count} layers, each quantized alone",
        [[order[i * (len(order) - 1) // max(count - 1, 1)]] for i in range(count)],
    )


if __name__ == "__main__":
    main()

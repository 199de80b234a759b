"""`logitcache quantize` beside ONNX Runtime's own `quantize_static` and NNCF: accuracy, time, memory, speed.

Every tool gets the same float32 file, the same number of calibration images, the same images for scoring
(`logitcache eval`), and the same processors. Each runs alone in a process of its own, the tools in turns. The work is equal in
the runs that are called "equal work": lowest and highest values, all layers but the last ones. The others choose more.

    python3 -m venv /tmp/quantizers
    /tmp/quantizers/bin/pip install onnxruntime onnx nncf openvino opencv-python-headless
    cargo build --release
    /tmp/quantizers/bin/python benches/quantize.py MODEL.onnx --cache CACHE --data data.yaml --split val --work DIR

The cache is one of the images that are calibrated on. Latency is measured in this process, the files in turns, under ONNX
Runtime and under OpenVINO, with one thread and with all.
"""

import argparse
import hashlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target/release/logitcache"


def letterbox(path, size):
    """An image as Ultralytics' detectors take it, [1, 3, H, W], float32."""
    import cv2
    import numpy as np

    image = cv2.imread(str(path))
    height, width = size
    ratio = min(height / image.shape[0], width / image.shape[1])
    inner = round(image.shape[1] * ratio), round(image.shape[0] * ratio)
    image = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    top, left = (height - inner[1]) / 2, (width - inner[0]) / 2
    image = cv2.copyMakeBorder(
        image,
        round(top - 0.1),
        round(top + 0.1),
        round(left - 0.1),
        round(left + 0.1),
        cv2.BORDER_CONSTANT,
        value=(114, 114, 114),
    )
    return np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)[None], dtype=np.float32) / 255


def model_input(model):
    import onnx

    value = onnx.load(model).graph.input[0]
    dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return value.name, (dims[2], dims[3])


def calibration_images(cache, count):
    """Evenly spaced over the images of the cache."""
    manifest = json.loads((cache / "manifest.json").read_text())
    root = (cache / manifest["dataset"]["root"]).resolve()
    import pyarrow.parquet as parquet

    tables = [parquet.read_table(part, columns=["path", "view"]) for part in sorted((cache / "images").glob("*.parquet"))]
    paths = [path for t in tables for path, view in zip(t["path"].to_pylist(), t["view"].to_pylist()) if view == 0]
    return [root / paths[i * len(paths) // count] for i in range(min(count, len(paths)))]


def last_layers(model):
    """Convolutions behind which none follows: what every tool is told to leave float32, as `logitcache quantize` does."""
    import onnx

    graph = onnx.load(model).graph
    producer = {output: node for node in graph.node for output in node.output}
    found, seen, todo = [], set(), [output.name for output in graph.output]
    first = set()
    while todo:
        node = producer.get(todo.pop())
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node.op_type == "Conv" and not node.name.endswith("dfl/conv/Conv"):
            found.append(node.name)
            first.add(node.name)
            continue
        todo.extend(node.input)
    tail = [node.name for node in graph.node if id(node) in seen]
    return sorted(set(found) | set(tail))


def with_onnxruntime(model, out, images, method):
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name, size = model_input(model)

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter(images)

        def get_next(self):
            path = next(self.left, None)
            return None if path is None else {name: letterbox(path, size)}

    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(out),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=getattr(CalibrationMethod, method),
        nodes_to_exclude=last_layers(prepared),
    )
    prepared.unlink()


def with_nncf(model, out, images):
    import nncf
    import openvino

    name, size = model_input(model)
    core = openvino.Core()
    data = nncf.Dataset(images, lambda path: {name: letterbox(path, size)})
    quantized = nncf.quantize(
        core.read_model(model),
        data,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=last_layers(model), validate=False),
    )
    openvino.save_model(quantized, out, compress_to_fp16=False)


def run_alone(*words):
    """(wall seconds, processor seconds, peak resident MB, output) of a process."""
    read, write = os.pipe()
    started = time.perf_counter()
    child = subprocess.Popen([str(word) for word in words], stdout=write, stderr=subprocess.DEVNULL)
    os.close(write)
    text = os.fdopen(read).read()
    _, status, usage = os.wait4(child.pid, 0)
    if status not in (0, 256):
        sys.exit(f"failed: {' '.join(map(str, words))}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text


def score(files, data, split):
    words = [word for file in files for word in ("--model", file)]
    *_, text = run_alone(PROGRAM, "eval", *words, "--data", data, "--split", split, "--latency-runs", 0, "--json", "--quiet")
    report = json.loads(text)
    return {model["path"]: model["scores"]["coco"]["ap"] for model in report["models"]}


def latencies(runners, rounds):
    """Median milliseconds of each runner, the runners in turns."""
    times = {name: [] for name in runners}
    for name, run in runners.items():
        run(), run()
    for _ in range(rounds):
        for name, run in runners.items():
            started = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in times.items()}


def onnxruntime_runner(path, threads, pixels):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: pixels})


def openvino_runner(path, threads, pixels):
    import openvino

    config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", config)
    request = compiled.create_infer_request()
    return lambda: request.infer({0: pixels})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--sample", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--repeat", type=int, default=1, help="runs of each tool; medians are shown")
    parser.add_argument("--tool", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.tool:
        images = calibration_images(args.cache, args.sample)
        if args.tool == "nncf":
            return with_nncf(args.model, args.out, images)
        return with_onnxruntime(args.model, args.out, images, args.tool)

    args.work.mkdir(parents=True, exist_ok=True)
    ours = [PROGRAM, "quantize", args.model, "--cache", args.cache, "--sample", args.sample, "--latency-runs", 0, "--quiet"]
    this = [sys.executable, __file__, args.model, "--cache", args.cache, "--sample", args.sample, "--work", args.work]
    min_max = ["--keep-float", 0, "--calibration", "min-max"]
    runs = {
        "logitcache, equal work": [*ours, *min_max, "--out", args.work / "ours-min-max.onnx"],
        "logitcache, equal, layer inputs": [
            *ours, *min_max, "--placement", "layer-inputs", "--out", args.work / "ours-min-max-inputs.onnx"],
        "logitcache, ranges chosen": [*ours, "--keep-float", 0, "--out", args.work / "ours-plain.onnx"],
        "logitcache, whole": [*ours, "--out", args.work / "ours-whole.onnx"],
        "logitcache, layer inputs": [
            *ours, "--keep-float", 0, "--placement", "layer-inputs", "--out", args.work / "ours-inputs.onnx"],
        "onnxruntime, min-max": [*this, "--tool", "MinMax", "--out", args.work / "ort-min-max.onnx"],
        "nncf": [*this, "--tool", "nncf", "--out", args.work / "nncf.xml"],
    }
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "")
    has = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if flag in flags.split()]
    print(f"{cpu}, {os.cpu_count()} processors, {', '.join(has)}; {args.sample} calibration images\n")
    print(f"{'tool':32} {'seconds':>8} {'CPU s':>8} {'peak MB':>8}  sha256", flush=True)
    files = {name: words[words.index("--out") + 1] for name, words in runs.items()}
    measured = {name: [] for name in runs}
    for _ in range(args.repeat):
        for name, words in runs.items():
            measured[name].append(run_alone(*words)[:3])
    for name, file in files.items():
        seconds, processor, memory = (statistics.median(values) for values in zip(*measured[name]))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        print(f"{name:32} {seconds:8.1f} {processor:8.1f} {memory:8.0f}  {digest}", flush=True)

    if args.data:
        onnx_files = [file for file in files.values() if file.suffix == ".onnx"]
        scores = score([args.model, *onnx_files], args.data, args.split)
        print("\nmAP@0.5:0.95 by `logitcache eval`")
        for path, ap in scores.items():
            print(f"  {pathlib.Path(path).name:24} {ap:.4f}  {ap - scores[str(args.model)]:+.4f}")

    _, size = model_input(args.model)
    pixels = letterbox(calibration_images(args.cache, 1)[0], size)
    for threads in sorted({1, os.cpu_count()}):
        runners = {"float32, onnxruntime": onnxruntime_runner(args.model, threads, pixels)}
        runners["float32, openvino"] = openvino_runner(args.model, threads, pixels)
        for name, file in files.items():
            if file.suffix == ".onnx":
                runners[f"{name}: onnxruntime"] = onnxruntime_runner(file, threads, pixels)
            runners[f"{name}: openvino"] = openvino_runner(file, threads, pixels)
        print(f"\nmedian latency, ms, {threads} thread(s), {args.rounds} rounds in turns")
        for name, ms in latencies(runners, args.rounds).items():
            print(f"  {name:48} {ms:8.2f}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Images per second of `logitcache build` beside what a user would pick instead, interleaved, as ratios.

usage: build_throughput.py [--rounds 5] [--bin target/release/logitcache] [--memory]

Runs with the environment of `make oracle-env` (onnxruntime, OpenCV, Ultralytics) on ../shared (or LOGITCACHE_SHARED): COCO128
and yolov12n.onnx, 640 pixels, every contestant with as many threads as there are processors. Each round runs each contestant
once, in a fresh process; the medians over rounds are compared. Times are of the work alone for the Python contestants (their imports and model
loading are not counted) and of the whole process for `logitcache build`: start, model, self-check, digests, files, fsync.

  session 1xN   bare ONNX Runtime session on one prepared input, one session of N threads
  session Nx1   the same, N sessions of one thread each
  python loop   cv2.imread, letterbox, session.run (1xN), nothing kept
  ultralytics   YOLO("yolov12n.onnx").predict(folder, stream=True)
  build         logitcache build
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("LOGITCACHE_SHARED", ROOT.parent / "shared"))
MODEL = SHARED / "models/yolov12n.onnx"
IMAGES = SHARED / "data/coco128/images/train2017"
THREADS = len(os.sched_getaffinity(0))


def sessions(count, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return [onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"]) for _ in range(count)]


def bare_session(count, threads, images):
    """Seconds for `images` runs shared out over `count` sessions."""
    import threading

    import numpy

    pixels = numpy.random.default_rng(0).random((1, 3, 640, 640), dtype=numpy.float32)
    pool = sessions(count, threads)
    for session in pool:
        session.run(None, {"images": pixels})

    def work(session):
        for _ in range(images // count):
            session.run(None, {"images": pixels})

    started = time.perf_counter()
    workers = [threading.Thread(target=work, args=(session,)) for session in pool]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - started


def python_loop(_):
    import cv2
    import numpy

    (session,) = sessions(1, THREADS)
    session.run(None, {"images": numpy.zeros((1, 3, 640, 640), numpy.float32)})
    started = time.perf_counter()
    for path in sorted(IMAGES.iterdir()):
        image = cv2.imread(str(path))
        height, width = image.shape[:2]
        scale = min(640 / height, 640 / width)
        new_w, new_h = round(width * scale), round(height * scale)
        if (new_w, new_h) != (width, height):
            image = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
        left, top = round((640 - new_w) / 2 - 0.1), round((640 - new_h) / 2 - 0.1)
        image = cv2.copyMakeBorder(
            image, top, 640 - new_h - top, left, 640 - new_w - left, cv2.BORDER_CONSTANT, value=(114, 114, 114))
        pixels = numpy.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))[None].astype(numpy.float32) / 255
        session.run(None, {"images": pixels})
    return time.perf_counter() - started


def ultralytics_predict(_):
    os.environ["YOLO_OFFLINE"] = "1"
    from ultralytics import YOLO

    model = YOLO(str(MODEL), task="detect")
    next(iter(model.predict(str(next(IMAGES.iterdir())), stream=True, verbose=False, imgsz=640, device="cpu")))
    started = time.perf_counter()
    boxes = sum(len(r.boxes) for r in model.predict(str(IMAGES), stream=True, verbose=False, imgsz=640, device="cpu"))
    assert boxes > 0
    return time.perf_counter() - started


CONTESTANTS = {
    f"session 1x{THREADS}": lambda n: bare_session(1, THREADS, n),
    f"session {THREADS}x1": lambda n: bare_session(THREADS, 1, n),
    "python loop": python_loop,
    "ultralytics": ultralytics_predict,
}


def in_fresh_process(name, images):
    out = subprocess.run([sys.executable, __file__, "--contestant", name, "--images", str(images)],
                         capture_output=True, text=True, check=True)
    return float(out.stdout.split()[-1])


def build(binary, data, work):
    """(wall seconds of the whole process, its report, peak resident MB)"""
    cache = work / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    command = [binary, "--quiet", "build", "--teacher", MODEL, "--data", data, "--ignore-labels", "--out", cache, "--json"]
    started = time.perf_counter()
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    assert os.waitstatus_to_exitcode(status) == 0, output
    return wall, json.loads(output), usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--bin", type=pathlib.Path, default=target / "release/logitcache")
    parser.add_argument("--memory", action="store_true", help="peak memory for 128 and 1,280 images instead of speed")
    parser.add_argument("--contestant", choices=CONTESTANTS)
    parser.add_argument("--images", type=int, default=128)
    args = parser.parse_args()
    if args.contestant:
        print(CONTESTANTS[args.contestant](args.images))
        return

    print(f"load before: {os.getloadavg()}, processors: {THREADS}")
    count = len(list(IMAGES.iterdir()))
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        if args.memory:
            ten = work / "ten"
            for copy in range(10):
                shutil.copytree(IMAGES, ten / str(copy))
            for data, n in ((IMAGES, count), (ten, 10 * count)):
                wall, report, peak = build(args.bin, data, work)
                print(f"{n:5} images  peak {peak:6.0f} MB  {n / wall:6.2f} images/s  content {report['content_sha256'][:16]}")
            return
        seconds, digests, inner = {name: [] for name in (*CONTESTANTS, "build")}, set(), []
        for _ in range(args.rounds):
            for name in CONTESTANTS:
                seconds[name].append(in_fresh_process(name, count))
            wall, report, _ = build(args.bin, IMAGES, work)
            seconds["build"].append(wall)
            inner.append(report["elapsed_s"])
            digests.add(report["content_sha256"])
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        print(f"{name:12} {1e3 * median[name] / count:6.1f} ms/image  {count / median[name]:6.2f} images/s  "
              f"[{1e3 * min(values) / count:.1f} .. {1e3 * max(values) / count:.1f}]  build is {median[name] / median['build']:.2f} x")
    print(f"build, without start and end: {1e3 * statistics.median(inner) / count:.1f} ms/image")
    assert len(digests) == 1, digests
    print(f"content sha256 {digests.pop()}")


if __name__ == "__main__":
    main()

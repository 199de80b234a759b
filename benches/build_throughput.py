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
import tempfile
import time

from contestants import IMAGES, MODEL, SESSION, THREADS, default_binary, in_fresh_process, report


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
    parser.add_argument("--bin", type=pathlib.Path, default=default_binary())
    parser.add_argument("--memory", action="store_true", help="peak memory for 128 and 1,280 images instead of speed")
    args = parser.parse_args()

    print(f"load before: {os.getloadavg()}, processors: {THREADS}")
    count = len(list(IMAGES.iterdir()))
    names = (f"session 1x{THREADS}", SESSION, "python loop", "ultralytics predict")
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        if args.memory:
            ten = work / "ten"
            for copy in range(10):
                shutil.copytree(IMAGES, ten / str(copy))
            for data, n in ((IMAGES, count), (ten, 10 * count)):
                wall, result, peak = build(args.bin, data, work)
                print(f"{n:5} images  peak {peak:6.0f} MB  {n / wall:6.2f} images/s  content {result['content_sha256'][:16]}")
            return
        seconds, digests, inner = {name: [] for name in (*names, "build")}, set(), []
        for _ in range(args.rounds):
            for name in names:
                seconds[name].append(in_fresh_process(name, count))
            wall, result, _ = build(args.bin, IMAGES, work)
            seconds["build"].append(wall)
            inner.append(result["elapsed_s"])
            digests.add(result["content_sha256"])
    report(seconds, count, "build")
    print(f"build, without start and end: {1e3 * statistics.median(inner) / count:.1f} ms/image")
    assert len(digests) == 1, digests
    print(f"content sha256 {digests.pop()}")


if __name__ == "__main__":
    main()

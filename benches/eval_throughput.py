#!/usr/bin/env python3
"""Images per second of `logitcache eval` beside bare sessions and Ultralytics' `val`, interleaved, as ratios.

usage: eval_throughput.py [--rounds 5] [--bin target/release/logitcache]

Runs with the environment of `make oracle-env` on ../shared (or LOGITCACHE_SHARED): COCO128 with its labels and yolov12n.onnx, 640 pixels,
conf 0.001, every contestant with as many threads as there are processors. Each round runs each contestant once, in a fresh process; the
medians over rounds are compared. Times are of the work alone for the Python contestants (their imports and model loading are not counted;
`val` from its first batch to its numbers) and of the whole process for `logitcache eval`: start, model, self-check, labels, scores.

  session 1xN       bare ONNX Runtime session on one prepared input, one session of N threads
  session Nx1       the same, N sessions of one thread each
  ultralytics val   YOLO("yolov12n.onnx").val(data, batch=1)
  eval              logitcache eval --latency-runs 0
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

from contestants import IMAGES, MODEL, SESSION, THREADS, default_binary, in_fresh_process, labelled_copy, report


def evaluate(binary, data):
    """(wall seconds of the whole process, its report)"""
    command = [binary, "--quiet", "eval", "--model", MODEL, "--data", data, "--latency-runs", 0, "--json"]
    started = time.perf_counter()
    output = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True, check=True).stdout
    return time.perf_counter() - started, json.loads(output)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bin", type=pathlib.Path, default=default_binary())
    args = parser.parse_args()
    count = len(list(IMAGES.iterdir()))
    names = (f"session 1x{THREADS}", SESSION, "ultralytics val")
    seconds, scoring, scores = {name: [] for name in (*names, "eval")}, [], set()
    with tempfile.TemporaryDirectory() as folder:
        data = labelled_copy(pathlib.Path(folder))
        for _ in range(args.rounds):
            for name in names:
                seconds[name].append(in_fresh_process(name, count))
            wall, result = evaluate(args.bin, data)
            seconds["eval"].append(wall)
            scoring.append(result["scoring_s"])
            scores.add(json.dumps(result["models"][0]["scores"]["coco"]))
    median = report(seconds, count, "eval")
    bare = min(median[name] for name in names if name.startswith("session"))
    print(f"eval takes {median['eval'] / bare:.2f} x the time of the faster bare session (goal: at most 1.15)")
    print(f"eval has {median['ultralytics val'] / median['eval']:.2f} x the images per second of Ultralytics' val (goal: at least 1.5)")
    print(f"scoring alone: {1e3 * statistics.median(scoring):.1f} ms for {count} images")
    assert len(scores) == 1, scores
    print(scores.pop())


if __name__ == "__main__":
    main()

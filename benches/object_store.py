"""`build` from and into an object store beside the same build in folders, and what training waits for its cache.

    .venv/bin/python benches/object_store.py [--rounds 3] [--latency-ms 30]

The S3 server (moto) and a proxy that delays each request run on one processor, the program with one job on the other: so the
server takes nothing of what is measured. Needs `make test-env`, `cargo build --release --features object-store`, ../shared.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Before this folder, where the file of that name is this one.
sys.path.insert(0, str(ROOT / "tests" / "python"))

import object_store

PROGRAM = Path(os.environ.get("LOGITCACHE_BIN", ROOT / "target" / "release" / "logitcache"))


def run(environment, *arguments):
    """Seconds that the program takes on processor 0, and what it prints."""
    env = {**os.environ, **environment}
    command = ["taskset", "-c", "0", str(PROGRAM), *map(str, arguments)]
    begun = time.perf_counter()
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return seconds, done.stdout


def train(environment, cache, out):
    """Seconds of a whole training of one epoch, its share of them that waits for data, in per cent, and its losses."""
    settings = ["--model", "yolov8f", "--imgsz", 640, "--batch", 8, "--epochs", 1, "--val-split", "none"]
    seconds, _ = run(environment, "train", "--cache", cache, "--out", out, *settings)
    with (out / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    return seconds, 100 * float(row["data_wait"]), tuple(row[name] for name in row if "loss" in name)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--latency-ms", type=float, default=30)
    options = options.parse_args()
    shared = Path(os.environ.get("LOGITCACHE_SHARED", ROOT.parent / "shared"))
    os.sched_setaffinity(0, {1})
    with object_store.running() as store, tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        data = shared / "data" / "coco128"
        store.upload(data, "coco128")
        build = ["build", "--teacher", shared / "models" / "yolov12n.onnx", "--jobs", 1, "--json"]
        places = {
            "folders": (data / "data.yaml", folder / "cache", 0),
            "store": ("s3://bucket/coco128/data.yaml", "s3://bucket/cache", 0),
            f"store, {options.latency_ms:g} ms": ("s3://bucket/coco128/data.yaml", "s3://bucket/slow", options.latency_ms),
        }
        times, digests = {name: [] for name in places}, set()
        for turn in range(options.rounds):
            for name, (source, out, latency_ms) in places.items():
                copies = folder / "copies"
                shutil.rmtree(copies, ignore_errors=True)
                environment = {**store.environment, "LOGITCACHE_CACHE_DIR": str(copies)}
                with store.rule(latency_s=latency_ms / 1000):
                    seconds, _ = run(environment, *build, "--data", source, "--out", out, "--overwrite")
                    summary = json.loads(run(environment, "inspect", out, "--json")[1])
                times[name].append(seconds)
                digests.add(summary["content_sha256"])
        shutil.rmtree(folder / "copies")
        with store.rule(latency_s=options.latency_ms / 1000):
            environment = {**store.environment, "LOGITCACHE_CACHE_DIR": str(folder / "copies")}
            fetched_s, _ = run(environment, "inspect", "s3://bucket/slow", "--json")
        here_s, _ = run({}, "inspect", folder / "cache", "--json")
        base = statistics.median(times["folders"])
        print("| where data set and cache lie | s | range | speed relative to folders |\n|---|---|---|---|")
        for name, seconds in times.items():
            median = statistics.median(seconds)
            print(f"| {name} | {median:.2f} | {min(seconds):.2f} to {max(seconds):.2f} | {base / median:.2f} x |")
        print(f"\ncontent sha256: {', '.join(sorted(digests))}")
        print(f"fetching the cache ({options.latency_ms:g} ms): {fetched_s - here_s:.2f} s more than reading it in a folder")
        trained = {"folder": train({}, folder / "cache", folder / "near")}
        with store.rule(latency_s=options.latency_ms / 1000):
            environment = {**store.environment, "LOGITCACHE_CACHE_DIR": str(folder / "other-copies")}
            trained["store"] = train(environment, "s3://bucket/slow", folder / "far")
        for name, (seconds, waited_percent, losses) in trained.items():
            print(f"one epoch from a cache in a {name}: {seconds:.1f} s in all, {waited_percent:.2f} % of the epoch waiting, losses {losses}")


if __name__ == "__main__":
    main()

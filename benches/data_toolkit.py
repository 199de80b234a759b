#!/usr/bin/env python3
"""`logitcache data` beside Datumaro and supervision on drawn images.

usage: data_toolkit.py [--images 20000] [--rounds 3] [--program target/release/logitcache]

Run it with a Python that has opencv-python and, for the others, datumaro and supervision; those that are missing are left out.
Every contestant runs in a fresh process, in turn within each round; the table has medians of seconds and the largest resident
memory. Where a row says "1 thread", RAYON_NUM_THREADS is 1: the others have one thread. Images are copied by all, unless a row
says "linked".

  convert        a YOLO data set to COCO, images included
  check          every image decoded, every label read; beside it cv2.imread of every image alone, which is less work
  stats          headers and labels; beside it Datumaro's validator, which does not look at images
"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

DATUMARO_CONVERT = """
import sys, datumaro
datumaro.Dataset.import_from(sys.argv[1], "yolo").export(sys.argv[2], "coco_instances", save_media=True)
"""
SUPERVISION_CONVERT = """
import sys, supervision
data, out = sys.argv[1:]
found = supervision.DetectionDataset.from_yolo(f"{data}/images/train", f"{data}/labels/train", f"{data}/data.yaml")
found.as_coco(images_directory_path=f"{out}/images", annotations_path=f"{out}/annotations.json")
"""
OPENCV_DECODE = """
import sys, pathlib, cv2
cv2.setNumThreads(1)
assert all(cv2.imread(str(path)) is not None for path in pathlib.Path(sys.argv[1], "images/train").iterdir())
"""
DATUMARO_VALIDATE = """
import sys, datumaro
from datumaro.plugins.validators import DetectionValidator
found = datumaro.Dataset.import_from(sys.argv[1], "yolo")
DetectionValidator(few_samples_thr=1, imbalance_ratio_thr=50, far_from_mean_thr=5.0, dominance_ratio_thr=0.8, topk_bins=0.1).compute_statistics(found)
"""


def draw(folder, images):
    """Rectangles on noise, 96 to 160 pixels, up to eight boxes an image."""
    import cv2
    import numpy as np

    random = np.random.default_rng(7)
    for name in ("images/train", "labels/train"):
        (folder / name).mkdir(parents=True)
    for number in range(images):
        height, width = random.integers(96, 160, 2).tolist()
        picture = cv2.resize(random.integers(0, 256, (6, 6, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
        rows = []
        for _ in range(random.integers(0, 9)):
            w, h = random.integers(8, 40, 2).tolist()
            x, y = int(random.integers(0, width - w)), int(random.integers(0, height - h))
            cv2.rectangle(picture, (x, y), (x + w, y + h), random.integers(0, 256, 3).tolist(), -1)
            rows.append(f"{random.integers(0, 10)} {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} {w / width:.6f} {h / height:.6f}")
        cv2.imwrite(str(folder / f"images/train/{number:06}.jpg"), picture)
        (folder / f"labels/train/{number:06}.txt").write_text("".join(row + "\n" for row in rows))
    names = "".join(f"  {number}: class{number}\n" for number in range(10))
    (folder / "data.yaml").write_text(f"train: images/train\nnames:\n{names}")


def measure(command, environment, may_find=False):
    """(seconds, peak resident MB)"""
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen([str(word) for word in command], stdout=output, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        output.seek(0)
        code = os.waitstatus_to_exitcode(status)
        # `check` finds near-duplicates or faults and says so with its exit status.
        assert code == 0 or (may_find and code == 1), output.read()
    return seconds, usage.ru_maxrss / 1024


def has(package):
    return subprocess.run([sys.executable, "-c", f"import {package}"], capture_output=True).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/logitcache")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="data-toolkit-") as place:
        place = Path(place)
        data, out = place / "data", place / "out"
        draw(data, arguments.images)
        one, all_threads = {**os.environ, "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}, dict(os.environ)
        ours = [arguments.program, "data"]
        python = [sys.executable, "-c"]
        convert = [*ours, "convert", data, "--to", "coco", "--out", out]
        rows = {
            "convert, logitcache, 1 thread": (convert, one),
            "convert, logitcache, all threads": (convert, all_threads),
            "convert, logitcache, linked, 1 thread": ([*convert, "--link"], one),
            "check, logitcache, 1 thread": ([*ours, "check", data, "--json"], one),
            "check, logitcache, all threads": ([*ours, "check", data, "--json"], all_threads),
            "check, cv2.imread alone": ([*python, OPENCV_DECODE, data], one),
            "stats, logitcache, 1 thread": ([*ours, "stats", data, "--json"], one),
        }
        if has("datumaro"):
            rows["convert, Datumaro"] = ([*python, DATUMARO_CONVERT, data, out], one)
            rows["stats, Datumaro's validator"] = ([*python, DATUMARO_VALIDATE, data], one)
        if has("supervision"):
            rows["convert, supervision"] = ([*python, SUPERVISION_CONVERT, data, out], one)
        seen = {name: [] for name in rows}
        for _ in range(arguments.rounds):
            for name, (command, environment) in rows.items():
                shutil.rmtree(out, ignore_errors=True)
                seen[name].append(measure(command, environment, may_find=name.startswith("check, logitcache")))
    print(f"{arguments.images} images, {len(os.sched_getaffinity(0))} processors, medians of {arguments.rounds} rounds")
    for name in sorted(seen):
        seconds = [run[0] for run in seen[name]]
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(f"{name:40} {statistics.median(seconds):8.2f} s ({spread}) {max(run[1] for run in seen[name]):8.0f} MB")


if __name__ == "__main__":
    main()

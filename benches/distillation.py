#!/usr/bin/env python3
"""What a cached teacher gains on BCCD, DeepPCB and COCO128: docs/experiments.md's runs and table.

usage: distillation.py --data bccd|deeppcb|coco128 --out DIR [--arms NAME ...] [--seeds 0 1 2] [--table]
       (`cargo build --release` and ../shared or LOGITCACHE_SHARED before)

Trains the teacher (YOLOv8s, on the labels; COCO128 has yolov12n.onnx, trained on COCO), builds the caches that the arms need, trains a YOLOv8n from random weights for every arm and
seed, scores best.onnx and the last epoch on val, and appends a line to DIR/results.jsonl for each. Started again, it leaves out what has a line
there and goes on with what was interrupted. At the end, or with --table alone, it prints the table (mean and sample standard deviation over seeds).

Runs are made --jobs at a time with --threads threads each: on a few cores several single-threaded runs do more images a second than one on all.
"""
import argparse
import concurrent.futures
import csv
import json
import math
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("LOGITCACHE_SHARED", ROOT.parent / "shared"))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# Input size in pixels, training images. COCO128 has one split: its last 32 images are val.
DATA = {"bccd": (320, 205), "deeppcb": (480, 800), "coco128": (640, 96)}
TEACHERS = {"coco128": SHARED / "models/yolov12n.onnx"}

# What each arm adds to the command that all have. {name} is a cache of CACHES or a data set of `data_set`.
ARMS = {
    "teacher": "--distill none --data {all} --lr 1.5e-3",
    "labels": "--distill none --data {all}",
    "labels-lr1e-3": "--distill none --data {all} --lr 1e-3",
    "labels-lr4e-3": "--distill none --data {all} --lr 4e-3",
    "softmax-kl": "--cache {sparse} --cls-loss softmax-kl",
    # Mosaics of cached views: scale, mosaic, mirror and colours.
    "views4": "--cache {views4} --cls-loss softmax-kl",
    "views4-bckd": "--cache {views4} --cls-loss bckd",
    "views8": "--cache {views8} --cls-loss softmax-kl",
    "bckd": "--cache {sparse} --cls-loss bckd",
    "bce": "--cache {sparse} --cls-loss bce",
    "softmax-kl-cls": "--cache {sparse} --cls-loss softmax-kl --distill cls",
    "bckd-cls": "--cache {sparse} --cls-loss bckd --distill cls",
    "bckd-alpha0.3": "--cache {sparse} --cls-loss bckd --alpha 0.3",
    "bckd-alpha0.5": "--cache {sparse} --cls-loss bckd --alpha 0.5",
    "bckd-t2": "--cache {sparse} --cls-loss bckd --temperature 2",
    # The augmentation that goes with a cache, without the teacher.
    "alpha1": "--cache {sparse} --cls-loss bckd --alpha 1",
    # The live teacher: every anchor of every view, as many views as epochs. The same views in the default selection; without the teacher.
    "live": "--cache {live} --cls-loss bckd",
    "views": "--cache {views} --cls-loss bckd",
    "views-alpha1": "--cache {views} --cls-loss bckd --alpha 1",
    # The same views and anchors with nothing rounded to 8 bits and all class logits.
    "views-float16": "--cache {views16} --cls-loss bckd",
    # A part of the labels: those images alone, for as many steps; all images with the cache.
    "quarter": "--distill none --data {quarter}",
    "quarter-cache": "--cache {sparse4} --cls-loss bckd",
    "quarter-cache-alpha0.3": "--cache {sparse4} --cls-loss bckd --alpha 0.3",
    "twentieth": "--distill none --data {twentieth}",
    "twentieth-cache": "--cache {sparse20} --cls-loss bckd",
}
# Data set and options of `build`.
CACHES = {
    "sparse": ("all", ""),
    "views4": ("all", "--views 4"),
    "views8": ("all", "--views 8"),
    "views": ("all", "--views {epochs}"),
    "live": ("all", "--views {epochs} --profile dense"),
    "views16": ("all", "--views {epochs} --logits float16 --class-coverage 1"),
    "sparse4": ("all-quarter-labelled", "--missing-labels unlabelled"),
    "sparse20": ("all-twentieth-labelled", "--missing-labels unlabelled"),
}
PARTS = {"quarter": 4, "twentieth": 20}


class Bench:
    def __init__(self, args):
        self.args, self.out = args, args.out.resolve() / args.data
        self.imgsz, self.images = DATA[args.data]
        self.source = SHARED / "data" / args.data
        self.teacher = TEACHERS.get(args.data)
        self.out.mkdir(parents=True, exist_ok=True)
        if args.data == "coco128":
            self.source = self.split_coco128()
        self.results = self.out / "results.jsonl"
        self.making, self.writing = threading.Lock(), threading.Lock()

    def program(self, *words):
        command = [str(self.args.program), "--quiet", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{shlex.join(command)}\n{done.stderr}")
        return json.loads(done.stdout)

    def split_coco128(self):
        folder, images = self.out / "data/split", sorted((self.source / "images/train2017").iterdir())
        if not (folder / "data.yaml").exists():
            shutil.rmtree(folder, ignore_errors=True)
            labels = self.source / "labels/train2017"
            for index, image in enumerate(images):
                copy_image(image, labels, folder, "train" if index < self.images else "val")
            self.describe(folder, "images/val")
        return folder

    def describe(self, folder, val):
        """A data.yaml with the classes of the source."""
        names = (self.source / "data.yaml").read_text().partition("names:")[2]
        (folder / "data.yaml").write_text(f"train: images/train\nval: {val}\nnames:{names}")

    def lines(self):
        return [json.loads(line) for line in self.results.read_text().splitlines()] if self.results.exists() else []

    def path(self, name):
        """A data set's data.yaml or a cache's folder, made where it is not there."""
        with self.making:
            if name not in CACHES:
                return self.data_set(name)
            data, options = CACHES[name]
            folder = self.out / "caches" / (f"{name}-{self.args.epochs}" if "{epochs}" in options else name)
            done = folder.with_suffix(".json")
            if not done.exists():
                options = shlex.split(options.format(epochs=self.args.epochs))
                report = self.program("build", "--teacher", self.teacher or self.run_folder("teacher", 0) / "best.onnx", "--data", self.data_set(data),
                                      "--out", folder, "--jobs", self.args.jobs * self.args.threads, "--json", *options)
                done.write_text(json.dumps(report))
            return folder

    def data_set(self, name):
        """`all`; every fourth (`quarter`) or twentieth training image; all images, with the labels of these. All have the whole val."""
        source = self.source
        if name == "all":
            return source / "data.yaml"
        folder = self.out / "data" / name
        if not (folder / "data.yaml").exists():
            shutil.rmtree(folder, ignore_errors=True)
            each = next(step for part, step in PARTS.items() if part in name)
            for index, image in enumerate(sorted((source / "images/train").iterdir())):
                labelled = index % each == 0
                if labelled or name.startswith("all"):
                    copy_image(image, source / "labels/train" if labelled else None, folder, "train")
            self.describe(folder, source.resolve() / "images/val")
        return folder / "data.yaml"

    def run_folder(self, arm, seed):
        return self.out / "runs" / (arm if arm == "teacher" else f"{arm}-{self.args.epochs}-{seed}")

    def command(self, arm, seed):
        args = self.args
        own = shlex.split(ARMS[arm].format_map(Lazy(self.path)))
        epochs = args.teacher_epochs if arm == "teacher" else args.epochs
        options = {"--epochs": epochs, "--val-every": args.val_every, "--close-mosaic": epochs // 4, "--warmup-epochs": 3}
        if arm in PARTS:  # As many steps as with all images.
            steps = lambda images: math.ceil(images / args.batch)
            factor = steps(self.images) / steps(math.ceil(self.images / PARTS[arm]))
            options = {option: round(value * factor) for option, value in options.items()}
        model = args.teacher if arm == "teacher" else args.student.format(seed=seed)
        options |= {"--model": model, "--batch": args.batch, "--lr": args.lr, "--imgsz": self.imgsz, "--patience": 0, "--threads": args.threads, "--device": args.device}
        common = [str(word) for option, value in options.items() if option not in own for word in (option, value)]
        return ["train", *own, *common, "--seed", str(seed), "--out", str(self.run_folder(arm, seed)), "--json"]

    def run(self, arm, seed):
        folder, command = self.run_folder(arm, seed), self.command(arm, seed)
        if folder.exists():
            command.append("--resume" if (folder / "state.safetensors").exists() else "--overwrite")
        print("start", arm, seed, flush=True)
        report = self.program(*command)
        scores = self.program("eval", "--model", folder / "best.onnx", "--data", self.source / "data.yaml", "--latency-runs", 0,
                              "--jobs", 1, "--json")["models"][0]["scores"]
        rows = list(csv.DictReader((folder / "results.csv").open()))
        speeds = [float(row["images_per_s"]) for row in rows]
        images = statistics.median(speeds)
        line = {
            "arm": arm, "of_epochs": self.args.epochs, "seed": seed, "epochs": report["epochs"], "best_epoch": report["best_epoch"],
            "map50": scores["coco"]["ap_50"], "map50_95": scores["coco"]["ap"], "small_recall": scores["small"]["recall"],
            "last_map50": float(rows[-1]["metrics/mAP50(B)"]), "last_map50_95": float(rows[-1]["metrics/mAP50-95(B)"]),
            "curve": [curve_point(row) for row in rows if row["metrics/mAP50-95(B)"]],
            "images_per_s": images, "fastest_images_per_s": max(speeds), "time_s": report["time_s"],
            "command": shlex.join(w.replace(str(self.out), "OUT").replace(str(SHARED), "SHARED") for w in command),
        }
        with self.writing, self.results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"done  {arm} {seed}: mAP50 {line['map50']:.4f}, mAP50-95 {line['map50_95']:.4f} (epoch {line['best_epoch']}), last "
              f"{line['last_map50_95']:.4f}, {images:.1f} images/s", flush=True)

    def all(self):
        done = {(line["arm"], line["of_epochs"], line["seed"]) for line in self.lines()}
        wanted = [(arm, seed) for seed in self.args.seeds for arm in self.args.arms]
        wanted = [run for run in wanted if (run[0], self.args.epochs, run[1]) not in done and run[0] != "teacher"]
        done_teacher = self.teacher or any(line["arm"] == "teacher" for line in self.lines())
        if not done_teacher and ("teacher" in self.args.arms or any("--cache" in ARMS[arm] for arm, _ in wanted)):
            self.run("teacher", 0)
        with concurrent.futures.ThreadPoolExecutor(self.args.jobs) as pool:
            futures = [pool.submit(self.run, *run) for run in wanted]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def table(self):
        groups = {}
        for line in self.lines():
            groups.setdefault((line["of_epochs"], line["arm"]), []).append(line)
        print(f"| epochs | arm | seeds | mAP50 | mAP50-95 | small-object recall | last epoch's mAP50-95 | s per {self.images} images (fastest) |\n|---|---|---|---|---|---|---|---|")
        for (epochs, arm), lines in sorted(groups.items(), key=lambda group: (group[0][0], list(ARMS).index(group[0][1]))):
            cells = [spread([100 * line[key] for line in lines]) for key in ("map50", "map50_95", "small_recall", "last_map50_95")]
            seconds = self.images / statistics.median(line["images_per_s"] for line in lines)
            fastest = self.images / max(line["fastest_images_per_s"] for line in lines)
            print(f"| {epochs} | {arm} | {len(lines)} | {' | '.join(cells)} | {seconds:.0f} ({fastest:.0f}) |")


def curve_point(row):
    """[epoch, seconds of training, mAP50, mAP50-95, recall of small objects]"""
    names = "time", "metrics/mAP50(B)", "metrics/mAP50-95(B)", "metrics/small_recall50"
    return [int(row["epoch"]), *(round(float(row[name] or "nan"), 4) for name in names)]


def copy_image(image, labels, folder, split):
    """Copies an image into a split, with its label file from `labels`, where there is one."""
    label = labels / f"{image.stem}.txt" if labels else None
    for kind, file in ("images", image), ("labels", label):
        to = folder / kind / split
        to.mkdir(parents=True, exist_ok=True)
        if file and file.exists():
            shutil.copy(file, to)


class Lazy(dict):
    """Looks up what is not there: only the caches that an arm names are built."""

    def __init__(self, get):
        self.get_path = get

    def __missing__(self, name):
        return self.get_path(name)


def spread(values):
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATA, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of data, caches, runs and results.jsonl")
    parser.add_argument("--program", type=pathlib.Path, default=TARGET / "release/logitcache")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="NAME", help="of " + ", ".join(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--teacher", default="yolov8s")
    parser.add_argument("--student", default="yolov8n", help="a name (random weights by the seed) or a file, in which {seed} is replaced")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--teacher-epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", default="2e-3")
    parser.add_argument("--val-every", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="of the trainer: cpu, cuda, ...")
    parser.add_argument("--table", action="store_true", help="print the table of what is there and run nothing")
    bench = Bench(parser.parse_args())
    if not bench.args.table:
        bench.all()
    bench.table()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Two checks that training learns, on real images; minutes, so not part of `make test`.

usage: check_training.py {overfit|unlabelled} [--out DIR]      (`cargo build --release` and ../shared or LOGITCACHE_SHARED before)

overfit      YOLOv8n from random weights on the labels of 16 COCO images, no augmentation, validated on the same: mAP@0.5 must pass 0.9
unlabelled   YOLOv8n from random weights on the first 96 images of COCO128 without their labels, from a cache of yolov12n.onnx by `bckd`;
             validated on the last 32 against the teacher's own boxes (confidence 0.25): `person`, the one class that is frequent there,
             must gain 0.04 of AP@0.5 over the random weights, and the mean over classes grow tenfold
"""
import argparse
import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("LOGITCACHE_SHARED", ROOT.parent / "shared"))
PROGRAM = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/logitcache"
COCO = SHARED / "data/coco128"
TEACHER = SHARED / "models/yolov12n.onnx"


def run(*command):
    words = [str(word) for word in command]
    print("$ logitcache", " ".join(words), flush=True)
    subprocess.run([PROGRAM, "--quiet", *words], check=True, stdout=subprocess.DEVNULL)


def names():
    text = (COCO / "data.yaml").read_text()
    return text[text.index("names:"):]


def data_set(folder, train, val):
    """A data.yaml over copies of images; `val` is a list of images too, `None` for the training images."""
    for split, images in (("train", train), ("val", val or [])):
        for image in images:
            (folder / "images" / split).mkdir(parents=True, exist_ok=True)
            (folder / "labels" / split).mkdir(parents=True, exist_ok=True)
            shutil.copy(image, folder / "images" / split)
            label = COCO / "labels/train2017" / f"{image.stem}.txt"
            if label.exists():
                shutil.copy(label, folder / "labels" / split)
    yaml = folder / "data.yaml"
    yaml.write_text(f"train: images/train\nval: images/{'val' if val else 'train'}\n{names()}")
    return yaml


def results(out):
    rows = list(csv.DictReader((out / "results.csv").open()))
    scored = [(int(row["epoch"]), float(row["metrics/mAP50(B)"]), float(row["metrics/mAP50-95(B)"])) for row in rows if row["metrics/mAP50(B)"]]
    for epoch, ap50, ap in scored:
        print(f"epoch {epoch:4}  mAP@0.5 {ap50:.4f}  mAP@0.5:0.95 {ap:.4f}")
    return scored


def overfit(work, images):
    yaml = data_set(work / "data", images[:16], None)
    run("train", "--distill", "none", "--data", yaml, "--model", "yolov8n", "--out", work / "run", "--imgsz", 320, "--batch", 4,
        "--epochs", 250, "--lr", "2e-3", "--no-augment", "--val-every", 50, "--patience", 0, "--overwrite")
    best = max(ap50 for _, ap50, _ in results(work / "run"))
    print(f"mAP@0.5 {best:.4f} on the images trained on")
    return best > 0.9


def unlabelled(work, images):
    yaml = data_set(work / "data", images[:96], images[96:])
    run("predict", "--model", TEACHER, work / "data/images/val", "--out", work / "teacher")
    for text in (work / "teacher/labels").rglob("*.txt"):
        lines = [line.rsplit(" ", 1)[0] for line in text.read_text().splitlines()]
        (work / "data/labels/val" / text.name).write_text("".join(f"{line}\n" for line in lines))
    cache = work / "cache"
    run("build", "--teacher", TEACHER, "--data", yaml, "--ignore-labels", "--out", cache, "--overwrite")
    run("train", "--cache", cache, "--model", "yolov8n", "--cls-loss", "bckd", "--out", work / "run", "--batch", 4, "--epochs", 60,
        "--lr", "1e-3", "--close-mosaic", 10, "--val-every", 10, "--patience", 0, "--overwrite")
    results(work / "run")
    return rises(work, yaml)


def rises(work, yaml):
    """Whether the student knows of unseen images what the teacher does, better than the weights that it began with."""
    run("train", "--cache", work / "cache", "--model", "yolov8n", "--cls-loss", "bckd", "--out", work / "start", "--epochs", 1, "--lr", "1e-12",
        "--warmup-lr", "1e-12", "--val-split", "none", "--overwrite")
    command = [PROGRAM, "--quiet", "eval", "--model", work / "start/best.onnx", "--model", work / "run/best.onnx", "--data", yaml, "--split", "val",
               "--latency-runs", "0", "--json"]
    start, end = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["models"]
    for name, model in ("start", start), ("end", end):
        person = next(c for c in model["scores"]["classes"] if c["name"] == "person")
        print(f"{name:5}  mAP@0.5 {model['scores']['coco']['ap_50']:.4f}  person ({person['objects']} objects) AP@0.5 {person['ap_50']:.4f}")
    of_person = lambda model: next(c["ap_50"] for c in model["scores"]["classes"] if c["name"] == "person")
    mean = lambda model: model["scores"]["coco"]["ap_50"]
    return of_person(end) > of_person(start) + 0.04 and mean(end) > 10 * mean(start)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("check", choices=("overfit", "unlabelled"))
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target/check-training")
    args = parser.parse_args()
    images = sorted((COCO / "images/train2017").glob("*.jpg"))
    work = args.out / args.check
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    sys.exit(0 if {"overfit": overfit, "unlabelled": unlabelled}[args.check](work, images) else 1)


if __name__ == "__main__":
    main()

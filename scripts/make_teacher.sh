#!/usr/bin/env bash
# Makes assets/teacher.onnx, the teacher that comes with the program, and scores it; a quarter of an hour on one core.
# Needs `make setup` and `cargo build --release` (before the first teacher exists, any YOLOv8 export in its place lets the program build).
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run() { printf '\n$ %s\n' "logitcache $*"; "$target/release/logitcache" "$@"; }

# Every image is drawn anew, so nothing needs to be augmented. No demonstration uses these seeds unless it is told to.
run synth --out "$work/shapes" --images 11250 --imgsz 128 --seed 1000
run train --distill none --data "$work/shapes/data.yaml" --model yolov8p --imgsz 160 --out "$work/run" \
    --epochs 10 --warmup-epochs 0.2 --lr 8e-3 --no-augment --val-every 2 --precision bf16 --threads 1
cp "$work/run/best.onnx" assets/teacher.onnx

run synth --out "$work/unseen" --images 5000 --imgsz 128 --seed 2000
run eval --model assets/teacher.onnx --data "$work/unseen/data.yaml"
sha256sum assets/teacher.onnx

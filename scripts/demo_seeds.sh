#!/usr/bin/env bash
# The demonstration with five seeds (other pictures, other random weights each), and its students on 1,000 further images: the figures of docs/demo.md.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/release/logitcache
dir=${1:?usage: demo_seeds.sh DIR (a new folder)}
mkdir "$dir"

"$bin" --quiet synth --out "$dir/more" --images 5000 --imgsz 128 --seed 2000
for seed in 0 1 2 3 4; do
    "$bin" --quiet demo --dir "$dir/$seed" --seed "$seed" | sed -n '/^6\. /,$p'
    "$bin" --quiet eval --model "$dir/$seed/labels-only/best.onnx" --model "$dir/$seed/distilled/best.onnx" \
        --data "$dir/more/data.yaml" --latency-runs 0
done

#!/usr/bin/env bash
# The main job on an embedded default: draw a data set, cache what a tiny teacher says of it, look at it, verify it, ask it in SQL.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
bin=$target/release/logitcache
dir=${DEMO_DIR:-demo}
rm -rf "$dir"
run() { printf '\n$ %s\n' "logitcache $*"; "$bin" "$@"; }

run synth --out "$dir/shapes" --images 64 --imgsz 320 --seed 7
run build --teacher tests/fixtures/models/yolov8-dynamic.onnx --data "$dir/shapes/data.yaml" --out "$dir/cache"
run inspect "$dir/cache"
run verify "$dir/cache"
printf '\n$ duckdb: the images that the teacher is least sure of, by the entropy of its class distributions\n'
.venv/bin/python scripts/demo_query.py "$dir/cache"
printf '\nThe cache is in %s: open %s/cache/predictions/*.parquet with DuckDB, pandas or polars.\n' "$dir/cache" "$dir"

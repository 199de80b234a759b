#!/usr/bin/env bash
# `logitcache demo`, then two looks at its cache: every byte verified, and a question in SQL.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/demo/logitcache
dir=${DEMO_DIR:-demo}

"$bin" demo --dir "$dir" --overwrite
printf '\n$ logitcache verify %s/cache\n' "$dir"
"$bin" verify "$dir/cache"
printf '\n$ duckdb: the images that the teacher is least sure of, by the entropy of its class distributions\n'
.venv/bin/python scripts/demo_query.py "$dir/cache"
printf '\nThe cache is an ordinary data set: open %s/cache/predictions/*.parquet with DuckDB, pandas or polars.\n' "$dir"
printf 'What the two students learned is in %s/report.html: open it in a browser.\n' "$dir"

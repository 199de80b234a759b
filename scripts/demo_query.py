"""One question to a cache in SQL: which images is the teacher least sure of?

usage: demo_query.py CACHE
"""
import sys

import duckdb

cache = sys.argv[1]
images, predictions = (
    f"read_parquet('{cache}/{table}/*.parquet', hive_partitioning = false)" for table in ("images", "predictions")
)
print(duckdb.sql(f"""
    WITH logits AS (SELECT image_id, anchor, unnest(class_logits)::DOUBLE AS x FROM {predictions})
    SELECT path, count(DISTINCT anchor) AS anchors, len(any_value(labels)) AS labels,
           round(sum(ln(1 + exp(-abs(x))) + abs(x) / (1 + exp(abs(x)))), 1) AS entropy_nats
    FROM logits JOIN {images} USING (image_id)
    GROUP BY path ORDER BY entropy_nats DESC, path LIMIT 5"""))

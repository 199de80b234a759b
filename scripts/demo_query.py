"""One question to a cache in SQL: where does the teacher see what the labels lack?

usage: demo_query.py CACHE
"""
import sys

import duckdb

cache = sys.argv[1]
print(duckdb.sql(f"""
    SELECT i.path, round(p.score, 3) AS score, p.class_id,
           round(p.x1) AS x1, round(p.y1) AS y1, round(p.x2) AS x2, round(p.y2) AS y2
    FROM '{cache}/predictions/*.parquet' p JOIN '{cache}/images/*.parquet' i USING (image_id, view)
    WHERE i.labelled AND NOT EXISTS (
        SELECT 1 FROM (SELECT unnest(i.labels) AS l)
        WHERE greatest(0, least(p.x2, l.x2) - greatest(p.x1, l.x1)) * greatest(0, least(p.y2, l.y2) - greatest(p.y1, l.y1)) > 0)
    ORDER BY p.score DESC, i.path LIMIT 5"""))

"""Builds of a cache on a Spark cluster: shards as the rows of a `mapInPandas`.

Needs the package ``pyspark``. All machines must reach the teacher's file, the data set and the cache at the same paths: a shared
folder, or ``s3://``, ``gs://`` or ``az://``.
"""

# The engine, and pandas with it, may be missing where the package is checked.
# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._commands import StrPath
from ._shards import build_shard, publish, refuse_options

_SCHEMA = "shard long, images long, failures long, error string"


def build(
    spark: Any, teacher: StrPath, data: StrPath, out: StrPath, *, shards: int, jobs: int = 1, **options: Any
) -> dict[str, Any]:
    """Run the teacher over a data set on a Spark cluster and store its outputs in a cache.

    Each shard is a task. The content digest is that of a build on one machine. Tasks whose executor dies are run again by Spark,
    and go on after their last finished part.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
        The session.
    teacher, data, out : str or os.PathLike
        As of `logitcache.build`, seen from every machine.
    shards : int
        Pieces of the data set; a few for each task slot, so that none waits long for the last one.
    jobs : int, optional
        Worker threads of a task; ``spark.task.cpus`` should be as many.
    **options
        Other arguments of `logitcache.build`.

    Returns
    -------
    dict
        The report of ``logitcache cache merge --shards`` (``schemas/shards-merged.schema.json``).

    Raises
    ------
    logitcache.Error
        If shards failed for a reason that does not pass.
    """
    refuse_options(options)
    arguments = {**options, "jobs": jobs}

    def build_rows(batches: Iterator[Any]) -> Iterator[Any]:
        import pandas

        for batch in batches:
            for number in batch["id"]:
                yield pandas.DataFrame([build_shard(int(number), shards, teacher, data, out, arguments)])

    # One row a partition: a partition is a task.
    numbers = spark.range(1, shards + 1, 1, shards)
    rows = numbers.mapInPandas(build_rows, _SCHEMA).collect()
    return publish(out, [row.asDict() for row in rows])

"""Builds of a cache on a Ray cluster: shards as a Ray Data pipeline with a pool of actors.

Needs the package ``ray[data]``. All machines must reach the teacher's file, the data set and the cache at the same paths: a
shared folder, or ``s3://``, ``gs://`` or ``az://``.
"""

# The engine may be missing where the package is checked.
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

from typing import Any

from ._commands import StrPath
from ._shards import build_shard, publish, refuse_options


class _Worker:
    """An actor that builds shards, one after the other."""

    def __init__(self, shards: int, teacher: StrPath, data: StrPath, out: StrPath, options: dict[str, Any]) -> None:
        self._build = (shards, teacher, data, out, options)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return build_shard(int(row["shard"]), *self._build)


def build(
    teacher: StrPath,
    data: StrPath,
    out: StrPath,
    *,
    shards: int,
    concurrency: int | tuple[int, int] | None = None,
    num_cpus: int = 1,
    num_gpus: float = 0,
    **options: Any,
) -> dict[str, Any]:
    """Run the teacher over a data set on a Ray cluster and store its outputs in a cache.

    The content digest is that of a build on one machine. Actors that die with their machine are started again elsewhere, and
    finished parts stay: the same call goes on with what is missing.

    Parameters
    ----------
    teacher, data, out : str or os.PathLike
        As of `logitcache.build`, seen from every machine.
    shards : int
        Pieces of the data set; some for each actor, so that none waits long for the last one.
    concurrency : int or (int, int), optional
        Actors, or the fewest and the most of them; None: one.
    num_cpus : int, optional
        Processors of an actor, and its worker threads if `jobs` is not given.
    num_gpus : float, optional
        GPUs of an actor; give ``provider="cuda"`` as well.
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
    import ray

    refuse_options(options)
    options.setdefault("jobs", num_cpus)
    numbers = ray.data.from_items([{"shard": number} for number in range(1, shards + 1)], override_num_blocks=shards)
    built = numbers.map(
        _Worker,
        fn_constructor_args=(shards, teacher, data, out, options),
        concurrency=concurrency or 1,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
    )
    return publish(out, built.take_all())

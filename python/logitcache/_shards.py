"""A cache that an engine builds on many machines: what a worker does with one shard, and what follows when all are done."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from ._commands import StrPath, _call, build
from ._error import Error

# What may pass is tried again so often, with pauses that double.
TRIES = 5
FIRST_PAUSE_S = 5.0


def refuse_options(options: Mapping[str, Any]) -> None:
    """Refuses arguments of `build` that an engine gives itself, or that would remove what other workers wrote."""
    for name in ("shard", "overwrite", "progress"):
        if name in options:
            raise TypeError(f"{name}= is not an argument of a build in an engine")


def build_shard(
    number: int, shards: int, teacher: StrPath, data: StrPath, out: StrPath, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Builds shard `number` (from 1 on) of `shards`. A failure that another try cannot mend is in the result, for an engine would
    try it again; one that may pass is tried again here, then raised."""
    pause_s = FIRST_PAUSE_S
    for attempt in range(TRIES):
        try:
            report = build(teacher, data, out, shard=f"{number}/{shards}", progress=False, **options)
            return {"shard": number, "images": report["images"], "failures": len(report["failures"]), "error": None}
        except Error as error:
            if not error.may_pass:
                return {"shard": number, "images": 0, "failures": 0, "error": str(error)}
            if attempt + 1 == TRIES:
                raise
        time.sleep(pause_s)
        pause_s *= 2
    raise AssertionError("the last try returns or raises")


def publish(out: StrPath, results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Publishes the cache, if a worker has not; gives the report of ``cache merge --shards``.

    Raises
    ------
    Error
        If shards failed, or are missing.
    """
    failed = sorted((row["shard"], row["error"]) for row in results if row["error"] is not None)
    if failed:
        number, first = failed[0]
        raise Error(
            f"{len(failed)} shards failed, the first is {number}: {first}",
            "Mend that and run the same build again: finished shards are not built again.",
        )
    return _call("cache merge", {"shards": out, "progress": False})

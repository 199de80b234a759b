"""Reading the predictions of one image of a large cache, in random order, warm: microseconds from Python.

usage: random_reads.py LARGE WORK [--reads N] [--only NAME]

LARGE is a cache that `cargo bench --bench random_reads` made. The same values are written into WORK in other forms, where they are
not there yet. Each contestant gives the same arrays of one image, drawn at random: score, class_id, the four sides of the boxes,
class_logits and dfl_logits as float16. Contestants whose package is not installed are left out. The last column is a digest of what
was read of the first images: equal work.
"""

import argparse
import hashlib
import json
import random
import sys
import time
from pathlib import Path

import numpy as np

FLAT = ["score", "class_id", "x1", "y1", "x2", "y2"]
COLUMNS = [*FLAT, "class_logits", "dfl_logits"]
CHECKED = 50


def logitcache_arrays(large, work):
    import logitcache

    cache = logitcache.Cache(large)

    def read(i):
        image = cache[i]
        return [getattr(image, name) for name in COLUMNS]

    return read


def logitcache_codes(large, work):
    """As `logitcache_arrays`, but logits that are stored as codes stay codes, with their table."""
    import logitcache

    cache = logitcache.Cache(large)

    def read(i):
        image = cache[i]
        codes = image.codes("dfl_logits")
        dfl = image.dfl_logits if codes is None else (image.table("dfl_logits"), codes)
        return [getattr(image, name) for name in FLAT] + [image.class_logits, dfl]

    return read


def parts(large):
    manifest = json.loads((Path(large) / "manifest.json").read_text())
    return [Path(large) / "predictions" / f"{part['name']}.parquet" for part in manifest["parts"]]


def from_arrow(table):
    flat = [table[name].to_numpy() for name in FLAT]
    return flat + [table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False) for name in COLUMNS[len(FLAT):]]


def pyarrow_row_group(large, work):
    """pyarrow: the row group that holds the image, then its rows."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    files = [pq.ParquetFile(path, memory_map=True) for path in parts(large)]
    places = {}
    for file in files:
        at = file.schema_arrow.get_field_index("image_id")
        for group in range(file.num_row_groups):
            statistics = file.metadata.row_group(group).column(at).statistics
            places.update(dict.fromkeys(range(statistics.min, statistics.max + 1), (file, group)))

    def read(i):
        file, group = places[i]
        table = file.read_row_group(group, columns=["image_id", *COLUMNS], use_threads=False)
        return from_arrow(table.filter(pc.equal(table["image_id"], i)))

    return read


def duckdb_by_id(large, work):
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    names = ", ".join(COLUMNS)
    query = f"SELECT {names} FROM read_parquet(?, hive_partitioning = false) WHERE image_id = ?"
    files = [str(path) for path in parts(large)]

    def read(i):
        table = connection.execute(query, [files, i]).to_arrow_table()
        flat = [table[name].to_numpy() for name in FLAT]
        lists = [table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False) for name in COLUMNS[len(FLAT):]]
        return flat + [values.astype(np.float16) for values in lists]

    return read


def polars_scan(large, work):
    import polars as pl

    frame = pl.scan_parquet([str(path) for path in parts(large)])

    def read(i):
        table = frame.filter(pl.col("image_id") == i).select(COLUMNS).collect()
        return from_arrow(table.to_arrow())

    return read


def write_each(large, folder, suffix, write):
    import logitcache

    if not folder.exists():
        folder.mkdir(parents=True)
        for i, image in enumerate(logitcache.Cache(large)):
            arrays = {name: np.array(getattr(image, name)) for name in COLUMNS}
            write(folder / f"{i}{suffix}", arrays)


def npz_per_image(large, work):
    folder = work / "npz"
    write_each(large, folder, ".npz", lambda path, arrays: np.savez(path, **arrays))

    def read(i):
        with np.load(folder / f"{i}.npz") as file:
            return [file[name] for name in COLUMNS]

    return read


def safetensors_per_image(large, work):
    from safetensors.numpy import load_file, save_file

    folder = work / "safetensors"
    write_each(large, folder, ".safetensors", lambda path, arrays: save_file(arrays, path))

    def read(i):
        arrays = load_file(folder / f"{i}.safetensors")
        return [arrays[name] for name in COLUMNS]

    return read


def lance_take(large, work):
    """Lance: one row for each image, its columns as lists."""
    import lance
    import pyarrow as pa

    import logitcache

    path = work / "lance"
    if not path.exists():
        def batches():
            images = iter(logitcache.Cache(large))
            while chunk := [image for _, image in zip(range(256), images)]:
                yield pa.RecordBatch.from_pydict(
                    {name: pa.array([np.ravel(getattr(image, name)) for image in chunk]) for name in COLUMNS}
                )

        first = next(batches())
        lance.write_dataset(pa.RecordBatchReader.from_batches(first.schema, batches()), str(path))
    dataset = lance.dataset(str(path))

    def read(i):
        table = dataset.take([i], columns=COLUMNS)
        return [table[name].chunk(0).flatten().to_numpy(zero_copy_only=False) for name in COLUMNS]

    return read


#: Contestants, and what share of the reads the slow ones do.
CONTESTANTS = [
    (logitcache_arrays, 1), (logitcache_codes, 1), (safetensors_per_image, 1), (npz_per_image, 0.2), (lance_take, 0.2),
    (pyarrow_row_group, 0.01), (duckdb_by_id, 0.005), (polars_scan, 0.005),
]


def digest(read, images):
    hasher = hashlib.sha256()
    for i in range(min(CHECKED, images)):
        for array in read(i):
            if isinstance(array, tuple):
                array = array[0][array[1]]
            hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()[:12]


def measure(read, order):
    times = []
    for i in order:
        started = time.perf_counter_ns()
        read(i)
        times.append(time.perf_counter_ns() - started)
    return np.percentile(np.array(times) / 1e3, [50, 99])


def peak_rss():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("large", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--reads", type=int, default=20_000)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    import logitcache

    before = peak_rss()
    started = time.perf_counter()
    cache = logitcache.Cache(arguments.large)
    opened = time.perf_counter() - started
    print(f"opened in {1e3 * opened:.1f} ms, {peak_rss() - before:.1f} MB more")
    images = len(cache)
    order = list(range(images))
    random.Random(0).shuffle(order)
    order = (order * (arguments.reads // images + 1))[: arguments.reads]
    print(f"{images} images, {arguments.reads} reads\n| contestant | p50 us | p99 us | reads | digest |\n|---|---|---|---|---|")
    for contestant, share in CONTESTANTS:
        if arguments.only and arguments.only not in contestant.__name__:
            continue
        try:
            read = contestant(arguments.large, arguments.work)
        except ImportError as error:
            print(f"skipped: {contestant.__name__}: {error}")
            continue
        reads = order[: max(int(share * len(order)), 50)]
        found = digest(read, images)
        # Once over everything, so that what is read lies in the page cache.
        for i in reads:
            read(i)
        p50, p99 = measure(read, reads)
        print(f"| {contestant.__name__} | {p50:.1f} | {p99:.1f} | {len(reads)} | {found} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())

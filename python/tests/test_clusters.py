"""Builds on Ray and on Spark, with the real engines on this machine: `make test-clusters`."""

import json
import os
import re
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import logitcache
from conftest import PACKAGE, ROOT, TEACHER

SHARDS = 12


@pytest.fixture(scope="module")
def data(program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("many") / "shapes"
    program("synth", "--out", folder, "--images", 120, "--seed", 9)
    return folder / "data.yaml"


@pytest.fixture(scope="module")
def local(data, tmp_path_factory):
    """The content digest of a build on one machine."""
    return logitcache.build(TEACHER, data, tmp_path_factory.mktemp("local") / "cache", progress=False)["content_sha256"]


def processes(part):
    """Ids of the processes whose command line holds this."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and part in (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                found.append(int(folder.name))
        except OSError:
            pass
    return found


@contextmanager
def a_worker_is_killed(out, part):
    """Kills a process of the engine as soon as a shard is finished; gives the list of those that were killed."""
    killed, done = [], threading.Event()

    def kill():
        while not done.is_set() and not any((out / "shards").glob("0*-of-*.json")):
            time.sleep(0.01)
        for process in processes(part)[:1]:
            os.kill(process, signal.SIGKILL)
            killed.append(process)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        done.set()
        killer.join()


def is_that_of_one_machine(out, report, local):
    assert report["content_sha256"] == local and report["shards"] == SHARDS and report["complete"]
    manifest = json.loads((out / "manifest.json").read_text())
    parts = {f"{part['name']}.parquet" for part in manifest["parts"]}
    for table in ("images", "predictions"):
        assert parts == {path.name for path in (out / table).glob("*.parquet")}
    assert logitcache.verify(out, progress=False)["problems"] == []


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray", reason="requirements/clusters.txt is not installed")
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join([str(PACKAGE), os.environ.get("PYTHONPATH", "")])}}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env=environment, log_to_driver=False)
    yield ray
    ray.shutdown()


def test_ray(ray, data, local, tmp_path):
    from logitcache.ray import build

    out = tmp_path / "cache"
    is_that_of_one_machine(out, build(TEACHER, data, out, shards=SHARDS, concurrency=2), local)


def test_ray_with_a_killed_actor(ray, data, local, tmp_path):
    from logitcache.ray import build

    out = tmp_path / "cache"
    with a_worker_is_killed(out, "ray::MapWorker") as killed:
        report = build(TEACHER, data, out, shards=SHARDS, concurrency=2)
    assert killed
    is_that_of_one_machine(out, report, local)


@pytest.fixture(scope="module")
def spark():
    sql = pytest.importorskip("pyspark.sql", reason="requirements/clusters.txt is not installed")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PACKAGE), os.environ.get("PYTHONPATH", "")])
    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        sql.SparkSession.builder.master("local-cluster[2,1,1024]")
        .config("spark.executorEnv.PYTHONPATH", os.environ["PYTHONPATH"])
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    yield session
    session.stop()


def test_spark(spark, data, local, tmp_path):
    from logitcache.spark import build

    out = tmp_path / "cache"
    is_that_of_one_machine(out, build(spark, TEACHER, data, out, shards=SHARDS), local)


def test_spark_with_a_killed_executor(spark, data, local, tmp_path):
    from logitcache.spark import build

    out = tmp_path / "cache"
    with a_worker_is_killed(out, "CoarseGrainedExecutorBackend") as killed:
        report = build(spark, TEACHER, data, out, shards=SHARDS)
    assert killed
    is_that_of_one_machine(out, report, local)


@pytest.mark.parametrize("engine", ["ray", "spark"])
def test_the_example_of_the_docs(engine, request, data, local, tmp_path):
    session = request.getfixturevalue(engine)
    page = (ROOT / "docs" / "how-to" / "ray-and-spark.md").read_text()
    (text,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if f"logitcache.{engine}" in block]
    own = {
        "/shared/yolov8s.onnx": str(TEACHER),
        "s3://bucket/boards/data.yaml": str(data),
        "s3://bucket/caches/boards": str(tmp_path / "cache"),
        "shards=64": f"shards={SHARDS}",
        "num_cpus=4": "num_cpus=1",
        "concurrency=(2, 16)": "concurrency=(1, 2)",
    }
    for theirs, ours in own.items():
        text = text.replace(theirs, ours)
    names = {"spark": session}
    exec(text, names)
    is_that_of_one_machine(tmp_path / "cache", names["report"], local)


@pytest.mark.parametrize("engine", ["ray", "spark"])
def test_a_failure_that_stays_is_said_once_and_nothing_is_published(engine, request, data, tmp_path):
    session = request.getfixturevalue(engine)
    build = pytest.importorskip(f"logitcache.{engine}").build
    first = [session] if engine == "spark" else []
    out = tmp_path / "cache"
    with pytest.raises(logitcache.Error) as error:
        build(*first, tmp_path / "no.onnx", data, out, shards=3)
    assert "3 shards failed, the first is 1" in error.value.found and "no.onnx" in error.value.found
    assert not (out / "manifest.json").exists()
    with pytest.raises(TypeError, match="shard="):
        build(*first, TEACHER, data, out, shards=3, shard="1/3")

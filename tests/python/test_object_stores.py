"""Data sets and caches in an object store: a real S3 server, with the faults that stores and networks have."""

import itertools
import json
import os
import random
import subprocess
import threading
import time

import pytest

pytest.importorskip("moto", reason="requirements/object-stores.txt is not installed")

import object_store
from conftest import ROOT, find_binary

BUCKET = object_store.BUCKET
TEACHER = ROOT / "assets" / "teacher.onnx"


@pytest.fixture(scope="module")
def store():
    with object_store.running() as store:
        yield store


@pytest.fixture(scope="module")
def data(logitcache, store, tmp_path_factory):
    """A drawn data set, here and in the bucket."""
    folder = tmp_path_factory.mktemp("shapes") / "shapes"
    logitcache("synth", "--out", folder, "--images", 24, "--seed", 3)
    store.upload(folder, "shapes")
    return folder


@pytest.fixture
def run(store, tmp_path):
    """Runs the program with the store; each test has its own folder of local copies, as another machine has."""

    def run(*arguments, expect=0, copies=tmp_path / "copies", **environment):
        command = [str(find_binary()), *map(str, arguments)]
        env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        env |= {**store.environment, "LOGITCACHE_CACHE_DIR": str(copies), **environment}
        env = {name: value for name, value in env.items() if value is not None}
        done = subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
        assert done.returncode == expect, f"{' '.join(command)}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="module")
def local(logitcache, data, tmp_path_factory):
    """The cache of the data set, built without a store: its folder and digest."""
    out = tmp_path_factory.mktemp("local") / "cache"
    logitcache(*build_of(data / "data.yaml", out))
    return out, digest(json.loads(logitcache("inspect", out, "--json").stdout))


def build_of(data, out, *more):
    return ["build", "--teacher", TEACHER, "--data", data, "--out", out, "--images-per-part", 5, *more]


def digest(summary):
    return summary["content_sha256"]


def url(key):
    return f"s3://{BUCKET}/{key}"


def test_a_build_in_a_store_is_that_of_a_folder_and_any_machine_reads_it(run, store, data, local, tmp_path):
    run(*build_of(url("shapes/data.yaml"), url("caches/plain")))
    names = store.names("caches/plain/")
    assert "caches/plain/manifest.json" in names and not any(".tmp" in name or "probe" in name for name in names)
    other = tmp_path / "other machine"
    summary = json.loads(run("inspect", url("caches/plain"), "--json", copies=other).stdout)
    assert digest(summary) == local[1]
    assert json.loads(run("verify", url("caches/plain"), "--json", copies=other).stdout)["problems"] == []
    # The data set is found from the cache's manifest, in the store as well.
    audit = json.loads(run("audit", url("caches/plain"), "--teacher", TEACHER, "--sample", 4, "--json", copies=other).stdout)
    assert audit["images"] == 4
    # Images were streamed: of the copy of the data set only descriptions are files.
    copies = [path for path in (other / "s3" / BUCKET / "shapes").rglob("*") if path.is_file() and not path.is_symlink()]
    assert copies and all(path.suffix in (".yaml", ".json", ".txt") for path in copies)
    assert not any(path.parent.name in ("labels", "train") and path.suffix == ".txt" for path in copies)


def test_faults_of_network_and_store_change_nothing(run, store, data, local):
    puts = itertools.cycle(["lost", None, "busy", "cut", None, "lost", "lost", None])
    gets = itertools.cycle([None, None, "half", None, "busy", None, None])

    def rule(method, path, _):
        return next(puts) if method == "PUT" else next(gets) if method == "GET" else None

    with store.rule(rule):
        run(*build_of(url("shapes/data.yaml"), url("caches/faults")))
    manifest = json.loads(store.read("caches/faults/manifest.json"))
    named = {f"caches/faults/{table}/{part['name']}.parquet" for part in manifest["parts"] for table in ("images", "predictions")}
    assert named | {"caches/faults/manifest.json"} == set(store.names("caches/faults/"))
    assert digest(json.loads(run("inspect", url("caches/faults"), "--json").stdout)) == local[1]


def test_a_build_that_was_killed_goes_on_from_the_store(run, store, data, local, tmp_path):
    manifests = []

    def rule(method, path, _):
        if method == "PUT" and path.endswith("manifest.json"):
            manifests.append(path)
            return "skewed" if len(manifests) > 2 else None

    with store.rule(rule):
        failed = run(*build_of(url("shapes/data.yaml"), url("caches/killed")), expect=2)
    assert "clock of this machine" in failed.stderr and url("caches/killed/manifest.json") in failed.stderr
    # Another machine goes on with what two manifests named.
    done = run(*build_of(url("shapes/data.yaml"), url("caches/killed"), "--json"), copies=tmp_path / "other")
    report = json.loads(done.stdout)
    assert report["complete"] and report["images"] == 19 and "to do     9 of 19 images" in done.stderr
    assert digest(json.loads(run("inspect", url("caches/killed"), "--json").stdout)) == local[1]


def test_two_jobs_cannot_write_one_cache(run, store, data, local):
    other = (local[0] / "manifest.json").read_bytes()
    written = []

    def rule(method, path, _):
        # Another job publishes between two writes of this one.
        if method == "PUT" and path.endswith("two/manifest.json"):
            written.append(path)
            if len(written) == 2:
                store.write("caches/two/manifest.json", other)

    with store.rule(rule):
        failed = run(*build_of(url("shapes/data.yaml"), url("caches/two")), expect=2)
    assert "another job wrote this cache" in failed.stderr
    assert store.read("caches/two/manifest.json") == other


def test_what_is_replaced_goes_once_the_new_cache_is_whole(run, store, data):
    run(*build_of(url("shapes/data.yaml"), url("caches/again"), "--ignore-labels"))
    before = set(store.names("caches/again/"))
    run(*build_of(url("shapes/data.yaml"), url("caches/again"), "--overwrite"))
    after = set(store.names("caches/again/"))
    assert before & after == {"caches/again/manifest.json"} and len(after) == len(before)
    run("verify", url("caches/again"))


def test_caches_are_converted_within_a_store(run, store, data, local):
    run(*build_of(url("shapes/data.yaml"), url("caches/whole")))
    run("convert", url("caches/whole"), "--profile", "archive", "--out", url("caches/archive"))
    run("convert", url("caches/archive"), "--profile", "mapped", "--out", url("caches/back"))
    assert digest(json.loads(run("inspect", url("caches/back"), "--json").stdout)) == local[1]


def test_training_from_a_store_is_training_from_a_folder(run, store, data, local, tmp_path):
    options = ["--model", "yolov8f", "--epochs", 1, "--batch", 8]
    run(*build_of(url("shapes/data.yaml"), url("caches/train")))
    run("train", "--cache", url("caches/train"), "--out", tmp_path / "a", *options)
    run("train", "--cache", local[0], "--out", tmp_path / "b", *options)
    losses = [[row.split(",")[:6] for row in (tmp_path / name / "results.csv").read_text().splitlines()] for name in "ab"]
    assert len(losses[0]) == 2 and [row[0] for row in losses[0]] == [row[0] for row in losses[1]]


def test_images_that_changed_or_went_are_seen(run, store, logitcache, tmp_path):
    folder = tmp_path / "own"
    logitcache("synth", "--out", folder, "--images", 6, "--seed", 5)
    store.upload(folder, "own")
    images = [name for name in store.names("own/") if name.endswith((".jpg", ".png"))]
    first = json.loads(run(*build_of(url("own/data.yaml"), url("caches/own"), "--json")).stdout)
    store.write(images[0], b"no picture")
    store.s3.delete_object(Bucket=BUCKET, Key=images[1])
    second = run(*build_of(url("own/data.yaml"), url("caches/own2"), "--json"), expect=1)
    report = json.loads(second.stdout)
    assert report["samples"] == first["samples"] - 1 and len(report["failures"]) == 1


def test_damage_in_the_store_is_named(run, store, data, tmp_path):
    run(*build_of(url("shapes/data.yaml"), url("caches/damaged")))
    part = next(name for name in store.names("caches/damaged/") if "predictions" in name)
    store.write(part, store.read(part)[:-1] + b"x")
    failed = run("inspect", url("caches/damaged"), expect=2, copies=tmp_path / "other")
    assert url(part) in failed.stderr and "SHA-256" in failed.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["inspect", "s3://nobody/cache"], "no bucket"),
        (["inspect", url("nothing")], "not a cache"),
        (["build", "--teacher", TEACHER, "--data", url("nothing"), "--out", url("x")], "nothing of this name"),
        (["build", "--teacher", TEACHER, "--data", "s3://", "--out", "x"], "s3://bucket/folder"),
        (["data", "stats", url("shapes/data.yaml")], "cannot use it there"),
        (["export", "--run", url("run"), "--out", "x.onnx"], "error"),
    ],
)
def test_what_is_not_there_or_not_possible_is_said(run, data, arguments, words):
    failed = run(*arguments, expect=2)
    assert words in failed.stderr, failed.stderr


def test_missing_credentials_are_said(run, data):
    # No such service here; a machine in a cloud has one that hands out credentials.
    none = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9"}
    failed = run("inspect", url("caches/plain"), expect=2, **none)
    assert "no credentials" in failed.stderr and "AWS_ACCESS_KEY_ID" in failed.stderr


def test_a_store_that_does_not_answer_is_said_soon(run, data):
    failed = run("inspect", url("caches/plain"), expect=2, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert "does not answer" in failed.stderr and "AWS_ENDPOINT_URL" in failed.stderr
    # The name of the bucket, and no local copy's path.
    assert url("caches/plain") in failed.stderr


def test_a_store_without_conditional_writes_is_refused(run, store, data):
    with store.rule(dropped=("if-none-match", "if-match")):
        failed = run(*build_of(url("shapes/data.yaml"), url("caches/unconditional")), expect=2)
    assert "no conditional writes" in failed.stderr
    assert store.names("caches/unconditional/") == []


def shard(run, out, number, count, copies, **options):
    command = build_of(url("shapes/data.yaml"), out, "--shard", f"{number}/{count}", "--json")
    return json.loads(run(*command, copies=copies, **options).stdout)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_shards_in_a_store_are_the_cache_of_one_machine(run, store, data, local, tmp_path, count):
    out = url(f"caches/shards-{count}")
    order = list(range(1, count + 1))
    random.Random(count).shuffle(order)
    answers = itertools.cycle(["lost", None, None, "busy", None, "cut", None])
    with store.rule(lambda method, path, _: next(answers) if method == "PUT" else None):
        for number in order:
            # Each on a machine of its own, every second one twice.
            for turn in range(2 - number % 2):
                report = shard(run, out, number, count, tmp_path / f"{number}-{turn}")["shard"]
                assert report["recorded"]
    assert report["published"] and report["missing_shards"] == 0
    assert digest(json.loads(run("inspect", out, "--json").stdout)) == local[1]
    named = json.loads(store.read(f"caches/shards-{count}/manifest.json"))["parts"]
    parts = [name for name in store.names(f"caches/shards-{count}/") if name.endswith(".parquet")]
    assert len(parts) == 2 * len(named), "each part once, and nothing that is not named"
    merged = json.loads(run("cache", "merge", "--shards", out, "--json", copies=tmp_path / "merge").stdout)
    assert merged["content_sha256"] == local[1]


def test_workers_that_are_killed_at_any_request_leave_a_cache_that_others_finish(run, store, data, local, tmp_path):
    """The worker is killed when its n-th write reaches the store, before or after it counts."""
    out, place = url("caches/killed-shards"), "caches/killed-shards"
    kills = 0
    for turn, number in enumerate([1, 2, 3] * 5):
        env = {**os.environ, **store.environment, "LOGITCACHE_CACHE_DIR": str(tmp_path / f"machine {turn}")}
        command = [str(find_binary()), *map(str, build_of(url("shapes/data.yaml"), out, "--shard", f"{number}/3"))]
        process, reached = None, threading.Event()

        def rule(method, path, count, last=turn + 1):
            if method == "PUT" and place in path and count >= last:
                reached.set()
                time.sleep(0.3)
                return "lost" if last % 2 else "busy"

        with store.rule(rule):
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and not reached.wait(0.02):
                pass
            if process.poll() is None:
                process.kill()
                kills += 1
            process.wait()
    assert kills >= 8
    for number in (1, 2, 3):
        shard(run, out, number, 3, tmp_path / f"last {number}")
    assert digest(json.loads(run("inspect", out, "--json", copies=tmp_path / "reader").stdout)) == local[1]
    run("verify", out, copies=tmp_path / "reader")


def test_a_shard_with_a_lost_part_is_made_anew(run, store, data, local, tmp_path):
    out = url("caches/lost")
    shard(run, out, 1, 2, tmp_path / "a")
    part = next(name for name in store.names("caches/lost/images/"))
    store.s3.delete_object(Bucket=BUCKET, Key=part)
    shard(run, out, 2, 2, tmp_path / "b")
    assert "caches/lost/manifest.json" not in store.names("caches/lost/")
    report = shard(run, out, 1, 2, tmp_path / "c")
    assert report["shard"]["published"]
    assert digest(json.loads(run("inspect", out, "--json").stdout)) == local[1]


def test_a_shard_of_other_settings_and_an_unfinished_cache_are_refused(run, store, data, tmp_path):
    out = url("caches/settings")
    shard(run, out, 1, 2, tmp_path / "a")
    other = run(*build_of(url("shapes/data.yaml"), out, "--shard", "2/2", "--views", 1), expect=2)
    assert "other settings" in other.stderr
    whole = run(*build_of(url("shapes/data.yaml"), out), expect=2)
    assert "built in shards" in whole.stderr
    run("cache", "merge", "--shards", out, expect=75)


def test_a_cache_that_is_replaced_leaves_no_shards(run, store, data, local, tmp_path):
    out, place = url("caches/replaced"), "caches/replaced/"
    for number in (1, 2):
        shard(run, out, number, 2, tmp_path / "a")
    assert any("/shards/" in name for name in store.names(place))
    # A part that a killed job has put there.
    part = next(name for name in store.names(place) if "/images/" in name)
    store.write(f"{place}images/part-000000099-0123abcd.parquet", store.read(part))
    run(*build_of(url("shapes/data.yaml"), out, "--ignore-labels", "--overwrite"), copies=tmp_path / "b")
    named = json.loads(store.read(f"{place}manifest.json"))["parts"]
    files = {f"{place}{table}/{entry['name']}.parquet" for entry in named for table in ("images", "predictions")}
    assert set(store.names(place)) == files | {f"{place}manifest.json"}
    later = run(*build_of(url("shapes/data.yaml"), out, "--shard", "1/2"), expect=2, copies=tmp_path / "c")
    assert "not built in shards" in later.stderr


def test_shards_that_nobody_finished_can_be_replaced(run, store, data, local, tmp_path):
    out, place = url("caches/begun"), "caches/begun/"
    shard(run, out, 1, 2, tmp_path / "a")
    run(*build_of(url("shapes/data.yaml"), out, "--overwrite"), copies=tmp_path / "b")
    assert not any("/shards/" in name for name in store.names(place))
    assert digest(json.loads(run("inspect", out, "--json", copies=tmp_path / "c").stdout)) == local[1]
    run("verify", out, copies=tmp_path / "c")


def test_a_label_file_that_went_is_no_image_without_objects(run, store, logitcache, tmp_path):
    folder = tmp_path / "went"
    logitcache("synth", "--out", folder, "--images", 6, "--seed", 5)
    store.upload(folder, "went")
    gone = []

    def rule(method, path, _):
        if method == "GET" and "/labels/" in path and path.endswith(".txt") and not gone:
            gone.append(path.split(f"/{BUCKET}/")[1])
            store.s3.delete_object(Bucket=BUCKET, Key=gone[0])

    with store.rule(rule):
        done = run(*build_of(url("went/data.yaml"), url("caches/went"), "--json"), expect=1)
    [failure] = json.loads(done.stdout)["failures"]
    assert gone and f"s3://{BUCKET}/{gone[0]} is gone" in failure["reason"], failure


@pytest.mark.parametrize("place", ["../other/images/train", "/nowhere/images", "path"])
def test_what_a_description_names_elsewhere_is_refused(run, store, logitcache, tmp_path, place):
    folder = tmp_path / "other"
    logitcache("synth", "--out", folder, "--images", 4, "--seed", 5)
    store.upload(folder, "other")
    # An older copy of the other folder is here.
    run("build", "--teacher", TEACHER, "--data", url("other/data.yaml"), "--out", tmp_path / "first")
    where = f"path: {folder}\ntrain: images/train" if place == "path" else f"train: {place}"
    store.write("outside/data.yaml", f"{where}\nnames: [disk, square]\n".encode())
    failed = run(*build_of(url("outside/data.yaml"), tmp_path / "out"), expect=2)
    assert url("outside/data.yaml") in failed.stderr and "copies" not in failed.stderr, failed.stderr
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("place", ["S3://bucket/x", "s3:/bucket/x", "s3a://bucket/x", "gcs://bucket/x", "https://host/x", "file:///x"])
@pytest.mark.parametrize("command", ["inspect", "out", "predict"])
def test_other_urls_are_not_taken_for_folders(run, tmp_path, place, command):
    build = ["build", "--teacher", TEACHER, "--data", ROOT / "tests", "--out", place]
    failed = run(*{"inspect": ["inspect", place], "out": build, "predict": ["predict", "--model", TEACHER, place]}[command], expect=2)
    assert f"{place} is neither a local path nor a URL" in failed.stderr and "s3://bucket/folder" in failed.stderr
    assert not (ROOT / place.split(":")[0]).exists() and not (ROOT / f"{place.split(':')[0]}:").exists()


def test_marks_of_folders_and_hidden_objects_are_no_images(run, store, data, local, tmp_path):
    store.upload(data, "marked")
    image = next(name for name in store.names("marked/") if name.endswith((".jpg", ".png")))
    folder, name = image.rsplit("/", 1)
    for key in ("marked/", "marked/images/", f"{folder}/", "marked/images", folder):
        store.write(key, b"")
    store.write(f"{folder}/._{name}", b"not a picture")
    store.write(f"{folder}/.{name}", store.read(image))
    for turn in range(2):
        out = url(f"caches/marked-{turn}")
        run(*build_of(url("marked/data.yaml"), out))
        assert digest(json.loads(run("inspect", out, "--json").stdout)) == local[1]


def test_an_object_with_the_name_of_a_folder_does_not_stop_a_build(run, store, data, local, tmp_path):
    # First the object alone, then a folder of the same name.
    store.write("twice/images", b"some bytes")
    failed = run(*build_of(url("twice"), tmp_path / "none"), expect=2)
    assert "no images" in failed.stderr
    store.upload(data, "twice")
    run(*build_of(url("twice/data.yaml"), tmp_path / "cache"))
    assert digest(json.loads(run("inspect", tmp_path / "cache", "--json").stdout)) == local[1]


def test_a_list_of_images_below_a_folder_called_labels_is_a_list(run, store, data, local, tmp_path):
    store.upload(data, "labels/set")
    text = store.read("labels/set/data.yaml").decode()
    images = sorted(name for name in store.names("labels/set/images/train/"))
    store.write("labels/set/train.txt", "".join(f"./{name.removeprefix('labels/set/')}\n" for name in images).encode())
    lines = ["train: train.txt" if line.startswith("train:") else line for line in text.splitlines()]
    store.write("labels/set/list.yaml", "\n".join(lines).encode())
    run(*build_of(url("labels/set/list.yaml"), tmp_path / "cache"))
    assert digest(json.loads(run("inspect", tmp_path / "cache", "--json").stdout)) == local[1]


def test_data_and_cache_need_not_lie_in_one_place(run, store, data, local, tmp_path):
    audit = ["--teacher", TEACHER, "--sample", 3, "--json"]
    run(*build_of(url("shapes/data.yaml"), tmp_path / "cache", "--json"))
    manifest = json.loads((tmp_path / "cache/manifest.json").read_text())
    assert manifest["dataset"]["root"].startswith(url("shapes")) and manifest["dataset"]["source"] == url("shapes/data.yaml")
    report = run("audit", tmp_path / "cache", *audit, copies=tmp_path / "other machine")
    assert json.loads(report.stdout)["images"] == 3
    run(*build_of(data / "data.yaml", url("caches/mixed")))
    manifest = json.loads(store.read("caches/mixed/manifest.json"))
    assert manifest["dataset"]["source"] == str(data / "data.yaml")
    report = run("audit", url("caches/mixed"), *audit, copies=tmp_path / "third")
    assert json.loads(report.stdout)["images"] == 3


def test_data_sets_are_written_from_images_in_a_store(run, store, data, local, tmp_path):
    run(*build_of(url("shapes/data.yaml"), tmp_path / "cache", "--ignore-labels"))
    run("select", tmp_path / "cache", "--budget", 4, "--out", tmp_path / "selected")
    run("label", tmp_path / "cache", "--to", "yolo", "--out", tmp_path / "labelled", "--conf", 0.5)
    for name, count in (("selected", 4), ("labelled", None)):
        images = [path for path in (tmp_path / name).rglob("*") if path.suffix in (".jpg", ".png")]
        assert images and not any(path.is_symlink() for path in images)
        assert count is None or len(images) == count
        for path in images:
            [original] = data.rglob(path.name)
            assert path.read_bytes() == original.read_bytes()


def test_results_name_urls_and_not_their_copies(run, store, data, tmp_path):
    for more in ([], ["--json"]):
        done = run(*build_of(url("shapes/data.yaml"), url("caches/named"), "--overwrite", *more))
        assert url("caches/named") in done.stdout and str(tmp_path) not in done.stdout + done.stderr
    report = run("inspect", url("caches/named"))
    assert str(tmp_path) not in report.stdout


def test_a_copy_that_cannot_be_written_is_told_by_its_path(run, store, data):
    run(*build_of(url("shapes/data.yaml"), url("caches/plain")))
    failed = run("inspect", url("caches/plain"), expect=2, copies="/sys/copies")
    assert "/sys/copies" in failed.stderr and "LOGITCACHE_CACHE_DIR" in failed.stderr, failed.stderr


def test_images_that_may_not_be_read_are_told_in_words(run, store, data, tmp_path):
    rule = lambda method, path, _: "denied" if method == "GET" and path.endswith((".jpg", ".png")) else None
    with store.rule(rule):
        done = run(*build_of(url("shapes/data.yaml"), tmp_path / "cache", "--json"), expect=2)
    messages = {failure["reason"] for failure in json.loads(done.stdout)["failures"]}
    assert len(messages) == 19 and all("AccessDenied: No" in message and "<" not in message for message in messages)
    assert all(message.startswith(url("shapes/")) for message in messages), messages


def test_a_name_that_cannot_be_a_path_is_told(run, store, data, tmp_path):
    store.upload(data, "odd")
    store.write("odd/images//a.jpg", b"x")
    failed = run(*build_of(url("odd/data.yaml"), tmp_path / "cache"), expect=2)
    assert "cannot be a path" in failed.stderr and "a//b" in failed.stderr, failed.stderr


def test_small_mistakes_are_told_with_what_to_do(run, data):
    failed = run("inspect", url("caches/plain/manifest.json"), expect=2)
    assert f"Give the folder of the cache: {url('caches/plain')}" in failed.stderr
    failed = run("inspect", url("caches/plain"), expect=2, AWS_ALLOW_HTTP=None)
    assert "AWS_ALLOW_HTTP=true" in failed.stderr, failed.stderr
    failed = run("inspect", "az://container/cache", expect=2, AZURE_STORAGE_ACCOUNT_KEY="a2V5")
    assert "AZURE_STORAGE_ACCOUNT_NAME" in failed.stderr, failed.stderr


def test_files_of_others_beside_the_records_of_shards_stay(run, store, data, tmp_path):
    out, place = url("caches/noted"), "caches/noted/"
    shard(run, out, 1, 2, tmp_path / "a")
    store.write(f"{place}shards/notes.txt", b"mine")
    run(*build_of(url("shapes/data.yaml"), out, "--overwrite"), copies=tmp_path / "b")
    assert [name for name in store.names(place) if "/shards/" in name] == [f"{place}shards/notes.txt"]

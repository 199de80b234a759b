"""The commands as functions, and the program of the package."""

import inspect
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
import typing

import pytest

import logitcache
from conftest import FIXTURES, ROOT, TEACHER
from logitcache import _commands, _native

COMMANDS = ["audit", "build", "eval", "issues", "label", "predict", "quantize", "select", "verify"]
#: Of the program alone, and of the functions alone.
ONLY = {"json"}, {"progress"}


@pytest.mark.parametrize("command", COMMANDS)
def test_functions_take_what_the_program_takes(command):
    function = getattr(logitcache, command)
    parameters = inspect.signature(function).parameters
    settings = {name: choices for name, _, choices in _native.settings(command)}
    assert set(parameters) - ONLY[1] == set(settings) - ONLY[0]
    hints = typing.get_type_hints(function)
    for name, choices in settings.items():
        hint = hints.get(name)
        # Of an argument that must be given, the choices are the hint itself.
        parts = [hint] if typing.get_origin(hint) is typing.Literal else typing.get_args(hint)
        kinds = [kind for kind in parts if typing.get_origin(kind) is typing.Literal]
        # Flags have the choices true and false.
        if choices and not set(choices) == {"true", "false"}:
            assert [set(typing.get_args(kind)) for kind in kinds] == [set(choices)], name
        assert name in ONLY[0] or name in function.__doc__
    # A default is the program's: a function that had its own would hide a change.
    assert all(parameter.default in (None, False, True, inspect.Parameter.empty) for parameter in parameters.values())


def test_build_and_what_follows(shapes, tmp_path, program, caplog):
    data, cache = shapes / "data.yaml", tmp_path / "cache"
    told = []
    with caplog.at_level(logging.INFO, "logitcache"):
        report = logitcache.build(TEACHER, data, cache, jobs=2, progress=lambda *state: told.append(state))
    assert report["complete"] and report["images"] == len(logitcache.Cache(cache)) == 16
    assert told[0] == (0, 16, "images") and told[-1] == (16, 16, "images")
    assert any("image" in record.message for record in caplog.records)
    # The program makes the same cache.
    program("build", "--teacher", TEACHER, "--data", data, "--out", tmp_path / "other")
    assert logitcache.Cache(tmp_path / "other").content_sha256 == report["content_sha256"]
    assert logitcache.build(TEACHER, data, cache, progress=False)["images_this_run"] == 0
    assert logitcache.verify(cache)["problems"] == []

    # So do workers that share it out.
    shards = [logitcache.build(TEACHER, data, tmp_path / "shards", shard=f"{n}/2", progress=False) for n in (2, 1)]
    assert [shard["shard"]["published"] for shard in shards] == [False, True]
    assert shards[1]["content_sha256"] == report["content_sha256"]

    found = logitcache.issues(cache, kind=["class", "missing"], top=3, progress=False)
    assert found["images"] == 16 and len(found["issues"]) == 3 and found["kinds"] == ["missing", "class"]

    half = tmp_path / "half.txt"
    half.write_text("\n".join(path.name for path in sorted((shapes / "images/train").iterdir())[:8]))
    chosen = logitcache.select(cache, 3, labelled=half, method="random", seed=1, progress=False)
    assert len(chosen["selected"]) == 3 and chosen["candidates"] == 8
    labelled = logitcache.label(cache, "coco", tmp_path / "labelled", labelled=half, conf=0.3, progress=False)
    assert (labelled["labelled_images"], labelled["pseudo_labelled_images"]) == (8, 8)

    out = tmp_path / "int8.onnx"
    smaller = logitcache.quantize(
        TEACHER, cache, out, sample=4, calibration="min-max", keep_float=0, latency_runs=0, progress=False
    )
    assert smaller["out_bytes"] == out.stat().st_size < smaller["model_bytes"]

    audit = logitcache.audit(cache, TEACHER, sample=4, min_cosine=0.5, progress=False)
    assert audit["passed"] and audit["images"] == 4
    scores = logitcache.eval([TEACHER, TEACHER], data, latency_runs=0, progress=False)
    said = program("eval", "--model", TEACHER, "--data", data, "--latency-runs", 0, "--json").stdout
    assert [model["scores"] for model in scores["models"]] == 2 * [json.loads(said)["models"][0]["scores"]]
    seen = logitcache.predict(shapes / "images" / "val", TEACHER, conf=0.5, progress=False)
    assert len(seen["images"]) == 4 and seen["failures"] == []


def test_an_input_need_not_be_square(shapes, tmp_path):
    teacher, data = FIXTURES / "models/yolov8-dynamic.onnx", shapes / "data.yaml"

    def size(imgsz, name):
        logitcache.build(teacher, data, tmp_path / name, imgsz=imgsz, min_score=0, progress=False)
        told = logitcache.Cache(tmp_path / name).info["teacher"]
        return told["input_height"], told["input_width"]

    assert size((64, 96), "pair") == size("64x96", "text") == (64, 96)
    assert size(64, "square") == (64, 64)
    caches = [logitcache.Cache(tmp_path / name) for name in ("pair", "text")]
    assert caches[0].content_sha256 == caches[1].content_sha256
    assert "64 x 96 (height x width) pixels" in caches[0]._repr_html_()
    for wrong in [(64, 100), (64, 96, 3), "64,96", 48]:
        with pytest.raises(logitcache.Error, match="multiple of 32"):
            logitcache.build(teacher, data, tmp_path / "no", imgsz=wrong)


def test_errors_have_what_was_found_and_what_to_do(shapes, tmp_path):
    data = shapes / "data.yaml"

    def refused(call):
        with pytest.raises(logitcache.Error) as caught:
            call()
        assert "--" not in str(caught.value), caught.value
        return caught.value

    absent = refused(lambda: logitcache.build(tmp_path / "no.onnx", data, tmp_path / "c"))
    assert absent.path.endswith("no.onnx")
    wrong = refused(lambda: logitcache.build(TEACHER, data, tmp_path / "c", coverage=2))
    assert "coverage=" in wrong.found and "expected" in wrong.found
    dense = refused(lambda: logitcache.build(TEACHER, data, tmp_path / "c", profile="dense", top_k=3))
    assert "top_k=" in dense.found
    other = refused(lambda: logitcache.build(TEACHER, data, tmp_path / "c", map={"circle": "nothing"}))
    assert other.remedy
    logitcache.build(TEACHER, data, tmp_path / "c", progress=False)
    changed = refused(lambda: logitcache.build(TEACHER, data, tmp_path / "c", top_k=5, progress=False))
    assert "top_k" in changed.found and "overwrite" in changed.remedy
    empty = tmp_path / "pictures"
    empty.mkdir()
    (empty / "a.jpg").write_bytes(b"no picture")
    none_left = refused(lambda: logitcache.predict(empty, TEACHER, progress=False))
    assert [failure["path"] for failure in none_left.report["failures"]] == ["a.jpg"]
    with pytest.raises(TypeError):
        logitcache.build(TEACHER, data, tmp_path / "c", no_such_option=1)


def test_an_exception_of_the_callback_ends_a_build_that_then_goes_on(shapes, tmp_path):
    class Enough(Exception):
        pass

    def stop(done, total, unit):
        if done:
            raise Enough

    data, cache = shapes / "data.yaml", tmp_path / "cache"
    with pytest.raises(Enough):
        logitcache.build(TEACHER, data, cache, jobs=1, views=30, progress=stop)
    report = logitcache.build(TEACHER, data, cache, jobs=1, views=30, progress=False)
    assert report["complete"]


def test_ctrl_c_is_a_keyboard_interrupt(shapes, tmp_path):
    script = f"""
        import os, signal, threading, logitcache
        def told(done, total, unit):
            if done:
                os.kill(os.getpid(), signal.SIGINT)
        try:
            logitcache.build({str(TEACHER)!r}, {str(shapes / 'data.yaml')!r}, {str(tmp_path / 'cache')!r}, views=30, jobs=1, progress=told)
        except KeyboardInterrupt:
            print("interrupted", logitcache.verify({str(tmp_path / 'cache')!r})["complete"])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.startswith("interrupted"), done.stderr


def test_warnings_are_warnings(shapes, tmp_path):
    # Pictures of noise: the teacher finds nothing.
    import cv2
    import numpy as np

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(12):
        cv2.imwrite(str(pictures / f"{number}.png"), np.full((64, 64, 3), 20 * number, np.uint8))
    report = logitcache.build(TEACHER, pictures, tmp_path / "cache", progress=False)
    assert "almost nothing" in report["teacher"]["warning"]


def test_the_bar_is_that_of_tqdm_where_it_is_installed(shapes, tmp_path, capsys):
    pytest.importorskip("tqdm")
    logitcache.build(TEACHER, shapes / "data.yaml", tmp_path / "cache")
    assert "/16" in capsys.readouterr().err


def test_the_program_ends_as_the_program_does(built, tmp_path, program):
    assert program("--version").stdout.startswith(f"logitcache {logitcache.__version__}\nONNX Runtime")
    assert "Usage: logitcache verify" in program("verify", "--help").stdout
    assert "--cache" not in program("verify", expect=2).stderr
    assert program("verify", built).stdout.startswith("valid:")
    assert "error: " in program("verify", tmp_path / "no", expect=2).stderr
    message = program("train", "--cache", built, "--model", "yolov8f", "--out", tmp_path / "run", expect=2).stderr
    assert "trainer" in message and "torch" in message or "wheel" in message
    # A reader that goes away is no error.
    command = f"{sys.executable} -P -m logitcache completions bash | head -c 10"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_program_with_its_own_status(shapes, tmp_path, sent):
    command = [sys.executable, "-P", "-m", "logitcache", "build", "--teacher", TEACHER, "--data", shapes / "data.yaml"]
    command += ["--views", "200", "--jobs", "1", "--images-per-part", "1", "--out", tmp_path / "cache"]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("cache/images/part-*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(sent)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130 and "interrupted" in said


def test_importing_loads_neither_numpy_nor_the_runtime():
    script = "import sys, logitcache; print(sorted({'numpy', 'onnxruntime', 'torch', 'pyarrow', 'tqdm'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


def test_one_command_at_a_time(shapes, tmp_path):
    def meanwhile(done, total, unit):
        with pytest.raises(logitcache.Error, match="another command"):
            logitcache.verify(tmp_path)

    logitcache.build(TEACHER, shapes / "data.yaml", tmp_path / "cache", progress=meanwhile)


def test_beside_onnxruntime_in_one_process(shapes, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(TEACHER), providers=["CPUExecutionProvider"])
    report = logitcache.build(TEACHER, shapes / "data.yaml", tmp_path / "cache", progress=False)
    assert report["complete"] and session.get_inputs()[0].name == "images"


def test_the_example_of_the_readme_runs(built, tmp_path, monkeypatch):
    text = (ROOT / "python" / "PACKAGE.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(built.parent)
    assert built.name == "cache"
    exec(compile(code, "README.md", "exec"), {})
    assert os.environ.get("LOGITCACHE_SHARED") != ""

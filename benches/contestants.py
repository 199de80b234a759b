"""What the throughput benchmarks hold the program against, each run in a fresh process: bare ONNX Runtime, a Python loop, Ultralytics.

usage: contestants.py NAME IMAGES    seconds of the work alone; imports and model loading are not counted
"""
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("LOGITCACHE_SHARED", ROOT.parent / "shared"))
MODEL = SHARED / "models/yolov12n.onnx"
IMAGES = SHARED / "data/coco128/images/train2017"
THREADS = len(os.sched_getaffinity(0))


def sessions(count, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return [onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"]) for _ in range(count)]


def bare_session(count, threads, images):
    """Seconds for `images` runs shared out over `count` sessions."""
    import threading

    import numpy

    pixels = numpy.random.default_rng(0).random((1, 3, 640, 640), dtype=numpy.float32)
    pool = sessions(count, threads)
    for session in pool:
        session.run(None, {"images": pixels})

    def work(session):
        for _ in range(images // count):
            session.run(None, {"images": pixels})

    started = time.perf_counter()
    workers = [threading.Thread(target=work, args=(session,)) for session in pool]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - started


def python_loop(_):
    import cv2
    import numpy

    (session,) = sessions(1, THREADS)
    session.run(None, {"images": numpy.zeros((1, 3, 640, 640), numpy.float32)})
    started = time.perf_counter()
    for path in sorted(IMAGES.iterdir()):
        image = cv2.imread(str(path))
        height, width = image.shape[:2]
        scale = min(640 / height, 640 / width)
        new_w, new_h = round(width * scale), round(height * scale)
        if (new_w, new_h) != (width, height):
            image = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
        left, top = round((640 - new_w) / 2 - 0.1), round((640 - new_h) / 2 - 0.1)
        image = cv2.copyMakeBorder(
            image, top, 640 - new_h - top, left, 640 - new_w - left, cv2.BORDER_CONSTANT, value=(114, 114, 114))
        pixels = numpy.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))[None].astype(numpy.float32) / 255
        session.run(None, {"images": pixels})
    return time.perf_counter() - started


def ultralytics_predict(_):
    os.environ["YOLO_OFFLINE"] = "1"
    from ultralytics import YOLO

    model = YOLO(str(MODEL), task="detect")
    next(iter(model.predict(str(next(IMAGES.iterdir())), stream=True, verbose=False, imgsz=640, device="cpu")))
    started = time.perf_counter()
    boxes = sum(len(r.boxes) for r in model.predict(str(IMAGES), stream=True, verbose=False, imgsz=640, device="cpu"))
    assert boxes > 0
    return time.perf_counter() - started


def ultralytics_val(_):
    """The validator's loop and its scoring, from its first batch to its numbers."""
    os.environ["YOLO_OFFLINE"] = "1"
    from ultralytics import YOLO

    times = []
    model = YOLO(str(MODEL), task="detect")
    for event in ("on_val_start", "on_val_end"):
        model.add_callback(event, lambda _: times.append(time.perf_counter()))
    with tempfile.TemporaryDirectory() as folder:
        data = labelled_copy(pathlib.Path(folder))
        model.val(data=str(data), imgsz=640, batch=1, device="cpu", plots=False, verbose=False, project=folder)
    started, ended = times
    return ended - started


def labelled_copy(folder):
    """COCO128 where Ultralytics may write its list of labels; gives the data.yaml, whose `val` is all of it."""
    source = IMAGES.parent.parent
    for kind in ("images", "labels"):
        shutil.copytree(source / kind / IMAGES.name, folder / "coco128" / kind / IMAGES.name)
    names = (source / "data.yaml").read_text()
    names = names[names.index("\nnames:") :]
    (folder / "data.yaml").write_text(f"path: {folder}/coco128\ntrain: images/{IMAGES.name}\nval: images/{IMAGES.name}\n{names}")
    return folder / "data.yaml"


SESSION = f"session {THREADS}x1"
CONTESTANTS = {
    f"session 1x{THREADS}": lambda n: bare_session(1, THREADS, n),
    SESSION: lambda n: bare_session(THREADS, 1, n),
    "python loop": python_loop,
    "ultralytics predict": ultralytics_predict,
    "ultralytics val": ultralytics_val,
}


def in_fresh_process(name, images):
    out = subprocess.run([sys.executable, __file__, name, str(images)], capture_output=True, text=True, check=True)
    return float(out.stdout.split()[-1])


def report(seconds, images, subject):
    """Lines of ms an image and images a second, medians over rounds, and how much faster the subject is than each."""
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        print(f"{name:19} {1e3 * median[name] / images:6.1f} ms/image  {images / median[name]:6.2f} images/s  "
              f"[{1e3 * min(values) / images:.1f} .. {1e3 * max(values) / images:.1f}]  "
              f"{subject} is {median[name] / median[subject]:.2f} x")
    return median


def default_binary():
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/logitcache"


if __name__ == "__main__":
    print(CONTESTANTS[sys.argv[1]](int(sys.argv[2])))

#!/usr/bin/env python3
"""Makes the teachers and students of `cargo bench --bench fidelity`, and its list of cases.

usage: fidelity_models.py --out DIR [--only NAME ...]      (`cargo build --release` and ../shared or LOGITCACHE_SHARED before)

Per data set a good and a weak teacher, and students half and fully trained from the good one's default cache: small networks
from random weights, a few minutes each on two cores (the good one of the circuit boards: ten). For COCO128 the teacher is
yolov12n, for 640 pixels only; its weights with noise give the weak teacher and the fully trained student, which 128 pictures do
not. Exports are made for 320 and 640 pixels. Started again, it goes on with what is not done. Scores of every model on its
validation split are in DIR/scores.jsonl; DIR/cases.txt names what belongs together.
"""
import argparse
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import numpy as np
import onnx
from onnx import numpy_helper

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("LOGITCACHE_SHARED", ROOT.parent / "shared"))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
YOLO12 = SHARED / "models/yolov12n.onnx"  # for 640 pixels only

# Name: data set, number of its training images (all where None), options of `train`; {cache} is the default cache of the good
# teacher. A weak teacher is one that was stopped early or saw less.
MODELS = {
    "bccd-good": ("bccd", None, "--distill none --epochs 20 --batch 8"),
    "bccd-weak": ("bccd", None, "--distill none --epochs 3 --batch 4 --no-augment"),
    "bccd-half": ("bccd", None, "--cache {cache} --epochs 3 --batch 8 --cls-loss bckd"),
    "bccd-full": ("bccd", None, "--cache {cache} --epochs 10 --batch 8 --cls-loss bckd"),
    "deeppcb-weak": ("deeppcb", 120, "--distill none --epochs 30 --batch 4 --no-augment"),
    "deeppcb-good": ("deeppcb", 400, "--distill none --epochs 24 --batch 4 --no-augment"),
    "deeppcb-half": ("deeppcb", 120, "--cache {cache} --epochs 10 --batch 4 --cls-loss bckd --no-augment"),
    "deeppcb-full": ("deeppcb", 400, "--cache {cache} --epochs 12 --batch 4 --cls-loss bckd --no-augment"),
    "coco128-half": ("coco128", None, "--cache {cache} --epochs 3 --batch 8 --cls-loss bckd --alpha 0.3"),
}
# Name: how much noise, as a share of the standard deviation of each filter's weights.
NOISY = {"coco128-weak": 0.12, "coco128-full": 0.05}
# Pictures of the circuit boards whose gradients are compared.
COMPARED = 120
SIZES = 320, 640


class Models:
    def __init__(self, args):
        self.args, self.out = args, args.out.resolve()
        self.out.mkdir(parents=True, exist_ok=True)

    def program(self, *words):
        command = [str(self.args.program), *map(str, words)]
        print(shlex.join(command), flush=True)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        return done.stdout

    def data(self, name, count=None):
        """The data set, with so many of its training images, evenly chosen."""
        source = SHARED / "data" / name
        if count is None:
            return source / "data.yaml"
        folder = self.out / "data" / f"{name}-{count}"
        if not (folder / "data.yaml").exists():
            for kind in "images", "labels":
                (folder / kind / "train").mkdir(parents=True, exist_ok=True)
            images = sorted((source / "images/train").iterdir())
            for image in images[:: len(images) // count][:count]:
                for kind, file in ("images", image.name), ("labels", image.stem + ".txt"):
                    shutil.copy(source / kind / "train" / file, folder / kind / "train")
            names = (source / "data.yaml").read_text().partition("names:")[2]
            (folder / "data.yaml").write_text(f"train: images/train\nval: {source.resolve() / 'images/val'}\nnames:{names}")
        return folder / "data.yaml"

    def cache(self, name, count):
        """The good teacher's default cache."""
        folder = self.out / "caches" / f"{name}-{count}"
        teacher = YOLO12 if name == "coco128" else self.out / "runs" / f"{name}-good" / "best.onnx"
        self.program("build", "--quiet", "--teacher", teacher, "--data", self.data(name, count), "--out", folder, "--ignore-labels")
        return folder

    def model(self, model):
        name, count, options = MODELS[model]
        data = self.data(name, count)
        run = self.out / "runs" / model
        if not (run / "done").exists():
            # The labels are those of the data set: the cache was built without.
            options = shlex.split(options.format_map({"cache": self.cache(name, count)} if "{cache}" in options else {}))
            options += ["--model", "yolov8p", "--lr", "2e-3", "--data", data, "--val-split", "none", "--close-mosaic", 2,
                        "--warmup-epochs", 1, "--threads", self.args.threads]
            if "--cache" not in options:
                options += ["--imgsz", 320]
            if run.exists():
                options.append("--resume" if (run / "state.safetensors").exists() else "--overwrite")
            self.program("train", "--quiet", *options, "--out", run)
            self.score(model, run / "best.onnx", data)
            (run / "done").touch()
        for size in SIZES:
            onnx = self.out / f"{model}-{size}.onnx"
            if not onnx.exists():
                self.program("export", run, "--imgsz", size, "--out", onnx)

    def noisy(self, model):
        """The COCO teacher with noise on its weights, that of the DFL excepted."""
        onnx_file = self.out / f"{model}-640.onnx"
        if onnx_file.exists():
            return
        random, network = np.random.default_rng(0), onnx.load(YOLO12)
        for tensor in network.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 4 and np.prod(tensor.dims) > 256:
                weights = numpy_helper.to_array(tensor)
                if weights.shape[:2] != (1, 16):
                    noise = random.normal(0, NOISY[model], weights.shape) * weights.std(axis=(1, 2, 3), keepdims=True)
                    tensor.CopyFrom(numpy_helper.from_array((weights + noise).astype(np.float32), tensor.name))
        onnx.save(network, onnx_file)
        self.score(model, onnx_file, self.data("coco128"))

    def score(self, model, onnx_file, data):
        found = json.loads(self.program("eval", "--model", onnx_file, "--data", data, "--latency-runs", 0, "--json"))
        found = found["models"][0]["scores"]["coco"]
        with (self.out / "scores.jsonl").open("a") as file:
            file.write(json.dumps({"model": model, "map50": found["ap_50"], "map50_95": found["ap"]}) + "\n")

    def cases(self):
        """Lines of data set, teacher, students, with tabs between: what of it is there."""
        lines = []
        for name in "coco128", "bccd", "deeppcb":
            for kind in "good", "weak":
                for size in SIZES:
                    onnx = lambda model: self.out / f"{model}-{size}.onnx"
                    teacher = YOLO12 if (name, kind) == ("coco128", "good") else onnx(f"{name}-{kind}")
                    students = [path for path in (onnx(f"{name}-half"), onnx(f"{name}-full")) if path.exists()]
                    if teacher.exists() and not (teacher == YOLO12 and size == 320):
                        label, data = f"{name} {kind} {size}", self.data(name, COMPARED if name == "deeppcb" else None)
                        lines.append("\t".join([label, str(data), str(teacher), *map(str, students)]))
        (self.out / "cases.txt").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--program", type=pathlib.Path, default=TARGET / "release/logitcache")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", choices=[*MODELS, *NOISY], default=[*MODELS, *NOISY], metavar="NAME",
                        help="of " + ", ".join([*MODELS, *NOISY]))
    models = Models(parser.parse_args())
    for model in models.args.only:
        models.noisy(model) if model in NOISY else models.model(model)
        models.cases()


if __name__ == "__main__":
    main()

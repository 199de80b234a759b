#!/usr/bin/env python3
"""Makes the teachers and students of `cargo bench --bench fidelity`, and its list of cases.

usage: fidelity_models.py --out DIR [--only NAME ...]      (`cargo build --release` and ../shared or LOGITCACHE_SHARED before)

Per data set a good and a weak teacher, and students half and fully trained from the good one's default cache: small networks from random
weights, a few minutes each on two cores. Exports are made for 320 and 640 pixels. Started again, it goes on with what is not done. Scores
of every model on its validation split are in DIR/scores.jsonl; DIR/cases.txt names what belongs together.
"""
import argparse
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("LOGITCACHE_SHARED", ROOT.parent / "shared"))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
YOLO12 = SHARED / "models/yolov12n.onnx"  # for 640 pixels only

# Name: data set, options of `train`; {cache} is the default cache of the good teacher. A weak teacher is one that was stopped early.
MODELS = {
    "bccd-good": ("bccd", "--distill none --epochs 20 --batch 8"),
    "deeppcb-good": ("deeppcb", "--distill none --epochs 30 --batch 4 --no-augment"),
    "deeppcb-weak": ("deeppcb", "--distill none --epochs 5 --batch 4 --no-augment"),
    "bccd-weak": ("bccd", "--distill none --epochs 3 --batch 4 --no-augment"),
    "bccd-half": ("bccd", "--cache {cache} --epochs 3 --batch 8 --cls-loss bckd"),
    "deeppcb-half": ("deeppcb", "--cache {cache} --epochs 5 --batch 4 --cls-loss bckd --no-augment"),
    "coco128-half": ("coco128", "--cache {cache} --epochs 3 --batch 8 --cls-loss bckd --alpha 0.3"),
    "coco128-weak": ("coco128", "--distill none --epochs 15 --batch 4 --no-augment"),
    "deeppcb-full": ("deeppcb", "--cache {cache} --epochs 15 --batch 4 --cls-loss bckd --no-augment"),
    "bccd-full": ("bccd", "--cache {cache} --epochs 10 --batch 8 --cls-loss bckd"),
    "coco128-full": ("coco128", "--cache {cache} --epochs 10 --batch 8 --cls-loss bckd --alpha 0.3 --no-augment"),
}
# Images of the training split that are used; of DeepPCB 800 are there.
IMAGES = 120
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

    def data(self, name):
        source = SHARED / "data" / name
        if name != "deeppcb":
            return source / "data.yaml"
        folder = self.out / "data" / name
        if not (folder / "data.yaml").exists():
            for kind in "images", "labels":
                (folder / kind / "train").mkdir(parents=True, exist_ok=True)
            images = sorted((source / "images/train").iterdir())
            for image in images[:: len(images) // IMAGES][:IMAGES]:
                for kind, file in ("images", image.name), ("labels", image.stem + ".txt"):
                    shutil.copy(source / kind / "train" / file, folder / kind / "train")
            names = (source / "data.yaml").read_text().partition("names:")[2]
            (folder / "data.yaml").write_text(f"train: images/train\nval: {source.resolve() / 'images/val'}\nnames:{names}")
        return folder / "data.yaml"

    def cache(self, name):
        """The good teacher's default cache."""
        folder = self.out / "caches" / name
        teacher = YOLO12 if name == "coco128" else self.out / "runs" / f"{name}-good" / "best.onnx"
        self.program("build", "--quiet", "--teacher", teacher, "--data", self.data(name), "--out", folder, "--ignore-labels")
        return folder

    def model(self, model):
        name, options = MODELS[model]
        run = self.out / "runs" / model
        if not (run / "done").exists():
            # The labels are those of the data set: the cache was built without.
            options = shlex.split(options.format_map({"cache": self.cache(name)} if "{cache}" in options else {}))
            options += ["--model", "yolov8p", "--lr", "2e-3", "--data", self.data(name), "--val-split", "none", "--close-mosaic", 2,
                        "--warmup-epochs", 1, "--threads", self.args.threads]
            if "--cache" not in options:
                options += ["--imgsz", 320]
            if run.exists():
                options.append("--resume" if (run / "state.safetensors").exists() else "--overwrite")
            self.program("train", "--quiet", *options, "--out", run)
            scores = json.loads(self.program("eval", "--model", run / "best.onnx", "--data", self.data(name), "--latency-runs", 0, "--json"))
            scores = scores["models"][0]["scores"]["coco"]
            with (self.out / "scores.jsonl").open("a") as file:
                file.write(json.dumps({"model": model, "map50": scores["ap_50"], "map50_95": scores["ap"]}) + "\n")
            (run / "done").touch()
        for size in SIZES:
            onnx = self.out / f"{model}-{size}.onnx"
            if not onnx.exists():
                self.program("export", run, "--imgsz", size, "--out", onnx)

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
                        label = f"{name} {kind} {size}"
                        lines.append("\t".join([label, str(self.data(name)), str(teacher), *map(str, students)]))
        (self.out / "cases.txt").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--program", type=pathlib.Path, default=TARGET / "release/logitcache")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME", help="of " + ", ".join(MODELS))
    models = Models(parser.parse_args())
    for model in models.args.only:
        models.model(model)
        models.cases()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Training beside what else one could run, as ratios.

usage: train_speed.py [--rounds 3] [--step]     (environment of `make oracle-env`; `cargo build --release` before)

Without --step: seconds an epoch on COCO128 (../shared or LOGITCACHE_SHARED), YOLOv8n from random weights, 640 pixels, batch 16, AdamW, no
validation, usual augmentation. Each round runs every contestant once, in a fresh process; medians over rounds of the last epoch.

  ultralytics distill   its online distillation (YOLOv8s as a live teacher), ../shared/tools/ultralytics_baseline.py
  ultralytics plain     labels alone
  logitcache bf16, fp32 labels and the cache of yolov12n.onnx; logitcache plain: labels alone, bf16

With --step: milliseconds of one step (forward, loss, backward, clipping, AdamW) of the same network in PyTorch with Ultralytics'
v8DetectionLoss, channels-last, and in `cargo bench --bench train_step`, alternating.
"""
import argparse
import csv
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("LOGITCACHE_SHARED", ROOT.parent / "shared"))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAM = TARGET / "release/logitcache"
THREADS = len(os.sched_getaffinity(0))
EPOCHS = 2


def run(command, **options):
    """(output, peak resident MB of the largest process)"""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([str(c) for c in command], stdout=output, stderr=subprocess.STDOUT, text=True, **options)
        _, status, usage = os.wait4(process.pid, 0)
        output.seek(0)
        text = output.read()
    assert os.waitstatus_to_exitcode(status) == 0, text
    return text, usage.ru_maxrss / 1024


def ultralytics(mode):
    script = SHARED / "tools/ultralytics_baseline.py"
    text, peak = run([sys.executable, script, SHARED / "data/coco128", mode, "--epochs", EPOCHS, "--threads", THREADS])
    seconds = re.search(r"seconds per epoch \[([^]]*)\]", text).group(1)
    return float(seconds.split(",")[-1]), peak, ""


def logitcache(work, cache, precision, plain=False):
    out = work / "run"
    source = ["--distill", "none", "--data", SHARED / "data/coco128/data.yaml"] if plain else ["--cache", cache]
    command = [PROGRAM, "--quiet", "train", *source, "--model", "yolov8n", "--out", out, "--overwrite", "--epochs", EPOCHS,
               "--batch", "16", "--val-split", "none", "--precision", precision, "--close-mosaic", "0"]
    _, peak = run(command)
    rows = list(csv.DictReader((out / "results.csv").open()))
    last = rows[-1]
    times = [float(row["time"]) for row in rows]
    losses = " ".join(f"{float(last[c]):.3f}" for c in ("train/cls_loss", "distill/cls_loss"))
    return times[-1] - times[-2], peak, f"data wait {100 * float(last['data_wait']):.1f} %, losses {losses}"


def epochs(rounds):
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        cache = work / "cache"
        run([PROGRAM, "--quiet", "build", "--teacher", SHARED / "models/yolov12n.onnx", "--data", SHARED / "data/coco128/data.yaml",
             "--split", "train", "--out", cache])
        contestants = {
            "ultralytics distill": lambda: ultralytics("distill"),
            "ultralytics plain": lambda: ultralytics("plain"),
            "logitcache bf16": lambda: logitcache(work, cache, "bf16"),
            "logitcache fp32": lambda: logitcache(work, cache, "fp32"),
            "logitcache plain": lambda: logitcache(work, cache, "bf16", plain=True),
        }
        found = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, contestant in contestants.items():
                found[name].append(contestant())
    online = statistics.median(seconds for seconds, _, _ in found["ultralytics distill"])
    for name, results in found.items():
        seconds = [s for s, _, _ in results]
        print(f"{name:20} {statistics.median(seconds):6.1f} s/epoch [{min(seconds):.1f} .. {max(seconds):.1f}]  "
              f"{online / statistics.median(seconds):5.2f} x online  peak {max(p for _, p, _ in results):5.0f} MB  {results[-1][2]}")


def torch_step(precision, steps=9):
    """Median milliseconds of PyTorch's own step; prints them."""
    import torch
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils.loss import v8DetectionLoss

    torch.set_num_threads(THREADS)
    model = DetectionModel("yolov8n.yaml", nc=80, verbose=False).train().to(memory_format=torch.channels_last)
    model.args = get_cfg()
    loss_of = v8DetectionLoss(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=5e-4)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(16, 3, 640, 640, generator=generator).to(memory_format=torch.channels_last)
    labels = 16 * 7
    size = 0.05 + 0.45 * torch.rand(labels, 2, generator=generator) ** 2
    batch = {
        "img": images,
        "batch_idx": torch.arange(labels) // 7,
        "cls": (torch.arange(labels) % 80).float().view(-1, 1),
        "bboxes": torch.cat((size / 2 + (1 - size) * torch.rand(labels, 2, generator=generator), size), 1),
    }

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            output = model(images)
            loss, _ = loss_of(output, batch)
        optimizer.zero_grad()
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()

    step()
    times = []
    for _ in range(steps):
        started = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - started))
    print(f"milliseconds {statistics.median(times)}")


def steps(rounds):
    for precision in ("bf16", "fp32"):
        ours, with_teacher, theirs = [], [], []
        for _ in range(rounds):
            text, _ = run([sys.executable, __file__, "--torch-step", precision])
            theirs.append(float(re.search(r"milliseconds (\S+)", text).group(1)))
            text, _ = run(["cargo", "bench", "--quiet", "--bench", "train_step", "--", precision], cwd=ROOT)
            labels, both = re.findall(r": (\S+) ms a step", text)
            ours.append(float(labels))
            with_teacher.append(float(both))
        median = statistics.median
        print(f"{precision}: PyTorch {median(theirs):.0f} ms, labels {median(ours):.0f} ms ({median(theirs) / median(ours):.2f} x), "
              f"with the teacher's cache {median(with_teacher):.0f} ms ({100 * (median(with_teacher) / median(ours) - 1):.1f} % more)")
        print(text.strip())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", action="store_true")
    parser.add_argument("--torch-step", choices=("bf16", "fp32"))
    args = parser.parse_args()
    if args.torch_step:
        torch_step(args.torch_step)
        return
    print(f"load before: {os.getloadavg()}, processors: {THREADS}")
    (steps if args.step else epochs)(args.rounds)


if __name__ == "__main__":
    main()

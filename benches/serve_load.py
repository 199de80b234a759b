#!/usr/bin/env python3
"""`logitcache serve` under load, beside the bare session and beside a plain FastAPI server.

usage: serve_load.py --model M.onnx --images DIR [--seconds S] [--program logitcache] [--requests N]

All have as many sessions as there are processors, with one thread each. Each request is one JPEG of DIR; its confidence is
unlike that of every other request, so no result is used twice. The FastAPI server does the same work as a careful user would
write it: OpenCV decodes and letterboxes, ONNX Runtime runs, NumPy and OpenCV suppress. The load comes from this
program, on the same processors: all servers pay alike for that.

Printed: images a second, median and 99th percentile of the time to an answer, answers that were not 200; then the same at 70 % of the
highest rate (Poisson arrivals); then the server's memory over N requests. FastAPI needs fastapi, uvicorn and python-multipart.
"""

import argparse
import http.client
import os
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

CORES = len(os.sched_getaffinity(0))
APP = '''
import queue, os, sys
import cv2, numpy as np, onnxruntime
from fastapi import FastAPI, Request
app = FastAPI()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
sessions = queue.Queue()
for _ in range(int(os.environ["CORES"])):
    sessions.put(onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"]))
side = sessions.queue[0].get_inputs()[0].shape[2]
name = sessions.queue[0].get_inputs()[0].name

def detect(body, conf):
    image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    height, width = image.shape[:2]
    scale = min(side / height, side / width)
    new = round(width * scale), round(height * scale)
    left, top = (side - new[0]) // 2, (side - new[1]) // 2
    canvas = np.full((side, side, 3), 114, np.uint8)
    canvas[top : top + new[1], left : left + new[0]] = cv2.resize(image, new)
    x = np.ascontiguousarray(canvas[..., ::-1].transpose(2, 0, 1), np.float32)[None] / 255
    session = sessions.get()
    try:
        out = session.run(None, {name: x})[0][0]
    finally:
        sessions.put(session)
    scores = out[4:].max(0)
    keep = scores > conf
    boxes, scores, classes = out[:4, keep].T, scores[keep], out[4:, keep].argmax(0)
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], 1)
    kept = cv2.dnn.NMSBoxesBatched(corners.tolist(), scores.tolist(), classes.tolist(), conf, 0.7) if len(corners) else []
    shown = [(corners[i] - [left, top, 0, 0]) / scale for i in kept]
    return [{"class_id": int(classes[i]), "score": float(scores[i]), "box": b.tolist()} for i, b in zip(kept, shown)]

@app.post("/v1/detect")
async def post(request: Request, conf: float = 0.25):
    from starlette.concurrency import run_in_threadpool
    return {"detections": await run_in_threadpool(detect, await request.body(), conf)}
'''


class Load:
    """Requests against one address."""

    def __init__(self, host, port, pictures):
        self.host, self.port, self.pictures = host, port, pictures
        self.number = 0
        self.lock = threading.Lock()

    def one(self, connection):
        with self.lock:
            self.number += 1
            number = self.number
        picture = self.pictures[number % len(self.pictures)]
        began = time.perf_counter()
        connection.request("POST", f"/v1/detect?conf={0.25 + number * 1e-7:.7f}", picture, {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        answer.read()
        return time.perf_counter() - began, answer.status

    def closed(self, clients, seconds):
        """Each client asks again as soon as it is answered."""
        end, taken = time.perf_counter() + seconds, []

        def client():
            connection = http.client.HTTPConnection(self.host, self.port)
            while time.perf_counter() < end:
                taken.append(self.one(connection))

        threads = [threading.Thread(target=client) for _ in range(clients)]
        began = time.perf_counter()
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        return self.told(taken, time.perf_counter() - began)

    def open(self, rate, seconds):
        """Requests arrive whether the others are answered or not."""
        taken, threads, draw = [], [], random.Random(0)
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            time.sleep(draw.expovariate(rate))
            ask = lambda: taken.append(self.one(http.client.HTTPConnection(self.host, self.port)))
            threads.append(threading.Thread(target=ask))
            threads[-1].start()
        [thread.join() for thread in threads]
        return self.told(taken, time.perf_counter() - began)

    @staticmethod
    def told(taken, seconds):
        times = np.array([took for took, _ in taken]) * 1e3
        return len(taken) / seconds, np.median(times), np.percentile(times, 99), sum(status != 200 for _, status in taken)


def bare(model, seconds):
    """Images a second of the sessions alone, on one input again and again."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    counts = [0] * CORES
    sessions = [onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"]) for _ in counts]
    entry = sessions[0].get_inputs()[0]
    x = np.random.default_rng(0).random(entry.shape, np.float32)
    end = time.perf_counter() + seconds

    def run(at):
        while time.perf_counter() < end:
            sessions[at].run(None, {entry.name: x})
            counts[at] += 1

    threads = [threading.Thread(target=run, args=(at,)) for at in range(CORES)]
    began = time.perf_counter()
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return sum(counts) / (time.perf_counter() - began)


def memory_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--program", default="logitcache")
    parser.add_argument("--requests", type=int, default=1000)
    args = parser.parse_args()
    pictures = [path.read_bytes() for path in sorted(args.images.glob("*.jpg"))]

    sessions = bare(args.model, args.seconds)
    print(f"bare sessions, {CORES} of one thread   {sessions:6.1f} images/s")
    own = subprocess.Popen([args.program, "serve", args.model, "--port", "0"], stdout=subprocess.PIPE, text=True)
    port = int(re.search(r":(\d+)/", own.stdout.readline())[1])
    # One for all: its numbers are in the requests, and no request is to be like another.
    load = Load("127.0.0.1", port, pictures)
    highest = measure("logitcache serve", load, args.seconds, sessions)
    rate, median, p99, failed = load.open(0.7 * highest, args.seconds)
    print(f"  at 70 % of it   {rate:6.1f} images/s   median {median:6.1f} ms   99 % {p99:6.1f} ms ({p99 / median:.2f} x)   failed {failed}")
    connection = http.client.HTTPConnection("127.0.0.1", port)
    before = memory_mb(own.pid)
    for _ in range(args.requests):
        load.one(connection)
    print(f"  memory {before:.0f} MB, after {args.requests} requests {memory_mb(own.pid):.0f} MB")
    own.terminate()
    own.wait()

    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        sys.exit("skipped: fastapi and uvicorn are not installed")
    environment = {**os.environ, "MODEL": str(args.model.resolve()), "CORES": str(CORES)}
    code = APP + '\nimport uvicorn; uvicorn.run(app, port=18765, log_level="error")'
    plain = subprocess.Popen([sys.executable, "-c", code], env=environment)
    while True:
        try:
            Load("127.0.0.1", 18765, pictures).one(http.client.HTTPConnection("127.0.0.1", 18765))
            break
        except OSError:
            time.sleep(0.2)
    measure("FastAPI", Load("127.0.0.1", 18765, pictures), args.seconds, sessions)
    plain.terminate()


def measure(name, load, seconds, sessions):
    highest = 0
    for clients in (1, 8, 32):
        rate, median, p99, failed = load.closed(clients, seconds)
        highest = max(highest, rate)
        print(f"{name}, {clients:2} clients   {rate:6.1f} images/s ({rate / sessions:.2f} of the bare sessions)   "
              f"median {median:6.1f} ms   99 % {p99:6.1f} ms   failed {failed}", flush=True)
    return highest


if __name__ == "__main__":
    main()

"""Fixtures of the tests that use the page of `logitcache serve` in a browser, as a person does."""

import contextlib
import importlib.util
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
GOOD_PICTURES = FIXTURES / "images" / "good"
MODEL = FIXTURES / "models" / "yolov8-dynamic.onnx"

# A limit for what should come at once; reached only where something is broken.
PATIENCE_MS = 60_000


def _of_the_other_tests():
    """The module of fixtures in tests/python, which has the same name as this one."""
    spec = importlib.util.spec_from_file_location("python_fixtures", ROOT / "tests" / "python" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_others = _of_the_other_tests()
logitcache, shared = _others.logitcache, _others.shared


@pytest.fixture(scope="session")
def browser():
    """Chromium of the system: the one that Playwright would fetch by itself is not asked for."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="skipped: no Playwright (make test-env installs it)")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("skipped: no chromium on the PATH (apt-get install chromium)")
    sync_api.expect.set_options(timeout=PATIENCE_MS)
    with sync_api.sync_playwright() as playwright:
        # Root has no sandbox; shared memory is small in containers. The pages are our own.
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


class Server:
    """`logitcache serve`, until `stop`."""

    def __init__(self, *arguments):
        binary = _others.find_binary()
        assert binary is not None, "no program: run `cargo build`, or set LOGITCACHE_BIN"
        command = [binary, "serve", "--port", 0, *arguments]
        self.process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines = []
        self.address = self._wait_for_address()
        # What it says later must not fill the pipe.
        threading.Thread(target=self._read, daemon=True).start()

    def _wait_for_address(self):
        for line in self.process.stdout:
            self.lines.append(line)
            found = re.search(r"http://127\.0\.0\.1:[1-9]\d*/", line)
            if found:
                return found[0]
        raise AssertionError(f"the server ended with {self.process.wait()}:\n{''.join(self.lines)}")

    def _read(self):
        self.lines.extend(self.process.stdout)

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


@contextlib.contextmanager
def serving(*arguments):
    """A server for the length of a block."""
    server = Server(*arguments)
    try:
        yield server
    finally:
        server.stop()


class Visitor:
    """A page with what it said and asked for."""

    def __init__(self, page):
        self.page, self.problems, self.requests, self.allowed = page, [], [], []
        page.on("console", lambda said: said.type in ("error", "warning") and self.problems.append(said.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.requests.append(request))

    def allow(self, pattern):
        """An error in the console that the test brings about itself: a refused request is always told there."""
        self.allowed.append(pattern)

    def paths(self, part):
        """Requests whose path has a part."""
        return [request.url for request in self.requests if part in urlsplit(request.url).path]

    def check(self, host):
        """No error in the console, no request to another host."""
        unexpected = [p for p in self.problems if not any(re.search(a, p) for a in self.allowed)]
        assert unexpected == []
        away = [r.url for r in self.requests if not r.url.startswith(("blob:", "data:")) and urlsplit(r.url).netloc != host]
        assert away == []


@pytest.fixture
def serve(browser):
    """Starts servers that end after the pages of the test: a page would complain of a server that is gone."""
    with contextlib.ExitStack() as started:
        yield lambda *arguments: started.enter_context(serving(*arguments))


@pytest.fixture
def visit(browser, serve):
    """Opens a page of a server; at the end of the test each is checked for errors and requests elsewhere."""
    opened = []

    def open_page(server, path="", ready=True, routes=None, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "accept_downloads": True, **options})
        context.set_default_timeout(PATIENCE_MS)
        visitor = Visitor(context.new_page())
        # Answers that stand in for the server's: pattern -> function of a route.
        for pattern, answer in (routes or {}).items():
            visitor.page.route(pattern, answer)
        visitor.page.goto(server.address + path)
        if ready:
            visitor.page.locator("html[data-ready]").wait_for(state="attached")
        opened.append((visitor, urlsplit(server.address).netloc))
        return visitor

    yield open_page
    for visitor, host in opened:
        visitor.page.context.close()
        visitor.check(host)


@pytest.fixture(scope="session")
def drawn(logitcache, tmp_path_factory):
    """A drawn data set: its data.yaml."""
    folder = tmp_path_factory.mktemp("drawn") / "data"
    logitcache("synth", "--images", 60, "--imgsz", 192, "--out", folder, "--quiet")
    return folder / "data.yaml"


def with_class_biases(path, even, odd):
    """Writes the committed teacher with other biases of its classes: other scores and classes at the same places."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(MODEL)
    for tensor in model.graph.initializer:
        if re.fullmatch(r"model\.22\.cv3\.\d\.2\.bias", tensor.name):
            values = numpy_helper.to_array(tensor).copy()
            values[::2] += even
            values[1::2] += odd
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def other_model(tmp_path_factory):
    """A second model, for comparisons."""
    return with_class_biases(tmp_path_factory.mktemp("other") / "other.onnx", 0.5, -0.5)


@pytest.fixture(scope="session")
def keen_model(tmp_path_factory):
    """A teacher that sees a few objects on nearly every drawn picture."""
    return with_class_biases(tmp_path_factory.mktemp("keen") / "keen.onnx", 4.5, 3.5)


@pytest.fixture(scope="session")
def predict(logitcache):
    """`predict --json` of pictures: name -> its object, numbers as the program prints them."""

    def run(model, pictures, **options):
        flags = [word for name, value in options.items() for word in (f"--{name}", value)]
        said = json.loads(logitcache("predict", "--quiet", "--model", model, *pictures, "--json", *flags).stdout)
        for image in said["images"]:
            for found in image["detections"]:
                box = found["box_xyxy_px"]
                found["box_xyxy_px"] = [box[side] for side in ("x1", "y1", "x2", "y2")]
        return {Path(image["path"]).name: image for image in said["images"]}, said["class_names"]

    return run


def counts_text(counts):
    """As the page has it: "person 5, car 3"."""
    return ", ".join(f"{c['class']} {c['count']}" for c in counts) or "no objects"


@pytest.fixture(scope="session")
def cache(logitcache, drawn, keen_model, tmp_path_factory):
    """A cache of the drawn data set, with what the best 300 anchors of each image hold to the last bit of float16."""
    out = tmp_path_factory.mktemp("cache") / "drawn-cache"
    exact = ["--logits", "float16", "--coverage", 1, "--class-coverage", 1, "--min-score", 0.01, "--top-k", 300]
    logitcache("build", "--quiet", "--teacher", keen_model, "--data", drawn, "--out", out, "--imgsz", 320, *exact)
    return out

"""Runs every test and ends with one line: passed, failed, skipped. `make test` calls it.

A Rust test that cannot run prints a line that begins with `skipped: `; cargo counts it as passed, this program as
skipped. pytest counts its own. Exit status 0 only when nothing failed.
"""

import concurrent.futures
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def target_dir():
    """Where cargo builds."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def check_shared():
    """A folder of shared data that was named must be there: a silent skip would look like a pass."""
    named = os.environ.get("LOGITCACHE_SHARED")
    if named is None:
        return
    try:
        os.listdir(named)
    except OSError as error:
        sys.exit(f"LOGITCACHE_SHARED is set to {named!r}, which cannot be read: {error}\n  Correct the variable or unset it.")


def stream(command, **options):
    """Runs a command, shows its output as it comes, gives the exit status and the lines."""
    print("$", " ".join(map(str, command)), flush=True)
    lines = []
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **options
    )
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        lines.append(line)
    return process.wait(), lines


def run_rust():
    """`cargo test`: passed, failed, skipped, and whether cargo itself was content."""
    # --show-output: what passing tests print, the reasons of skips among it.
    status, lines = stream(["cargo", "test", "--workspace", "--no-fail-fast", "--", "--show-output"])
    passed = failed = skipped = 0
    for line in lines:
        result = re.match(r"test result: .* (\d+) passed; (\d+) failed; (\d+) ignored", line)
        if result:
            passed, failed, skipped = (a + int(b) for a, b in zip((passed, failed, skipped), result.groups()))
    said = sum(line.startswith("skipped: ") for line in lines)
    return passed - said, failed, skipped + said, status == 0


def run_python(folder):
    """pytest over a folder: its output, then passed, failed, skipped, and whether pytest was content."""
    report = target_dir() / f"pytest-{folder.replace('/', '-')}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", folder, "-q", "-rs", "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    output = f"$ {' '.join(command)}\n{done.stdout}"
    if not report.exists():
        return output, (0, 0, 0, False)
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    count = lambda name: sum(int(suite.get(name, 0)) for suite in suites)
    failed, skipped = count("failures") + count("errors"), count("skipped")
    return output, (count("tests") - failed - skipped, failed, skipped, done.returncode == 0)


def run_all():
    """Each part's numbers. Python's tests run beside Rust's, which wait for processes a good part of the time."""
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        # The program against other programs, the page of its server in a browser, the Python package: three sets of fixtures.
        python = [beside.submit(run_python, folder) for folder in ("tests/python", "tests/browser", "python/tests")]
        parts = [run_rust()]
        for running in python:
            output, part = running.result()
            print(output, flush=True)
            parts.append(part)
    return parts


def main():
    check_shared()
    # Where libtorch has more threads than there are processors, they wait for each other in a loop.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Not `cargo build`: with the features that tests add to dependencies, everything would be compiled twice.
    built, _ = stream(["cargo", "test", "--workspace", "--no-run"])
    if built != 0:
        sys.exit("cargo test --workspace --no-run failed: no test was run")
    parts = run_all()
    passed, failed, skipped = (sum(part[i] for part in parts) for i in range(3))
    content = all(part[3] for part in parts)
    print(f"{passed} passed, {failed} failed, {skipped} skipped" + ("" if content or failed else "; a test program broke down"))
    sys.exit(0 if content and failed == 0 else 1)


if __name__ == "__main__":
    main()

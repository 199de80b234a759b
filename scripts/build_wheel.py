"""Builds the wheel and the source distribution of the Python package into `wheelhouse/`. `make wheel` calls it.

usage: build_wheel.py [--without-trainer]

The trainer is an executable of its own in the wheel. It looks for libtorch in the package torch beside the package
logitcache, wherever both are installed.
"""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHEELHOUSE = ROOT / "wheelhouse"
TRAINER = ROOT / "python" / "logitcache" / "bin" / "logitcache-train"
# From logitcache/bin/ to torch/lib/, both in site-packages.
LIBTORCH = "$ORIGIN/../../torch/lib"
MOST_BYTES = 20_000_000
PROFILE = "dist"


def run(*command):
    print("$", " ".join(map(str, command)), flush=True)
    if subprocess.run(list(map(str, command)), cwd=ROOT).returncode != 0:
        sys.exit(1)


def tool(name):
    """A program of the environment that runs this one."""
    return Path(sysconfig.get_path("scripts")) / name


def add_trainer():
    run("cargo", "build", "--profile", PROFILE, "-p", "logitcache-train", "--features", "logitcache/object-store")
    TRAINER.parent.mkdir(exist_ok=True)
    shutil.copy(ROOT / "target" / PROFILE / TRAINER.name, TRAINER)
    # As in trainer/build.rs: an RPATH, so that no other libtorch comes before this one.
    run(tool("patchelf"), "--force-rpath", "--set-rpath", LIBTORCH, TRAINER)


def main():
    TRAINER.unlink(missing_ok=True)
    if "--without-trainer" not in sys.argv[1:]:
        add_trainer()
    for old in WHEELHOUSE.glob("logitcache-*"):
        old.unlink()
    run(
        *(tool("maturin"), "build", "--profile", PROFILE, "-m", "python/Cargo.toml", "--out", WHEELHOUSE),
        *("--compression-level", 9),
    )
    run(tool("maturin"), "sdist", "-m", "python/Cargo.toml", "--out", WHEELHOUSE)
    for made in sorted(WHEELHOUSE.glob("logitcache-*")):
        size = made.stat().st_size
        print(f"{made.relative_to(ROOT)}: {size / 1e6:.1f} MB")
        if size > MOST_BYTES:
            sys.exit(f"{made.name} has more than {MOST_BYTES / 1e6:.0f} MB")


if __name__ == "__main__":
    main()

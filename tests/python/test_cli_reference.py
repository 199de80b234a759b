"""docs/reference/cli.md is what the built program says of itself."""

import subprocess
import sys

from conftest import ROOT, find_binary

PAGE = ROOT / "docs/reference/cli.md"


def test_the_page_is_what_help_prints(logitcache):
    program = find_binary()
    script = ROOT / "scripts/cli_reference.py"
    done = subprocess.run([sys.executable, script, program, "-"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "## logitcache build\n" in done.stdout and "--coverage" in done.stdout
    if done.stdout != PAGE.read_text(encoding="utf-8"):
        raise AssertionError(
            f"docs/reference/cli.md is not what `--help` prints: run `python3 scripts/cli_reference.py {program}` and commit the page"
        )

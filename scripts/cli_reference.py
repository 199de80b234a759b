"""Writes docs/reference/cli.md: what `--help` of the program says of every command.

usage: cli_reference.py PROGRAM [FILE]

PROGRAM is the built program, for example target/release/logitcache; FILE is docs/reference/cli.md unless another one is
named, `-` for standard output.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"

INTRODUCTION = """\
# Command line reference

Every command and option of `logitcache`, as `logitcache COMMAND --help` prints them. This page is
generated: `{command}` writes it from
the built program, and a test compares the two.

Results go to standard output, everything else to standard error. The exit status is the same for
every command:

| status | meaning |
|---|---|
| 0 | everything is done |
| 1 | done, but some items failed; each is named, and the others are in the result |
| 2 | not done: wrong usage, bad input, a damaged cache or a missing library |
| 75 | not done now, the same command may succeed later; `build --shard` and `cache merge --shards` alone |
| 130 | interrupted by Ctrl-C |

What is printed with `--json` is described by the [JSON schemas](schemas.md). Which files a command
replaces, and when `--overwrite` is needed: [resume, failures and existing
files](../how-to/resume-and-failures.md#existing-files).
"""

COMMAND = "python3 scripts/cli_reference.py target/release/logitcache"


def help_of(program, *words):
    """What `logitcache WORDS --help` prints, at a fixed width."""
    command = ["logitcache", *words, "--help"]
    # The usage line shows the name by which the program was started, so it is always the same one.
    done = subprocess.run(
        command, executable=program, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    return "\n".join(line.rstrip() for line in done.stdout.rstrip().splitlines())


def commands(text):
    """The names under "Commands:", in their order."""
    section = re.search(r"^Commands:\n(.*?)(?:\n\n|\Z)", text, re.M | re.S)
    names = re.findall(r"^  ([a-z][a-z-]*)\b", section[1] if section else "", re.M)
    return [name for name in names if name != "help"]


def page(program):
    """The whole text of the page."""
    top = help_of(program)
    names = []
    for name in commands(top):
        below = commands(help_of(program, name))
        names += [name, *(f"{name} {inner}" for inner in below)]
    contents = "\n".join(f"- [`logitcache {name}`](#logitcache-{name.replace(' ', '-')})" for name in names)
    sections = [INTRODUCTION.format(command=COMMAND), contents, f"\n## logitcache\n\n```text\n{top}\n```"]
    sections += [f"\n## logitcache {name}\n\n```text\n{help_of(program, *name.split())}\n```" for name in names]
    return "\n".join(sections) + "\n"


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    text = page(sys.argv[1])
    file = sys.argv[2] if len(sys.argv) == 3 else PAGE
    if file == "-":
        sys.stdout.write(text)
    else:
        Path(file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

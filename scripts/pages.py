"""Run the commands of the pages that show what commands print, and put it below them.

    python scripts/pages.py [--write]

A page's `sh` blocks are run in order; a `text` block right below one is what it printed. Without
`--write` the pages are printed.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from ttnn_verify.files import atomic

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = (ROOT / "docs/reading-a-failure.md", ROOT / "examples/finding_a_fault/README.md")

# As the pages have them: the folder that the commands write to, and the environment's Python.
FOLDER, PYTHON = "reports/walk", ".venv/bin/python"

BLOCK = re.compile(r"```sh\n(?P<commands>.*?)```\n(\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)


class Printed(NamedTuple):
    """A block of commands, what they print by the page (None: not shown), and what they do now."""

    commands: str
    before: str | None
    now: str


def printed(commands: str, folder: str) -> str:
    """What the commands of a block print, where they write to another folder than `FOLDER`.

    Raises:
        RuntimeError: the last command failed, and the block does not itself say with which status.
    """
    here = {FOLDER: folder, PYTHON: sys.executable}
    for name, path in here.items():
        commands = commands.replace(name, path)
    done = subprocess.run(
        ["sh", "-c", commands],
        check=False,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    text = done.stdout
    for name, path in here.items():
        text = text.replace(path, name)
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode} of\n{commands}{text}")
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def walked(page: str) -> Iterator[Printed]:
    """Each block of a page's text, run."""
    with tempfile.TemporaryDirectory() as folder:
        for block in BLOCK.finditer(page):
            yield Printed(
                block["commands"], block["output"], printed(block["commands"], f"{folder}/walk")
            )


def renewed(page: str) -> str:
    """A page's text with what its commands print now."""
    outputs = (block.now for block in walked(page) if block.before is not None)

    def put(block: re.Match[str]) -> str:
        if block["output"] is None:
            return block[0]
        return f"```sh\n{block['commands']}```\n\n```text\n{next(outputs)}```\n"

    return BLOCK.sub(put, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into the pages")
    write = parser.parse_args().write
    for page in PAGES:
        text = renewed(page.read_text())
        if write:
            atomic.write_text(page, text)
        else:
            print(text)


if __name__ == "__main__":
    main()

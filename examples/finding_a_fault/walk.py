"""Run the commands of README.md beside this file, in order, and print what they print.

    python examples/finding_a_fault/walk.py [--write]

`--write` puts it below the commands, in the page.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator

PAGE = pathlib.Path(__file__).with_name("README.md")
ROOT = pathlib.Path(__file__).parents[2]

# As the page has them: the folder that the commands write to, and the environment's Python.
FOLDER, PYTHON = "reports/walk", ".venv/bin/python"

# Commands, and below them what they print; the first ones print nothing that matters.
BLOCK = re.compile(r"```sh\n(?P<commands>.*?)```\n(\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)


def printed(commands: str, folder: str) -> str:
    """What the commands of a block print, where they write to another folder than `FOLDER`.

    Each block says itself what becomes of the exit status of its last command.

    Raises:
        subprocess.CalledProcessError: the last command failed.
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
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, commands, done.stdout)
    text = done.stdout
    for name, path in here.items():
        text = text.replace(path, name)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def walked(page: str) -> Iterator[tuple[str, str | None, str]]:
    """(commands, the page's output, what they print now) of each block; None for no output."""
    with tempfile.TemporaryDirectory() as folder:
        for block in BLOCK.finditer(page):
            yield block["commands"], block["output"], printed(block["commands"], folder)


def renewed(page: str) -> str:
    """The page with what its commands print now."""
    outputs = (now for _, before, now in walked(page) if before is not None)

    def put(block: re.Match[str]) -> str:
        if block["output"] is None:
            return block[0]
        return f"```sh\n{block['commands']}```\n\n```text\n{next(outputs)}```\n"

    return BLOCK.sub(put, page)


def main() -> None:
    if sys.argv[1:] not in ([], ["--write"]):
        sys.exit("usage: python examples/finding_a_fault/walk.py [--write]")
    text = renewed(PAGE.read_text())
    if sys.argv[1:]:
        PAGE.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()

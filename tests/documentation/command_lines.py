"""Command lines as pages and workflows have them, and what is wrong with one.

A line is looked at word by word: its program must be one that is known, its options must stand in
the program's own --help, a target of make in the Makefile.
"""

import functools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from tests.support.checkpoint import ROOT

# Programs of others. They are not looked into, but for the command that `git bisect run` runs.
OTHERS = {"cd", "echo", "git", "grep", "hf", "mkdir", "pip", "pre-commit", "rm", "sed"}
PYTHONS = {".venv/bin/python", "python", "python3.12"}
SUITE = ("--pyargs", "ttnn_verify.suite")


class CommandLine(NamedTuple):
    """The command that has the --help, and the words after it."""

    command: tuple[str, ...]
    words: tuple[str, ...]


class UnknownProgram(ValueError):
    """A line begins with a program that nothing is known of."""


def lines(block: str) -> Iterator[str]:
    """The simple commands of a block of shell, without comments and redirections."""
    for line in block.replace("\\\n", " ").splitlines():
        quiet = re.sub(r"\s+#.*$|^#.*$|\s*>\s*\S+", "", line)
        yield from (part.strip() for part in re.split(r"&&|;\s", quiet) if part.strip())


def parsed(line: str) -> CommandLine | None:
    """A simple command; None for a program of others.

    Raises:
        UnknownProgram: it is neither theirs nor ours.
    """
    words = shlex.split(line)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    if words[:3] == ["git", "bisect", "run"]:
        return parsed(shlex.join(words[3:]))
    program = words[0]
    if program in PYTHONS:
        return _of_python(words[1:], line)
    name = program.removeprefix(".venv/bin/")
    if name == "pytest":
        return _of_pytest(words[1:])
    if name in installed():
        return CommandLine(("-m", installed()[name]), tuple(words[1:]))
    if name == "make":
        return CommandLine(("make",), tuple(words[1:]))
    if name in OTHERS:
        return None
    raise UnknownProgram(f"{program!r} in {line!r}")


def _of_python(words: list[str], line: str) -> CommandLine | None:
    if words[0] == "-m" and words[1] == "pytest":
        return _of_pytest(words[2:])
    if words[0] == "-m":
        return None if words[1] == "venv" else CommandLine(("-m", words[1]), tuple(words[2:]))
    if (ROOT / words[0]).is_file():
        return CommandLine((words[0],), tuple(words[1:]))
    raise UnknownProgram(f"there is no {words[0]!r}: {line!r}")


def _of_pytest(words: list[str]) -> CommandLine:
    suite = SUITE if any(word.startswith("ttnn_verify.suite") for word in words) else ()
    return CommandLine(("-m", "pytest", *suite), tuple(words))


@functools.cache
def installed() -> dict[str, str]:
    """Name of a command that the wheel installs -> the module that it runs."""
    text = (ROOT / "pyproject.toml").read_text()
    scripts = text.partition("[project.scripts]\n")[2].partition("\n\n")[0]
    source = (ROOT / "ttnn_verify/console.py").read_text()  # which imports them late
    late = dict(
        re.findall(r'^def (\w+)\(\).*\n    return ending\.run\("(.*)"\)$', source, re.MULTILINE)
    )
    return {
        name: (late[function] if module == "ttnn_verify.console" else module).removesuffix(
            ".__main__"
        )
        for name, module, function in re.findall(r'^(\S+) = "(.*):(\w+)"$', scripts, re.MULTILINE)
    }


@functools.cache
def help_of(command: tuple[str, ...]) -> str:
    """What a command says to --help; the targets of make, the source of a benchmark's options."""
    if command == ("make",):
        return (ROOT / "Makefile").read_text()
    if command[1:] and command[1].startswith("benchmarks."):  # slow to import, all of them
        return (ROOT / f"{command[1].replace('.', '/')}.py").read_text()
    done = subprocess.run(
        [sys.executable, *command, "--help"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.stdout


def wrong(line: str) -> list[str]:
    """Sentences about a simple command; none where it can be run as it stands."""
    try:
        found = parsed(line)
    except UnknownProgram as error:
        return [f"unknown program: {error}"]
    if found is None:
        return []
    if found.command == ("make",):
        targets = [word for word in found.words if "=" not in word]
        known = r"^(%s:|READY := %s$)"
        return [
            f"make has no target {target!r}"
            for target in targets
            if not _has(known % ((re.escape(target),) * 2), found.command)
        ]
    if found.command == ("-m", "ttnn_emulator"):  # a script comes with options of its own
        return []
    options = [word.partition("=")[0] for word in found.words if word.startswith("--")]
    return [
        f"{' '.join(found.command)} has no option {option}"
        for option in options
        if not _has(rf"(?<![\w-]){re.escape(option)}(?![\w-])", found.command)
    ]


def _has(pattern: str, command: tuple[str, ...]) -> bool:
    return bool(re.search(pattern, help_of(command), re.MULTILINE))

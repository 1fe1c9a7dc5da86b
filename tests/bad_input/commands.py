"""Runs a command line on an `Example`, in this process, and judges how it ends.

It ends well with one of the statuses of `ttnn_verify.cli`, and where it refuses, or cannot tell,
with one sentence on stderr and nothing on stdout. Whatever else leaves the command is a failure.
"""

import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Sequence

from .examples import FOLDER, Contents, Example

BEGINNINGS = {
    0: (),
    1: (),
    2: ("error: ",),
    125: ("could not tell: ",),
}
BESIDE = ("note: ", "failed: ")  # lines that any run may print on stderr

LONGEST = 500  # characters of a sentence: a value of any size is shown in part
SHOWN = 2000  # characters of an output in a failing test's message


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended. `out` and `err` are what it printed."""

    status: int | str | None
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The line that says why, "" where there is none."""
        lines = self.err.splitlines()
        begins = BEGINNINGS.get(self.status, ())
        return next((line for line in lines if begins and line.startswith(begins)), "")


def run(main: Callable[[Sequence[str]], int], arguments: Sequence[str], capture) -> Ended:
    """Run a command. An exception of the command's, but for SystemExit, is the caller's."""
    capture.readouterr()
    try:
        status = main([str(word) for word in arguments])
    except SystemExit as exit:
        status = exit.code
    out, err = capture.readouterr()
    return Ended(status, out, err)


def wrong(ended: Ended) -> list[str]:
    """What is wrong with how a command ended, in sentences."""
    found = []
    if ended.status not in BEGINNINGS or isinstance(ended.status, bool):
        found.append(f"the exit status is {ended.status!r}")
    begins = BEGINNINGS.get(ended.status, ())
    said = [line for line in ended.err.splitlines() if not line.startswith(BESIDE)]
    if len(said) != len(begins) or any(not line.startswith(begins) for line in said):
        found.append(f"stderr has other lines than {begins}")
    if begins and ended.out:
        found.append("it refuses, and prints results")
    if begins and not ended.sentence.rstrip().endswith((".", ").")):
        found.append("the last line is no sentence")
    if any(len(line) > LONGEST for line in ended.err.splitlines()):
        found.append("a sentence is too long to read")
    if "Traceback" in ended.err:
        found.append("it ends in a traceback")
    shown = f": {ended.err[:SHOWN]!r}"
    return [sentence + shown for sentence in found]


def place(folder: pathlib.Path, right: pathlib.Path, example: Example, model_py: str) -> None:
    """Make `checkpoint` and `model.py` in a folder: the right ones but for the example's."""
    checkpoint = folder / "checkpoint"
    shutil.copytree(right, checkpoint)
    for name, contents in example.files.items():
        put(checkpoint / name, contents)
    own = model_py.encode() if example.model_py is None else example.model_py
    put(folder / "model.py", own)


def put(path: pathlib.Path, contents: Contents) -> None:
    """Write what an example has for a file: bytes, a folder, or nothing."""
    path.unlink(missing_ok=True)
    if contents is FOLDER:
        path.mkdir()
    elif isinstance(contents, bytes):
        path.write_bytes(contents)

"""Atomic file writes: a reader sees the old contents or the new ones, never a part.

Written here because the libraries fall short: `atomicwrites` is abandoned, and `safer` makes new
files readable by their owner alone, so that nobody else could read a report made in CI.
"""

import os
import pathlib
import tempfile
from collections.abc import Callable


def write_text(path: str | pathlib.Path, text: str) -> None:
    """Replace the file at `path` by `text`; its folder is created if needed."""
    write(path, lambda file: file.write_text(text, encoding="utf-8"))


def write(path: str | pathlib.Path, writer: Callable[[pathlib.Path], object]) -> None:
    """Replace the file at `path` by what `writer(another path)` writes; see `write_text`."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # beside it, because a file is only renamed in one step within a file system
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        writer(pathlib.Path(name))
        os.chmod(name, 0o644)  # mkstemp makes it for its owner alone
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise

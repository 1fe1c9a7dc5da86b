"""Whether a file can be written, asked before the work whose result it is to hold.

A run is long, and what it found would be lost.
"""

import errno
import os
import pathlib
import tempfile

from ttnn_verify.files import atomic

# Of an option's file in any place that can be made: those of pytest's options make their folders.
Path = str | pathlib.Path


def unwritable(path: Path, make_folder: bool = False) -> str:
    """Why a file cannot be written, as a sentence that begins with its path; "" if it can.

    What `atomic.refusal` refuses is. To find out the rest, an empty file is made beside it, and
    removed.

    Args:
        make_folder: a folder that is missing will be made, as far as that is possible.
    """
    reason = atomic.refusal(path)
    if reason:
        return reason
    target = pathlib.Path(path).resolve()
    folder = target.parent
    if make_folder:
        folder = next(parent for parent in target.parents if os.path.lexists(parent))
    elif not folder.exists():
        return f"{str(path)!r}: there is no such folder to write to."
    try:
        _try(folder, target.name if folder == target.parent else "file")
    except OSError as error:
        return f"{str(path)!r} cannot be written: {error.strerror}."
    return ""


def _try(folder: pathlib.Path, name: str) -> None:
    """Make a file in a folder, as `atomic` does, and remove it. Raises OSError."""
    try:
        handle, made = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    except FileNotFoundError as error:  # on a disk that takes no files
        raise OSError(errno.EROFS, os.strerror(errno.EROFS)) from error
    os.close(handle)
    os.unlink(made)

"""Whether a file can be written, asked before the work whose result it is to hold.

A run is long, and what it found would be lost. The same files are refused as are never written
over: whatever is there and is no regular file, such as a device.
"""

import errno
import os
import pathlib
import tempfile

# Of an option's file in any place that can be made: those of pytest's options make their folders.
Path = str | pathlib.Path


def unwritable(path: Path, make_folder: bool = False) -> str:
    """Why a file cannot be written, as a sentence that begins with its path; "" if it can.

    A link is followed to a regular file, and refused where it leads to anything else or to nothing.
    To find out, an empty file is made beside it, and removed.

    Args:
        make_folder: a folder that is missing will be made, as far as that is possible.
    """
    shown = repr(str(path))
    try:
        return _reason(pathlib.Path(path), make_folder).format(shown)
    except OSError as error:
        return f"{shown} cannot be written: {error.strerror}."
    except ValueError as error:  # a null character
        return f"{shown} cannot be written: {error}."


def _reason(path: pathlib.Path, make_folder: bool) -> str:
    if str(path) in ("", "."):
        return "{}: a file's name is needed."
    if path.is_symlink() and not path.is_file():
        return "{} is a link that leads to no regular file: another path is needed."
    if path.is_dir():
        return "{} is a folder; a file's path is needed."
    if path.exists() and not path.is_file():
        return "{} is no regular file, and would be lost: another path is needed."
    target = path.resolve()
    folder = target.parent
    if make_folder:
        folder = next(parent for parent in target.parents if os.path.lexists(parent))
    if not folder.exists():
        return "{}: there is no such folder to write to."
    if not folder.is_dir():
        return f"{{}}: {str(folder)!r} is no folder to write to."
    _try(folder, target.name if folder == target.parent else "file")
    return ""


def _try(folder: pathlib.Path, name: str) -> None:
    """Make a file in a folder, as `atomic` does, and remove it. Raises OSError."""
    try:
        handle, made = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    except FileNotFoundError as error:  # in /proc, which takes no files
        raise OSError(errno.EROFS, os.strerror(errno.EROFS)) from error
    os.close(handle)
    os.unlink(made)

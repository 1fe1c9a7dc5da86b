"""Atomic file writes: a reader sees the old contents or the new ones, never a part.

Only regular files are written or replaced: a device, a pipe, a folder and a link to nowhere are
refused in a sentence. A link to a file stays, and the file that it names is replaced. What a killed
process has left half written is removed when the same file is written next.

Written here because the libraries fall short: `atomicwrites` is abandoned, and `safer` makes new
files readable by their owner alone, so that nobody else could read a report made in CI.
"""

import contextlib
import fcntl
import glob
import os
import pathlib
import secrets
import stat
from collections.abc import Callable

# Folders of the system's own, in which a name stands for a device or an open file, never for a
# file that holds data; /dev/shm, a file system, is not meant.
SYSTEMS = ("/dev", "/proc", "/sys")
MOST_LINKS = 40  # that lead to one another: as the kernel has it

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


class NotReplaceable(OSError):
    """Nothing can be written at a path, or nothing should be; the message says why."""


def write_text(path: str | pathlib.Path, text: str) -> None:
    """Replace the file at `path` by `text`; its folder is created if needed. Raises as `write`."""
    write(path, lambda file: file.write_text(text, encoding="utf-8"))


def write(path: str | pathlib.Path, writer: Callable[[pathlib.Path], object]) -> None:
    """Replace the file at `path` by what `writer(another path)` writes; see `write_text`.

    A file that is there keeps its permissions.

    Raises:
        NotReplaceable: `refusal` says why.
        OSError: writing fails; what was there is still there.
    """
    reason = refusal(path)
    if reason:
        raise NotReplaceable(reason)
    path = pathlib.Path(path).resolve()  # of a link, what it leads to
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(path)
    partial, descriptor = _partial(path)
    try:
        writer(partial)
        if path.exists():
            partial.chmod(stat.S_IMODE(path.stat().st_mode))
        os.fsync(descriptor)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def refusal(path: str | pathlib.Path) -> str | None:
    """Why no file can be written at `path`, in a sentence; None if one can, as far as is known."""
    try:
        return _refusal(path)
    except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
        return f"{str(path)!r} cannot be written: {getattr(error, 'strerror', None) or error}."


def _refusal(path: str | pathlib.Path) -> str | None:
    if not str(path):
        return "the name of a file to write is empty."
    shown, place = repr(str(path)), pathlib.Path(path).absolute()
    links = 0
    while place.is_symlink():
        if _of_the_system(place):
            return f"{shown} is a link of the system's, {str(place)!r}; a regular file is needed."
        if links == MOST_LINKS:
            return f"{shown} is a link that leads in a circle; remove it, or name a file."
        place = (place.parent / os.readlink(place)).absolute()
        links += 1
    there = "leads to" if links else "is"
    if place.exists():
        kind = KINDS.get(stat.S_IFMT(place.stat().st_mode))
        if kind:
            return f"{shown} {there} {kind}; only a regular file is replaced."
        if not os.access(place, os.W_OK):
            return f"{shown} {there} a file that may not be written."
    elif links:
        return f"{shown} is a link to {str(place)!r}, where nothing is; remove it, or name a file."
    if _of_the_system(place):
        return f"{shown} {there} in a folder of the system's; no file can be written there."
    return _refusal_of_folder(shown, place.resolve().parent)


def _refusal_of_folder(shown: str, folder: pathlib.Path) -> str | None:
    """Why nothing can be made in a folder, which need not be there yet."""
    while not (folder.exists() or folder.is_symlink()):
        folder = folder.parent
    if not folder.is_dir():
        return f"{shown} cannot be written: {str(folder)!r} is not a folder."
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{shown} cannot be written: nothing may be written in folder {str(folder)!r}."
    return None


def _of_the_system(path: pathlib.Path) -> bool:
    if path.is_relative_to("/dev/shm"):
        return False
    return any(path.is_relative_to(folder) for folder in SYSTEMS)


# --- what is half written ------------------------------------------------------------------------

# It lies beside the file, because a file is only renamed in one step within a file system. Its
# writer holds a lock on it, which ends with its process.


def _partial(path: pathlib.Path) -> tuple[pathlib.Path, int]:
    """A new file beside `path`, and a descriptor that locks it; its permissions are the usual."""
    while True:
        partial = path.with_name(f"{_beginning(path)}{secrets.token_hex(4)}")
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        with contextlib.suppress(OSError):  # a disk that knows no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return partial, descriptor
        os.close(descriptor)  # another writer took it for one that is left


def _remove_left(path: pathlib.Path) -> None:
    """Remove what killed writers of `path` have left: files of ours that nobody locks."""
    for left in path.parent.glob(f"{glob.escape(_beginning(path))}*"):
        with contextlib.suppress(OSError):  # it is being written, or is gone
            descriptor = os.open(left, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                state = os.fstat(descriptor)
                if stat.S_ISREG(state.st_mode) and state.st_uid == os.geteuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    left.unlink()
            finally:
                os.close(descriptor)


def _beginning(path: pathlib.Path) -> str:
    return f".{path.name[:50]}.partial-"  # a name has at most 255 bytes

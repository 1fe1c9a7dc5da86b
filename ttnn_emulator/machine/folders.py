"""Folders of this user alone: checked, locked while a process uses them, and removed after it.

In a folder whose name others can guess they may put files of theirs, and in one that they may write
they may change ours. So what is kept for later runs lies in a folder that belongs to this user and
that nobody else may write.
"""

import atexit
import contextlib
import fcntl
import os
import pathlib
import shutil
import stat
import tempfile
from collections.abc import Collection

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

_in_use: list[int] = []  # descriptors whose locks say that this process uses a folder


def user_cache() -> pathlib.Path | None:
    """The folder for caches of this user, as the XDG specification has it; None without a home."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):  # the specification has others ignored, an empty one too
        return pathlib.Path(named)
    with contextlib.suppress(RuntimeError):
        return pathlib.Path.home() / ".cache"
    return None


def private(folder: pathlib.Path, trusted: Collection[int] = ()) -> str | None:
    """Make a folder for this user alone, unless it is there; why it is not one, in words.

    Args:
        trusted: users to whom it may belong, too.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return unsafe(folder, trusted)
    except OSError as error:
        return f"{folder} cannot be made: {error.strerror}"


def unsafe(folder: pathlib.Path, trusted: Collection[int] = ()) -> str | None:
    """Why what lies in a folder may be somebody else's; None for a folder of this user alone.

    Args:
        trusted: as of `private`.

    Raises:
        OSError: there is nothing.
    """
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode):
        return f"{folder} is no folder, or a link"
    if state.st_uid not in (os.geteuid(), *trusted):
        return f"{folder} belongs to user {state.st_uid}, not to user {os.geteuid()}"
    if state.st_mode & OTHERS_WRITE:
        return f"others may write in {folder}; chmod go-w takes that from them"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"nothing may be written in {folder}"
    return None


def temporary(prefix: str) -> pathlib.Path:
    """A new folder of this process, which goes with it.

    What a killed process cannot remove, the next one that asks for the same prefix does.
    """
    base = pathlib.Path(tempfile.gettempdir())
    sweep(base, prefix)
    while True:
        folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=base))  # of mode 0700
        use(folder)
        if folder.is_dir():  # nobody swept it before it was locked
            atexit.register(_remove, folder, os.getpid())
            return folder


def _remove(folder: pathlib.Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child must not take the folder from its parent
        shutil.rmtree(folder, ignore_errors=True)


def use(folder: pathlib.Path) -> None:
    """Lock a folder as in use, until this process ends, however it does."""
    with contextlib.suppress(OSError):  # a disk that knows no locks: nobody sweeps there either
        _in_use.append(locked(folder, fcntl.LOCK_SH))


def sweep(base: pathlib.Path, prefix: str) -> None:
    """Remove this user's folders of that prefix which no living process uses."""
    with contextlib.suppress(OSError):
        for folder in base.glob(f"{prefix}*"):
            remove_unused(folder)


def remove_unused(folder: pathlib.Path) -> None:
    """Remove a folder, unless it is in use or not of this user alone."""
    try:
        if unsafe(folder):
            return
        descriptor = locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # it is in use, or gone, or on a disk that knows no locks
        return
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def locked(folder: pathlib.Path, operation: int) -> int:
    """A descriptor that holds a lock on a folder, until it is closed or the process ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, operation)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor

"""A card for each process: claimed by a lock that all processes of the machine respect, or waited for."""

import contextlib
import os
import pathlib
import tempfile
import time

import filelock

from ttnn_verify import backend

# The variable by which TTNN is told, before it opens the first device, which cards it may see.
VISIBLE = "TT_VISIBLE_DEVICES"

LOCKS = pathlib.Path(tempfile.gettempdir()) / "ttnn-cards"

# Seconds that a process waits for a card: longer than any test session that holds one ought to take.
PATIENCE = 3600

_POLL = 0.2  # seconds between two looks


def visible():
    """The names of the cards that this process may use: of all, or those that `VISIBLE` names."""
    named = os.environ.get(VISIBLE, "")
    if named.strip():
        return [name.strip() for name in named.split(",")]
    return [path.name for path in backend.cards()]


@contextlib.contextmanager
def claimed(first=0, say=print, patience=None, locks=None):
    """A card that no other process has, its name; only it is visible to TTNN in this process.

    The lock ends with the process, however that ends.

    Args:
        first: which of the visible cards to try first, by its place.
        say: called with a sentence when all are taken and this process waits.
        patience: seconds to wait, by default `PATIENCE`.
        locks: the folder of the locks, by default `LOCKS`; processes share cards by sharing it.

    Raises:
        backend.BackendError: there is no card, or none became free in time.
    """
    names = visible()
    if not names:
        raise backend.BackendError(f"no card here, nothing in {backend.CARDS}.")
    names = names[first % len(names) :] + names[: first % len(names)]
    patience = PATIENCE if patience is None else patience
    folder = locks or LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    name, lock = _first_free(names, folder, say, patience)
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = name
    try:
        _note(folder, name).write_text(str(os.getpid()))
        yield name
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before
        lock.release()


def _first_free(names, folder, say, patience):
    """(name, its acquired lock) of the first card that is free, now or once one becomes so."""
    began = time.monotonic()
    said = False
    while True:
        for name in names:
            lock = filelock.FileLock(folder / f"{_safe(name)}.lock", mode=0o666)
            with contextlib.suppress(filelock.Timeout):
                lock.acquire(timeout=0)
                return name, lock
        if time.monotonic() - began >= patience:
            raise backend.BackendError(
                f"no card became free in {patience} s: {_holders(names, folder)}."
            )
        if not said:
            said = True
            say(f"waiting for a card, {patience} s at most: {_holders(names, folder)}.")
        time.sleep(_POLL)


def _holders(names, folder):
    return ", ".join(f"card {name} is taken by process {_holder(folder, name)}" for name in names)


def _holder(folder, name):
    with contextlib.suppress(OSError):
        return _note(folder, name).read_text() or "unknown"
    return "unknown"


def _note(folder, name):
    return folder / f"{_safe(name)}.holder"


def _safe(name):
    return name.replace("/", "-").replace(":", "-")

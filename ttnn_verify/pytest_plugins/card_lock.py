"""A card for each process, claimed by a lock that all processes of the machine respect.

`ttnn_verify.backend` lists the cards.
"""

import contextlib
import math
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

import filelock

from ttnn_verify import backend

LOCKS = pathlib.Path(tempfile.gettempdir()) / "ttnn-cards"

_POLL = 0.2  # seconds between two looks


@contextlib.contextmanager
def claimed(
    first: int = 0,
    say: Callable[[str], object] = print,
    patience: float = math.inf,
    locks: pathlib.Path | None = None,
) -> Iterator[str]:
    """Claim a card that no other process uses; TTNN sees no other card in this process. Its name.

    The lock ends with the process, however that ends.

    Args:
        first: which of the visible cards to try first, by its place.
        say: called with a sentence when all are taken and this process waits.
        patience: seconds to wait, by default until a card is free: nobody knows how long the
            session of another process takes, and its lock ends with it.
        locks: the folder of the locks, by default `LOCKS`; processes share cards by sharing it.

    Raises:
        backend.BackendError: there is no card, or none became free in time.
    """
    names = backend.visible_cards()
    if not names:
        raise backend.BackendError(f"no card here, nothing in {backend.CARDS}.")
    names = names[first % len(names) :] + names[: first % len(names)]
    folder = locks or LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    name, lock = _first_free(names, folder, say, patience)
    before = os.environ.get(backend.VISIBLE)
    os.environ[backend.VISIBLE] = name
    try:
        _holder_file(folder, name).write_text(str(os.getpid()))
        yield name
    finally:
        if before is None:
            del os.environ[backend.VISIBLE]
        else:
            os.environ[backend.VISIBLE] = before
        lock.release()


def _first_free(
    names: Sequence[str], folder: pathlib.Path, say: Callable[[str], object], patience: float
) -> tuple[str, filelock.BaseFileLock]:
    """(name, its acquired lock) of the first card that is free, now or once one becomes so."""
    began = time.monotonic()
    has_spoken = False
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
        if not has_spoken:
            has_spoken = True
            say(f"waiting for a card: {_holders(names, folder)}.")
        time.sleep(_POLL)


def _holders(names: Sequence[str], folder: pathlib.Path) -> str:
    return ", ".join(f"card {name} is taken by process {_holder(folder, name)}" for name in names)


def _holder(folder: pathlib.Path, name: str) -> str:
    with contextlib.suppress(OSError):
        return _holder_file(folder, name).read_text() or "unknown"
    return "unknown"


def _holder_file(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / f"{_safe(name)}.holder"


def _safe(name: str) -> str:
    return name.replace("/", "-").replace(":", "-")

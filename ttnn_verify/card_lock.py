"""A card for each process, claimed by a lock that all processes of the machine respect.

The lock is on the card's own device file, so that it holds between users, and there is no file that
somebody else could put in its place. `ttnn_verify.backend` lists the cards.
"""

import contextlib
import fcntl
import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence

from ttnn_verify import backend

PCI = pathlib.Path("/sys/bus/pci/devices")  # where a card that is named by its address is found
HELD = pathlib.Path("/proc/locks")

_POLL = 0.2  # seconds between two looks


@contextlib.contextmanager
def claimed(
    first: int = 0, say: Callable[[str], object] = print, patience: float = math.inf
) -> Iterator[str]:
    """Claim a card that no other process uses; TTNN sees no other card in this process. Its name.

    The lock ends with the process, however that ends.

    Args:
        first: which of the visible cards to try first, by its place.
        say: called with a sentence when all are taken and this process waits.
        patience: seconds to wait, by default until a card is free: nobody knows how long the
            session of another process takes, and its lock ends with it.

    Raises:
        backend.BackendError: there is no card, or none became free in time.
    """
    names = backend.visible_cards()
    if not names:
        raise backend.BackendError(f"no card here, nothing in {backend.CARDS}.")
    names = names[first % len(names) :] + names[: first % len(names)]
    name, lock = _first_free(names, say, patience)
    before = os.environ.get(backend.VISIBLE)
    os.environ[backend.VISIBLE] = name
    try:
        yield name
    finally:
        if before is None:
            del os.environ[backend.VISIBLE]
        else:
            os.environ[backend.VISIBLE] = before
        os.close(lock)


def _first_free(
    names: Sequence[str], say: Callable[[str], object], patience: float
) -> tuple[str, int]:
    """(name, descriptor that locks it) of the first card that is free, now or once one is."""
    files = {name: _file(name) for name in names}
    began = time.monotonic()
    has_spoken = False
    while True:
        for name, file in files.items():
            lock = _locked(file)
            if lock is not None:
                return name, lock
        if time.monotonic() - began >= patience:
            raise backend.BackendError(f"no card became free in {patience} s: {_holders(files)}.")
        if not has_spoken:
            has_spoken = True
            say(f"waiting for a card: {_holders(files)}.")
        time.sleep(_POLL)


def _file(name: str) -> pathlib.Path:
    """What stands for a card on this machine, by its number or its address on the bus."""
    for folder in (backend.CARDS, PCI):
        if (folder / name).exists():
            return folder / name
    raise backend.BackendError(f"card {name!r} is not here: {backend.CARDS} has no such device.")


def _locked(file: pathlib.Path) -> int | None:
    """A descriptor that locks a card until it is closed; None where another has it."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError as error:
        reason = f"card {str(file)!r} does not open: {error.strerror}."
        raise backend.BackendError(reason) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _holders(files: dict[str, pathlib.Path]) -> str:
    return ", ".join(
        f"card {name} is taken by process {_holder(file)}" for name, file in files.items()
    )


def _holder(file: pathlib.Path) -> str:
    """The process that locks a file, as the kernel lists it."""
    with contextlib.suppress(OSError):
        inode = f":{file.stat().st_ino}"
        for line in HELD.read_text().splitlines():
            fields = line.split()  # number, FLOCK, ADVISORY, WRITE, process, device:inode, 0, EOF
            if fields[1] == "FLOCK" and fields[5].endswith(inode):
                return fields[4]
    return "unknown"

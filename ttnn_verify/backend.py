"""Where the model runs: a card, the vendor's simulator or the emulated n150. Picks and opens it."""

import atexit
import contextlib
import gc
import os
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ttnn

CARDS = pathlib.Path("/dev/tenstorrent")  # the kernel driver's device files, one per card

# The environment variable that limits which cards TTNN sees; read when it opens its first device.
VISIBLE = "TT_VISIBLE_DEVICES"

BACKENDS = ("silicon", "simulator", "emulated")

# How the emulated n150 computes, the default first. Repeated from `ttnn_emulator`, which is slow to
# import; a test compares the two.
ARITHMETICS = ("kernel", "rounded")


class BackendError(ValueError):
    """The requested backend is unknown or not available; the message says what would be right."""


def pick(backend: str | None = None) -> str:
    """The backend's name: the requested one, or the first of `BACKENDS` that is available.

    Raises:
        BackendError: an unknown name, or a backend that is not available.
    """
    if backend is None:
        return next(name for name in BACKENDS if _missing(name) is None)
    if backend not in BACKENDS:
        raise BackendError(f"backend {backend!r}: there are {', '.join(BACKENDS)}.")
    missing = _missing(backend)
    if missing:
        raise BackendError(f"backend {backend!r}: {missing}")
    return backend


def check_arithmetic(backend: str, arithmetic: str | None) -> None:
    """Raises BackendError if an arithmetic is requested of a backend that has no choice of one."""
    if arithmetic is None:
        return
    if arithmetic not in ARITHMETICS:
        raise BackendError(f"arithmetic {arithmetic!r}: there are {', '.join(ARITHMETICS)}.")
    if backend != "emulated":
        raise BackendError(
            f"arithmetic {arithmetic!r}: only 'emulated' has a choice; {backend!r} has its own."
        )


def described(backend: str, arithmetic: str | None = None) -> str:
    """The backend as reports name it: the emulated one with its arithmetic."""
    if backend != "emulated":
        return backend
    return f"emulated, {arithmetic or ARITHMETICS[0]} arithmetic"


def cards() -> list[pathlib.Path]:
    """The device files of this machine's cards."""
    return sorted(CARDS.iterdir()) if CARDS.is_dir() else []


def visible_cards() -> list[str]:
    """The names of the cards that this process may use: all, or those that `VISIBLE` names."""
    named = os.environ.get(VISIBLE, "")
    if named.strip():
        return [name.strip() for name in named.split(",")]
    return [path.name for path in cards()]


def _missing(backend: str) -> str | None:
    """Why the backend is not available on this machine; None if it is."""
    simulator = os.environ.get("TT_METAL_SIMULATOR")
    if backend == "silicon":
        # TTNN opens the simulator whenever the variable is set, card or not
        if simulator:
            return f"TT_METAL_SIMULATOR is {simulator!r}, so TTNN opens the simulator; unset it."
        if not cards():
            return f"no card here, nothing in {CARDS}; use 'emulated', which needs none."
    if backend == "simulator" and not simulator:
        return "TT_METAL_SIMULATOR is not set; it names the simulator's library (libttsim .so)."
    if backend == "emulated" and simulator:
        return f"TT_METAL_SIMULATOR is {simulator!r}, so TTNN opens the simulator; unset it."
    return None


@contextlib.contextmanager
def open_device(
    backend: str, device_id: int = 0, arithmetic: str | None = None
) -> "Iterator[ttnn.Device]":
    """The backend's device as a ttnn device, closed when the block ends, however it ends.

    A device that is there and does not open raises TTNN's own error.

    Args:
        backend: a name that `pick` returned.
        device_id: which card; an emulated or simulated n150 has one, 0.
        arithmetic: how the emulated device computes, of `ARITHMETICS`; default the first.

    Raises:
        BackendError: the backend is not there, or has no device of that number.
    """
    pick(backend)
    check_arithmetic(backend, arithmetic)
    if device_id < 0 or (backend == "emulated" and device_id != 0):
        raise BackendError(f"device {device_id}: an n150 has one, device 0.")
    # imported late: slow, and not needed by a command that only refuses its arguments
    if backend == "emulated":
        import ttnn_emulator

        with ttnn_emulator.open_device(device_id=device_id, arithmetic=arithmetic) as device:
            yield device
        return
    import ttnn

    device = ttnn.open_device(device_id=device_id)
    try:
        yield device
    finally:
        ttnn.close_device(device)


def quiet() -> None:
    """Keep TTNN's logs to errors, unless the environment says otherwise. Before `import ttnn`."""
    os.environ.setdefault("TT_METAL_LOGGER_LEVEL", "error")
    os.environ.setdefault("LOGURU_LEVEL", "ERROR")


def spare_cores() -> None:
    """Keep threads from idling on cores, unless the environment says otherwise. Before torch.

    OpenMP's threads, which are torch's and numba's, wait for work in a loop; where other processes
    want the cores, too, everything then takes several times as long. And numba, which knows no
    OMP_NUM_THREADS, gives torch as many threads as itself.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # of the outermost level
    if threads.isdecimal():
        os.environ.setdefault("NUMBA_NUM_THREADS", threads)


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """Within, Python's garbage collector rests: for imports of torch, transformers and ttnn.

    It would look through the million objects that they make several times, for a sixth of the time,
    and find nothing. Nor does it look at them later, until the process ends.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.freeze()
            atexit.register(gc.unfreeze)  # or TTNN misses its objects, and says so
            gc.enable()

"""Where the model runs: on cards, the vendor's simulator or an emulated system."""

import atexit
import contextlib
import gc
import math
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

MeshShape = tuple[int, int]  # rows and columns of chips

# Repeated from `ttnn_emulator`, which is slow to import; a test compares them. How the emulated
# device computes, the default first; the systems that there are and how many chips each has, the
# smallest first.
ARITHMETICS = ("kernel", "rounded")
SYSTEMS = {"n150": 1, "n300": 2, "t3000": 8}


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


def pick_system(backend: str, system: str | None, mesh: MeshShape | None) -> str | None:
    """The name of the system to emulate: the requested one, or the smallest that holds the mesh.

    Args:
        mesh: that the model asks for; None for one chip.

    Returns:
        For another backend what was requested, which is checked when the device opens.

    Raises:
        BackendError: an unknown name, or a system that is too small.
    """
    if system is not None and system not in SYSTEMS:
        raise BackendError(f"system {system!r}: there are {', '.join(SYSTEMS)}.")
    if backend != "emulated":
        return system
    wanted = math.prod(mesh or (1, 1))
    enough = _large_enough(wanted)
    if system is None and enough:
        return enough[0]
    if system not in enough:
        there = system or list(SYSTEMS)[-1]
        largest = "" if system else ", the largest that is emulated,"
        raise BackendError(
            f"{_shape(mesh)} is {wanted} chips: {_article(there)}{largest} has {SYSTEMS[there]}."
        )
    return system


def smallest_system(mesh: MeshShape | None) -> str | None:
    """The name of the smallest system that holds a mesh, None where none does."""
    return next(iter(_large_enough(math.prod(mesh or (1, 1)))), None)


def _large_enough(chips: int) -> list[str]:
    """The names of the systems with so many chips, the smallest first."""
    return [name for name, there in SYSTEMS.items() if there >= chips]


def described(
    backend: str,
    arithmetic: str | None = None,
    system: str | None = None,
    mesh: MeshShape | None = None,
) -> str:
    """The backend as reports name it, with what is emulated and the mesh, if there is one."""
    chips = f", {mesh[0]}x{mesh[1]} chips" if mesh else ""
    if backend != "emulated":
        return f"{backend}{chips}"
    named = "" if system in (None, "n150") else f" {system}"
    return f"emulated{named}{chips}, {arithmetic or ARITHMETICS[0]} arithmetic"


def _article(system: str) -> str:
    return f"{'a' if system.startswith('t') else 'an'} {system}"


def _shape(mesh: MeshShape | None) -> str:
    rows, columns = mesh or (1, 1)
    return f"MESH_SHAPE ({rows}, {columns})"


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
    backend: str,
    device_id: int = 0,
    arithmetic: str | None = None,
    system: str | None = None,
    mesh: MeshShape | None = None,
) -> "Iterator[ttnn.MeshDevice]":
    """The backend's device as a ttnn device, closed when the block ends, however it ends.

    A device that is there and does not open raises TTNN's own error.

    Args:
        backend: a name that `pick` returned.
        device_id: which chip, where no mesh is asked for; from 0 on.
        arithmetic: how the emulated device computes, of `ARITHMETICS`; default the first.
        system: what is emulated, of `SYSTEMS`; default the smallest that holds the mesh. Of cards,
            that there are as many chips.
        mesh: the chips to open as a mesh, with the fabric between them; None for one chip.

    Raises:
        BackendError: the backend is not there, or has no device of that number, or no such mesh.
    """
    pick(backend)
    check_arithmetic(backend, arithmetic)
    system = pick_system(backend, system, mesh)
    check_device(backend, device_id, system, mesh)
    # imported late: slow, and not needed by a command that only refuses its arguments
    if backend == "emulated":
        with _emulated(device_id, arithmetic, system, mesh) as device:
            yield device
        return
    import ttnn

    if system is not None or mesh is not None:
        _check_chips(ttnn.get_num_devices(), system, mesh)
    with contextlib.ExitStack() as closing:
        if mesh is None:
            device = ttnn.open_device(device_id=device_id)
            closing.callback(ttnn.close_device, device)
        else:
            if math.prod(mesh) > 1:
                ttnn.set_fabric_config(ttnn.FabricConfig.FABRIC_1D)
                closing.callback(ttnn.set_fabric_config, ttnn.FabricConfig.DISABLED)
            device = ttnn.open_mesh_device(ttnn.MeshShape(*mesh))
            closing.callback(ttnn.close_mesh_device, device)
        yield device


def check_device(
    backend: str, device_id: int, system: str | None = None, mesh: MeshShape | None = None
) -> None:
    """Raises BackendError for the number of a device that the backend is known not to have."""
    name = system or next(iter(SYSTEMS))
    chips = SYSTEMS[name] if backend == "emulated" else None
    if mesh is not None and device_id != 0:
        raise BackendError(f"device {device_id}: {_shape(mesh)} takes chips from device 0 on.")
    if device_id < 0 or (chips is not None and device_id >= chips):
        there = "one, device 0" if chips in (None, 1) else f"{chips}, from device 0 on"
        raise BackendError(f"device {device_id}: {_article(name)} has {there}.")


def _emulated(
    device_id: int, arithmetic: str | None, system: str | None, mesh: MeshShape | None
) -> "contextlib.AbstractContextManager[ttnn.MeshDevice]":
    import ttnn_emulator

    if mesh is None:
        return ttnn_emulator.open_device(device_id, arithmetic=arithmetic, system=system)
    return ttnn_emulator.open_mesh_device(mesh, arithmetic=arithmetic, system=system)


def _check_chips(there: int, system: str | None, mesh: MeshShape | None) -> None:
    """Raises BackendError where the cards have fewer chips than the system, or the mesh."""
    if mesh is not None and there < math.prod(mesh):
        raise BackendError(f"{_shape(mesh)} is {math.prod(mesh)} chips: there are {there}.")
    if system is not None and there < SYSTEMS[system]:
        raise BackendError(
            f"system {system!r}: {_article(system)} has {SYSTEMS[system]} chips, and there are "
            f"{there}."
        )


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

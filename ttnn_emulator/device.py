"""Opening and closing the emulated n150: `open_device` for code, `install` for a whole script."""

import contextlib
import ctypes
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
import ttnn

from ttnn_emulator import dispatch, toolchain, transfer
from ttnn_emulator.arithmetic.exact import exact
from ttnn_emulator.arithmetic.rounded import rounded
from ttnn_emulator.evidence import Evidence, Journal
from ttnn_emulator.interpose import Layer, Level
from ttnn_emulator.memory import Memory
from ttnn_emulator.ops import BINDINGS
from ttnn_emulator.tensor_methods import TensorMethods
from ttnn_emulator.trace import FUNCTIONS, Traces

if TYPE_CHECKING:
    from ttnn_emulator.arithmetic.interface import Arithmetic

# How results are computed: step by step as the device's kernels do, or in float32 rounded once.
ARITHMETICS: "dict[str, Arithmetic]" = {"kernel": exact, "rounded": rounded}
DEFAULT_ARITHMETIC = "kernel"

# (columns, rows) of an n150's worker cores, on the mock device as on a card.
CORES = (8, 8)

# Operations written in Python that only call other operations: they run unchanged.
COMPOSED = frozenset(
    {
        "ttnn.Tensor.__getitem__",
        "ttnn.to_torch",
        "ttnn.unsqueeze_to_4D",
        "ttnn.deallocate",
        "ttnn.allocate_tensor_on_host",
        "ttnn.pearson_correlation_coefficient",
    }
)

# (module, name) of the functions of TTNN that open and close devices, all others by way of these.
OPENING = (
    (ttnn, "open_device"),
    (ttnn.device, "open_device"),
    (ttnn._ttnn.device, "CreateDevice"),
    (ttnn._ttnn.device, "CreateDevices"),
    (ttnn._ttnn.multi_device, "open_mesh_device"),
)
CLOSING = (
    (ttnn._ttnn.device, "close_device"),
    (ttnn._ttnn.multi_device, "close_mesh_device"),
    (ttnn, "CloseDevice"),
    (ttnn, "CloseDevices"),
    (ttnn.device, "CloseDevice"),
    (ttnn.device, "CloseDevices"),
)

# References to an object that only a list holds, as `sys.getrefcount` counts them.
_list = [object()]
NOBODYS = sys.getrefcount(_list[0])

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


class SecondDevice(RuntimeError):
    """A device was opened while another is open: they would share the card's memory."""


class _Installation:
    """What `install` replaced, to be put back by `uninstall`."""

    def __init__(self, arithmetic: str, cores: tuple[int, int]) -> None:
        self.settings = dispatch.ArithmeticSettings(ARITHMETICS[arithmetic], cores)
        self.compute_by(arithmetic)
        self.memory = Memory(self.settings)
        self.calls: dict[str, list[dispatch.EmulatedCall]] = defaultdict(list)
        self._traces = Traces(self.memory)
        self._open: list[ttnn.MeshDevice] = []
        self._layer = Layer("the emulated device", Level.STAND_IN)
        self._environment = contextlib.ExitStack()

    def compute_by(self, arithmetic: str) -> None:
        """Compute results by this arithmetic from now on; those of "kernel" go into the journal."""
        self.arithmetic = arithmetic
        self.settings.math = ARITHMETICS[arithmetic]
        self.settings.journal = _journal if arithmetic == "kernel" else None

    def attach(self) -> None:
        self._environment.enter_context(toolchain.environment())
        for operation in ttnn.query_registered_operations(include_experimental=True):
            if operation.python_fully_qualified_name not in COMPOSED:
                self._layer.replace(operation, "function", self._emulated(operation))
                # TTNN's slow runtime keeps a copy of the function from its first use
                self._layer.replace(operation, "_slow_operation", None)
        for name, method in TensorMethods(self.memory).replacements().items():
            self._layer.replace(ttnn.Tensor, name, method)
        for module, name in OPENING:
            self._layer.wrap(module, name, self._opening)
        for module, name in CLOSING:
            self._layer.wrap(module, name, self._closing)
        for name in FUNCTIONS:
            self._layer.replace(ttnn, name, getattr(self._traces, name))

    def detach(self) -> None:
        self._layer.undo()
        self._environment.close()
        self._forget()

    def _emulated(self, operation: Any) -> dispatch.HostCall:
        name = operation.python_fully_qualified_name
        if name in transfer.TRANSFERS:
            return dispatch.transfer_call(operation, transfer.TRANSFERS[name], self.memory)
        if name in BINDINGS:
            call = dispatch.emulated_call(operation, BINDINGS[name], self.memory, self.settings)
            self.calls[name].append(call)
            return call
        return dispatch.refused_call(operation)

    def _opening(self, genuine: Callable[..., Any]) -> Callable[..., Any]:
        """TTNN's function that opens devices, for one at a time."""

        def open_device(*args: Any, **kwargs: Any) -> Any:
            self._close_abandoned()
            if self._open:
                raise SecondDevice(
                    f"device {self._open[0].id()} is open: the emulated n150 is one device of a "
                    "process. Use it, or end it first with ttnn.close_device."
                )
            with toolchain.opening():
                opened = genuine(*args, **kwargs)
            self._open += opened.values() if isinstance(opened, dict) else [opened]
            return opened

        return open_device

    def _closing(self, genuine: Callable[..., Any]) -> Callable[..., Any]:
        """TTNN's function that closes a device, or several by their numbers."""

        def close_device(devices: Any) -> None:
            genuine(devices)
            several = devices.values() if isinstance(devices, dict) else [devices]
            closed = {device.id() for device in several}
            still_open = [device for device in self._open if device.id() not in closed]
            if len(still_open) < len(self._open):  # not a part of one
                self._open = still_open
                self._forget()

        return close_device

    def _close_abandoned(self) -> None:
        """Close the device if nobody has it any more, which on a card closes it."""
        if self._open and sys.getrefcount(self._open[0]) == NOBODYS:
            ttnn.close_device(self._open[0])

    def _forget(self) -> None:
        self._open.clear()
        self.memory.clear()
        self._traces.clear()


_installation: _Installation | None = None
_journal = Journal()  # of the current installation, or of the last one


def install(arithmetic: str | None = None, cores: tuple[int, int] | None = None) -> None:
    """Emulate an n150 in this process from now on, for scripts that call `ttnn.open_device`.

    Must come before the process opens its first device. Calling it again changes nothing.

    Of the process this changes TTNN's operations, methods and trace functions and the environment
    variables TT_METAL_*, which `uninstall` puts back; and two thresholds of glibc's malloc
    (`mallopt`: freed memory is kept for reuse), which cannot be put back, since glibc does not tell
    what they were.

    Args:
        arithmetic: "kernel", the default, computes what the device's kernels compute, step by step;
            "rounded" computes in float32 and rounds each result once, which is quicker.
        cores: (columns, rows) of worker cores among which the arithmetic divides work, where that
            affects results; default (8, 8), those of an n150. The device's own grid does not
            change.

    One device is open at a time: another one raises `SecondDevice`.

    Raises:
        ValueError: an unknown arithmetic, or another one than is already installed.
    """
    global _installation, _journal
    _check_arithmetic(arithmetic)
    if _installation is None:
        _journal = Journal()
        _keep_freed_pages()
        installation = _Installation(arithmetic or DEFAULT_ARITHMETIC, cores or CORES)
        try:
            installation.attach()
        except BaseException:
            installation.detach()
            raise
        _installation = installation
        return
    installed = (_installation.arithmetic, _installation.settings.cores)
    choice = (arithmetic or installed[0], tuple(cores or installed[1]))
    if choice != installed:
        raise ValueError(
            f"arithmetic {choice[0]!r} on {choice[1]} cores: this process already emulates with "
            f"{installed[0]!r} on {installed[1]}. Close that first, or use "
            "`ttnn_emulator.arithmetic_settings`."
        )


def uninstall() -> None:
    """Put back what `install` changed, but for malloc's thresholds; see there.

    Close emulated devices first: their contents are forgotten.

    Raises:
        OutOfOrder: another layer has replaced operations on top of the emulated ones and must be
            undone first (`ttnn_emulator.interpose`).
    """
    global _installation
    if _installation is not None:
        _installation.detach()
        _installation = None


@contextlib.contextmanager
def open_device(
    device_id: int = 0,
    *,
    arithmetic: str | None = None,
    cores: tuple[int, int] | None = None,
    **kwargs: Any,
) -> Iterator[ttnn.MeshDevice]:
    """An emulated n150 as a ttnn device: `with ttnn_emulator.open_device() as device:`.

    Args:
        device_id: 0, an n150 has one chip.
        arithmetic, cores: those of `install`.
        kwargs: those of `ttnn.open_device`.

    When the block ends the device is closed and, if this installed the emulation, all is put back
    that `uninstall` puts back.
    """
    if device_id != 0:
        raise ValueError(f"device_id {device_id}: an emulated n150 has one chip, device 0.")
    already = _installation is not None
    install(arithmetic, cores)
    try:
        device = ttnn.open_device(device_id=device_id, **kwargs)
        try:
            yield device
        finally:
            ttnn.close_device(device)
    finally:
        if not already:
            uninstall()


@contextlib.contextmanager
def arithmetic_settings(
    arithmetic: str | None = None, cores: tuple[int, int] | None = None
) -> Iterator[None]:
    """Another arithmetic or grid for the operations of a `with` block; see `install`.

    Raises:
        RuntimeError: nothing is installed.
        ValueError: an unknown arithmetic.
    """
    installation = _installed()
    _check_arithmetic(arithmetic)
    settings = installation.settings
    before = installation.arithmetic, settings.cores
    installation.compute_by(arithmetic or before[0])
    settings.cores = cores or before[1]
    try:
        yield
    finally:
        installation.compute_by(before[0])
        settings.cores = before[1]


@contextlib.contextmanager
def binding_replaced(
    name: str, replace: Callable[[dispatch.Binding], dispatch.Binding]
) -> Iterator[None]:
    """Use another binding for one operation within a `with` block; its host side stays TTNN's.

    For tests of tests: whether they notice a kernel that computes something wrong.

    Args:
        name: the operation's full name, such as "ttnn.rms_norm".
        replace: makes the other binding from the operation's own, a function of
            `ttnn_emulator.ops`.

    Raises:
        RuntimeError: nothing is installed.
        ValueError: no operation of this name is emulated.
    """
    installation = _installed()
    if name not in BINDINGS:
        raise ValueError(f"{name!r} is no emulated operation; names are such as 'ttnn.linear'.")
    with contextlib.ExitStack() as undo:
        for call in installation.calls[name]:
            undo.callback(call.rebind, call.binding)
            call.rebind(replace(BINDINGS[name]))
        yield


def bindings_in_use() -> dict[str, dispatch.Binding]:
    """operation -> its binding, the other one within `binding_replaced`; {} without emulation."""
    calls = _installation.calls if _installation else {}
    return {name: call.binding for name, same_name in calls.items() for call in same_name}


def installed_arithmetic() -> str | None:
    """The name of the arithmetic that is installed, None when nothing is."""
    return _installation.arithmetic if _installation else None


def contents(tensor: ttnn.Tensor) -> torch.Tensor:
    """What the buffer of an emulated device tensor holds, tile padding included.

    It shares the buffer's memory: writing to it changes what the device holds.

    Returns:
        torch.Tensor of the padded shape, in the storage dtype (`arithmetic.formats.STORAGE`).

    Raises:
        RuntimeError: nothing is installed.
        UnknownContents: nothing emulated has written the buffer.
    """
    return _installed().memory.read(tensor).data


def contents_bytes() -> int:
    """Bytes that the emulated buffers hold on the host, 0 when nothing is installed."""
    return _installation.memory.nbytes if _installation else 0


def found_evidence() -> tuple[Evidence, ...]:
    """The evidence for all results of the current installation, or of the last one.

    One entry for each operation and setting that the kernel arithmetic has computed.
    """
    return _journal.distinct()


def last_evidence() -> Evidence | None:
    """The `Evidence` of the operation that was computed last; None if none was."""
    return _journal.last


def computed_calls() -> int:
    """How many operations the kernels' arithmetic computed since the last installation."""
    return _journal.calls


def _installed() -> _Installation:
    if _installation is None:
        raise RuntimeError(
            "No n150 is emulated in this process; call ttnn_emulator.install() first."
        )
    return _installation


def _check_arithmetic(name: str | None) -> None:
    if name is not None and name not in ARITHMETICS:
        raise ValueError(f"arithmetic {name!r}: there are {', '.join(ARITHMETICS)}.")


def _keep_freed_pages() -> None:
    """Have malloc keep up to 512 MB of freed memory for the next allocations.

    By default glibc returns allocations as large as a kernel's temporaries to the system and takes
    new pages, which the system clears: a twentieth of the time of a prefill.
    """
    libc = ctypes.CDLL(None)  # ttnn has wheels for glibc alone
    libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)  # glibc's maximum; larger ones are still returned
    libc.mallopt(M_TRIM_THRESHOLD, 512 << 20)


__all__ = [
    "ARITHMETICS",
    "DEFAULT_ARITHMETIC",
    "SecondDevice",
    "arithmetic_settings",
    "binding_replaced",
    "bindings_in_use",
    "computed_calls",
    "contents",
    "contents_bytes",
    "found_evidence",
    "install",
    "installed_arithmetic",
    "last_evidence",
    "open_device",
    "uninstall",
]

"""Emulating a system with Tenstorrent chips: `install` for a whole script, contexts for code."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import ttnn

from ttnn_emulator import dispatch
from ttnn_emulator.evidence import Evidence, Journal
from ttnn_emulator.installation import ARITHMETICS, DEFAULT_ARITHMETIC, Installation
from ttnn_emulator.machine import systems, toolchain
from ttnn_emulator.machine.open_devices import SecondDevice
from ttnn_emulator.ops import BINDINGS

# (columns, rows) of an n150's worker cores, on the mock device as on a card.
CORES = (8, 8)

_installation: Installation | None = None
_journal = Journal()  # of the current installation, or of the last one


def install(
    arithmetic: str | None = None,
    cores: tuple[int, int] | None = None,
    system: str | None = None,
) -> None:
    """Emulate a system in this process from now on, for scripts that open their device themselves.

    Must come before the process opens its first device. Calling it again changes nothing.

    Of the process this changes TTNN's operations, methods and trace functions and the environment
    variables TT_METAL_*, which `uninstall` puts back; and two thresholds of glibc's malloc
    (`mallopt`: freed memory is kept for reuse), which cannot be put back, since glibc does not tell
    what they were.

    Args:
        arithmetic: "kernel", the default, computes what the device's kernels compute, step by step;
            "rounded" computes in float32 and rounds each result once, which is quicker.
        cores: (columns, rows) of worker cores among which the arithmetic divides work, where that
            affects results; default (8, 8), those of a Wormhole here. The device's own grid does
            not change.
        system: "n150", the default; "n300" or "t3000" have 2 and 8 chips, for
            `ttnn.open_mesh_device`. TTNN itself respects TT_VISIBLE_DEVICES and
            TT_MESH_GRAPH_DESC_PATH.

    One device, or mesh of them, is open at a time: another one raises `SecondDevice`.

    Raises:
        ValueError: an unknown arithmetic or system, or another one than is already installed.
        OtherSystem: the process has emulated another system before.
    """
    global _installation, _journal
    _check_arithmetic(arithmetic)
    wanted = None if system is None else systems.find(system)
    if _installation is None:
        _journal = Journal()
        installation = Installation(
            arithmetic or DEFAULT_ARITHMETIC, cores or CORES, wanted or systems.N150, _journal
        )
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
    if wanted not in (None, _installation.system):
        raise ValueError(
            f"system {system!r}: this process already emulates "
            f"{toolchain.article(_installation.system.name)}."
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
    system: str | None = None,
    **kwargs: Any,
) -> Iterator[ttnn.MeshDevice]:
    """An emulated chip as a ttnn device: `with ttnn_emulator.open_device() as device:`.

    Args:
        device_id: the chip's number; an n150 has one chip, device 0.
        arithmetic, cores, system: those of `install`.
        kwargs: those of `ttnn.open_device`.

    When the block ends the device is closed and, if this installed the emulation, all is put back
    that `uninstall` puts back.
    """
    with _installing(arithmetic, cores, system) as installed:
        if not 0 <= device_id < installed.chips:
            there_are = "one chip, device 0" if installed.chips == 1 else f"{installed.chips} chips"
            raise ValueError(
                f"device_id {device_id}: {toolchain.article(installed.name)} has {there_are}."
            )
        device = ttnn.open_device(device_id=device_id, **kwargs)
        try:
            yield device
        finally:
            ttnn.close_device(device)


@contextlib.contextmanager
def open_mesh_device(
    shape: tuple[int, int] | None = None,
    *,
    arithmetic: str | None = None,
    cores: tuple[int, int] | None = None,
    system: str | None = None,
    fabric: ttnn.FabricConfig = ttnn.FabricConfig.FABRIC_1D,
    **kwargs: Any,
) -> Iterator[ttnn.MeshDevice]:
    """Emulated chips as a ttnn mesh: `with ttnn_emulator.open_mesh_device((1, 8)) as mesh:`.

    Args:
        shape: (rows, columns); default all chips of the system, as bring-ups take them.
        arithmetic, cores: those of `install`.
        system: that of `install`; default the installed one, or else the smallest with so many
            chips.
        fabric: what links the chips, without which TTNN refuses collectives. It is disabled again
            when the mesh is closed. A mesh of one chip has none.
        kwargs: those of `ttnn.open_mesh_device`.

    It ends as `open_device` does. A mesh that the system does not hold is TTNN's own error.
    """
    if system is None and _installation is None and shape is not None:
        system = systems.smallest(math.prod(shape)).name
    with _installing(arithmetic, cores, system) as installed, contextlib.ExitStack() as closing:
        rows_columns = shape or installed.mesh
        if math.prod(rows_columns) > 1:
            ttnn.set_fabric_config(fabric)
            closing.callback(ttnn.set_fabric_config, ttnn.FabricConfig.DISABLED)
        mesh = ttnn.open_mesh_device(ttnn.MeshShape(*rows_columns), **kwargs)
        closing.callback(ttnn.close_mesh_device, mesh)
        yield mesh


@contextlib.contextmanager
def _installing(
    arithmetic: str | None, cores: tuple[int, int] | None, system: str | None
) -> Iterator[systems.System]:
    """`install` for a block, and `uninstall` if it was not installed before."""
    already = _installation is not None
    install(arithmetic, cores, system)
    try:
        yield _installed().system
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


def contents(tensor: ttnn.Tensor, chip: int = 0) -> torch.Tensor:
    """What the buffer of an emulated device tensor holds, tile padding included.

    It shares the buffer's memory: writing to it changes what the device holds, and on a mesh what
    all chips hold that hold the same.

    Args:
        tensor: on the device.
        chip: which one of the tensor's chips, in row-major order of their coordinates.

    Returns:
        torch.Tensor of the padded shape, in the storage dtype (`arithmetic.formats.STORAGE`).

    Raises:
        RuntimeError: nothing is installed.
        UnknownContents: nothing emulated has written the buffer.
    """
    return _installed().memory.read(tensor).on(chip).data


def installed_system() -> str | None:
    """The name of the system that is emulated, None when none is."""
    return _installation.system.name if _installation else None


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


def _installed() -> Installation:
    if _installation is None:
        raise RuntimeError(
            "Nothing is emulated in this process; call ttnn_emulator.install() first."
        )
    return _installation


def _check_arithmetic(name: str | None) -> None:
    if name is not None and name not in ARITHMETICS:
        raise ValueError(f"arithmetic {name!r}: there are {', '.join(ARITHMETICS)}.")


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
    "installed_system",
    "last_evidence",
    "open_device",
    "open_mesh_device",
    "uninstall",
]

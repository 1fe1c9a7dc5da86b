"""Tenstorrent chips without the card: TTNN's host side runs for real, kernels are computed here.

Importing it leaves the process as it is. `install` and `open_device` change it and say how.
"""

from ttnn_emulator import startup

with startup.imports():
    from ttnn_emulator.device import (
        ARITHMETICS,
        DEFAULT_ARITHMETIC,
        SecondDevice,
        arithmetic_settings,
        binding_replaced,
        bindings_in_use,
        computed_calls,
        contents,
        contents_bytes,
        found_evidence,
        install,
        installed_arithmetic,
        installed_system,
        last_evidence,
        open_device,
        open_mesh_device,
        uninstall,
    )
    from ttnn_emulator.dispatch import NotEmulated
    from ttnn_emulator.machine.systems import SYSTEMS
    from ttnn_emulator.machine.toolchain import OtherSystem
    from ttnn_emulator.memory import UnknownContents
    from ttnn_emulator.ops.common.bounds import OutOfBounds

__all__ = [
    "ARITHMETICS",
    "DEFAULT_ARITHMETIC",
    "SYSTEMS",
    "NotEmulated",
    "OtherSystem",
    "OutOfBounds",
    "SecondDevice",
    "UnknownContents",
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

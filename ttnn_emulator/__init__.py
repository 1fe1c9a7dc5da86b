"""An n150 without the card: TTNN's host side runs for real, its kernels are computed here."""

import os

# Read when ttnn is imported: without it TTNN logs its whole configuration at every start.
os.environ.setdefault("LOGURU_LEVEL", "WARNING")

from ttnn_emulator.device import (
    ARITHMETICS,
    DEFAULT_ARITHMETIC,
    computed_calls,
    contents_bytes,
    found_evidence,
    install,
    installed_arithmetic,
    kernel_replaced,
    last_evidence,
    open_device,
    reckoning,
    uninstall,
)
from ttnn_emulator.dispatch import NotEmulated
from ttnn_emulator.memory import UnknownContents
from ttnn_emulator.ops.common.bounds import OutOfBounds

__all__ = [
    "ARITHMETICS",
    "DEFAULT_ARITHMETIC",
    "NotEmulated",
    "OutOfBounds",
    "UnknownContents",
    "computed_calls",
    "contents_bytes",
    "found_evidence",
    "install",
    "installed_arithmetic",
    "kernel_replaced",
    "last_evidence",
    "open_device",
    "reckoning",
    "uninstall",
]

"""An n150 without the card: TTNN's host side runs for real, its kernels are computed here."""

import os

# Read when ttnn is imported: without it TTNN logs its whole configuration at every start.
os.environ.setdefault("LOGURU_LEVEL", "WARNING")

from emulator.device import contents_bytes, install, open_device, uninstall
from emulator.dispatch import NotEmulated
from emulator.memory import UnknownContents

__all__ = [
    "NotEmulated",
    "UnknownContents",
    "contents_bytes",
    "install",
    "open_device",
    "uninstall",
]

"""Which devices are open: one at a time, or one mesh of them."""

import sys
from collections.abc import Callable
from typing import Any

import ttnn

from ttnn_emulator.machine import systems, toolchain

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


class SecondDevice(RuntimeError):
    """A device was opened while another is open: they would share the chips' memory."""


class OpenDevices:
    """What TTNN's functions opened that open devices, until those that close them."""

    def __init__(self, system: systems.System, forget: Callable[[], None]) -> None:
        """`forget` is called when a device has been closed, with all that it held."""
        self._system = system
        self._forget = forget
        self._open: list[ttnn.MeshDevice] = []

    def opening(self, genuine: Callable[..., Any]) -> Callable[..., Any]:
        """TTNN's function that opens devices, for one call at a time."""

        def open_device(*args: Any, **kwargs: Any) -> Any:
            self._close_abandoned()
            if self._open:
                raise SecondDevice(
                    f"device {self._open[0].id()} is open: the emulated {self._system.name} is one "
                    "device of a process. Use it, or end it first with ttnn.close_device."
                )
            with toolchain.opening():
                opened = genuine(*args, **kwargs)
            self._open += opened.values() if isinstance(opened, dict) else [opened]
            return opened

        return open_device

    def closing(self, genuine: Callable[..., Any]) -> Callable[..., Any]:
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

    def clear(self) -> None:
        """Take all as closed."""
        self._open.clear()

    def _close_abandoned(self) -> None:
        """Close the device if nobody has it any more, which on a card closes it."""
        if self._open and sys.getrefcount(self._open[0]) == NOBODYS:
            ttnn.close_device(self._open[0])

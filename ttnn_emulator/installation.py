"""What emulating a system replaces in a process, and the state that it keeps."""

import contextlib
import ctypes
import functools
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import ttnn

from ttnn_emulator import dispatch
from ttnn_emulator.arithmetic.exact import exact
from ttnn_emulator.arithmetic.rounded import rounded
from ttnn_emulator.evidence import Journal
from ttnn_emulator.interpose import Layer, Level
from ttnn_emulator.machine import planning, systems, toolchain
from ttnn_emulator.machine.fabric import fabric_of
from ttnn_emulator.machine.open_devices import CLOSING, OPENING, OpenDevices
from ttnn_emulator.memory import Memory
from ttnn_emulator.ops import BINDINGS, BY_BATCH, COLLECTIVE, WRITES, check_names
from ttnn_emulator.runtime import transfer
from ttnn_emulator.runtime.tensor_methods import TensorMethods
from ttnn_emulator.runtime.trace import FUNCTIONS, Traces

if TYPE_CHECKING:
    from ttnn_emulator.arithmetic.interface import Arithmetic

# How results are computed: step by step as the device's kernels do, or in float32 rounded once.
ARITHMETICS: "dict[str, Arithmetic]" = {"kernel": exact, "rounded": rounded}
DEFAULT_ARITHMETIC = "kernel"

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

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


class Installation:
    """What `install` replaced, to be put back by `uninstall`."""

    def __init__(
        self, arithmetic: str, cores: tuple[int, int], system: systems.System, journal: Journal
    ) -> None:
        self.system = system
        self._journal = journal
        self.settings = dispatch.ArithmeticSettings(ARITHMETICS[arithmetic], cores)
        self.compute_by(arithmetic)
        self.memory = Memory(self.settings)
        self.calls: dict[str, list[dispatch.EmulatedCall]] = defaultdict(list)
        self._traces = Traces(self.memory)
        self._open = OpenDevices(system, self._forget)
        self._layer = Layer("the emulated device", Level.STAND_IN)
        self._environment = contextlib.ExitStack()

    def compute_by(self, arithmetic: str) -> None:
        """Compute results by this arithmetic from now on; those of "kernel" go into the journal."""
        self.arithmetic = arithmetic
        self.settings.math = ARITHMETICS[arithmetic]
        self.settings.journal = self._journal if arithmetic == "kernel" else None

    def attach(self) -> None:
        keep_freed_pages()
        self._environment.enter_context(toolchain.environment(self.system))
        operations = ttnn.query_registered_operations(include_experimental=True)
        check_names({operation.python_fully_qualified_name for operation in operations})
        for operation in operations:
            if operation.python_fully_qualified_name not in COMPOSED:
                self._layer.replace(operation, "function", self._emulated(operation))
                # TTNN's slow runtime keeps a copy of the function from its first use
                self._layer.replace(operation, "_slow_operation", None)
        for name, method in TensorMethods(self.memory).replacements().items():
            self._layer.replace(ttnn.Tensor, name, method)
        for name, method in planning.SubDevices().replacements().items():
            self._layer.replace(ttnn.MeshDevice, name, method)
        for name, waiting in planning.WAITING.items():
            self._layer.replace(ttnn, name, waiting)
        for module, name in OPENING:
            self._layer.wrap(module, name, self._open.opening)
        for module, name in CLOSING:
            self._layer.wrap(module, name, self._open.closing)
        for name in FUNCTIONS:
            self._layer.replace(ttnn, name, getattr(self._traces, name))
        for name, function in transfer.FUNCTIONS_OF_TTNN.items():
            emulated = functools.partial(function, self.memory, getattr(ttnn, name))
            self._layer.replace(ttnn, name, emulated)
        self._layer.replace(ttnn, "Tensor", transfer.constructor(self.memory))

    def detach(self) -> None:
        self._layer.undo()
        self._environment.close()
        self._open.clear()
        self._forget()

    def _emulated(self, operation: Any) -> dispatch.HostCall:
        name = operation.python_fully_qualified_name
        if name in transfer.TRANSFERS:
            return dispatch.transfer_call(operation, transfer.TRANSFERS[name], self.memory)
        if name in BINDINGS:
            call = dispatch.emulated_call(
                operation,
                BINDINGS[name],
                self.memory,
                self.settings,
                WRITES.get(name, ()),
                name in BY_BATCH,
                functools.partial(fabric_of, system=self.system) if name in COLLECTIVE else None,
            )
            self.calls[name].append(call)
            return call
        return dispatch.refused_call(operation)

    def _forget(self) -> None:
        self.memory.clear()
        self._traces.clear()


def keep_freed_pages() -> None:
    """Have malloc keep up to 512 MB of freed memory for the next allocations.

    By default glibc returns allocations as large as a kernel's temporaries to the system and takes
    new pages, which the system clears: a twentieth of the time of a prefill.
    """
    libc = ctypes.CDLL(None)  # ttnn has wheels for glibc alone
    libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)  # glibc's maximum; larger ones are still returned
    libc.mallopt(M_TRIM_THRESHOLD, 512 << 20)

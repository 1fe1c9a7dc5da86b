"""Opening and closing the emulated n150: `open_device` for code, `install` for a whole script."""

import contextlib
import ctypes

import ttnn

from ttnn_emulator import dispatch, toolchain, transfer
from ttnn_emulator.arithmetic.exact import exact
from ttnn_emulator.arithmetic.rounded import rounded
from ttnn_emulator.evidence import Journal
from ttnn_emulator.memory import Memory, on_device
from ttnn_emulator.ops import KERNELS
from ttnn_emulator.trace import FUNCTIONS, Traces

# How results are computed: step by step as the device's kernels do, or in float32 rounded once.
ARITHMETICS = {"kernel": exact, "rounded": rounded}
DEFAULT_ARITHMETIC = "kernel"

# Columns and rows of worker cores of an n150, the mock's and the card's.
CORES = (8, 8)

# Python-level operations that only call other operations: they run as they are.
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

# Methods of ttnn.Tensor that read a device's buffer on the way to the host.
READING_METHODS = ("to_torch", "to_list", "to_numpy", "item", "to_torch_with_padded_shape")

# Methods that work on host storage alone, where a mock device's zeros would pass for contents.
HOST_METHODS = ("host_buffer", "extract_shard", "unpad", "pad_to_tile", "unpad_from_tile", "pad")

_installation = None
_journal = Journal()  # of the last installation, or of the one that is there


class _Installation:
    """What `install` replaced, to be put back by `uninstall`."""

    def __init__(self, arithmetic, cores):
        self.reckoning = dispatch.Reckoning(ARITHMETICS[arithmetic], cores)
        self.compute_by(arithmetic)
        self.memory = Memory(self.reckoning)
        self._traces = Traces(self.memory)
        self._undo = contextlib.ExitStack()

    def compute_by(self, arithmetic):
        """Results from now on are those of this arithmetic; those of the kernels' are noted."""
        self.arithmetic = arithmetic
        self.reckoning.math = ARITHMETICS[arithmetic]
        self.reckoning.journal = _journal if arithmetic == "kernel" else None

    def attach(self):
        for operation in ttnn.query_registered_operations(include_experimental=True):
            if operation.python_fully_qualified_name not in COMPOSED:
                self._replace(operation, "function", self._emulated(operation))
                # TTNN's slow runtime keeps a copy of the function from its first use
                self._replace(operation, "_slow_operation", None)
        for name, method in _tensor_methods(self.memory).items():
            self._replace(ttnn.Tensor, name, method(getattr(ttnn.Tensor, name)))
        self._replace(ttnn, "close_device", self._closing(ttnn.close_device))
        for name in FUNCTIONS:
            self._replace(ttnn, name, getattr(self._traces, name))

    def detach(self):
        self._undo.close()
        self.memory.clear()

    def _replace(self, owner, name, value):
        self._undo.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)

    def _emulated(self, operation):
        name = operation.python_fully_qualified_name
        if name in transfer.TRANSFERS:
            return dispatch.transferring(operation, transfer.TRANSFERS[name], self.memory)
        if name in KERNELS:
            return dispatch.launching(operation, KERNELS[name], self.memory, self.reckoning)
        return dispatch.refusing(operation)

    def _closing(self, close):
        def close_device(device):
            close(device)
            self.memory.clear()
            self._traces.clear()

        return close_device


def _tensor_methods(memory):
    """name -> function that makes the emulated method from TTNN's own."""

    def reading(method):
        def read(self, *args, **kwargs):
            if on_device(self):
                # by name, because the host tensor's own method is wanted, not the emulated one
                return method(transfer.to_host(memory, self), *args, **kwargs)
            return method(self, *args, **kwargs)

        return read

    def padded(method):
        def to_torch_with_padded_shape(self):
            if not on_device(self):
                return method(self)
            memory.refuse_in_capture("Reads are not supported")
            return memory.read(self).data.clone()

        return to_torch_with_padded_shape

    def host_only(method):
        def refuse(self, *args, **kwargs):
            if on_device(self):
                raise dispatch.NotEmulated(
                    f"ttnn.Tensor.{method.__name__} reads host storage; call it on tensor.cpu()."
                )
            return method(self, *args, **kwargs)

        return refuse

    def cpu(method):
        def to_cpu(self, blocking=True, cq_id=None):
            # no genuine read, see `transfer`
            return transfer.to_host(memory, self) if on_device(self) else method(self)

        return to_cpu

    def to(method):
        def move(self, *args, **kwargs):
            if on_device(self) and device_layout(args, kwargs):
                return ttnn.to_layout(self, device_layout(args, kwargs))
            result = method(self, *args, **kwargs)
            if on_device(result) and not on_device(self):
                transfer.to_device(memory, self, result)
            return result

        return move

    def device_layout(args, kwargs):
        return next((v for v in (*args, *kwargs.values()) if isinstance(v, ttnn.Layout)), None)

    def reshape(method):
        def reshaped(self, *shape):
            if on_device(self):
                return ttnn.reshape(self, shape[0] if len(shape) == 1 else shape)
            return method(self, *shape)

        return reshaped

    methods = {name: reading for name in READING_METHODS}
    methods |= {name: host_only for name in HOST_METHODS}
    methods |= {"to_torch_with_padded_shape": padded, "__repr__": reading}
    return methods | {"cpu": cpu, "to": to, "reshape": reshape}


def _keep_freed_pages():
    """Have malloc keep what is freed, up to 512 MB, for what is asked for next.

    By itself glibc gives pieces as large as a kernel's temporaries back to the system and takes new
    pages, which the system clears, for the next ones: a twentieth of the time of a prefill.
    """
    libc = ctypes.CDLL(None)  # ttnn has wheels for glibc alone
    libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that glibc takes; larger ones do go back
    libc.mallopt(_M_TRIM_THRESHOLD, 512 << 20)


# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def install(arithmetic=None, cores=None):
    """Emulate an n150 in this process from now on, for a script that calls `ttnn.open_device` itself.

    Must come before the process opens its first device. Calling it again changes nothing.

    Args:
        arithmetic: "kernel", the default, computes what the device's kernels compute, step by step;
            "rounded" computes in float32 and rounds each result once, which is quicker.
        cores: (columns, rows) of worker cores by which the arithmetic cuts work where that decides
            a result; default (8, 8), those of an n150. The device's own grid stays as it is.

    Raises:
        ValueError: an unknown arithmetic, or another one than is already installed.
    """
    global _installation, _journal
    if arithmetic is not None and arithmetic not in ARITHMETICS:
        raise ValueError(f"arithmetic {arithmetic!r}: there are {', '.join(ARITHMETICS)}.")
    if _installation is None:
        _journal = Journal()
        toolchain.prepare()
        _keep_freed_pages()
        _installation = _Installation(arithmetic or DEFAULT_ARITHMETIC, cores or CORES)
        _installation.attach()
        return
    installed = (_installation.arithmetic, _installation.reckoning.cores)
    asked = (arithmetic or installed[0], tuple(cores or installed[1]))
    if asked != installed:
        raise ValueError(
            f"arithmetic {asked[0]!r} on {asked[1]} cores: this process already emulates with "
            f"{installed[0]!r} on {installed[1]}. Close that first, or use `ttnn_emulator.reckoning`."
        )


def uninstall():
    """Put TTNN's own operations back. Close emulated devices first: their contents are forgotten."""
    global _installation
    if _installation is not None:
        _installation.detach()
        _installation = None


@contextlib.contextmanager
def reckoning(arithmetic=None, cores=None):
    """Another arithmetic or grid for the operations of a `with` block; see `install`.

    Raises:
        RuntimeError: nothing is installed.
        ValueError: an unknown arithmetic.
    """
    if _installation is None:
        raise RuntimeError(
            "No n150 is emulated in this process; call ttnn_emulator.install() first."
        )
    if arithmetic is not None and arithmetic not in ARITHMETICS:
        raise ValueError(f"arithmetic {arithmetic!r}: there are {', '.join(ARITHMETICS)}.")
    here, was = _installation.reckoning, (_installation.arithmetic, _installation.reckoning.cores)
    _installation.compute_by(arithmetic or was[0])
    here.cores = tuple(cores or was[1])
    try:
        yield
    finally:
        _installation.compute_by(was[0])
        here.cores = was[1]


@contextlib.contextmanager
def kernel_replaced(name, replace):
    """Another kernel for one operation within a `with` block, its host side as it is.

    For tests of tests: whether they notice a kernel that computes something wrong.

    Args:
        name: the operation's full name, such as "ttnn.rms_norm".
        replace: makes the other kernel from the operation's own, a function of `ttnn_emulator.ops`.

    Raises:
        RuntimeError: nothing is installed.
        ValueError: no operation of this name is emulated by a kernel.
    """
    if _installation is None:
        raise RuntimeError(
            "No n150 is emulated in this process; call ttnn_emulator.install() first."
        )
    if name not in KERNELS:
        raise ValueError(
            f"{name!r} is no operation with a kernel; names are such as 'ttnn.linear'."
        )
    with contextlib.ExitStack() as undo:
        for operation in ttnn.query_registered_operations(include_experimental=True):
            if operation.python_fully_qualified_name == name:
                undo.callback(setattr, operation, "function", operation.function)
                undo.callback(setattr, operation, "_slow_operation", operation._slow_operation)
                operation.function = operation.function.__wrapped__  # TTNN's own host call
                operation.function = dispatch.launching(
                    operation, replace(KERNELS[name]), _installation.memory, _installation.reckoning
                )
                operation._slow_operation = None
        yield


@contextlib.contextmanager
def open_device(device_id=0, *, arithmetic=None, cores=None, **kwargs):
    """An emulated n150 as a ttnn device: `with ttnn_emulator.open_device() as device:`.

    Args:
        device_id: 0, an n150 has one chip.
        arithmetic, cores: those of `install`.
        kwargs: those of `ttnn.open_device`.

    The device is closed, and TTNN's own operations are back, when the block ends.
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


def installed_arithmetic():
    """The name of the arithmetic that is installed, None when nothing is."""
    return _installation.arithmetic if _installation else None


def found_evidence():
    """What the results of the last or present installation rest on: a tuple of `Evidence`.

    Each operation is there once for every setting in which the kernels' arithmetic computed it.
    """
    return _journal.found()


def last_evidence():
    """The `Evidence` of the operation that was computed last; None if none was."""
    return _journal.last


def computed_calls():
    """How many operations the kernels' arithmetic computed since the last installation."""
    return _journal.calls


def contents_bytes():
    """Bytes that the emulated buffers hold on the host, 0 when nothing is installed."""
    return _installation.memory.nbytes if _installation else 0


__all__ = [
    "ARITHMETICS",
    "DEFAULT_ARITHMETIC",
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

"""One operation call: TTNN's genuine host side, then the kernel's arithmetic.

Every TTNN operation is an object whose `function` attribute is the host call. `attach` puts a
function around it that lets the host call check, plan and allocate, computes what the kernel would
have written and keeps that as the contents of the output's buffer. TTNN's own fast and slow
(comparison, graph report) runtimes both go through `function`, so both see the emulation.
"""

import dataclasses
import functools
import inspect
import types

import ttnn

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.memory import DeviceTensor, Output, describe, device_tensors, on_device, physical

# Arguments that say where a result lives or which cores work on it. The host side heeds them; no
# result depends on them.
PLACEMENT = frozenset(
    {"memory_config", "output_mem_config", "sub_core_grids", "sub_core_grid", "use_multicore"}
)


class NotEmulated(NotImplementedError):
    """An operation, or an argument of one, for which the emulation has no arithmetic."""


@dataclasses.dataclass
class Reckoning:
    """How results are computed, for all operations from now on.

    Attributes:
        math: the arithmetic, a module of `ttnn_emulator.arithmetic`.
        cores: (columns, rows) of the worker cores by which work is cut.
        journal: an `evidence.Journal` that is told of every call, or None.
    """

    math: types.ModuleType
    cores: tuple[int, int]
    journal: object = None


@dataclasses.dataclass(frozen=True)
class Launch:
    """What a kernel is told beside its operands.

    Attributes:
        name: the operation's full name, such as "ttnn.linear".
        outputs: an `Output` for each device tensor that the host call returned.
        math: the arithmetic, a module of `ttnn_emulator.arithmetic`.
        cores: (columns, rows) of worker cores.
        views_input: whether the first output has the first operand's buffer: a view, or in place.
    """

    name: str
    outputs: tuple[Output, ...]
    math: types.ModuleType
    cores: tuple[int, int]
    views_input: bool

    @property
    def output(self):
        """The only output's plan."""
        (output,) = self.outputs
        return output


@dataclasses.dataclass(frozen=True)
class Call:
    """A kernel with all its arguments."""

    kernel: types.FunctionType
    launch: Launch
    operands: tuple
    named: dict

    def computed(self, journal, operands=None, named=None):
        """What the kernel returns for its operands, or for others in their place."""
        paths.told()  # an interrupted call may have left some
        operands = self.operands if operands is None else operands
        values = self.kernel(self.launch, *operands, **(self.named if named is None else named))
        if journal is not None:
            journal.note(self, paths.told())
        return values


def launching(operation, kernel, memory, reckoning):
    """The host call of `operation` followed by `kernel`.

    `kernel(launch, *args, **kwargs)` gets the operation's own arguments, each device tensor as a
    `DeviceTensor`, those of `PLACEMENT` left out. It returns a tensor for each output (a single
    one, or a sequence), of its logical or padded shape; or None if it wrote in place or if
    every output shares its buffer with an operand (a view).
    """
    name, host_call = operation.python_fully_qualified_name, operation.function
    signature = inspect.signature(kernel)
    known = set()  # forms of call that the kernel has parameters for

    @functools.wraps(host_call)
    def call(*args, **kwargs):
        given = device_tensors((args, kwargs))
        if not given and not _creates(kwargs, args):
            return host_call(*args, **kwargs)
        operands = _as_kernel_sees(args, memory)
        named = {k: _as_kernel_sees(v, memory) for k, v in kwargs.items() if k not in PLACEMENT}
        first = given[0].buffer_unique_id() if given else None  # now: the call may free it
        result = host_call(*args, **kwargs)
        made = device_tensors([result])
        outputs = tuple(Output(**describe(t)) for t in made)
        views_input = bool(made) and made[0].buffer_unique_id() == first
        launch = Launch(name, outputs, reckoning.math, reckoning.cores, views_input)
        form = (len(operands), *named)
        if form not in known:
            try:
                signature.bind(launch, *operands, **named)
            except TypeError as error:
                raise NotEmulated(
                    f"{_call_text(name, args, kwargs)}: {error}. The kernel is {kernel.__name__} in "
                    f"{kernel.__module__.replace('.', '/')}.py."
                ) from None
            known.add(form)
        started = Call(kernel, launch, operands, named)
        if memory.recording is not None:
            memory.recording.record(started, made)
            return result
        values = started.computed(reckoning.journal)
        for tensor, contents in zip(made, written(values, launch, (operands, named))):
            if contents is not None:
                memory.keep(tensor, contents)
            elif tensor not in memory:
                raise NotEmulated(f"{name}: its kernel wrote nothing into {_tensor_text(tensor)}.")
        return result

    return call


def transferring(operation, transfer, memory):
    """`transfer(memory, host_call, *args, **kwargs)` in place of the host call.

    For operations that move contents between host and device rather than start a kernel.
    """
    return functools.wraps(operation.function)(
        functools.partial(transfer, memory, operation.function)
    )


def refusing(operation):
    """The host call, refused when it would start a kernel that has no arithmetic here."""
    name, host_call = operation.python_fully_qualified_name, operation.function

    @functools.wraps(host_call)
    def call(*args, **kwargs):
        if device_tensors((args, kwargs)) or _creates(kwargs, args):
            raise NotEmulated(
                f"{_call_text(name, args, kwargs)} has no arithmetic in the emulation. Add a kernel "
                "for it to a module of ttnn_emulator/ops/ and to that module's KERNELS."
            )
        return host_call(*args, **kwargs)

    return call


def _storages(operands):
    """Where the host keeps what the operands hold."""
    if isinstance(operands, DeviceTensor):
        return {operands.contents.pointer}
    if isinstance(operands, dict):
        operands = operands.values()
    elif not isinstance(operands, (list, tuple)):
        return set()
    return set().union(*map(_storages, operands))


def written(values, launch, operands):
    """What a kernel returned, as `Contents` of each output; None for one that it returned nothing for.

    The arithmetic of the `Launch` says what the outputs' formats make of the values. What shares
    memory with the operands is copied: that stays their buffers'.
    """
    outputs, stored = launch.outputs, launch.math.stored
    if values is None:
        values = [None] * len(outputs)
    elif len(outputs) == 1 and not isinstance(values, (list, tuple)):
        values = [values]
    lent = _storages(operands)
    for output, value in zip(outputs, values, strict=True):
        contents = None if value is None else physical(value, output, stored)
        if contents is not None and contents.pointer in lent:
            contents = physical(value.clone(), output, stored)
        yield contents


def _as_kernel_sees(value, memory):
    if isinstance(value, ttnn.Tensor):
        return memory.read(value) if on_device(value) else value
    if isinstance(value, (list, tuple)) and device_tensors(value):
        return type(value)(_as_kernel_sees(v, memory) for v in value)
    return value


def _creates(kwargs, args):
    """Whether a call without device tensors still makes one, as ttnn.zeros(device=...) does."""
    return any(isinstance(v, ttnn.MeshDevice) for v in (*args, *kwargs.values()))


def _tensor_text(tensor):
    layout = "tile" if tensor.layout == ttnn.TILE_LAYOUT else "row-major"
    return f"{tensor.dtype.name.lower()} {list(tensor.shape)} {layout}"


def _call_text(name, args, kwargs):
    def text(value):
        if isinstance(value, ttnn.Tensor):
            return _tensor_text(value)
        return (
            repr(value)
            if isinstance(value, (int, float, str, list, tuple))
            else type(value).__name__
        )

    parts = [text(a) for a in args] + [f"{k}={text(v)}" for k, v in kwargs.items()]
    return f"{name}({', '.join(parts)})"


__all__ = [
    "Call",
    "DeviceTensor",
    "Launch",
    "NotEmulated",
    "launching",
    "refusing",
    "transferring",
    "written",
]

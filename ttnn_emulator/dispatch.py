"""One operation call: TTNN's genuine host side, then the arithmetic in place of the kernel.

Every TTNN operation is an object whose `function` attribute is the host call.
`ttnn_emulator.install` puts one of the three functions made here in its place: `emulated_call` lets
the host call check, plan and allocate, computes what the kernel would have written and keeps that
as the contents of the output's buffer. TTNN's own fast and slow (comparison, graph report) runtimes
both go through `function`, so both see the emulation.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
import ttnn

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.memory import (
    Contents,
    DeviceTensor,
    Memory,
    Output,
    describe,
    device_tensors,
    on_device,
    physical,
)

if TYPE_CHECKING:
    from ttnn_emulator.arithmetic.interface import Arithmetic
    from ttnn_emulator.evidence import Journal

# Arguments that say where a result is placed or which cores compute it. The host side uses them; no
# result depends on them.
PLACEMENT = frozenset(
    {"memory_config", "output_mem_config", "sub_core_grids", "sub_core_grid", "use_multicore"}
)

# What a binding returns: a tensor for each output, or nothing where it wrote in place.
Values = torch.Tensor | list[torch.Tensor] | tuple[torch.Tensor | None, ...] | None
# A TTNN operation's host call; its arguments and results are those of the operation.
HostCall = Callable[..., Any]


class Binding(Protocol):
    """What an operation's arguments mean to the arithmetic: an entry of `ops.BINDINGS`.

    It has the operation's own parameter names after `launch`. It gets each device tensor as a
    `DeviceTensor` and no arguments of `PLACEMENT`. It returns a tensor for each output (a single
    one, or a sequence), of its logical or padded shape; or None if it wrote in place or if every
    output shares its buffer with an operand (a view).
    """

    __name__: str

    # a binding takes what its operation takes, which is checked by `inspect.Signature.bind`
    def __call__(self, launch: "Launch", /, *operands: Any, **named: Any) -> Values: ...


class NotEmulated(NotImplementedError):
    """An operation, or an argument of one, for which the emulation has no arithmetic."""


@dataclasses.dataclass
class ArithmeticSettings:
    """How results are computed; shared by all operations and changed in place.

    Attributes:
        math: the arithmetic, a module of `ttnn_emulator.arithmetic`.
        cores: (columns, rows) of the worker cores among which work is divided.
        journal: records every call; None records nothing.
    """

    math: "Arithmetic"
    cores: tuple[int, int]
    journal: "Journal | None" = None


@dataclasses.dataclass(frozen=True)
class Launch:
    """A binding's first argument: the launch that TTNN planned.

    Attributes:
        name: the operation's full name, such as "ttnn.linear".
        outputs: an `Output` for each device tensor that the host call returned.
        math: the arithmetic, a module of `ttnn_emulator.arithmetic`.
        cores: (columns, rows) of worker cores.
        views_input: whether the first output has the first operand's buffer: a view, or in place.
    """

    name: str
    outputs: tuple[Output, ...]
    math: "Arithmetic"
    cores: tuple[int, int]
    views_input: bool

    @property
    def output(self) -> Output:
        """The plan of the only output."""
        (output,) = self.outputs
        return output


@dataclasses.dataclass(frozen=True)
class BoundCall:
    """A binding with all its arguments."""

    binding: Binding
    launch: Launch
    operands: tuple[Any, ...]  # an operation's positional arguments
    named: dict[str, Any]

    def computed(
        self,
        journal: "Journal | None",
        operands: tuple[Any, ...] | None = None,
        named: dict[str, Any] | None = None,
    ) -> Values:
        """What the binding returns for its operands, or for others in their place."""
        paths.take_facts()  # an interrupted call may have left some
        operands = self.operands if operands is None else operands
        values = self.binding(self.launch, *operands, **(self.named if named is None else named))
        if journal is not None:
            journal.note(self, paths.take_facts())
        return values


class EmulatedCall(Protocol):
    """What `emulated_call` returns: called like the operation's host call."""

    binding: Binding  # the one in use
    rebind: Callable[[Binding], None]

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


def emulated_call(
    operation: Any,  # TTNN's object, of a class that its runtime chooses
    binding: Binding,
    memory: Memory,
    settings: ArithmeticSettings,
) -> EmulatedCall:
    """The host call of `operation`, followed by what `binding` computes.

    `rebind` of the returned function puts another binding in the place of this one.
    """
    name, host_call = operation.python_fully_qualified_name, operation.function
    signature = inspect.signature(binding)
    bound_forms: set[tuple[object, ...]] = set()  # forms of call that bind to its parameters

    @functools.wraps(host_call)
    def call(*args: Any, **kwargs: Any) -> Any:
        inputs = device_tensors((args, kwargs))
        if not inputs and not _creates(args, kwargs):
            return host_call(*args, **kwargs)
        operands = _as_binding_sees(args, memory)
        named = {k: _as_binding_sees(v, memory) for k, v in kwargs.items() if k not in PLACEMENT}
        first = inputs[0].buffer_unique_id() if inputs else None  # now: the call may free it
        result = host_call(*args, **kwargs)
        tensors = device_tensors([result])
        outputs = tuple(Output(**describe(t)) for t in tensors)
        views_input = bool(tensors) and tensors[0].buffer_unique_id() == first
        launch = Launch(name, outputs, settings.math, settings.cores, views_input)
        form = (len(operands), *named)
        if form not in bound_forms:
            try:
                signature.bind(launch, *operands, **named)
            except TypeError as error:
                raise NotEmulated(
                    f"{_call_text(name, args, kwargs)}: {error}. The binding is "
                    f"{binding.__name__} in {binding.__module__.replace('.', '/')}.py."
                ) from None
            bound_forms.add(form)
        started = BoundCall(binding, launch, operands, named)
        if memory.recording is not None:
            memory.recording.record(started, tensors)
            return result
        values = started.computed(settings.journal)
        stored = written(values, launch, (operands, named))
        for tensor, contents in zip(tensors, stored, strict=True):
            if contents is not None:
                memory.keep(tensor, contents)
            elif tensor not in memory:
                raise NotEmulated(f"{name}: its binding wrote nothing into {_tensor_text(tensor)}.")
        return result

    def rebind(other: Binding) -> None:
        nonlocal binding, signature
        emulated.binding = binding = other
        signature = inspect.signature(other)
        bound_forms.clear()

    emulated = cast(EmulatedCall, call)  # a function, which may have attributes of any name
    emulated.binding, emulated.rebind = binding, rebind
    return emulated


def transfer_call(operation: Any, transfer: Callable[..., Any], memory: Memory) -> HostCall:
    """`transfer(memory, host_call, *args, **kwargs)` in place of the host call of `operation`.

    For operations that move contents between host and device rather than start a kernel.
    """
    return functools.wraps(operation.function)(
        functools.partial(transfer, memory, operation.function)
    )


def refused_call(operation: Any) -> HostCall:
    """The host call of `operation`, refused if it would start a kernel that has no arithmetic."""
    name, host_call = operation.python_fully_qualified_name, operation.function

    @functools.wraps(host_call)
    def call(*args: Any, **kwargs: Any) -> Any:
        if device_tensors((args, kwargs)) or _creates(args, kwargs):
            raise NotEmulated(
                f"{_call_text(name, args, kwargs)} has no arithmetic in the emulation. {HOW_TO_ADD}"
            )
        return host_call(*args, **kwargs)

    return call


HOW_TO_ADD = (
    "To add it: write a binding in the module of its family in ttnn_emulator/ops/ and enter it in "
    "that module's BINDINGS; if no function of ttnn_emulator/arithmetic/interface.py computes it, "
    "add one to both arithmetics; add a test to tests/emulator. ttnn_emulator/ops/__init__.py has "
    "the steps."
)


def written(
    values: Values, launch: Launch, operands: Iterable[Any] | Mapping[str, Any]
) -> Iterator[Contents | None]:
    """What a binding returned, as `Contents` of each output; None where it returned nothing.

    The arithmetic of the `Launch` rounds the values to the outputs' formats. Values that share
    memory with an operand are copied, since that memory remains the operand's buffer.
    """
    outputs, stored = launch.outputs, launch.math.stored
    each: Sequence[torch.Tensor | None]
    if values is None:
        each = [None] * len(outputs)
    else:
        each = values if isinstance(values, (list, tuple)) else [values]
    lent = _storages(operands)
    for output, value in zip(outputs, each, strict=True):
        contents = None if value is None else physical(value, output, stored)
        if value is not None and contents is not None and contents.pointer in lent:
            contents = physical(value.clone(), output, stored)
        yield contents


def _storages(operands: Any) -> set[int]:
    """Host addresses of the operands' contents."""
    if isinstance(operands, DeviceTensor):
        return {operands.contents.pointer}
    if isinstance(operands, dict):
        operands = operands.values()
    elif not isinstance(operands, (list, tuple)):
        return set()
    return set().union(*map(_storages, operands))


def _as_binding_sees(value: Any, memory: Memory) -> Any:
    if isinstance(value, ttnn.Tensor):
        return memory.read(value) if on_device(value) else value
    if isinstance(value, (list, tuple)) and device_tensors(value):
        return type(value)(_as_binding_sees(v, memory) for v in value)
    return value


def _creates(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call without device tensors still makes one, as ttnn.zeros(device=...) does."""
    return any(isinstance(v, ttnn.MeshDevice) for v in (*args, *kwargs.values()))


def _tensor_text(tensor: ttnn.Tensor) -> str:
    layout = "tile" if tensor.layout == ttnn.TILE_LAYOUT else "row-major"
    return f"{tensor.dtype.name.lower()} {list(tensor.shape)} {layout}"


def _call_text(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    parts = [_value_text(a) for a in args] + [f"{k}={_value_text(v)}" for k, v in kwargs.items()]
    return f"{name}({', '.join(parts)})"


def _value_text(value: Any) -> str:
    if isinstance(value, ttnn.Tensor):
        return _tensor_text(value)
    plain = isinstance(value, (int, float, str, list, tuple))
    return repr(value) if plain else type(value).__name__


__all__ = [
    "ArithmeticSettings",
    "Binding",
    "BoundCall",
    "DeviceTensor",
    "Launch",
    "NotEmulated",
    "emulated_call",
    "refused_call",
    "transfer_call",
    "written",
]

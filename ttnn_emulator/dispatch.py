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
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import ttnn

from ttnn_emulator.bound_call import SOME_CHIPS, Binding, BoundCall, Launch, OnChips, Values
from ttnn_emulator.described_tensors import COMPLEX, TENSOR, describe, device_tensors, on_device
from ttnn_emulator.machine import signatures
from ttnn_emulator.machine.planning import FOR_SOME_CHIPS, of_some_chips
from ttnn_emulator.memory import DeviceTensor, Memory, Output

if TYPE_CHECKING:
    from ttnn_emulator.arithmetic.interface import Arithmetic
    from ttnn_emulator.evidence import Journal
    from ttnn_emulator.machine.fabric import Fabric

# Arguments that say where a result is placed or which cores compute it. The host side uses them; no
# result depends on them, so a binding that does not name them is not given them.
PLACEMENT = frozenset(
    {"memory_config", "output_mem_config", "sub_core_grids", "sub_core_grid", "use_multicore"}
)

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

# A TTNN operation's host call; its arguments and results are those of the operation.
HostCall = Callable[..., Any]


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


class _Forms:
    """How the forms of call of an operation bind to its binding's parameters.

    Attributes:
        binding: the binding.
        left_out: the arguments of `PLACEMENT` that it does not name.
    """

    def __init__(self, binding: Binding, host_call: HostCall) -> None:
        self.binding = binding
        self._signature = inspect.signature(binding)
        self.left_out = PLACEMENT - self._signature.parameters.keys()
        self._host_call = host_call
        self._known: set[tuple[object, ...]] = set()  # forms that bind as they are

    def bound(
        self, operands: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as the binding takes them.

        One that it does not name may have its default, or say where the result is placed, by
        position too.

        Raises:
            TypeError: one is left that it does not name.
        """
        form = (len(operands), *named)
        if form in self._known:
            return operands, named
        try:
            self._signature.bind(None, *operands, **named)
        except TypeError:
            operands, named = self._without_defaults(operands, named)
            self._signature.bind(None, *operands, **named)
        else:
            self._known.add(form)
        return operands, named

    def _without_defaults(
        self, operands: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        overloads = signatures.overloads(self._host_call)
        taken = self._signature.parameters
        _launch, *by_position = [p for p in taken.values() if p.kind in _BY_POSITION]
        if len(operands) > len(by_position):
            for overload in overloads:
                beyond = overload.positional[len(by_position) : len(operands)]
                if len(beyond) == len(operands) - len(by_position):
                    named = dict(zip(beyond, operands[len(by_position) :], strict=True)) | named
                    operands = operands[: len(by_position)]
                    break
        needed = {
            name: value
            for name, value in named.items()
            if name in taken
            or not (name in PLACEMENT or signatures.is_default(name, value, overloads))
        }
        return operands, needed


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
    writes: tuple[str, ...] = (),
    by_batch: bool = False,
    fabric_of: "Callable[[ttnn.MeshDevice], Fabric] | None" = None,
) -> EmulatedCall:
    """The host call of `operation`, followed by what `binding` computes.

    `rebind` of the returned function puts another binding in the place of this one. `writes` and
    `by_batch` are those of `BoundCall`. `fabric_of` is given for collectives, whose binding sees
    all chips at once.
    """
    name, host_call = operation.python_fully_qualified_name, operation.function
    if name in FOR_SOME_CHIPS:
        host_call = of_some_chips(host_call)
    genuine = operation.function
    forms = _Forms(binding, genuine)

    @functools.wraps(operation.function)
    def call(*args: Any, **kwargs: Any) -> Any:
        inputs = device_tensors((args, kwargs))
        if not inputs and not _creates(args, kwargs):
            return host_call(*args, **kwargs)
        operands = _as_binding_sees(args, memory)
        left_out = forms.left_out
        named = {k: _as_binding_sees(v, memory) for k, v in kwargs.items() if k not in left_out}
        first = inputs[0].buffer_unique_id() if inputs else None  # now: the call may free it
        result = host_call(*args, **_for_all_chips(kwargs))
        tensors = device_tensors([result])
        outputs = tuple(Output(**describe(t)) for t in tensors)
        views_input = bool(tensors) and tensors[0].buffer_unique_id() == first
        mesh = _mesh_of(tensors or inputs)
        fabric = fabric_of((tensors or inputs)[0].device()) if fabric_of else None
        launch = Launch(name, outputs, settings.math, settings.cores, views_input, mesh, fabric)
        try:
            operands, named = forms.bound(operands, named)
        except TypeError as error:
            raise NotEmulated(
                f"{_call_text(name, args, kwargs)}: {error}. The binding is "
                f"{forms.binding.__name__} in {forms.binding.__module__.replace('.', '/')}.py."
            ) from None
        started = BoundCall(forms.binding, launch, operands, named, writes, by_batch)
        if name == CUTTING and views_input:
            cut = started.arguments
            memory.parts.hold(
                tensors[0], inputs[0], memory.key(inputs[0]), cut["start"], cut["dim"]
            )
        if memory.recording is not None:
            memory.recording.record(started, tensors)
            return result
        stored = started.results(settings.journal, memory.replace)
        for tensor, replicas in zip(tensors, stored, strict=True):
            if replicas is not None:
                memory.keep(tensor, replicas)
            elif tensor not in memory:
                raise NotEmulated(f"{name}: its binding wrote nothing into {_tensor_text(tensor)}.")
        return result

    def rebind(other: Binding) -> None:
        nonlocal forms
        emulated.binding = other
        forms = _Forms(other, genuine)

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


CUTTING = "ttnn.narrow"  # its result is a part of its operand's buffer

HOW_TO_ADD = (
    "To add it: write a binding in the module of its family in ttnn_emulator/ops/ and enter it in "
    "that module's BINDINGS; if no function of ttnn_emulator/arithmetic/interface.py computes it, "
    "add one to both arithmetics; add a test to tests/emulator. ttnn_emulator/ops/__init__.py has "
    "the steps."
)


def _as_binding_sees(value: Any, memory: Memory) -> Any:
    if isinstance(value, TENSOR):
        return _whole(memory.read(value), value) if on_device(value) else value
    if isinstance(value, (list, tuple)) and device_tensors(value):
        return type(value)(_as_binding_sees(v, memory) for v in value)
    if isinstance(value, COMPLEX):
        return tuple(_as_binding_sees(v, memory) for v in (value.real, value.imag))
    return value


def _whole(read: DeviceTensor, tensor: ttnn.Tensor) -> DeviceTensor:
    """The operand, which must not be a part of a tensor on a mesh.

    On such a part, TTNN's host side of an operation dies on the mock device.
    """
    if len(read.replicas) == tensor.device().get_num_devices():
        return read
    raise NotEmulated(
        f"{_tensor_text(tensor)} is on {len(read.replicas)} of the mesh's chips, where operations "
        "are not emulated; read it with ttnn.to_torch, or make a submesh of those chips."
    )


def _for_all_chips(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments for the host call, which on the mock device dies of a program for some chips."""
    return {k: v for k, v in kwargs.items() if k != SOME_CHIPS} if SOME_CHIPS in kwargs else kwargs


def _mesh_of(tensors: Sequence[ttnn.Tensor]) -> tuple[int, int]:
    """(rows, columns) of the chips that hold the tensors."""
    if not tensors:
        return 1, 1
    device = tensors[0].device()
    return (1, 1) if device.get_num_devices() == 1 else tuple(device.shape)


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
    "OnChips",
    "Values",
    "emulated_call",
    "refused_call",
    "transfer_call",
]

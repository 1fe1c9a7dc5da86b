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
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
import ttnn

from ttnn_emulator import chips
from ttnn_emulator.arithmetic import paths
from ttnn_emulator.machine.planning import FOR_SOME_CHIPS, of_some_chips
from ttnn_emulator.memory import (
    Contents,
    DeviceTensor,
    Key,
    Memory,
    Output,
    Replicas,
    describe,
    device_tensors,
    on_device,
    physical,
)

if TYPE_CHECKING:
    from ttnn_emulator.arithmetic.interface import Arithmetic
    from ttnn_emulator.evidence import Journal
    from ttnn_emulator.machine.fabric import Fabric

# Arguments that say where a result is placed or which cores compute it. The host side uses them; no
# result depends on them.
PLACEMENT = frozenset(
    {"memory_config", "output_mem_config", "sub_core_grids", "sub_core_grid", "use_multicore"}
)

# The argument that names the chips of a mesh on which an operation runs; None for all.
SOME_CHIPS = "mesh_coords"

# What a binding returns: a tensor for each output, or nothing where it wrote in place.
Values = torch.Tensor | list[torch.Tensor] | tuple[torch.Tensor | None, ...] | None
OnChips = list[torch.Tensor]  # an output's values on each chip: what a collective returns
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
    def __call__(
        self, launch: "Launch", /, *operands: Any, **named: Any
    ) -> "Values | list[OnChips]": ...


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
        mesh: (rows, columns) of the chips that it runs on.
        fabric: what links them; None but for collectives.
    """

    name: str
    outputs: tuple[Output, ...]
    math: "Arithmetic"
    cores: tuple[int, int]
    views_input: bool
    mesh: tuple[int, int] = (1, 1)
    fabric: "Fabric | None" = None

    @property
    def output(self) -> Output:
        """The plan of the only output."""
        (output,) = self.outputs
        return output


# The contents of each output on each chip; None where the operation wrote in place.
Results = list[Replicas | None]


@dataclasses.dataclass(frozen=True)
class BoundCall:
    """A binding with all its arguments.

    Attributes:
        operands: the operation's positional arguments.
        named: its keyword arguments.
        writes: names of the operands that the binding writes in place.
        by_batch: whether what it computes of a first dimension's parts is what it computes of each.
    """

    binding: Binding
    launch: Launch
    operands: tuple[Any, ...]
    named: dict[str, Any]
    writes: tuple[str, ...] = ()
    by_batch: bool = False

    def results(self, journal: "Journal | None", own: Callable[[Key, Replicas], None]) -> Results:
        """What the binding computes on each chip.

        Args:
            journal: of what is computed; None for none.
            own: called with the key of a buffer that is written in place, and with its contents
                from now on, where chips that held the same go different ways.
        """
        if self.launch.fabric is not None:
            return self._of_all_chips(journal)
        count = math.prod(self.launch.mesh)
        if count == 1:
            stored = self._stored(journal, self.operands, self.named)
            return [None if contents is None else (contents,) for contents in stored]
        return self._chip_by_chip(journal, own, count)

    def _stored(
        self, journal: "Journal | None", operands: tuple[Any, ...], named: dict[str, Any]
    ) -> "Iterator[Contents | None]":
        """Each output on one chip, whose operands these are."""
        return written(self._values(journal, operands, named), self.launch, (operands, named))

    def _values(
        self, journal: "Journal | None", operands: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        paths.take_facts()  # an interrupted call may have left some
        values = self.binding(self.launch, *operands, **named)
        if journal is not None:
            journal.note(self, paths.take_facts())
        return values

    def _of_all_chips(self, journal: "Journal | None") -> Results:
        outputs: list[OnChips] | None = self._values(journal, self.operands, self.named)
        if outputs is None:
            return [None] * len(self.launch.outputs)
        operands = chips.tensors_of(self._arguments)
        lent = {contents.pointer for tensor in operands for contents in tensor.replicas}
        results: Results = []
        for output, values in zip(self.launch.outputs, outputs, strict=True):
            distinct = {id(value): value for value in values}
            stored = {
                key: _kept(value, output, self.launch, lent) for key, value in distinct.items()
            }
            results.append(tuple([stored[id(value)] for value in values]))
        return results

    def _chip_by_chip(
        self, journal: "Journal | None", own: Callable[[Key, Replicas], None], count: int
    ) -> Results:
        arguments = self._arguments
        groups = chips.alike(arguments, self._taking_part(count))
        for tensor in self._written():
            apart = chips.unshared(tensor, groups)
            if apart.replicas != tensor.replicas:
                own(tensor.key, apart.replicas)
                arguments = chips.mapped(arguments, functools.partial(_other, apart))
        results: list[list[Contents | None]] = [[None] * count for _ in self.launch.outputs]
        for group, stored in zip(groups, self._of_groups(journal, arguments, groups), strict=True):
            for contents, result in zip(stored, results, strict=True):
                for chip in group:
                    result[chip] = contents
        return [None if None in result else tuple(result) for result in results]  # type: ignore[arg-type]

    def _of_groups(
        self, journal: "Journal | None", arguments: Any, groups: list[list[int]]
    ) -> "Iterator[Iterable[Contents | None]]":
        """Each output of each group of chips."""
        outputs = self.launch.outputs
        one = chips.in_one(arguments, groups, outputs) if self.by_batch else None
        if one is None:
            for group in groups:
                yield self._stored(journal, *chips.on_chip(arguments, group[0]))
            return
        (operands, named), wide = one
        launch = dataclasses.replace(self.launch, outputs=wide)
        together = dataclasses.replace(self, launch=launch)._stored(journal, operands, named)
        parts = [
            [None] * len(groups) if contents is None else chips.apart(contents, output, len(groups))
            for contents, output in zip(together, outputs, strict=True)
        ]
        yield from zip(*parts, strict=True)

    @property
    def _arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return self.operands, self.named

    def _written(self) -> list[DeviceTensor]:
        """The operands that the binding writes."""
        if not self.writes:
            return []
        signature = inspect.signature(self.binding)
        bound = signature.bind(self.launch, *self.operands, **self.named).arguments
        return [tensor for name in self.writes for tensor in chips.tensors_of(bound.get(name))]

    def _taking_part(self, count: int) -> Collection[int]:
        """The chips on which the operation runs: all of the mesh, or those of `SOME_CHIPS`."""
        coordinates = self.named.get(SOME_CHIPS)
        if coordinates is None:
            return range(count)
        rows, columns = self.launch.mesh
        outside = [at for at in map(tuple, coordinates) if at[0] >= rows or at[1] >= columns]
        if outside:
            raise ValueError(f"{self.launch.name}: {outside[0]} is not in a {rows}x{columns} mesh.")
        return sorted({row * columns + column for row, column in coordinates})


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
    signature = inspect.signature(binding)
    bound_forms: set[tuple[object, ...]] = set()  # forms of call that bind to its parameters

    @functools.wraps(operation.function)
    def call(*args: Any, **kwargs: Any) -> Any:
        inputs = device_tensors((args, kwargs))
        if not inputs and not _creates(args, kwargs):
            return host_call(*args, **kwargs)
        operands = _as_binding_sees(args, memory)
        named = {k: _as_binding_sees(v, memory) for k, v in kwargs.items() if k not in PLACEMENT}
        first = inputs[0].buffer_unique_id() if inputs else None  # now: the call may free it
        result = host_call(*args, **_for_all_chips(kwargs))
        tensors = device_tensors([result])
        outputs = tuple(Output(**describe(t)) for t in tensors)
        views_input = bool(tensors) and tensors[0].buffer_unique_id() == first
        mesh = _mesh_of(tensors or inputs)
        fabric = fabric_of((tensors or inputs)[0].device()) if fabric_of else None
        launch = Launch(name, outputs, settings.math, settings.cores, views_input, mesh, fabric)
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
        started = BoundCall(binding, launch, operands, named, writes, by_batch)
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
    each: Sequence[torch.Tensor | None]
    if values is None:
        each = [None] * len(launch.outputs)
    else:
        each = values if isinstance(values, (list, tuple)) else [values]
    lent = _storages(operands)
    for output, value in zip(launch.outputs, each, strict=True):
        yield None if value is None else _kept(value, output, launch, lent)


def _kept(value: torch.Tensor, output: Output, launch: Launch, lent: Collection[int]) -> Contents:
    """A value as `Contents`, which have memory of their own; `lent` are the operands' addresses."""
    contents = physical(value, output, launch.math.stored)
    return (
        physical(value.clone(), output, launch.math.stored)
        if contents.pointer in lent
        else contents
    )


def _other(tensor: DeviceTensor, old: DeviceTensor) -> DeviceTensor:
    """An operand, or the tensor in its place if both are of the same buffer."""
    return tensor if old.key == tensor.key else old


def _storages(operands: Any) -> set[int]:
    """Host addresses of the operands' contents."""
    return {tensor.contents.pointer for tensor in chips.tensors_of(operands)}


def _as_binding_sees(value: Any, memory: Memory) -> Any:
    if isinstance(value, ttnn.Tensor):
        return _whole(memory.read(value), value) if on_device(value) else value
    if isinstance(value, (list, tuple)) and device_tensors(value):
        return type(value)(_as_binding_sees(v, memory) for v in value)
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
    "emulated_call",
    "refused_call",
    "transfer_call",
    "written",
]

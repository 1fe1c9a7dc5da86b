"""A binding with its arguments: what it is told of the launch, and what it computes on each chip.

`dispatch` makes one of each operation call and runs it at once; a trace keeps it and runs it later.
"""

import contextlib
import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch

from ttnn_emulator import chips
from ttnn_emulator.arithmetic import paths
from ttnn_emulator.described_tensors import Key
from ttnn_emulator.memory import Contents, DeviceTensor, Output, Replicas, physical

if TYPE_CHECKING:
    from ttnn_emulator.arithmetic.interface import Arithmetic
    from ttnn_emulator.evidence import Journal
    from ttnn_emulator.machine.fabric import Fabric

# The argument that names the chips of a mesh on which an operation runs; None for all.
SOME_CHIPS = "mesh_coords"

# What a binding returns: a tensor for each output, or nothing where it wrote in place.
Values = torch.Tensor | list[torch.Tensor] | tuple[torch.Tensor | None, ...] | None
OnChips = list[torch.Tensor]  # an output's values on each chip: what a collective returns


class Binding(Protocol):
    """What an operation's arguments mean to the arithmetic: an entry of `ops.BINDINGS`.

    It has the operation's own parameter names after `launch`. It gets each device tensor as a
    `DeviceTensor`, and of the arguments in `dispatch.PLACEMENT` those that it names. It returns a
    tensor for each output (a single one, or a sequence), of its logical or padded shape; or None if
    it wrote in place or if every output shares its buffer with an operand (a view).
    """

    __name__: str

    # a binding takes what its operation takes, which is checked by `inspect.Signature.bind`
    def __call__(
        self, launch: "Launch", /, *operands: Any, **named: Any
    ) -> "Values | list[OnChips]": ...


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
        chip_dims: how many first dimensions of operands and outputs are chips computed together.
    """

    name: str
    outputs: tuple[Output, ...]
    math: "Arithmetic"
    cores: tuple[int, int]
    views_input: bool
    mesh: tuple[int, int] = (1, 1)
    fabric: "Fabric | None" = None
    chip_dims: int = 0

    @property
    def output(self) -> Output:
        """The plan of the only output."""
        (output,) = self.outputs
        return output


# The contents of each output on each chip; None where the operation wrote in place.
Results = list[Replicas | None]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Within, torch computes in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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
        values = max((math.prod(output.padded_shape) for output in self.launch.outputs), default=0)
        with _one_thread() if values <= self.launch.math.ONE_THREAD else contextlib.nullcontext():
            return self._results(journal, own)

    def _results(self, journal: "Journal | None", own: Callable[[Key, Replicas], None]) -> Results:
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
        launch = dataclasses.replace(self.launch, outputs=wide, chip_dims=1)
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
        bound = self.arguments
        return [tensor for name in self.writes for tensor in chips.tensors_of(bound.get(name))]

    @property
    def arguments(self) -> dict[str, Any]:
        """What the binding is called with, by the names of its parameters."""
        signature = inspect.signature(self.binding)
        return signature.bind(self.launch, *self.operands, **self.named).arguments

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

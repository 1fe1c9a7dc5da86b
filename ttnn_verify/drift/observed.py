"""A call as a walk observes it, one frozen value, and the state kept between calls."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import ttnn

from ttnn_verify.drift.finding import OpFinding
from ttnn_verify.drift.observation import columns, layouts, reading, taps, tracing
from ttnn_verify.drift.observation.hf_values import HfValue, SequenceValues
from ttnn_verify.drift.observation.matching import Matched, Place
from ttnn_verify.drift.observation.walk import ModelCall, TokenSequence


@dataclasses.dataclass
class FoundOrder:
    """The order of columns that was found in a model's values, None while there is none."""

    order: columns.ColumnOrder | None = None


@dataclasses.dataclass(frozen=True)
class WalkPlan:
    """What is known before the walk.

    Attributes:
        traced: per call of the model.
        steps: Hugging Face's values by name.
        pairs: see `tracing.paired_heads`.
        accurate: see `ops.expected.CallContext`.
        found: the order in which the model was found to keep the columns of rotated heads.
    """

    sequences: Sequence[TokenSequence]
    traced: Sequence[tracing.TracedCall]
    steps: Mapping[str, HfValue]
    pairs: tuple[int, int] | None
    accurate: bool
    found: FoundOrder = dataclasses.field(default_factory=FoundOrder)

    def values(self, model_call: ModelCall) -> SequenceValues:
        """Hugging Face's values of the tokens that a call of the model is given."""
        return self.sequences[model_call.sequence].values

    def layouts(self, step: HfValue, shape: tuple[int, ...], rows: int) -> list[layouts.Layout]:
        """Where a step's value may lie in a tensor."""
        if self.found.order is not None:  # another one that fits too may be that of a copy
            candidates = layouts.in_order(step, shape, rows, self.found.order)
            if candidates:
                return candidates
        return layouts.of_step(step, shape, rows, self.pairs)


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a buffer's contents come from.

    Attributes:
        name: of Hugging Face's value that it contains; None for intermediate contents.
        noise: relative L2 error that the calls since the last such value explain; infinite if one
            of them has no golden.
        call: (index, operation) that computed it; source: the origin of that call's first operand.
    """

    name: str | None
    noise: float
    call: tuple[int, str]
    source: "Origin | None" = None

    @property
    def value(self) -> str | None:
        """The last value of Hugging Face's that it stems from."""
        if self.name is not None or self.source is None:
            return self.name
        return self.source.value

    @property
    def calls_since(self) -> list[tuple[int, str]]:
        """(index, operation) of the calls since that value, latest first."""
        if self.name is not None:
            return []
        return [self.call, *(self.source.calls_since if self.source else [])]


@dataclasses.dataclass
class WalkState:
    """What the walk keeps from one call to the next.

    Attributes:
        origins: buffer -> where its contents come from, in this call of the model.
        owners: cache's buffer -> which cache it is.
        written: (model call, first row, layer, "k" or "v") of each write to a cache.
        columns: kind of value -> name of the layout in which its columns lay.
    """

    origins: dict[int, Origin] = dataclasses.field(default_factory=dict)
    owners: dict[int, Place] = dataclasses.field(default_factory=dict)
    written: set[tuple[int, int, int, str]] = dataclasses.field(default_factory=set)
    columns: dict[str, str] = dataclasses.field(default_factory=dict)


class Where(NamedTuple):
    """A place in the model; parts of it may be unknown."""

    layer: int | None
    value: str | None
    part: str | None


def where_of(step: HfValue) -> Where:
    """The place of a value."""
    return Where(step.layer, step.short, step.part)


@dataclasses.dataclass(frozen=True)
class ReadTensor:
    """A device tensor's contents on the host."""

    buffer: int
    dtype: str
    values: torch.Tensor
    origin: Origin | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The logical shape."""
        return tuple(self.values.shape)


@dataclasses.dataclass(frozen=True)
class Operands:
    """What a call is given, read before it runs.

    Attributes:
        args, kwargs: the call's own with torch tensors.
        tensors: those on the device, in their order.
        sources: what is written into each cache.
        pages: the first row of the page table, None without one.
    """

    args: tuple
    kwargs: dict[str, Any]
    tensors: tuple[ReadTensor, ...]
    sources: tuple[ReadTensor, ...]
    pages: torch.Tensor | None

    @property
    def origins(self) -> list[Origin]:
        """Of the operands that were computed in this call of the model."""
        return [tensor.origin for tensor in self.tensors if tensor.origin is not None]

    @property
    def noise(self) -> float:
        """Relative L2 error that the calls since Hugging Face's values explain."""
        return math.hypot(*(origin.noise for origin in self.origins))


@dataclasses.dataclass(frozen=True)
class Observed:
    """A call that has run.

    Attributes:
        matched: the pass through the layers that it belongs to.
        results: the caches that it writes, or else what it returns.
    """

    call: taps.TtnnCall
    model_call: ModelCall
    index: int
    matched: Matched | None
    operands: Operands
    results: tuple[ReadTensor, ...]

    @property
    def name(self) -> str:
        """The operation's full name."""
        return self.call.name

    @property
    def rows(self) -> range:
        """The positions of the pass."""
        assert self.matched is not None
        return self.matched.rows

    @property
    def steps(self) -> dict[int, HfValue]:
        """Number of a result -> the step whose value it is."""
        if self.matched is None or self.operands.sources:
            return {}
        steps = {n: self.matched.steps.get((self.index, n)) for n in range(len(self.results))}
        return {n: step for n, step in steps.items() if step is not None}

    @property
    def nearby(self) -> Where:
        """The place of the step before the call, without its value."""
        if self.matched is None:
            return Where(None, None, None)
        before = [place for place in self.matched.steps if place[0] <= self.index]
        if not before:
            return Where(None, None, "embedding")
        step = self.matched.steps[max(before, key=lambda place: place[0])]
        return Where(step.layer, None, step.part)

    def finding(self, status: str, where: Where, **more: Any) -> OpFinding:
        """A finding at this call; `more` sets or overrides its attributes."""
        about = {
            "status": status,
            "model_call": self.model_call,
            "index": self.index,
            "operation": self.name,
            **where._asdict(),
        }
        return OpFinding(**(about | more))


def read(tensor: ttnn.Tensor, reader: reading.Reader, origins: Mapping[int, Origin]) -> ReadTensor:
    """A device tensor's contents and where they come from."""
    buffer = tensor.buffer_unique_id()
    return ReadTensor(buffer, reading.dtype_name(tensor), reader.read(tensor), origins.get(buffer))


def operands_of(
    call: taps.TtnnCall, reader: reading.Reader, origins: Mapping[int, Origin]
) -> Operands:
    """The operands of a call that is about to run."""
    table = tracing.page_table(call)
    return Operands(
        args=reader.in_torch(call.args),
        kwargs={name: reader.in_torch(value) for name, value in call.kwargs.items()},
        tensors=tuple(read(tensor, reader, origins) for tensor in call.operands),
        sources=tuple(read(source, reader, origins) for _, source in tracing.written_pairs(call)),
        pages=None if table is None else reader.read(table).reshape(-1, table.shape[-1])[0],
    )

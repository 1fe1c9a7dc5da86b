"""A call as a walk observes it, where its operands come from, and the state kept between calls."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import ttnn

from ttnn_verify.drift.finding import MISUSED, WRONG, OpFinding
from ttnn_verify.drift.mesh import spread
from ttnn_verify.drift.observation import arrangements, reading, taps
from ttnn_verify.drift.observation.given import GivenCall, given, with_each
from ttnn_verify.drift.observation.identification import Found
from ttnn_verify.drift.observation.walk import ModelCall
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.numerics import metrics
from ttnn_verify.ops import table
from ttnn_verify.ops.expected import OnChips, compute_of
from ttnn_verify.ops.spec import CacheWrite


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a buffer's contents come from.

    Attributes:
        found: Hugging Face's values that it holds; none for intermediate contents.
        noise: relative L2 error that the calls since the last such value explain; infinite if one
            of them has no golden.
        call: (index, operation) that computed it.
        sources: the origins of that call's operands.
    """

    found: tuple[Found, ...]
    noise: float
    call: tuple[int, str]
    sources: tuple["Origin", ...] = ()

    @property
    def nearest(self) -> set[str]:
        """The last of Hugging Face's values that led to it."""
        found = {one.name for one in self.found}
        return found or set().union(*(source.nearest for source in self.sources))

    def positions(self, name: str) -> set[int]:
        """At which positions a value led to it, of the last of Hugging Face's values that did."""
        held = {n for one in self.found if one.name == name for n in one.positions.tolist()}
        return held if self.found else set().union(*(s.positions(name) for s in self.sources))


# Bytes in float32 of a weight that a call keeps only until it has been judged.
LARGE_WEIGHT = 4 << 20
# Kinds of operations that are told how precisely to compute.
ASKING = ("product", "attention", "norm")


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
    """A device tensor's contents on the host.

    Attributes:
        values: of a tensor on several chips, as the value that is found in it lies over them, or
            else the first chip's part.
        parts: what each chip has; none where that has been forgotten.
        mesh: (rows, columns) of the chips.
    """

    buffer: int
    dtype: str
    values: torch.Tensor
    origin: Origin | None
    parts: tuple[torch.Tensor, ...] = ()
    mesh: tuple[int, int] = spread.ONE_CHIP

    @property
    def shape(self) -> tuple[int, ...]:
        """The logical shape."""
        return tuple(self.values.shape)

    def on(self, chip: int) -> "ReadTensor":
        """As a chip has it."""
        return dataclasses.replace(self, values=self.parts[chip], parts=(self.parts[chip],))

    def forgotten(self) -> "ReadTensor":
        """The same without contents."""
        empty = self.values.new_zeros(()).expand(self.shape)
        return dataclasses.replace(self, values=empty, parts=())


@dataclasses.dataclass(frozen=True)
class Operands:
    """What a call is given, read before it runs.

    Attributes:
        args, kwargs: the call's own with torch tensors; with an `OnChips` for one on a mesh.
        tensors: those on the device, in their order.
        sources: what is written into each cache.
        pages: the page table `[users, pages]`, None without one.
        given: the arguments as they were given, where that is kept.
    """

    args: tuple
    kwargs: dict[str, Any]
    tensors: tuple[ReadTensor, ...]
    sources: tuple[ReadTensor, ...]
    pages: torch.Tensor | None
    given: GivenCall | None = None

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Of the operands that were computed in this call of the model."""
        return tuple(tensor.origin for tensor in self.tensors if tensor.origin is not None)

    @property
    def names(self) -> list[str]:
        """The values of Hugging Face's that the operands hold."""
        return [one.name for origin in self.origins for one in origin.found]

    @property
    def noise(self) -> float:
        """Relative L2 error that the calls since Hugging Face's values explain."""
        return math.hypot(*(origin.noise for origin in self.origins))

    def on(self, chip: int) -> "Operands":
        """What a chip of a mesh is given."""

        def own(parts: OnChips) -> torch.Tensor:
            return parts[chip]

        args, kwargs = with_each((self.args, self.kwargs), OnChips, own)
        made = self.given and self.given.on(chip)
        return dataclasses.replace(self, args=args, kwargs=kwargs, given=made)

    def without_weights(self) -> "Operands":
        """The same without the contents of large tensors that no call of the model has made."""
        weights = [
            tensor
            for tensor in self.tensors
            if tensor.origin is None and tensor.values.nbytes >= LARGE_WEIGHT
        ]
        forgotten = {
            id(part): part.new_zeros(()).expand(part.shape)
            for tensor in weights
            for part in (tensor.values, *tensor.parts)
        }

        def without(values: torch.Tensor) -> torch.Tensor:
            return forgotten.get(id(values), values)

        def parts_without(parts: OnChips) -> OnChips:
            return OnChips(map(without, parts))

        given = with_each((self.args, self.kwargs), OnChips, parts_without)
        args, kwargs = with_each(given, torch.Tensor, without)
        tensors = (one.forgotten() if id(one.values) in forgotten else one for one in self.tensors)
        return dataclasses.replace(self, args=args, kwargs=kwargs, tensors=tuple(tensors))


NO_OPERANDS = Operands((), {}, (), (), None)


@dataclasses.dataclass
class Observed:
    """A call that has run. It keeps copies on the host: the device's tensors are the model's.

    Attributes:
        name: the operation's full name.
        operation: TTNN's object.
        results: the caches that it writes, or else what it returns.
        paths: where each result is in what it returns, as `taps.paths` has it; none of caches.
        found: number of a result -> all of Hugging Face's values that it holds, likeliest first.
        status: of the call's own results, see `finding`.
        noise: relative L2 error of each result that the call itself explains.
        chip: the one that it is looked at on, see `on`; None for all of the mesh.
        wrong_on: the chips of a mesh on which its own results are wrong.
        off_on: those on which they are not Hugging Face's, though others' are.
    """

    name: str
    operation: Any
    model_call: ModelCall
    index: int
    operands: Operands
    results: tuple[ReadTensor, ...]
    found: dict[int, tuple[Found, ...]] = dataclasses.field(default_factory=dict)
    status: str = ""
    noise: tuple[float, ...] = ()
    paths: tuple[str, ...] = ()
    chip: int | None = None
    wrong_on: tuple[int, ...] = ()
    off_on: tuple[int, ...] = ()

    @property
    def mesh(self) -> tuple[int, int]:
        """(rows, columns) of the chips that it runs on."""
        tensors = (*self.results, *self.operands.tensors)
        return max((one.mesh for one in tensors), default=spread.ONE_CHIP)

    @property
    def alike(self) -> list[list[int]]:
        """Groups of the chips that are given the same and make the same."""
        chips = self.mesh[0] * self.mesh[1]
        given: list[OnChips] = []
        with_each((self.operands.args, self.operands.kwargs), OnChips, given.append)
        spans = table.spec_of(self.name).spans_chips
        made = [one.parts for one in self.results]
        parts = made if spans else [*given, *made]
        groups: dict[tuple, list[int]] = {}
        for chip in range(chips):
            same = tuple(id(one[chip]) for one in parts if len(one) == chips)
            groups.setdefault((chip, *same) if spans else same, []).append(chip)
        return list(groups.values())

    def on(self, chip: int) -> "Observed":
        """The call as a chip of the mesh makes it; of a collective with what all chips have."""
        spans = table.spec_of(self.name).spans_chips
        return dataclasses.replace(
            self,
            chip=chip,
            operands=self.operands if spans else self.operands.on(chip),
            results=tuple(one.on(chip) for one in self.results),
        )

    @property
    def place(self) -> tuple[int, int]:
        """The call of the model, and the call in it."""
        return self.model_call.number, self.index

    def forget_weights(self) -> None:
        """Let go of weights: once a product has been judged, nobody asks for what it multiplied.

        A full-size model's, read back in float32, are twice the size of the device's.
        """
        if self.kind in ("product", "embedding") and self.operands.given is None:
            self.operands = self.operands.without_weights()

    @property
    def without_contents(self) -> "Observed":
        """What is remembered of a write to caches: how it was made, not what the caches held."""
        caches = {cache.buffer for cache in self.results}
        made = self.operands.given and self.operands.given.with_empty(caches)
        operands = dataclasses.replace(NO_OPERANDS, pages=self.operands.pages, given=made)
        results = tuple(cache.forgotten() for cache in self.results)
        return dataclasses.replace(self, operands=operands, results=results)

    def held(self, number: int) -> tuple[Found, ...]:
        """The values that a result stands for: side by side, or else the likeliest one."""
        found = self.found.get(number, ())
        return (
            tuple(one for one in found if one.arrangement.name == arrangements.GATHERED)
            or found[:1]
        )

    @property
    def names(self) -> list[str]:
        """Of all values that the results hold, or hold a multiple of."""
        return [one.name for found in self.found.values() for one in found]

    def factor_of(self, name: str) -> float:
        """By what a result is larger than a value that it holds a multiple of."""
        found = [one for of_result in self.found.values() for one in of_result]
        return next(one.factor for one in found if one.name == name)

    @functools.cached_property
    def moves(self) -> bool:
        """Whether it moves data and computes nothing."""
        return table.spec_of(self.name).moves

    @functools.cached_property
    def kind(self) -> str | None:
        """The kind of Hugging Face's step that the operation computes."""
        return table.spec_of(self.name).kind

    @functools.cached_property
    def declared(self) -> str:
        """The precision that a product, attention or norm asks for, in words."""
        if self.kind not in ASKING:
            return ""
        config = compute_of(self.operands.kwargs.get("compute_kernel_config"))
        asked = ["TTNN's defaults"] if config is None else [config.fidelity]
        if config is not None and not config.fp32_dest_acc:
            asked.append("16-bit sums")
        return ", ".join([*asked, *sorted(self.block_formats)])

    @functools.cached_property
    def block_formats(self) -> set[str]:
        """Block formats of operands."""
        return {tensor.dtype for tensor in self.operands.tensors} & set(metrics.BLOCK_BITS)

    def finding(self, status: str, where: Where, **more: Any) -> OpFinding:
        """A finding at this call; `more` sets or overrides its attributes."""
        about = {
            "status": status,
            "model_call": self.model_call,
            "index": self.index,
            "operation": self.name,
            "declared": self.declared,
            "chip": self._on_chips(status),
            **where._asdict(),
        }
        return OpFinding(**(about | more))

    def _on_chips(self, status: str) -> str:
        """The chips on which a finding of that status is so, in words."""
        chips = self.wrong_on if status == WRONG else self.off_on if status == MISUSED else ()
        return spread.named(chips, self.mesh)


def read(
    tensor: ttnn.Tensor,
    reader: reading.Reader,
    origins: Mapping[int, Origin],
    lies: spread.Distribution | None = None,
) -> ReadTensor:
    """A device tensor's contents and where they come from.

    Args:
        lies: how it lies over the chips of a mesh; None to ask where it comes from.
    """
    buffer = tensor.buffer_unique_id()
    dtype, parts, origin = reading.dtype_name(tensor), reader.parts(tensor), origins.get(buffer)
    if len(parts) == 1:
        return ReadTensor(buffer, dtype, parts[0], origin, parts)
    if lies is None:
        lies = origin.found[0].spread if origin is not None and origin.found else spread.ONE
    rows, columns = reading.mesh_of(tensor)
    return ReadTensor(buffer, dtype, lies.joined(parts), origin, parts, (rows, columns))


def operands_of(
    call: taps.TtnnCall,
    reader: reading.Reader,
    origins: Mapping[int, Origin],
    as_given: bool = False,
) -> Operands:
    """The operands of a call that is about to run.

    Args:
        as_given: keep the arguments as they are given, too.
    """
    pages = page_table(call)
    return Operands(
        args=reader.in_torch(call.args),
        kwargs={name: reader.in_torch(value) for name, value in call.kwargs.items()},
        tensors=tuple(read(tensor, reader, origins) for tensor in call.operands),
        sources=tuple(read(source, reader, origins) for _, source in written_pairs(call)),
        pages=None if pages is None else reader.read(pages).reshape(-1, pages.shape[-1]),
        given=given(call, reader) if as_given else None,
    )


def rewritten(call: taps.TtnnCall) -> list[ttnn.Tensor]:
    """The device tensors that a call from the host writes into."""
    return call.operands if call.name == "ttnn.copy_host_to_device_tensor" else []


def page_table(call: taps.TtnnCall) -> ttnn.Tensor | None:
    """The page table among a call's arguments, None without one."""
    for name in ("page_table", "page_table_tensor"):
        if name in call.kwargs:
            return call.kwargs[name]
    place = table.spec_of(call.name).page_table_at
    return None if place is None or place >= len(call.args) else call.args[place]


def written_pairs(call: taps.TtnnCall) -> list[tuple[ttnn.Tensor, ttnn.Tensor]]:
    """(cache, what is written) for each cache that a call writes."""
    pairs = [_written(call, write) for write in table.spec_of(call.name).writes]
    return [(cache, source) for cache, source in pairs if cache is not None and source is not None]


def _written(
    call: taps.TtnnCall, write: CacheWrite
) -> tuple[ttnn.Tensor | None, ttnn.Tensor | None]:
    return (
        _argument(call, write.cache_at, write.cache),
        _argument(call, write.source_at, write.source),
    )


def _argument(call: taps.TtnnCall, place: int, name: str) -> ttnn.Tensor | None:
    return call.kwargs.get(name, call.args[place] if place < len(call.args) else None)

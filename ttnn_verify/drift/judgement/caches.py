"""Which call is to blame for what attention finds in a cache."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import torch

from ttnn_verify.drift import finding
from ttnn_verify.drift.expected_values import ExpectedRows
from ttnn_verify.drift.finding import OpFinding
from ttnn_verify.drift.mesh import found_parts, spread
from ttnn_verify.drift.observation import arrangements
from ttnn_verify.drift.observation.columns import ColumnOrder
from ttnn_verify.drift.observation.identification import Found
from ttnn_verify.drift.observation.pool import SAME
from ttnn_verify.drift.observation.walk import ModelCall
from ttnn_verify.drift.observed import Observed, ReadTensor, Where
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.numerics import tolerance


@dataclasses.dataclass(frozen=True)
class WriteToCache:
    """A call that wrote a cache.

    Attributes:
        observed: the call, without the contents of caches.
        names: of Hugging Face's values that were written.
    """

    observed: Observed
    names: tuple[str, ...]


class CacheWrites:
    """The calls that wrote caches, by the cache's buffer."""

    def __init__(self, orders: Sequence[ColumnOrder] = ()) -> None:
        """Args: `orders`, of the columns of heads, grow while a model runs."""
        self.orders = orders
        self._of: dict[int, list[WriteToCache]] = {}

    def note(self, observed: Observed) -> None:
        """Remember a call that writes caches."""
        bare = observed.without_contents
        for cache, source in zip(observed.results, observed.operands.sources, strict=True):
            names = tuple(one.name for one in (source.origin.found if source.origin else ()))
            self._of.setdefault(cache.buffer, []).append(WriteToCache(bare, names))

    @property
    def calls(self) -> Iterator[Observed]:
        """The calls that wrote, one that writes several caches as often."""
        return (write.observed for writes in self._of.values() for write in writes)

    def names_in(self, tensors: Sequence[ReadTensor]) -> set[str]:
        """Hugging Face's values that were written to those of the tensors that are caches."""
        writes = (write for tensor in tensors for write in self._of.get(tensor.buffer, ()))
        return {name for write in writes for name in write.names}

    def is_cache(self, tensor: ReadTensor) -> bool:
        """Whether a call has written to the tensor as to a cache."""
        return tensor.buffer in self._of

    def to_blame(
        self,
        observed: Observed,
        values: Sequence[tuple[HfValue, ExpectedRows]],
        calls: Sequence[ModelCall],
        verdict: tolerance.Verdict,
    ) -> OpFinding | None:
        """The finding on the write that makes attention wrong; None if all is where it should be.

        Args:
            observed: the call of attention.
            values: keys and values, in the order of the call's caches.
            calls: the calls of the model that filled the sequence so far, this one included.
        """
        caches = [tensor for tensor in observed.operands.tensors if self.is_cache(tensor)]
        if not caches:
            caches = [t for t in observed.operands.tensors if t.values.dim() == 4][1:3]
        for (step, expected), cache in zip(values, caches, strict=False):
            lies, whole = self._as_it_lies(cache, expected, observed.operands.pages)
            chips, cells = self._chips(whole, lies, expected, observed.operands.pages)
            op_finding = self._on_cache(observed, step, expected, whole, calls, verdict, cells)
            if op_finding is not None and chips:
                return dataclasses.replace(op_finding, chip=spread.named(chips, whole.mesh))
            if op_finding is not None:
                return op_finding
        return None

    def _as_it_lies(
        self, cache: ReadTensor, expected: ExpectedRows, pages: torch.Tensor | None
    ) -> tuple[spread.Distribution, ReadTensor]:
        """A cache on several chips as it holds the most rows, from the first on."""
        if len(cache.parts) <= 1:
            return spread.ONE, cache
        ways = [
            (lies, dataclasses.replace(cache, values=lies.joined(cache.parts)))
            for lies in spread.of(cache.parts, cache.mesh)
        ]

        def rows_in_place(way: tuple[spread.Distribution, ReadTensor]) -> float:
            rows, wrong = _held(way[1], expected, pages, tuple(self.orders))
            return (math.inf if len(rows) else -1) if wrong is None else wrong

        return max(ways, key=rows_in_place, default=(spread.ONE, cache))

    def _chips(
        self,
        cache: ReadTensor,
        lies: spread.Distribution,
        expected: ExpectedRows,
        pages: torch.Tensor | None,
    ) -> tuple[tuple[int, ...], torch.Tensor | None]:
        """Where the first row that is not in its place is not: chips, bool [W] of the row's cells.

        () and None where it is on all chips.
        """
        index, wrong = _held(cache, expected, pages, tuple(self.orders))
        if wrong is None or wrong >= len(index) or len(cache.parts) <= 1:
            return (), None
        place = torch.tensor([wrong])
        where = arrangements.Arrangement("in a cache", index)
        row = Found("", where, place, place, spread=lies)
        chips = found_parts.off(cache, row, expected.flat[place], SAME)
        pieces = lies.split(torch.arange(cache.values.numel()).reshape(cache.shape))
        theirs = [piece.flatten() for chip in chips if (piece := pieces[chip]) is not None]
        return chips, torch.isin(index[wrong], torch.cat(theirs)) if theirs else None

    def _on_cache(
        self,
        observed: Observed,
        step: HfValue,
        expected: ExpectedRows,
        cache: ReadTensor,
        calls: Sequence[ModelCall],
        verdict: tolerance.Verdict,
        cells: torch.Tensor | None = None,
    ) -> OpFinding | None:
        """`cells` [W] of a row are those that are wrong, None for all."""
        rows, wrong = _held(cache, expected, observed.operands.pages, tuple(self.orders))
        if wrong is None:
            return None
        where = Where(step.layer, f"{step.short[0]} cache", "attention")
        written = _held_at(cache, rows, wrong, expected, cells)  # over it, perhaps
        new = wrong if written is None else written
        call = next((one for one in calls if one.starts[0] <= new < one.ends[0]), calls[-1])
        note = f"position {wrong} is not {step.name}"
        if written is not None:
            note = f"position {wrong} has {step.name} of position {written}"
        write = self._write(cache, step, call)
        if write is not None:
            if write.names and step.name not in write.names:
                note = f"{', '.join(write.names)} is written, {step.name} is expected"
                where = where._replace(layer=layer_of(write.names))
            intended = _intended(write.observed, cache, step, expected, rows, call)
            return write.observed.finding(
                finding.MISUSED, where, step=verdict, note=note, intended=intended
            )
        if cache.origin is not None and not self.is_cache(cache):  # joined from parts
            at, operation = cache.origin.call
            return observed.finding(
                *(finding.MISUSED, where), index=at, operation=operation, step=verdict, note=note
            )
        return observed.finding(
            finding.MISSING,
            where,
            operation="a cache update",
            step=verdict,
            note=f"no call writes position {call.starts[0]} on",
        )

    def _write(self, cache: ReadTensor, step: HfValue, call: ModelCall) -> WriteToCache | None:
        """Of a call's writes to a cache the first of something else, or the last; None if none."""
        writes = [
            write
            for write in self._of.get(cache.buffer, ())
            if write.observed.model_call.number == call.number
        ]
        others = (write for write in writes if write.names and step.name not in write.names)
        return next(others, writes[-1] if writes else None)


def _intended(
    write: Observed,
    cache: ReadTensor,
    step: HfValue,
    expected: ExpectedRows,
    rows: torch.Tensor,
    call: ModelCall,
) -> finding.Intended:
    """What a write to a cache should have made of it at a call of the model."""
    index = rows[call.starts[0] : call.ends[0]]
    values = expected.flat[call.starts[0] :][: len(index)]
    caches = [one.buffer for one in write.results]
    return finding.Intended((step.name,), caches.index(cache.buffer), values, index)


def layer_of(names: Sequence[str]) -> int | None:
    """The layer of values by their names, such as "layers.2.k"; None outside of the layers."""
    parts = names[0].split(".")
    return int(parts[1]) if parts[0] == "layers" else None


def _held(
    cache: ReadTensor,
    expected: ExpectedRows,
    pages: torch.Tensor | None,
    orders: tuple[ColumnOrder, ...],
) -> tuple[torch.Tensor, int | None]:
    """How a cache holds the first sequence's rows, and the first that is not in its place.

    Returns:
        (int64 `[C, W]` into the flattened cache, position). The position is None where all are in
        their places, or where it is not known how the cache holds any.
    """
    golden = expected.flat[: expected.lengths[0]]
    most, best = -1, torch.empty(0, dtype=torch.int64)
    for index in _rows_of(cache, tuple(expected.rows.shape[1:]), pages, orders):
        index = index[: len(golden)]
        known = golden[: len(index)]
        rows = cache.values.flatten()[index]
        same = (rows - known).norm(dim=-1) <= SAME * known.norm(dim=-1)
        wrong = torch.nonzero(~same).flatten()
        first = int(wrong[0]) if len(wrong) else len(rows)
        if first > most:
            most, best = first, index
    return best, None if most < 0 or most >= len(golden) else most


def _held_at(
    cache: ReadTensor,
    rows: torch.Tensor,
    wrong: int,
    expected: ExpectedRows,
    cells: torch.Tensor | None,
) -> int | None:
    """The position whose row a cache has at another one; None if it has none."""
    if wrong >= len(rows):
        return None
    golden, actual = expected.flat[: expected.lengths[0]], cache.values.flatten()[rows[wrong]]
    if cells is not None:
        golden, actual = golden[:, cells], actual[cells]
    error = (golden - actual).norm(dim=-1) / golden.norm(dim=-1)
    nearest = int(error.argmin())
    return nearest if error[nearest] <= SAME else None


def _rows_of(
    cache: ReadTensor,
    row_shape: tuple[int, ...],
    pages: torch.Tensor | None,
    orders: tuple[ColumnOrder, ...],
) -> Iterator[torch.Tensor]:
    """A cache's rows from position 0 on, int64 `[C, W]`, in each arrangement they may have."""
    places = torch.arange(cache.values.numel()).reshape(cache.shape)
    if pages is not None and places.dim() == 4:
        table = pages[0][(pages[0] >= 0) & (pages[0] < len(places))].long()
        places = places[table].transpose(0, 1).flatten(1, 2)[None]
    for where in arrangements.of(tuple(places.shape), row_shape, orders):
        yield places.flatten()[where.flat]

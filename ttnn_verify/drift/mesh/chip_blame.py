"""On which chips a model leaves Hugging Face's way, and sums over chips that it forgets."""

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from ttnn_verify.drift.expected_values import ExpectedRows
from ttnn_verify.drift.mesh import spread
from ttnn_verify.drift.mesh.spread import Distribution
from ttnn_verify.drift.observation import columns
from ttnn_verify.drift.observation.identification import Finder, Found
from ttnn_verify.drift.observation.pool import Pool
from ttnn_verify.drift.observed import Observed, ReadTensor
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.ops import table

REPLICAS = "all chips should have the same, and they differ"
ONE_PART = "it computes rightly from what it is given: a weight, a constant or a position is wrong"
OTHER_WEIGHT = "its weight is no part of Hugging Face's there"
NOT_ADDED = "the chips' parts add up to {}, and no call adds them up"
ADDED_OTHERWISE = "the chips' parts add up to {}{}, and this call makes something else of them"


class OnSomeChips(NamedTuple):
    """A call whose result is Hugging Face's on other chips than these."""

    observed: Observed
    chips: tuple[int, ...]
    note: str


def lost(calls: Sequence[Observed], chips: Sequence[int] = ()) -> OnSomeChips | None:
    """The first call that some chips make a value in, which others should make too.

    Args:
        chips: one of which is to be among the others; none for any.
    """
    for observed in calls:
        others = {
            chip
            for found in observed.found.values()
            for one in found[:1]
            if one.factor == 1.0
            for chip in one.spread.others
        }
        if others and (not chips or others & set(chips)):
            return OnSomeChips(observed, tuple(sorted(others)), REPLICAS)
    return None


def on_some(
    calls: Sequence[Observed], value: HfValue, expected: ExpectedRows, finder: Finder
) -> OnSomeChips | None:
    """The first call that makes a chip's part of a value on some chips and not on others."""
    for observed in calls:
        for result in observed.results if not observed.moves else ():
            if not _differs(result):
                continue
            chips = _without_part(result, value, expected, finder)
            if 0 < len(chips) < len(result.parts):
                return OnSomeChips(observed, chips, ONE_PART)
    return None


def _differs(result: ReadTensor) -> bool:
    return len(result.parts) > 1 and not spread.all_equal(result.parts)


def _without_part(
    result: ReadTensor, value: HfValue, expected: ExpectedRows, finder: Finder
) -> tuple[int, ...]:
    """The chips that do not have their part of a value, in the way in which most have it."""
    fewest = tuple(range(len(result.parts)))
    for lies in _lines(result):
        pieces = _pieces(value, expected, len(lies.grid[0]))
        if not pieces:
            continue
        found = [
            place is not None and _holds(part, *pieces[place], finder)
            for part, place in zip(result.parts, lies.like, strict=True)
        ]
        without = tuple(chip for chip, holds in enumerate(found) if not holds)
        if len(without) < len(fewest):
            fewest = without
    return fewest


def _lines(result: ReadTensor) -> Iterator[Distribution]:
    """The ways to divide a value along one dimension, whatever that is."""
    seen = set()
    for lies in spread.of(result.parts, result.mesh):
        if len(lies.grid) == 1 and len(lies.grid[0]) > 1 and lies.grid not in seen:
            seen.add(lies.grid)
            yield lies


def _pieces(
    value: HfValue, expected: ExpectedRows, count: int
) -> list[tuple[HfValue, ExpectedRows]]:
    """A value's columns or heads in equal parts; none where they cannot be divided."""
    size = expected.rows.shape[1]
    if size % count:
        return []
    shape = (size // count, *expected.rows.shape[2:])
    return [
        (dataclasses.replace(value, shape=shape), dataclasses.replace(expected, rows=rows))
        for rows in expected.rows.chunk(count, 1)
    ]


def _holds(
    part: torch.Tensor, value: HfValue, expected: ExpectedRows, finder: Finder
) -> tuple[Found, ...]:
    """What a tensor holds of one value; it leaves nothing in the finder."""
    own = copy.copy(finder)
    own.rows, own.gathered = dict(finder.rows), {}
    own.orders, own.not_gathered = list(finder.orders), set()
    pair = value, expected
    found = own.find(part, Pool([pair]), preferred=lambda value: True)
    if not found and value.kind in ("product", "heads"):
        found = own.find_parts(part, [pair])
    return found


# --- weights --------------------------------------------------------------------------------------


def of_weights(
    observed: Observed, weights: Mapping[str, torch.Tensor], layer: int | None
) -> OnSomeChips | None:
    """The chips whose weight in a product is no part of Hugging Face's, though others' are.

    Args:
        weights: by their names; only those of a layer count.
    """
    for tensor in observed.operands.tensors:
        if tensor.origin is not None or not _differs(tensor) or tensor.values.dim() < 2:
            continue
        matrices = [
            weight for name, weight in weights.items() if _may_be_meant(name, weight, layer)
        ]
        wrong = min((_of_others(tensor, weight) for weight in matrices), key=len, default=())
        if 0 < len(wrong) < len(tensor.parts):
            return OnSomeChips(observed, wrong, OTHER_WEIGHT)
    return None


def _may_be_meant(name: str, weight: torch.Tensor, layer: int | None) -> bool:
    return weight.dim() == 2 and (layer is None or f".{layer}." in name)


def _of_others(tensor: ReadTensor, weight: torch.Tensor) -> tuple[int, ...]:
    """The chips whose part is no part of a weight."""
    held = [_is_part(part.reshape(-1, part.shape[-1]), weight) for part in tensor.parts]
    return tuple(chip for chip, one in enumerate(held) if not one)


def _is_part(part: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether a matrix [in, out] is some rows, or some columns, of a weight [out, in]."""
    rows = len(weight) == part.shape[1] and columns.find(weight, part.T) is not None
    return rows or (weight.shape[1] == len(part) and columns.find(weight.T, part) is not None)


# --- sums -----------------------------------------------------------------------------------------


class PartialSums(NamedTuple):
    """A call whose chips' parts add up to a value.

    Attributes:
        axis: of the mesh along which they do, None for all chips.
    """

    observed: Observed
    number: int
    axis: int | None


def sums(
    calls: Sequence[Observed], value: HfValue, expected: ExpectedRows, finder: Finder
) -> PartialSums | None:
    """The first call whose chips' parts add up to a value, None if there is none."""
    computing = (op for op in calls if not (op.moves or table.spec_of(op.name).writes))
    for observed in computing:
        for number, result in enumerate(observed.results):
            if not _differs(result) or number in observed.found:
                continue
            for axis, total in _totals(result):
                if _holds(total, value, expected, finder):
                    return PartialSums(observed, number, axis)
    return None


def _totals(result: ReadTensor) -> Iterator[tuple[int | None, torch.Tensor]]:
    """(axis, the first sum along it): one axis, each of two, or all chips."""
    rows, columns = result.mesh
    grid = [result.parts[first * columns : (first + 1) * columns] for first in range(rows)]
    if min(rows, columns) > 1:
        yield 1, torch.stack(grid[0]).sum(0)
        yield 0, torch.stack([row[0] for row in grid]).sum(0)
    yield None, torch.stack(list(result.parts)).sum(0)


def adding(calls: Sequence[Observed], partial: PartialSums) -> Observed | None:
    """The collective that is given partial sums, None without one."""
    reached = {partial.observed.results[partial.number].buffer}
    for observed in calls:
        if observed.index <= partial.observed.index:
            continue
        if not reached & {tensor.buffer for tensor in observed.operands.tensors}:
            continue
        if table.spec_of(observed.name).spans_chips:
            return observed
        if observed.moves:
            reached |= {result.buffer for result in observed.results}
    return None


def using(calls: Sequence[Observed], partial: PartialSums) -> Observed:
    """The first call that is given partial sums as if they were added up, or the last call."""
    buffer = partial.observed.results[partial.number].buffer
    users = (
        observed
        for observed in calls
        if observed.index > partial.observed.index
        and buffer in {tensor.buffer for tensor in observed.operands.tensors}
    )
    return next(users, calls[-1])

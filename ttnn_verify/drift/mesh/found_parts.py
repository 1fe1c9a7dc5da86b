"""Finds values in what the chips of a mesh have, and says which chips have them wrong."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch

from ttnn_verify.drift.mesh import spread
from ttnn_verify.drift.mesh.spread import Distribution
from ttnn_verify.drift.observation.identification import Found
from ttnn_verify.drift.observation.pool import SAME
from ttnn_verify.drift.observed import ReadTensor

Find = Callable[[torch.Tensor], tuple[Found, ...]]


def find(result: ReadTensor, find_in: Find) -> tuple[ReadTensor, tuple[Found, ...]]:
    """What a result holds, and the result as that lies over the chips."""
    if len(result.parts) == 1:
        return result, find_in(result.values)
    second: tuple[ReadTensor, tuple[Found, ...]] = result, ()
    for lies in spread.of(result.parts, result.mesh):
        values = lies.joined(result.parts)
        found = find_in(values)
        if not found:
            continue
        agreeing = _agreeing(lies, result.parts, found[0])
        holding = dataclasses.replace(result, values=values)
        found = tuple(dataclasses.replace(one, spread=agreeing) for one in found)
        if _takes_all(lies, holding, found):
            return holding, found
        second = second if second[1] else (holding, found)  # what else a chip has may be padding
    return second


def _takes_all(lies: Distribution, result: ReadTensor, found: Sequence[Found]) -> bool:
    """Whether each chip of those that are joined has something of a value."""
    if len(lies.chips) == 1:
        return True
    taken = torch.zeros(result.values.numel(), dtype=torch.bool)
    for one in found:
        taken[one.arrangement.index[one.rows]] = True
    pieces = lies.split(taken.reshape(result.values.shape))
    return all(piece is None or bool(piece.any()) for piece in pieces)


def _agreeing(lies: Distribution, parts: spread.Parts, found: Found) -> Distribution:
    """How a value lies, without the chips that have something else than those it was found on."""
    own, like = found.read(lies.joined(parts)), list(lies.like)
    for chip, place in enumerate(lies.like):
        first = lies.chips[place] if place is not None else chip
        if parts[chip] is parts[first]:
            continue
        there = found.read(lies.through(chip).joined(parts))
        share = SAME / math.sqrt(len(lies.chips))  # of the value, what a chip may be off
        if not (there - own).nan_to_num().norm() <= share * own.nan_to_num().norm():
            like[chip] = None
    return dataclasses.replace(lies, like=tuple(like))


def replicas(result: ReadTensor, found: Found) -> list[torch.Tensor]:
    """The values that chips make together: the one that was found, and others that differ."""
    lies, each = found.spread, [result.values]
    if len(result.parts) <= 1:
        return each
    for chip, place in enumerate(lies.like):
        if place is not None and result.parts[chip] is not result.parts[lies.chips[place]]:
            each.append(lies.through(chip).joined(result.parts))
    return each


def written(result: ReadTensor, found: Found, values: torch.Tensor) -> list[torch.Tensor]:
    """What each chip gets when a value is put in the place of a result."""
    if len(result.parts) <= 1:
        return [values]
    pieces = found.spread.split(values)
    kept = zip(pieces, result.parts, strict=True)
    return [part if piece is None else piece for piece, part in kept]


def off(result: ReadTensor, found: Found, expected: torch.Tensor, most: float) -> tuple[int, ...]:
    """The chips whose part of a value has a larger relative L2 error; none where all have.

    Args:
        expected: `[R, ...]`, of the rows that were found.
    """
    if len(result.parts) <= 1:
        return ()
    wrong = set()
    for chip, place in enumerate(found.spread.like):
        if place is None:
            continue
        values = found.spread.through(chip).joined(result.parts)
        index = found.arrangement.index[found.rows]
        difference, size = (torch.zeros(values.numel()) for _ in range(2))
        known = ~expected.isnan()
        difference[index[known]] = (found.read(values) - expected * found.factor)[known]
        size[index[known]] = expected[known]
        pieces = (found.spread.split(x.reshape(values.shape))[chip] for x in (difference, size))
        error, norm = (0.0 if x is None else float(x.norm()) for x in pieces)
        if not error <= most * norm:
            wrong.add(chip)
    return () if len(wrong) == len(result.parts) else tuple(sorted(wrong))

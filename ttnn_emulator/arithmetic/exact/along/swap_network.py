"""The bitonic network of the vector unit: which of two equal values comes first after a sort.

A network sorts 64 places of each row at once, with an index riding on every value. It is a list of
conditional swaps between two places, `first` and `second`. Of unequal values the greater one ends
at the place that the direction asks for. Equal ones stay where they are or change places, which
depends on the mode of SFPSWAP that the kernel uses: a lane that shall have the minimum in its
second register swaps if the first is smaller; one that shall have the maximum there, unless it is.

Sources: ckernel_sfpu_topk.h (the phases, and which rows a register holds) and the ISA page of
SFPSWAP (what becomes of equal values).
"""

import functools
from typing import NamedTuple

import numpy as np
import torch
from numba import njit

PLACES = 64  # of one call of topk_local_sort: two tiles
GROUP = 16  # places that lie in four registers at once
QUARTER = 4  # places in one register


class Swaps(NamedTuple):
    """Conditional swaps.

    Attributes:
        first, second: int64 [P] places.
        unless: bool [P]; False swaps where first < second, True swaps unless it is.
    """

    first: np.ndarray
    second: np.ndarray
    unless: np.ndarray


def order_of(values: torch.Tensor) -> np.ndarray:
    """int64 that compare as SFPSWAP compares float32: by sign and magnitude, -0 below +0."""
    patterns = values.float().contiguous().view(torch.int32).long()
    return torch.where(patterns < 0, -1 - (patterns & 0x7FFFFFFF), patterns).numpy()


def sort_places(keys: np.ndarray, indices: np.ndarray, ascending: bool) -> None:
    """Sort [R, 64] keys by topk_local_sort with all six phases, and the indices with them."""
    _exchange(keys, indices, *_sorting(ascending))


def keep_greater_first(
    keys: tuple[np.ndarray, np.ndarray], indices: tuple[np.ndarray, np.ndarray]
) -> None:
    """topk_merge of two tiles of places [R, 32]: the greater of each pair goes to the first."""
    smaller = keys[0] < keys[1]
    for a, b in (keys, indices):
        a[smaller], b[smaller] = b[smaller], a[smaller]


@njit(cache=True)
def _exchange(keys, indices, first, second, unless):
    """Conditional swaps, one after the other, on keys [R, 64] and what rides on them."""
    for row in range(keys.shape[0]):
        for swap in range(first.size):
            a, b = first[swap], second[swap]
            if (keys[row, a] < keys[row, b]) != unless[swap]:
                keys[row, a], keys[row, b] = keys[row, b], keys[row, a]
                indices[row, a], indices[row, b] = indices[row, b], indices[row, a]


@functools.cache
def _sorting(ascending: bool) -> Swaps:
    """All six phases, one after the other."""
    swaps = [*_within_groups()]
    for phase in (3, 4, 5):
        length = 2 << phase  # of the sequences that are sorted after this phase
        for distance in (d for d in (32, 16) if d < length):
            swaps.append(_across_groups(distance, length, ascending))
        group_ascends = [
            (place // length) % 2 == (not ascending) for place in range(0, PLACES, GROUP)
        ]
        swaps += _in_registers(group_ascends)
    return Swaps(*(np.concatenate(field) for field in zip(*swaps, strict=True)))


def _within_groups() -> list[Swaps]:
    """The phases 0 to 2, whose directions do not depend on that of the sort."""
    pairs = np.arange(0, PLACES, 2)
    upper = pairs // 2 % 2 == 1  # of each four places the later two ascend
    phases = [_of(np.where(upper, pairs + 1, pairs), np.where(upper, pairs, pairs + 1), False)]
    for distance in (2, 1):  # rows 1 and 3 of a register get the maximum second
        first = _lower(distance)
        phases.append(_of(first, first + distance, first // QUARTER % 2 == 1))
    for distance in (4, 2, 1):
        first = _lower(distance)
        phases.append(_of(first, first + distance, first // (2 * QUARTER) % 2 == 1))
    return phases


def _across_groups(distance: int, length: int, ascending: bool) -> Swaps:
    """Between groups of 16: an ascending pair has its registers named the other way round."""
    first = _lower(distance)
    ascends = (first // length % 2 == 1) != ascending
    return _of(
        np.where(ascends, first + distance, first),
        np.where(ascends, first, first + distance),
        False,
    )


def _in_registers(group_ascends: list[bool]) -> list[Swaps]:
    """Distances 8 to 1: an ascending group turns every decision of the unit around."""
    steps = []
    for distance in (8, 4, 2, 1):
        first = _lower(distance)
        steps.append(_of(first, first + distance, np.array(group_ascends)[first // GROUP]))
    return steps


def _lower(distance: int) -> np.ndarray:
    """The places that are compared with the one `distance` further on."""
    places = np.arange(PLACES)
    return places[places // distance % 2 == 0]


def _of(first: np.ndarray, second: np.ndarray, unless: np.ndarray | bool) -> Swaps:
    return Swaps(first, second, np.broadcast_to(np.asarray(unless), first.shape))

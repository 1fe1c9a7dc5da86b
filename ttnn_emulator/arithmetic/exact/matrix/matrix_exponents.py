"""Largest exponents of groups of eight products, to which the matrix unit aligns them.

For ordinary operands they are found as bytes, 64 columns at a time, which also tells whether
the fast accumulations apply, `accumulate16_large` and `accumulate32_near`. Otherwise they are found
as 16-bit integers, and `none_tiny` and `all_near` have to tell.

Within a tile, `place` is the tile's index, the first row of the destination among the operands'
rows, and how many rows there are.
"""

import numpy as np
from numba import njit

from ttnn_emulator.arithmetic.exact.matrix.matrix_accumulator import NEAR, SMALLEST_16
from ttnn_emulator.arithmetic.exact.matrix.matrix_exact import PHASE_ADJUST
from ttnn_emulator.arithmetic.exact.matrix.matrix_operands import PAIR, SPAN, STEP, VECTOR, WINDOW
from ttnn_emulator.arithmetic.exact.simd.lanes import (
    abs32,
    add8,
    add16,
    and32,
    below8,
    below16,
    below32,
    bits_of,
    greater32,
    max16,
    max32,
    shift_left,
    sub8,
    sub32,
    unsigned_max8,
    unsigned_max32,
    unsigned_min8,
    unsigned_min16,
    unsigned_min32,
)
from ttnn_emulator.arithmetic.exact.simd.lanes_across import (
    exponents32,
    four8,
    half32,
    in_any_lane,
    twice16,
    unsigned_largest,
)
from ttnn_emulator.arithmetic.exact.simd.lanes_memory import load, store

COLUMNS = SPAN * VECTOR  # of a span; as bytes, one vector

# `accumulate32_near` applies where no group with products has an exponent sum below LOW and no
# destination but 0 an exponent below TINY. Then no destination falls below 2^-91 within the tile,
# as its last bit is that of LOW in the last phase, or above. Groups without products count as
# FLOOR, whose exponent is 36, of 2^-91, in the first phase: they round no destination. In the last
# phase it is 24, from which on the inverse of the accumulator's unit is finite.
LOW = 198
TINY = 60
FLOOR = 163

# `accumulate16_large` applies where no group with products has an exponent sum below FLOOR_16. As
# long as no destination but 0 is below TINY, groups without products may count as FLOOR_16: within
# a phase a destination is a whole number of its units, so they round none.
FLOOR_16 = SMALLEST_16 - PHASE_ADJUST[-1]


# --- in bytes ------------------------------------------------------------------------------------


@njit
def _eight_bytes(exponents, k):
    return (
        load(exponents[k], 0, COLUMNS),
        load(exponents[k + 1], 0, COLUMNS),
        load(exponents[k + 2], 0, COLUMNS),
        load(exponents[k + 3], 0, COLUMNS),
        load(exponents[k + 4], 0, COLUMNS),
        load(exponents[k + 5], 0, COLUMNS),
        load(exponents[k + 6], 0, COLUMNS),
        load(exponents[k + 7], 0, COLUMNS),
    )


@njit
def _byte_sum(exponents, b):
    return add8(exponents, four8(b, COLUMNS))


@njit
def _largest_byte_sum(eight, b, k):
    m0 = unsigned_max8(_byte_sum(eight[0], b[k]), _byte_sum(eight[1], b[k + 1]))
    m1 = unsigned_max8(_byte_sum(eight[2], b[k + 2]), _byte_sum(eight[3], b[k + 3]))
    m2 = unsigned_max8(_byte_sum(eight[4], b[k + 4]), _byte_sum(eight[5], b[k + 5]))
    m3 = unsigned_max8(_byte_sum(eight[6], b[k + 6]), _byte_sum(eight[7], b[k + 7]))
    return unsigned_max8(unsigned_max8(m0, m1), unsigned_max8(m2, m3))


@njit
def _spread(sums, largest, group, row):
    """Shift bytes into float32's exponent field, each vector into its own part of `largest`."""
    store(largest[0, group, row], 0, exponents32(sums, 0))
    store(largest[1, group, row], 0, exponents32(sums, 1))
    store(largest[2, group, row], 0, exponents32(sums, 2))
    store(largest[3, group, row], 0, exponents32(sums, 3))


@njit
def in_bytes(
    exponents: np.ndarray,
    operands: np.ndarray,
    place: tuple[int, int, int],
    below: int,
    least: int,
    largest: np.ndarray,
) -> tuple[bool, bool, bool, int]:
    """Largest exponent sums of a tile's groups, less `below`, where bytes suffice.

    Args:
        exponents: [32, 64] int8 from `decode`, in its order of columns.
        operands: [2, K/16, M, 16] int32 from `split_rows`.
        place: see above.
        below: the sum of `window_of` for both operands.
        least: the smallest sum with which a fast accumulation applies.
        largest: [SPAN, 4, M, 16] int32 to write, in float32's exponent field.

    Returns:
        (exact, large, near, highest): whether these are the largest sums of all groups; whether
        they also are at least `least`, so that no group is empty; whether the groups of each step
        are near each other; the largest sum of all.
    """
    tile, base, rows = place
    lowest = four8(-1, COLUMNS)
    highest = apart = four8(0, COLUMNS)
    for half in range(2):
        eight0 = _eight_bytes(exponents, STEP * half)
        eight1 = _eight_bytes(exponents, STEP * half + 8)
        values = operands[1, 2 * tile + half, base : base + rows]
        for row in range(rows):
            sum0 = _largest_byte_sum(eight0, values[row], 0)
            sum1 = _largest_byte_sum(eight1, values[row], 8)
            smaller, larger = unsigned_min8(sum0, sum1), unsigned_max8(sum0, sum1)
            lowest = unsigned_min8(lowest, smaller)
            highest = unsigned_max8(highest, larger)
            apart = unsigned_max8(apart, sub8(larger, smaller))
            _spread(sum0, largest, 2 * half, row)
            _spread(sum1, largest, 2 * half + 1, row)
    exact = not in_any_lane(below8(lowest, WINDOW + 1))
    low = least - below > 255 or in_any_lane(below8(lowest, max(least - below, 0)))
    near = not in_any_lane(below8(NEAR, apart))
    return exact, exact and not low, near, unsigned_largest(highest)


# --- in 16-bit numbers ---------------------------------------------------------------------------


@njit
def _eight_exponents(exponents, k):
    return (
        load(exponents[k], 0, PAIR),
        load(exponents[k + 1], 0, PAIR),
        load(exponents[k + 2], 0, PAIR),
        load(exponents[k + 3], 0, PAIR),
        load(exponents[k + 4], 0, PAIR),
        load(exponents[k + 5], 0, PAIR),
        load(exponents[k + 6], 0, PAIR),
        load(exponents[k + 7], 0, PAIR),
    )


@njit
def _sum(exponents, b):
    return add16(exponents, twice16(b, PAIR))


@njit
def _largest_sum(eight, b, k):
    """Largest exponent sum of eight products."""
    m0 = max16(_sum(eight[0], b[k]), _sum(eight[1], b[k + 1]))
    m1 = max16(_sum(eight[2], b[k + 2]), _sum(eight[3], b[k + 3]))
    m2 = max16(_sum(eight[4], b[k + 4]), _sum(eight[5], b[k + 5]))
    m3 = max16(_sum(eight[6], b[k + 6]), _sum(eight[7], b[k + 7]))
    return max16(max16(m0, m1), max16(m2, m3))


@njit
def _group_exponents(exponents, operands, place, least, floor, largest):
    """Largest exponent sums of a tile's groups for a pair of vectors; whether one is below `least`.

    Written to `largest` [2, 4, M, 16], at least `floor`, in float32's exponent field. They may
    overflow until a phase's adjustment is added.
    """
    tile, base, rows = place
    lowest = twice16(-1, PAIR)
    for group in range(4):
        eight = _eight_exponents(exponents, 8 * group)
        values = operands[0, 2 * tile + (group >> 1), base : base + rows]
        for row in range(rows):
            exponent = _largest_sum(eight, values[row], 8 * (group & 1))
            lowest = unsigned_min16(lowest, exponent)
            exponent = max16(exponent, floor)
            store(largest[0, group, row], 0, shift_left(half32(exponent, 0), 23))
            store(largest[1, group, row], 0, shift_left(half32(exponent, 1), 23))
    return in_any_lane(below16(lowest, least))


@njit
def _near(largest):
    """(whether the groups of each step are near each other, largest sum) for a vector."""
    highest = apart = sub32(load(largest, 0, VECTOR), load(largest, 0, VECTOR))
    for row in range(largest.shape[1]):
        for group in range(0, 4, 2):
            first = load(largest[group, row], 0, VECTOR)
            second = load(largest[group + 1, row], 0, VECTOR)
            apart = max32(apart, abs32(sub32(first, second)))
            highest = unsigned_max32(highest, unsigned_max32(first, second))
    return not in_any_lane(greater32(apart, NEAR << 23)), unsigned_largest(highest) >> 23


@njit
def in_numbers(
    exponents: np.ndarray,
    operands: np.ndarray,
    place: tuple[int, int, int],
    least: int,
    floor: int,
    largest: np.ndarray,
) -> bool:
    """Largest exponent sums of a tile's groups as `in_bytes` writes them, at least `floor`.

    Returns whether one of a group with products is below `least`. They may overflow until a phase's
    adjustment is added.
    """
    low = False
    for pair in range(exponents.shape[0]):
        part = largest[2 * pair : 2 * pair + 2]
        low = _group_exponents(exponents[pair], operands, place, least, floor, part) or low
    return low


@njit
def none_tiny(dst: np.ndarray) -> bool:
    """Whether no destination of [vectors, M, 16] but 0 has an exponent below `TINY`.

    A tiny one might be rounded to the unit that `floor` gives groups without products.
    """
    first = load(dst, 0, VECTOR)
    smallest = sub32(sub32(bits_of(first), bits_of(first)), 1)
    for vector in range(dst.shape[0]):
        for row in range(dst.shape[1]):
            magnitude = and32(bits_of(load(dst[vector, row], 0, VECTOR)), 0x7FFFFFFF)
            smallest = unsigned_min32(smallest, sub32(magnitude, 1))
    return not in_any_lane(below32(smallest, (TINY << 23) - 1))


@njit
def all_near(largest: np.ndarray) -> tuple[bool, int]:
    """(whether the groups of each step are near each other, largest exponent).

    The exponent means nothing where they are not.
    """
    highest = 0
    for vector in range(largest.shape[0]):
        near, of_vector = _near(largest[vector])
        if not near:
            return False, 0
        highest = max(highest, of_vector)
    return True, highest

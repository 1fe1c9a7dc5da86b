"""Largest exponents of groups of eight products, to which the matrix unit aligns them.

For ordinary operands they are found as bytes, 64 columns at a time, which also tells whether
`accumulate32_near`, the fast accumulation, applies. Otherwise they are found as 16-bit integers,
and `all_near` has to tell.

Within a tile, `place` is the tile's index, the first row of the destination among the operands'
rows, and how many rows there are.
"""

import numpy as np
from numba import njit

from ttnn_emulator.arithmetic.exact.matrix.matrix_accumulator import NEAR
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
    either,
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
    largest: np.ndarray,
) -> tuple[bool, bool, int]:
    """Largest exponent sums of a tile's groups, less `below`, where bytes suffice.

    Args:
        exponents: [32, 64] int8 from `decode`, in its order of columns.
        operands: [2, K/16, M, 16] int32 from `split_rows`.
        place: see above.
        below: the sum of `window_of` for both operands.
        largest: [SPAN, 4, M, 16] int32 to write, in float32's exponent field.

    Returns:
        (exact, near, highest): whether these are the largest sums of all groups; whether
        `accumulate32_near` applies whatever the destination holds, because the groups of a step are
        near each other and no sum is below `LOW`, so that no group is empty; the largest sum of
        all.
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
    low = LOW - below > 255 or in_any_lane(below8(lowest, max(LOW - below, 0)))
    near = not (low or in_any_lane(below8(NEAR, apart)))
    return exact, exact and near, unsigned_largest(highest)


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
def _group_exponents(exponents, operands, place, floor, largest):
    """Largest exponent sums of a tile's groups for a pair of vectors; whether one is below `LOW`.

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
    return in_any_lane(below16(lowest, LOW))


@njit
def _near(largest, dst):
    """(whether each step's groups are near each other and no destination near zero, largest sum).

    These are the conditions of `accumulate32_near`. Where both groups are empty the destination
    must not be rounded to the unit that `floor` gives them; it is not, unless it is tiny.
    """
    highest = apart = sub32(load(largest, 0, VECTOR), load(largest, 0, VECTOR))
    smallest = sub32(apart, 1)
    for row in range(dst.shape[0]):
        magnitude = and32(bits_of(load(dst[row], 0, VECTOR)), 0x7FFFFFFF)
        smallest = unsigned_min32(smallest, sub32(magnitude, 1))
        for group in range(0, 4, 2):
            first = load(largest[group, row], 0, VECTOR)
            second = load(largest[group + 1, row], 0, VECTOR)
            apart = max32(apart, abs32(sub32(first, second)))
            highest = unsigned_max32(highest, unsigned_max32(first, second))
    tiny = below32(smallest, (TINY << 23) - 1)
    near = not in_any_lane(either(tiny, greater32(apart, NEAR << 23)))
    return near, unsigned_largest(highest) >> 23


@njit
def in_numbers(
    exponents: np.ndarray,
    operands: np.ndarray,
    place: tuple[int, int, int],
    floor: int,
    largest: np.ndarray,
) -> bool:
    """Largest exponent sums of a tile's groups as `in_bytes` writes them, at least `floor`.

    Returns whether one is below `LOW`. They may overflow until a phase's adjustment is added.
    """
    low = False
    for pair in range(exponents.shape[0]):
        part = largest[2 * pair : 2 * pair + 2]
        low = _group_exponents(exponents[pair], operands, place, floor, part) or low
    return low


@njit
def all_near(largest: np.ndarray, dst: np.ndarray) -> tuple[bool, int]:
    """(the conditions of `accumulate32_near` beyond those of `in_numbers`, largest exponent).

    The exponent means nothing where the conditions do not hold.
    """
    highest = 0
    for vector in range(dst.shape[0]):
        near, of_vector = _near(largest[vector], dst[vector])
        if not near:
            return False, 0
        highest = max(highest, of_vector)
    return True, highest

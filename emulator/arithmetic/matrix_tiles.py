"""One tile of K of a matrix product: sixteen K values at a time onto many rows' destinations.

A vector's lanes are output columns; `matrix_accumulator` has the arithmetic of a step, sixteen
products onto the destination.  A tile of weights is decoded once.  Then, for each phase and each
half of the tile, sixteen weights of every lane stay in registers while the rows pass by, so that a
step reads little more than the sixteen values of its row.

Columns are taken in spans of a few vectors.  Within a tile, `place` is the tile's index, the first
row of the destination among the operands' rows, the first of the rows now taken, and their number.
"""

import numpy as np
from numba import njit, types
from numba.extending import overload

from .lanes import (
    abs32,
    add16,
    add32,
    and16,
    and32,
    below16,
    below32,
    bits_of,
    either,
    float_of,
    fma,
    greater32,
    half32,
    in_any_lane,
    joined16,
    load,
    max16,
    max32,
    or16,
    or32,
    select,
    select32,
    shift_left,
    shift_right,
    shift_right16,
    store,
    sub32,
    twice16,
    unsigned_min16,
    unsigned_min32,
)
from .matrix_accumulator import (
    NEAR,
    TIE_AWAY,
    accumulate16,
    accumulate32,
    accumulate32_near,
    ruler_at,
)
from .matrix_exact import PHASE_ADJUST

TILE = 32  # K values of one tile, in which the fidelity phases are gone through once
STEP = 16  # K values of one step, in two groups of eight
VECTOR = 16  # columns of a float32 vector
PAIR = 32  # columns of two of them, whose exponents make one int16 vector
ROWS = 32  # rows taken at a time, whose operands stay in the first-level cache

# What a zero counts as in a group's largest exponent: less than any product.
EMPTY = -1000

# Where `accumulate32_near` serves: no group with products has an exponent sum below LOW, and no
# destination but 0 an exponent below TINY. Then no destination falls below 2^-91 within the tile,
# as its last bit is that of LOW in the last phase, or above. Groups without products count as FLOOR,
# whose exponent is 36, of 2^-91, in the first phase: they round no destination. In the last phase
# it is 24, from which on the inverse of the accumulator's unit is finite.
LOW = 198
TINY = 60
FLOOR = 163


@njit(cache=True)
def split_rows(rows, pieces, exponents):
    """Split SrcB operands into their 7-bit and 4-bit pieces and exponents, step by step of K.

    Args:
        rows: [B, M, K] float32; denormals count as zero.
        pieces: [B, 2, K/16, M, 16] float32 to write, or [B, 1, K/16, M, 16] for two phases.
        exponents: [B, K/16, M, 16] int32 to write.
    """
    batches, steps, count, _ = exponents.shape
    for batch in range(batches):
        for row in range(count):
            for step in range(steps):
                values = rows[batch, row, STEP * step : STEP * (step + 1)]
                tops = pieces[batch, 0, step, row]
                for i in range(STEP):
                    bits = bits_of(values[i])
                    exponent = and32(shift_right(bits, 23), 0xFF)
                    bits = select32(greater32(exponent, 0), bits, 0)
                    exponent = select32(greater32(exponent, 0), exponent, EMPTY)
                    pair = or32(shift_left(exponent, 16), and32(exponent, 0xFFFF))
                    exponents[batch, step, row, i] = pair
                    top = float_of(and32(bits, -0x20000))
                    tops[i] = top * TIE_AWAY
                    if pieces.shape[1] > 1:
                        low = float_of(and32(bits, -0x2000)) - top
                        pieces[batch, 1, step, row, i] = low * TIE_AWAY


def _operands(stage, at):
    """32 SrcA operands: float32 bits in two vectors, and biased exponents (0 for zeros)."""


@overload(_operands)
def _operands_of(stage, at):
    def bfloat16(stage, at):
        stored = load(stage, at, PAIR)
        exponents = and16(shift_right16(stored, 7), 0xFF)
        return shift_left(half32(stored, 0), 16), shift_left(half32(stored, 1), 16), exponents

    def tf32(stage, at):
        first = and32(load(stage, at, VECTOR), -0x2000)
        second = and32(load(stage, at + VECTOR, VECTOR), -0x2000)
        exponents = joined16(shift_right(first, 23), shift_right(second, 23))
        return first, second, and16(exponents, 0xFF)

    return bfloat16 if stage.dtype == types.uint16 else tf32


@njit
def _split(bits, pieces, k):
    """The upper and the lower 5-bit pieces of SrcA operands."""
    top = float_of(and32(bits, -0x80000))
    store(pieces[0, k], 0, top)
    store(pieces[1, k], 0, float_of(and32(bits, -0x4000)) - top)


@njit
def decode(stage, first, pieces, exponents):
    """Split a span of a tile of SrcA operands into pieces and exponents."""
    for pair in range(exponents.shape[0]):
        for k in range(TILE):
            left, right, exponent = _operands(stage[k], first + PAIR * pair)
            _split(left, pieces[2 * pair], k)
            _split(right, pieces[2 * pair + 1], k)
            empty = and16(shift_right16(add16(exponent, -1), 15), EMPTY)
            store(exponents[pair, k], 0, or16(exponent, empty))


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

    Written to `largest` [2, 4, ROWS, 16], at least `floor`, 23 places up where float32 has them.
    They may overflow until a phase's adjustment is added.
    """
    tile, base, top, rows = place
    lowest = twice16(-1, PAIR)
    for group in range(4):
        eight = _eight_exponents(exponents, 8 * group)
        values = operands[2 * tile + (group >> 1), base + top : base + top + rows]
        for row in range(rows):
            exponent = _largest_sum(eight, values[row], 8 * (group & 1))
            lowest = unsigned_min16(lowest, exponent)
            exponent = max16(exponent, floor)
            store(largest[0, group, row], 0, shift_left(half32(exponent, 0), 23))
            store(largest[1, group, row], 0, shift_left(half32(exponent, 1), 23))
    return in_any_lane(below16(lowest, LOW))


@njit
def _near(largest, dst):
    """Whether the groups of each step lie near each other, and no destination near zero.

    That is what `accumulate32_near` asks for.  A destination of two groups without a product may
    not be rounded to the unit that `floor` gives them; it is not if it is not tiny.
    """
    apart = sub32(load(largest, 0, VECTOR), load(largest, 0, VECTOR))
    smallest = sub32(apart, 1)
    for row in range(dst.shape[0]):
        magnitude = and32(bits_of(load(dst[row], 0, VECTOR)), 0x7FFFFFFF)
        smallest = unsigned_min32(smallest, sub32(magnitude, 1))
        for group in range(0, 4, 2):
            first = load(largest[group, row], 0, VECTOR)
            second = load(largest[group + 1, row], 0, VECTOR)
            apart = max32(apart, abs32(sub32(first, second)))
    tiny = below32(smallest, (TINY << 23) - 1)
    return not in_any_lane(either(tiny, greater32(apart, NEAR << 23)))


@njit
def _eight(pieces, k):
    return (
        load(pieces[k], 0, VECTOR),
        load(pieces[k + 1], 0, VECTOR),
        load(pieces[k + 2], 0, VECTOR),
        load(pieces[k + 3], 0, VECTOR),
        load(pieces[k + 4], 0, VECTOR),
        load(pieces[k + 5], 0, VECTOR),
        load(pieces[k + 6], 0, VECTOR),
        load(pieces[k + 7], 0, VECTOR),
    )


@njit
def _chain(total, eight, b, k):
    total = fma(eight[0], b[k], total)
    total = fma(eight[1], b[k + 1], total)
    total = fma(eight[2], b[k + 2], total)
    total = fma(eight[3], b[k + 3], total)
    total = fma(eight[4], b[k + 4], total)
    total = fma(eight[5], b[k + 5], total)
    total = fma(eight[6], b[k + 6], total)
    return fma(eight[7], b[k + 7], total)


@njit
def _sums(weights, b, exponent0, exponent1):
    """Two groups' sums, each above its ruler."""
    ruler0 = ruler_at(exponent0)
    ruler1 = ruler_at(exponent1)
    return _chain(ruler0, weights[0], b, 0), ruler0, _chain(ruler1, weights[1], b, 8), ruler1


@njit
def _sums32_near(weights, b, exponent0, exponent1):
    """What `accumulate32_near` adds to a destination."""
    total0, ruler0, total1, ruler1 = _sums(weights, b, exponent0, exponent1)
    return total0 - ruler0, ruler0, total1 - ruler1, ruler1


@njit
def _sums32(weights, b, exponent0, exponent1):
    """What `accumulate32` adds to a destination: nothing of groups whose exponent is not positive."""
    exponent0 = max32(exponent0, 0)
    exponent1 = max32(exponent1, 0)
    total0, ruler0, total1, ruler1 = _sums(weights, b, exponent0, exponent1)
    units0 = sub32(bits_of(total0), bits_of(ruler0))
    units1 = sub32(bits_of(total1), bits_of(ruler1))
    units0 = select32(greater32(exponent0, 0), units0, 0)
    units1 = select32(greater32(exponent1, 0), units1, 0)
    return units0, shift_right(exponent0, 23), units1, shift_right(exponent1, 23)


@njit
def _sums16(weights, b, exponent0, exponent1):
    """What `accumulate16` adds to a destination: nothing of groups whose exponent is not positive."""
    none = np.float32(0)
    total0, ruler0, total1, ruler1 = _sums(weights, b, max32(exponent0, 0), max32(exponent1, 0))
    sum0 = select(greater32(exponent0, 0), total0 - ruler0, none)
    sum1 = select(greater32(exponent1, 0), total1 - ruler1, none)
    return sum0, ruler0, sum1, ruler1


def _all_steps(sums, accumulate):
    """The loop over a tile's steps with one of the ways of adding up."""

    @njit
    def sums_of(row, weights, values, largest, half, adjust):
        exponent0 = add32(load(largest[2 * half, row], 0, VECTOR), adjust)
        exponent1 = add32(load(largest[2 * half + 1, row], 0, VECTOR), adjust)
        return sums(weights, values[row], exponent0, exponent1)

    @njit
    def add(dst, addends):
        store(dst, 0, accumulate(load(dst, 0, VECTOR), *addends))

    @njit
    def steps(dst, pieces, operands, place, largest, phases):
        """All steps of one tile for some rows of some vectors: dst [vectors, M, 16] in place.

        The sums of a row and the accumulation of the row before do not wait for each other.
        """
        tile, base, top, rows = place
        for step in range(2 * phases):
            phase, half = step >> 1, step & 1
            adjust = PHASE_ADJUST[phase] << 23
            values = operands[phase >> 1, 2 * tile + half, base + top : base + top + rows]
            for vector in range(dst.shape[0]):
                piece = pieces[vector, phase & 1]
                weights = (_eight(piece, STEP * half), _eight(piece, STEP * half + 8))
                exponents = largest[vector]
                old = dst[vector, top : top + rows]
                addends = sums_of(0, weights, values, exponents, half, adjust)
                for row in range(1, rows):
                    following = sums_of(row, weights, values, exponents, half, adjust)
                    add(old[row - 1], addends)
                    addends = following
                add(old[rows - 1], addends)

    return steps


_steps16 = _all_steps(_sums16, accumulate16)
_steps32 = _all_steps(_sums32, accumulate32)
_steps32_near = _all_steps(_sums32_near, accumulate32_near)


@njit
def _exponents(exponents, operands, place, floor, largest):
    """`_group_exponents` of all vectors of a span; whether one is below `LOW`."""
    low = False
    for pair in range(exponents.shape[0]):
        part = largest[2 * pair : 2 * pair + 2]
        low = _group_exponents(exponents[pair], operands, place, floor, part) or low
    return low


@njit
def _all_near(largest, dst, place):
    _, _, top, rows = place
    near = True
    for vector in range(dst.shape[0]):
        near = near and _near(largest[vector], dst[vector, top : top + rows])
    return near


@njit
def _accumulate_rows(dst, decoded, operands, place, largest, phases, wide):
    pieces, exponents = decoded
    row_pieces, row_exponents, _ = operands
    if not wide:
        _exponents(exponents, row_exponents, place, 0, largest)
        _steps16(dst, pieces, row_pieces, place, largest, phases)
        return
    low = _exponents(exponents, row_exponents, place, FLOOR, largest)
    if not low and _all_near(largest, dst, place):
        _steps32_near(dst, pieces, row_pieces, place, largest, phases)
    else:
        _exponents(exponents, row_exponents, place, 0, largest)
        _steps32(dst, pieces, row_pieces, place, largest, phases)


@njit
def accumulate_tile(dst, decoded, operands, tile, top, largest, phases, wide):
    """One tile of K, all fidelity phases, for some rows of a span: dst [vectors, M, 16] in place.

    Args:
        decoded: the tile's pieces [vectors, 2, 32, 16] and exponents [vectors / 2, 32, 32].
        operands: pieces and exponents from `split_rows`, and which of their rows is dst's first.
        tile: index of the tile of K.
        top: the first of up to `ROWS` rows of dst to take.
        largest: [vectors, 4, ROWS, 16] int32 to work in.

    A product of a single row, a token being decoded, is compiled apart from the others: setting up
    a loop over rows would take as long as a step.
    """
    base = operands[2]
    if dst.shape[1] == 1:
        place = (tile, base, 0, 1)
        _accumulate_rows(dst, decoded, operands, place, largest, phases, wide)
    else:
        place = (tile, base, top, min(ROWS, dst.shape[1] - top))
        _accumulate_rows(dst, decoded, operands, place, largest, phases, wide)

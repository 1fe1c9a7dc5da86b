"""One tile of K of a product of few rows, as in a decode step: weights are used as they are stored.

Decoding a tile of weights pays where many rows share it. A single row takes weights from where they
lie, and what becomes of them stays in registers. Read as 32-bit numbers, 32 stored columns are 16
pairs: the even columns make one float32 vector and the odd ones another, no lane having moved.

A span of columns passes through three stages, in each of which most instructions are independent of
each other: the largest exponents of all groups; the sums of all groups in all phases; the steps of
the destination, four vectors by turns.

In the first stage an activation's exponent is its distance from the row's largest. A weight's
exponent less that distance, or 0 where the distance is larger, is a product's exponent less the
row's largest, exact where it is positive. These are 16-bit numbers, in bfloat16's exponent field:
the mantissa below does not change which is the largest.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from ttnn_emulator.arithmetic.exact.matrix.matrix_accumulator import (
    NEAR,
    accumulate16,
    accumulate32_near,
    accumulate32_of_sums,
    ruler_at,
)
from ttnn_emulator.arithmetic.exact.matrix.matrix_exact import PHASE_ADJUST
from ttnn_emulator.arithmetic.exact.matrix.matrix_exponents import LOW
from ttnn_emulator.arithmetic.exact.matrix.matrix_operands import (
    PAIR,
    SPAN,
    STEP,
    VECTOR,
    Rows,
)
from ttnn_emulator.arithmetic.exact.simd.lanes import (
    above16,
    add32,
    and16,
    and32,
    below16,
    float_of,
    fma,
    max16,
    sub16,
    unsigned_min16,
)
from ttnn_emulator.arithmetic.exact.simd.lanes_across import (
    alternate_lanes,
    in_any_lane,
    in_turn,
    twice16,
    upper32,
)
from ttnn_emulator.arithmetic.exact.simd.lanes_memory import element, load, pointer, store
from ttnn_emulator.arithmetic.formats import TILE

GROUP = 8  # K values of a group
GROUPS = TILE // GROUP
PHASES = len(PHASE_ADJUST)

# Of a bfloat16.
_MANTISSA_BITS = 7
_EXPONENT = 0x7F80
_MAGNITUDE = 0x7FFF

# The distance of a zero: larger than any exponent.
_FAR = 0xFFFF

# The smallest sum of two biased exponents that is positive in every phase.
_POSITIVE = 1 - PHASE_ADJUST[-1]


class Few(NamedTuple):
    """What a product of few rows needs beside its operands; arrays are empty where there are many.

    Attributes:
        distances: [M, K/16, 16] int32, of exponents below the row's largest, in each half.
        highest: [M] int32, the rows' largest exponents.
        largest: [M, SPAN, 4, 16] int32 to work in, largest exponents of groups.
        sums: [SPAN, 4, 4, 16] float32 to work in, sums of groups in each phase.
    """

    distances: np.ndarray
    highest: np.ndarray
    largest: np.ndarray
    sums: np.ndarray


class Places(NamedTuple):
    """Pointers to a product's operands and to `Few`, and how far apart (in elements) things lie.

    Attributes:
        stored: first column of the stripe of weights, whose rows are `columns` apart.
        dst: [vectors, rows, 16].
        pieces: first row of the activations' pieces, whose 16 values of K are `step` apart.
        low: the same of the lower pieces, if there are any.
        distances: of rows that are `depth` apart.
    """

    stored: object
    columns: int
    dst: object
    rows: int
    pieces: object
    low: object
    step: int
    distances: object
    depth: int
    highest: object
    largest: object
    sums: object


@njit
def few_rows(rows: Rows, count: int) -> Few:
    """`Few` of the first `count` of the rows; with none it has no values."""
    steps = rows.exponents.shape[1]
    highest = np.zeros(count, np.int32)
    distances = np.empty((count, steps, STEP), np.int32)
    for row in range(count):
        exponents = rows.exponents[0, :, rows.first + row] >> 16
        highest[row] = max(exponents.max(), 0)
        for step in range(steps):
            for i in range(STEP):
                exponent = exponents[step, i]
                far = (highest[row] - exponent) << _MANTISSA_BITS if exponent > 0 else _FAR
                distances[row, step, i] = far << 16 | far
    largest = np.empty((count, SPAN, GROUPS, VECTOR), np.int32)
    return Few(distances, highest, largest, np.empty((SPAN, GROUPS, PHASES, VECTOR), np.float32))


@njit
def places_of(weights: np.ndarray, start: int, dst: np.ndarray, rows: Rows, few: Few) -> Places:
    """`Places` of weights [K, N] uint16 from column `start` on and of dst [vectors, M, 16]."""
    _, steps, height, _ = rows.pieces.shape
    first = rows.first * STEP
    return Places(
        pointer(weights, start),
        weights.shape[1],
        pointer(dst, 0),
        dst.shape[1],
        pointer(rows.pieces, first),
        pointer(rows.pieces, first + steps * height * STEP),
        height * STEP,
        pointer(few.distances, 0),
        steps * STEP,
        pointer(few.highest, 0),
        pointer(few.largest, 0),
        pointer(few.sums, 0),
    )


@njit
def _largest(places, at, distances):
    """Largest exponents of a group: of 32 columns from `at` on."""
    largest = twice16(0, PAIR)
    for i in range(GROUP):
        magnitude = and16(load(places.stored, at + i * places.columns, PAIR), _MAGNITUDE)
        distance = twice16(element(places.distances, distances + i), PAIR)
        largest = max16(largest, above16(magnitude, distance))
    return and16(largest, _EXPONENT)


@njit
def _find_largest(places, at, distances, to):
    """Write the largest exponents of a tile; return (the smallest, steps' largest difference)."""
    lowest = twice16(-1, PAIR)
    apart = twice16(0, PAIR)
    for pair in range(SPAN // 2):
        for group in range(0, GROUPS, 2):
            k = group * GROUP
            start = at + pair * PAIR + k * places.columns
            first = _largest(places, start, distances + k)
            second = _largest(places, start + GROUP * places.columns, distances + k + GROUP)
            smaller = unsigned_min16(first, second)
            lowest = unsigned_min16(lowest, smaller)
            apart = max16(apart, sub16(max16(first, second), smaller))
            even = to + (2 * pair * GROUPS + group) * VECTOR
            odd = even + GROUPS * VECTOR
            store(places.largest, even, upper32(first, 0))
            store(places.largest, odd, upper32(first, 1))
            store(places.largest, even + VECTOR, upper32(second, 0))
            store(places.largest, odd + VECTOR, upper32(second, 1))
    return lowest, apart


@njit
def _ruler(places, exponents, phase, highest):
    adjust = (PHASE_ADJUST[phase] + highest) << 23
    return ruler_at(add32(load(places.largest, exponents, VECTOR), adjust))


def _compiled(suffix):
    """`njit` of a function that is made more than once; see `matrix_tiles`."""

    def compiled(function):
        function.__qualname__ += suffix
        return njit(function)

    return compiled


def _sums_in(phases):
    """The second stage for one, two or four phases."""
    compiled = _compiled(f"_{phases}")

    @compiled
    def sums_of_group(places, at, odd, values, exponents, to, highest):
        """The even or the odd ones of 32 columns from `at` on."""
        pieces, low_pieces = places.pieces, places.low
        total0 = ruler0 = _ruler(places, exponents, 0, highest)
        total1 = ruler1 = _ruler(places, exponents, 1, highest)
        total2 = ruler2 = _ruler(places, exponents, 2, highest)
        total3 = ruler3 = _ruler(places, exponents, 3, highest)
        for i in range(GROUP):
            bits = upper32(load(places.stored, at + i * places.columns, PAIR), odd)
            top = float_of(and32(bits, -0x80000))
            low = float_of(bits) - top
            total0 = fma(top, element(pieces, values + i), total0)
            if phases > 1:
                total1 = fma(low, element(pieces, values + i), total1)
            if phases > 2:
                total2 = fma(top, element(low_pieces, values + i), total2)
                total3 = fma(low, element(low_pieces, values + i), total3)
        store(places.sums, to, total0 - ruler0)
        if phases > 1:
            store(places.sums, to + VECTOR, total1 - ruler1)
        if phases > 2:
            store(places.sums, to + 2 * VECTOR, total2 - ruler2)
            store(places.sums, to + 3 * VECTOR, total3 - ruler3)

    @compiled
    def sums(places, at, values, exponents, highest):
        for half in range(2):
            for of_half in range(2):
                group = 2 * half + of_half
                b = values + half * places.step + of_half * GROUP
                for pair in range(SPAN // 2):
                    start = at + pair * PAIR + group * GROUP * places.columns
                    even = (2 * pair * GROUPS + group) * VECTOR
                    odd = even + GROUPS * VECTOR
                    to = even * PHASES
                    sums_of_group(places, start, 0, b, exponents + even, to, highest)
                    to = odd * PHASES
                    sums_of_group(places, start, 1, b, exponents + odd, to, highest)

    return sums


_sums1 = _sums_in(1)
_sums2 = _sums_in(2)
_sums4 = _sums_in(4)


@njit
def _addends(places, exponents, group, phase, highest):
    """Two groups' sums and rulers, the first one `group` of [SPAN * 4]."""
    first = exponents + group * VECTOR
    sums = (group * PHASES + phase) * VECTOR
    return (
        load(places.sums, sums, VECTOR),
        _ruler(places, first, phase, highest),
        load(places.sums, sums + PHASES * VECTOR, VECTOR),
        _ruler(places, first + VECTOR, phase, highest),
    )


def _steps_by(suffix, accumulate):
    """The third stage for one accumulation."""

    @_compiled(suffix)
    def steps(places, at, exponents, phases, highest):
        dst, apart = places.dst, places.rows * VECTOR
        low, high = load(dst, at, VECTOR), load(dst, at + apart, VECTOR)
        even0, odd0 = alternate_lanes(low, high, 0), alternate_lanes(low, high, 1)
        low, high = load(dst, at + 2 * apart, VECTOR), load(dst, at + 3 * apart, VECTOR)
        even1, odd1 = alternate_lanes(low, high, 0), alternate_lanes(low, high, 1)
        for phase in range(phases):
            for group in range(0, GROUPS, 2):
                addends = _addends(places, exponents, group, phase, highest)
                even0 = accumulate(even0, *addends)
                addends = _addends(places, exponents, GROUPS + group, phase, highest)
                odd0 = accumulate(odd0, *addends)
                addends = _addends(places, exponents, 2 * GROUPS + group, phase, highest)
                even1 = accumulate(even1, *addends)
                addends = _addends(places, exponents, 3 * GROUPS + group, phase, highest)
                odd1 = accumulate(odd1, *addends)
        store(dst, at, in_turn(even0, odd0, 0))
        store(dst, at + apart, in_turn(even0, odd0, 1))
        store(dst, at + 2 * apart, in_turn(even1, odd1, 0))
        store(dst, at + 3 * apart, in_turn(even1, odd1, 1))

    return steps


_steps16 = _steps_by("_16", accumulate16)
_steps32 = _steps_by("_32", accumulate32_of_sums)
_steps32_near = _steps_by("_32_near", accumulate32_near)


@njit
def accumulate_span(
    places: Places, vector: int, tile: int, phases: int, fp32_dest_acc: bool
) -> bool:
    """One tile of K, all fidelity phases, for a span of columns.

    Args:
        places: the operands, from `places_of`; the destination changes in place.
        vector: index of the span's first vector.
        tile: index of the tile of K.
        phases: how many fidelity phases.
        fp32_dest_acc: whether the destination has 32 bits.

    Returns:
        Whether it was done. It is not where a group has no products, or very small ones only.
    """
    at = tile * TILE * places.columns + vector * VECTOR
    size = SPAN * GROUPS * VECTOR
    near = True
    for row in range(places.rows):
        highest = element(places.highest, row)
        distances = row * places.depth + tile * TILE
        lowest, apart = _find_largest(places, at, distances, row * size)
        positive = max(_POSITIVE - highest, 1) << _MANTISSA_BITS
        if in_any_lane(below16(lowest, positive)):
            return False
        low = in_any_lane(below16(lowest, max(LOW - highest, 0) << _MANTISSA_BITS))
        near = near and not (low or in_any_lane(below16(NEAR << _MANTISSA_BITS, apart)))
    for row in range(places.rows):
        highest = element(places.highest, row)
        values = 2 * tile * places.step + row * STEP
        to = (vector * places.rows + row) * VECTOR
        if phases == 1:
            _sums1(places, at, values, row * size, highest)
        elif phases == 2:
            _sums2(places, at, values, row * size, highest)
        else:
            _sums4(places, at, values, row * size, highest)
        if not fp32_dest_acc:
            _steps16(places, to, row * size, phases, highest)
        elif near:
            _steps32_near(places, to, row * size, phases, highest)
        else:
            _steps32(places, to, row * size, phases, highest)
    return True

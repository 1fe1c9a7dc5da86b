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

from numba import njit

from ttnn_emulator.arithmetic.exact.matrix.matrix_accumulator import (
    NEAR,
    accumulate16,
    accumulate16_large,
    accumulate32_near,
    accumulate32_of_sums,
    ruler_at,
)
from ttnn_emulator.arithmetic.exact.matrix.matrix_exact import PHASE_ADJUST
from ttnn_emulator.arithmetic.exact.matrix.matrix_exponents import FLOOR, FLOOR_16, LOW, TINY
from ttnn_emulator.arithmetic.exact.matrix.matrix_few_operands import (
    BFLOAT16_MANTISSA,
    FAR,
    GROUP,
    GROUPS,
    PHASES,
    Places,
)
from ttnn_emulator.arithmetic.exact.matrix.matrix_operands import PAIR, SPAN, STEP, VECTOR
from ttnn_emulator.arithmetic.exact.simd.lanes import (
    above16,
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
    max16,
    max32,
    sub16,
    sub32,
    unsigned_min16,
    unsigned_min32,
)
from ttnn_emulator.arithmetic.exact.simd.lanes_across import (
    alternate_lanes,
    in_any_lane,
    in_turn,
    twice16,
    upper32,
)
from ttnn_emulator.arithmetic.exact.simd.lanes_memory import element, load, store
from ttnn_emulator.arithmetic.formats import TILE

# Of a bfloat16.
_EXPONENT = 0x7F80
_MAGNITUDE = 0x7FFF

# What `element` reads as a zero's distance.
_ALL_FAR = (FAR << 16 | FAR) - (1 << 32)

# The smallest sum of two biased exponents that is positive in every phase.
_POSITIVE = 1 - PHASE_ADJUST[-1]


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
def _hides_products(places, at, distances):
    """Whether a tile has products so small that `_largest` counts them as none."""
    hidden = below16(twice16(0, PAIR), twice16(0, PAIR))
    for k in range(TILE):
        distance = element(places.distances, distances + k)
        if distance == _ALL_FAR:
            continue
        counted = add16(twice16(distance, PAIR), (1 << BFLOAT16_MANTISSA) - 1)
        for pair in range(0, SPAN * VECTOR, PAIR):
            magnitude = and16(load(places.stored, at + pair + k * places.columns, PAIR), _MAGNITUDE)
            hidden = either(hidden, below16(sub16(magnitude, 1), counted))  # not where it is 0
    return in_any_lane(hidden)


@njit
def _fill_empty(places, exponents, least, floor):
    """Let groups without products have an exponent `floor`.

    Returns (whether those of the others are at least `least`, whether each step's are near).
    """
    first = load(places.largest, exponents, VECTOR)
    apart = sub32(first, first)
    lowest = sub32(apart, 1)
    floor, least = floor << 23, least << 23
    for at in range(exponents, exponents + SPAN * GROUPS * VECTOR, 2 * VECTOR):
        first = load(places.largest, at, VECTOR)
        second = load(places.largest, at + VECTOR, VECTOR)
        # Less 1, empty ones are the largest.
        of_step = unsigned_min32(sub32(first, 1), sub32(second, 1))
        lowest = unsigned_min32(lowest, of_step)
        first, second = max32(first, floor), max32(second, floor)
        apart = max32(apart, abs32(sub32(first, second)))
        store(places.largest, at, first)
        store(places.largest, at + VECTOR, second)
    large = not in_any_lane(below32(lowest, least - 1))
    return large, not in_any_lane(greater32(apart, NEAR << 23))


@njit
def _is_tiny(places, at):
    """In which lanes a destination but 0 has an exponent below `TINY`."""
    magnitude = and32(bits_of(load(places.dst, at, VECTOR)), 0x7FFFFFFF)
    return below32(sub32(magnitude, 1), (TINY << 23) - 1)


@njit
def _any_tiny(places, at):
    """Whether a span's destination but 0 has an exponent below `TINY`; see `none_tiny`."""
    tiny = _is_tiny(places, at)
    for vector in range(1, SPAN):
        tiny = either(tiny, _is_tiny(places, at + vector * places.rows * VECTOR))
    return in_any_lane(tiny)


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
_steps16_large = _steps_by("_16_large", accumulate16_large)
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
        Whether it was done. It is not where a group has very small products only.
    """
    at = tile * TILE * places.columns + vector * VECTOR
    size = SPAN * GROUPS * VECTOR
    least, floor = (LOW, FLOOR) if fp32_dest_acc else (FLOOR_16, FLOOR_16)
    all_large = all_near = True
    for row in range(places.rows):
        highest = element(places.highest, row)
        distances = row * places.depth + tile * TILE
        lowest, apart = _find_largest(places, at, distances, row * size)
        large = not in_any_lane(below16(lowest, max(least - highest, 0) << BFLOAT16_MANTISSA))
        near = not in_any_lane(below16(NEAR << BFLOAT16_MANTISSA, apart))
        if in_any_lane(below16(lowest, max(_POSITIVE - highest, 1) << BFLOAT16_MANTISSA)):
            if highest >= floor or _hides_products(places, at, distances):
                return False
            if _any_tiny(places, (vector * places.rows + row) * VECTOR):
                return False
            large, near = _fill_empty(places, row * size, least - highest, floor - highest)
            if not large:
                return False
        all_large, all_near = all_large and large, all_near and near
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
        if not fp32_dest_acc and all_large:
            _steps16_large(places, to, row * size, phases, highest)
        elif not fp32_dest_acc:
            _steps16(places, to, row * size, phases, highest)
        elif all_large and all_near:
            _steps32_near(places, to, row * size, phases, highest)
        else:
            _steps32(places, to, row * size, phases, highest)
    return True

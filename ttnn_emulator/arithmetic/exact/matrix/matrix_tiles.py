"""One tile of K of a matrix product: sixteen K values at a time onto many rows' destinations.

A vector's lanes are output columns; `matrix_accumulator` has the arithmetic of a step, sixteen
products onto the destination. A tile of weights is decoded once. Then, for each phase and each
half of the tile, sixteen weights of every lane stay in registers while the rows pass by, so that a
step reads little more than the sixteen values of its row.

Columns are taken in spans of a few vectors. Within a tile, `place` is the tile's index, the first
row of the destination among the operands' rows, and how many rows there are.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit

from ttnn_emulator.arithmetic.exact.matrix.matrix_accumulator import (
    accumulate16,
    accumulate16_large,
    accumulate32,
    accumulate32_near,
    ruler_at,
)
from ttnn_emulator.arithmetic.exact.matrix.matrix_exact import PHASE_ADJUST
from ttnn_emulator.arithmetic.exact.matrix.matrix_exponents import (
    FLOOR,
    FLOOR_16,
    LOW,
    all_near,
    in_bytes,
    in_numbers,
    none_tiny,
)
from ttnn_emulator.arithmetic.exact.matrix.matrix_operands import (
    SPAN,
    STEP,
    VECTOR,
    Rows,
    Tile,
    decode_exponents,
)
from ttnn_emulator.arithmetic.exact.matrix.matrix_pipeline import (
    STAGES,
    Groups,
    accumulate_in_pipeline,
)
from ttnn_emulator.arithmetic.exact.simd.lanes import (
    add32,
    bits_of,
    fma,
    greater32,
    max32,
    select,
    select32,
    shift_right,
    sub32,
)
from ttnn_emulator.arithmetic.exact.simd.lanes_memory import load, store


class Scratch(NamedTuple):
    """Memory that a tile's accumulation works in.

    Attributes:
        largest: [SPAN, 4, M, 16] int32, largest exponents of groups.
        exponents: [SPAN / 2, 32, 32] int16, exponents of weights.
    """

    largest: np.ndarray
    exponents: np.ndarray


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
    """The sums of two groups, each on top of its ruler, and the rulers."""
    ruler0 = ruler_at(exponent0)
    ruler1 = ruler_at(exponent1)
    return _chain(ruler0, weights[0], b, 0), ruler0, _chain(ruler1, weights[1], b, 8), ruler1


@njit
def _sums_of_large(weights, b, exponent0, exponent1):
    """What `accumulate16_large` and `accumulate32_near` add to a destination."""
    total0, ruler0, total1, ruler1 = _sums(weights, b, exponent0, exponent1)
    return total0 - ruler0, ruler0, total1 - ruler1, ruler1


@njit
def _sums32(weights, b, exponent0, exponent1):
    """What `accumulate32` adds to a destination, of groups whose exponent is positive."""
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
    """What `accumulate16` adds to a destination, of groups whose exponent is positive."""
    none = np.float32(0)
    total0, ruler0, total1, ruler1 = _sums(weights, b, max32(exponent0, 0), max32(exponent1, 0))
    sum0 = select(greater32(exponent0, 0), total0 - ruler0, none)
    sum1 = select(greater32(exponent1, 0), total1 - ruler1, none)
    return sum0, ruler0, sum1, ruler1


def _all_steps(suffix: str, sums: Callable, accumulate: Callable) -> Callable:
    """The loop over a tile's steps for one accumulation; its functions' names end in `suffix`.

    Numba tells functions of one name apart by a number that differs between processes, so cached
    code of several processes would be mixed up when it is loaded together.
    """

    def compiled(function):
        function.__qualname__ += suffix
        return njit(function)

    @compiled
    def sums_of(row, weights, values, largest, half, adjust):
        exponent0 = add32(load(largest[2 * half, row], 0, VECTOR), adjust)
        exponent1 = add32(load(largest[2 * half + 1, row], 0, VECTOR), adjust)
        return sums(weights, values[row], exponent0, exponent1)

    @compiled
    def add(dst, addends):
        store(dst, 0, accumulate(load(dst, 0, VECTOR), *addends))

    @compiled
    def steps(dst, pieces, operands, place, largest, below, phases):
        """All steps of one tile for some vectors: dst [vectors, M, 16] in place.

        The sums of a row and the accumulation of the row before are independent instructions.
        """
        tile, base, rows = place
        for step in range(2 * phases):
            phase, half = step >> 1, step & 1
            adjust = (PHASE_ADJUST[phase] + below) << 23
            values = operands[phase >> 1, 2 * tile + half, base : base + rows]
            for vector in range(dst.shape[0]):
                piece = pieces[vector, phase & 1]
                weights = (_eight(piece, STEP * half), _eight(piece, STEP * half + 8))
                exponents = largest[vector]
                old = dst[vector]
                addends = sums_of(0, weights, values, exponents, half, adjust)
                for row in range(1, rows):
                    following = sums_of(row, weights, values, exponents, half, adjust)
                    add(old[row - 1], addends)
                    addends = following
                add(old[rows - 1], addends)

    return steps


_steps16 = _all_steps("_16", _sums16, accumulate16)
_steps32 = _all_steps("_32", _sums32, accumulate32)
_steps16_large = _all_steps("_16_large", _sums_of_large, accumulate16_large)
_steps32_near = _all_steps("_32_near", _sums_of_large, accumulate32_near)


@njit
def accumulate_tile(
    dst: np.ndarray,
    vector: int,
    decoded: Tile,
    operands: Rows,
    tile: int,
    scratch: Scratch,
    phases: int,
    fp32_dest_acc: bool,
) -> None:
    """One tile of K, all fidelity phases, for a span of columns.

    Args:
        dst: [vectors + 1, M, 16] float32, changed in place; the last vector is a spare one.
        vector: index of the span's first vector.
        decoded: the tile of weights, decoded.
        operands: the rows that it is multiplied with.
        tile: index of the tile of K.
        scratch: memory to work in.
        phases: how many fidelity phases.
        fp32_dest_acc: whether the destination has 32 bits.
    """
    place = tile, operands.first, dst.shape[1]
    pieces, below = decoded.pieces, decoded.below
    row_pieces, row_exponents, _ = operands
    largest, exponents = scratch
    part = dst[vector : vector + SPAN]
    least, floor = (LOW, FLOOR) if fp32_dest_acc else (FLOOR_16, FLOOR_16)
    exact, large, near, highest = in_bytes(
        decoded.exponents, row_exponents, place, below, least, largest
    )
    if not exact:
        below = 0
        decode_exponents(decoded.stored, decoded.first, exponents)
        low = in_numbers(exponents, row_exponents, place, least, floor, largest)
        large = not low and none_tiny(part)
        if fp32_dest_acc:
            near, highest = all_near(largest)
        if not large or (fp32_dest_acc and not near):
            in_numbers(exponents, row_exponents, place, least, 0, largest)
    if not fp32_dest_acc and large:
        _steps16_large(part, pieces, row_pieces, place, largest, below, phases)
    elif not fp32_dest_acc:
        _steps16(part, pieces, row_pieces, place, largest, below, phases)
    elif not (large and near):
        _steps32(part, pieces, row_pieces, place, largest, below, phases)
    elif dst.shape[1] < STAGES:
        _steps32_near(part, pieces, row_pieces, place, largest, below, phases)
    else:
        groups = Groups(largest, below, highest)
        accumulate_in_pipeline(dst, vector, pieces, row_pieces, place, groups, phases)

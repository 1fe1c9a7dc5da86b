"""`accumulate32_near`, the fast accumulation, as a software pipeline over all rows of a tile.

Within a step of one row most instructions wait for the one before. So that the machine always has
some that need not wait, a row passes through four stages, with four rows in flight:

1. the first four products of each group, on top of its ruler;
2. the other four, and the groups' sums;
3. the destination and the sums in whole units of the accumulator;
4. their total, rounded and stored.

The rows of the next step follow at once, because draining and refilling the pipeline costs as much
as six rows. For that, a step reads its destinations in one place and writes them to another, a
vector and a spare one by turns: within a tile the number of steps is even.

Rows are not checked for the erratum one by one. It needs a total that is tiny and negative: if the
smallest total of a step may be such a one, which is rare, the step is repeated row by row.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from ttnn_emulator.arithmetic.exact.matrix.matrix_accumulator import (
    accumulate32_near,
    aligned32,
    joined32,
    ruler_at,
    smallest_suspect,
)
from ttnn_emulator.arithmetic.exact.matrix.matrix_exact import PHASE_ADJUST
from ttnn_emulator.arithmetic.exact.matrix.matrix_operands import STEP, VECTOR
from ttnn_emulator.arithmetic.exact.simd.lanes import (
    add32,
    bits_of,
    float_of,
    fma,
    greater32,
    larger,
    min32,
    smaller,
    sub32,
)
from ttnn_emulator.arithmetic.exact.simd.lanes_across import in_any_lane
from ttnn_emulator.arithmetic.exact.simd.lanes_memory import element, load, store
from ttnn_emulator.arithmetic.formats import TILE

STAGES = 4  # the fewest rows that it can take

# Any biased exponent: for the rulers of the dummy rows that run ahead of the first ones.
_ORDINARY = 127


class Groups(NamedTuple):
    """Largest exponents of groups of eight products.

    Attributes:
        largest: [SPAN, 4, M, 16] int32, less `below`, 23 places up.
        below: what is to be added to them.
        highest: the largest of `largest`, as a number.
    """

    largest: np.ndarray
    below: int
    highest: int


class _Arrays(NamedTuple):
    """The operands of all steps, as flat arrays."""

    weights: np.ndarray  # pieces [SPAN, 2, 32, 16]
    largest: np.ndarray  # exponents of groups [SPAN, 4, M, 16]
    activations: np.ndarray  # pieces [P, K/16, rows, 16]


class _Step(NamedTuple):
    """Where a step's operands begin in `_Arrays`, and what its phase adds to exponents."""

    weights: int
    exponents0: int
    exponents1: int
    activations: int
    adjust: int


@njit
def _four(pieces, at):
    return (
        load(pieces, at, VECTOR),
        load(pieces, at + VECTOR, VECTOR),
        load(pieces, at + 2 * VECTOR, VECTOR),
        load(pieces, at + 3 * VECTOR, VECTOR),
    )


@njit
def _eight(pieces, at):
    """Four weights of each group: the first four, or the second four where `at` is four rows on."""
    return _four(pieces, at), _four(pieces, at + 8 * VECTOR)


@njit
def _products(weights, values, at, totals):
    """Four products of each group on top of its total."""
    of_first, of_second = weights
    total0, total1 = totals
    total0 = fma(of_first[0], element(values, at), total0)
    total1 = fma(of_second[0], element(values, at + 8), total1)
    total0 = fma(of_first[1], element(values, at + 1), total0)
    total1 = fma(of_second[1], element(values, at + 9), total1)
    total0 = fma(of_first[2], element(values, at + 2), total0)
    total1 = fma(of_second[2], element(values, at + 10), total1)
    total0 = fma(of_first[3], element(values, at + 3), total0)
    total1 = fma(of_second[3], element(values, at + 11), total1)
    return total0, total1


@njit
def _first_stage(weights, arrays, step, row):
    """The first stage: totals and rulers of both groups."""
    exponents0 = load(arrays.largest, step.exponents0 + row, VECTOR)
    exponents1 = load(arrays.largest, step.exponents1 + row, VECTOR)
    rulers = ruler_at(add32(exponents0, step.adjust)), ruler_at(add32(exponents1, step.adjust))
    return _products(weights, arrays.activations, step.activations + row, rulers), rulers


@njit
def _sums(weights, arrays, step, row, stage1):
    """The sums of the second stage."""
    totals, rulers = stage1
    total0, total1 = _products(weights, arrays.activations, step.activations + row + 4, totals)
    return total0 - rulers[0], total1 - rulers[1]


@njit
def _second_stage(weights, arrays, step, row, stage1):
    """The second stage: the sums, and the finer and the coarser ruler."""
    sum0, sum1 = _sums(weights, arrays, step, row, stage1)
    ruler0, ruler1 = stage1[1]
    return sum0, sum1, smaller(ruler0, ruler1), larger(ruler0, ruler1)


@njit
def _third_stage(dst, at, stage2):
    """The third stage."""
    return aligned32(bits_of(load(dst, at, VECTOR)), *stage2)


@njit
def _fourth_stage(dst, at, stage3, smallest):
    """The fourth stage; returns the smallest total so far."""
    total, rounded = joined32(*stage3)
    store(dst, at, rounded)
    return min32(smallest, bits_of(total))


@njit
def _step_without_pipeline(dst, source, target, arrays, step, rows):
    """One step, row by row."""
    for row in range(0, rows, VECTOR):
        first = _eight(arrays.weights, step.weights)
        second = _eight(arrays.weights, step.weights + 4 * VECTOR)
        stage1 = _first_stage(first, arrays, step, row)
        sum0, sum1 = _sums(second, arrays, step, row, stage1)
        ruler0, ruler1 = stage1[1]
        old = load(dst, source + row, VECTOR)
        store(dst, target + row, accumulate32_near(old, sum0, ruler0, sum1, ruler1))


@njit
def accumulate_in_pipeline(
    dst: np.ndarray,
    vector: int,
    pieces: np.ndarray,
    operands: np.ndarray,
    place: tuple[int, int, int],
    groups: Groups,
    phases: int,
) -> None:
    """All steps of one tile for a span of columns, for which `accumulate32_near` must serve.

    Args:
        dst: [vectors + 1, M, 16] float32, changed in place; the last vector is the spare one.
        vector: index of the span's first vector.
        pieces: [SPAN, 2, 32, 16] float32 from `decode`.
        operands: [P, K/16, M, 16] float32 pieces from `split_rows`.
        place: as of `matrix_tiles`; there must be at least `STAGES` rows.
        groups: the groups' exponents.
        phases: how many fidelity phases.

    Rows, steps and arrays are offsets in elements: Numba counts references to arrays, hence calls a
    function whenever another array is assigned to a variable.
    """
    tile, base, rows = place
    largest, below, highest = groups
    depth, height = operands.shape[1:3]
    vectors = largest.shape[0]
    rows *= VECTOR
    last = rows - VECTOR
    spare = (dst.shape[0] - 1) * rows
    dst = dst.reshape(-1)
    arrays = _Arrays(pieces.reshape(-1), largest.reshape(-1), operands.reshape(-1))

    # Dummy rows before the first one: they write to the spare vector, which is not in use yet.
    zero = sub32(bits_of(load(dst, spare, VECTOR)), bits_of(load(dst, spare, VECTOR)))
    nothing = float_of(zero)
    ruler = ruler_at(add32(zero, _ORDINARY << 23))
    stage1 = (ruler, ruler), (ruler, ruler)
    stage2 = nothing, nothing, ruler, ruler
    stage3 = nothing, nothing, nothing
    smallest = zero
    suspect = smallest_suspect(0)
    source = target = spare
    step = _Step(0, 0, 0, 0, 0)

    for index in range(vectors + 1):
        home = (vector + index) * rows
        for number in range(2 * phases):
            before, source_before, target_before = step, source, target
            if index < vectors:
                phase, half = number >> 1, number & 1
                exponents = (4 * index + 2 * half) * rows
                step = _Step(
                    ((2 * index + (phase & 1)) * TILE + STEP * half) * VECTOR,
                    exponents,
                    exponents + rows,
                    (((phase >> 1) * depth + 2 * tile + half) * height + base) * VECTOR,
                    (PHASE_ADJUST[phase] + below) << 23,
                )
                source, target = (spare, home) if half else (home, spare)
            # The last three rows of the step before leave while the first three of this one enter.
            first = _eight(arrays.weights, step.weights)
            smallest = _fourth_stage(dst, target_before + last - 2 * VECTOR, stage3, smallest)
            stage3 = _third_stage(dst, source_before + last - VECTOR, stage2)
            second_before = _eight(arrays.weights, before.weights + 4 * VECTOR)
            stage2 = _second_stage(second_before, arrays, before, last, stage1)
            stage1 = _first_stage(first, arrays, step, 0)

            second = _eight(arrays.weights, step.weights + 4 * VECTOR)
            smallest = _fourth_stage(dst, target_before + last - VECTOR, stage3, smallest)
            stage3 = _third_stage(dst, source_before + last, stage2)
            stage2 = _second_stage(second, arrays, step, 0, stage1)
            stage1 = _first_stage(first, arrays, step, VECTOR)

            smallest = _fourth_stage(dst, target_before + last, stage3, smallest)
            if in_any_lane(greater32(suspect, smallest)):
                _step_without_pipeline(dst, source_before, target_before, arrays, before, rows)
            if index == vectors:
                break
            suspect = smallest_suspect(highest + below + PHASE_ADJUST[number >> 1])
            smallest = zero
            stage3 = _third_stage(dst, source, stage2)
            stage2 = _second_stage(second, arrays, step, VECTOR, stage1)
            stage1 = _first_stage(first, arrays, step, 2 * VECTOR)
            for row in range(3 * VECTOR, rows, VECTOR):
                smallest = _fourth_stage(dst, target + row - 3 * VECTOR, stage3, smallest)
                stage3 = _third_stage(dst, source + row - 2 * VECTOR, stage2)
                stage2 = _second_stage(second, arrays, step, row - VECTOR, stage1)
                stage1 = _first_stage(first, arrays, step, row)

"""Operands of a product of few rows, as `matrix_few_rows` takes them."""

from typing import NamedTuple

import numpy as np
from numba import njit

from ttnn_emulator.arithmetic.exact.matrix.matrix_exact import PHASE_ADJUST
from ttnn_emulator.arithmetic.exact.matrix.matrix_operands import (
    MANTISSA_BITS,
    SPAN,
    STEP,
    VECTOR,
    Rows,
)
from ttnn_emulator.arithmetic.exact.simd.lanes_memory import pointer
from ttnn_emulator.arithmetic.formats import TILE

GROUP = 8  # K values of a group
GROUPS = TILE // GROUP
PHASES = len(PHASE_ADJUST)
BFLOAT16_MANTISSA = MANTISSA_BITS[2]
FAR = 0xFFFF  # the distance of a zero: larger than any exponent


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
                far = (highest[row] - exponent) << BFLOAT16_MANTISSA if exponent > 0 else FAR
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

"""Splitting the matrix unit's operands: the pieces that a fidelity phase multiplies, and exponents.

Weights (SrcA) are split a tile of K at a time, activations (SrcB) once for all columns. Exponents
have two forms. As 16-bit integers they cover everything. As bytes, of which a vector holds four
times as many as of float32 values, they count from `WINDOW` below the largest exponent in the whole
matrix: a sum of two is at most 240. A sum above `WINDOW` is exact, since both its operands lie
within the window. If it is the largest of eight such sums it is the largest of the true ones, since
a product with an operand outside the window comes to at most `WINDOW`.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange, types
from numba.extending import overload

from ttnn_emulator.arithmetic.exact.matrix.matrix_accumulator import TIE_AWAY
from ttnn_emulator.arithmetic.exact.simd.lanes import (
    above16,
    add16,
    and16,
    and32,
    bits_of,
    bytes_of,
    float_of,
    greater32,
    max32,
    or16,
    or32,
    select32,
    shift_left,
    shift_right,
    shift_right16,
    sub32,
)
from ttnn_emulator.arithmetic.exact.simd.lanes_across import half32, interleaved8, joined16
from ttnn_emulator.arithmetic.exact.simd.lanes_memory import load, store
from ttnn_emulator.arithmetic.formats import TILE

STEP = 16  # K values of one step, in two groups of eight
VECTOR = 16  # columns of a float32 vector
PAIR = 32  # columns of two of them, whose exponents make one int16 vector
SPAN = 4  # vectors of a span, whose exponents make one vector of bytes

# The exponent of a zero, for a group's largest exponent: less than that of any product.
EMPTY = -1000

# The largest exponent in byte form; twice that fits a byte.
WINDOW = 120

# Of bit patterns of 2 bytes (bfloat16) and of 4 (float32).
MANTISSA_BITS = {2: 7, 4: 23}

# Operands that one thread splits while another is being woken.
WORTH_WAKING = 1 << 15


class Rows(NamedTuple):
    """SrcB operands of a matrix product, from `split_rows`, and which of their rows count.

    Attributes:
        pieces: [1 or 2, K/16, M, 16] float32.
        exponents: [2, K/16, M, 16] int32.
        first: the row that belongs to the destination's first row.
    """

    pieces: np.ndarray
    exponents: np.ndarray
    first: int


class Tile(NamedTuple):
    """A span of a tile of SrcA operands.

    Attributes:
        pieces: [SPAN, 2, 32, 16] float32, from `decode`.
        exponents: [32, SPAN * 16] int8, in bytes, from `decode`.
        below: the sum of `window_of` the largest exponent for both operands.
        stored: [32, columns] uint16 (bfloat16) or uint32 (float32 bits), which it was decoded from.
        first: the span's first column in it.
    """

    pieces: np.ndarray
    exponents: np.ndarray
    below: int
    stored: np.ndarray
    first: int


@njit
def _lay_row(bits, row, mantissa, out):
    """One row of `lay_out`; returns its largest magnitude."""
    matrix, k = row // bits.shape[1], row % bits.shape[1]
    magnitude_bits = (1 << (8 * bits.itemsize - 1)) - 1
    largest = 0
    for n in range(bits.shape[2]):
        pattern = bits[matrix, k, n]
        magnitude = pattern & magnitude_bits
        largest = max(largest, magnitude)
        out[matrix, k, n] = 0 if 0 < magnitude < 1 << mantissa else pattern
    return largest


@njit(nogil=True, cache=True)
def _lay_in_turn(bits, mantissa, out):
    largest = 0
    for row in range(bits.shape[0] * bits.shape[1]):
        largest = max(largest, _lay_row(bits, row, mantissa, out))
    return largest >> mantissa


@njit(parallel=True, nogil=True, cache=True)
def _lay_in_parallel(bits, mantissa, out):
    largest = 0
    for row in prange(bits.shape[0] * bits.shape[1]):
        largest = max(largest, _lay_row(bits, row, mantissa, out))
    return largest >> mantissa


def lay_out(bits: np.ndarray, out: np.ndarray) -> int:
    """Copy SrcA operands, denormals as +0, and return the largest biased exponent.

    Args:
        bits: [W, K, N] uint16 (bfloat16) or uint32 (float32 bits) of any strides.
        out: [W, K or more, N or more] of the same type to write.
    """
    run = _lay_in_turn if bits.size < WORTH_WAKING else _lay_in_parallel
    return int(run(bits, MANTISSA_BITS[bits.itemsize], out))


@njit(nogil=True, cache=True)
def _survey(bits, mantissa):
    magnitude_bits = (1 << (8 * bits.itemsize - 1)) - 1
    largest, smallest = 0, magnitude_bits
    for i in range(bits.size):
        magnitude = bits[i] & magnitude_bits
        largest = max(largest, magnitude)
        smallest = min(smallest, (magnitude - 1) & magnitude_bits)  # zero is the largest
    return largest >> mantissa, smallest < (1 << mantissa) - 1


def survey(bits: np.ndarray) -> tuple[int, bool]:
    """(the largest biased exponent, whether there is a denormal) of contiguous bit patterns."""
    return _survey(bits.reshape(-1), MANTISSA_BITS[bits.itemsize])


def window_of(largest: int) -> int:
    """The biased exponent that is 0 in byte form, as every smaller one is."""
    return max(largest - WINDOW, 0)


@njit
def _split_row(batch, row, rows, pieces, exponents, below):
    for step in range(exponents.shape[2]):
        values = rows[batch, row, STEP * step : STEP * (step + 1)]
        tops = pieces[batch, 0, step, row]
        for i in range(STEP):
            bits = bits_of(values[i])
            exponent = and32(shift_right(bits, 23), 0xFF)
            bits = select32(greater32(exponent, 0), bits, 0)
            byte = max32(sub32(exponent, below), 0)
            pair = or32(shift_left(byte, 8), byte)
            exponents[batch, 1, step, row, i] = or32(shift_left(pair, 16), pair)
            exponent = select32(greater32(exponent, 0), exponent, EMPTY)
            pair = or32(shift_left(exponent, 16), and32(exponent, 0xFFFF))
            exponents[batch, 0, step, row, i] = pair
            top = float_of(and32(bits, -0x20000))
            tops[i] = top * TIE_AWAY
            if pieces.shape[1] > 1:
                low = float_of(and32(bits, -0x2000)) - top
                pieces[batch, 1, step, row, i] = low * TIE_AWAY


@njit(nogil=True, cache=True)
def _split_in_turn(rows, pieces, exponents, below):
    for batch in range(rows.shape[0]):
        for row in range(rows.shape[1]):
            _split_row(batch, row, rows, pieces, exponents, below)


@njit(parallel=True, nogil=True, cache=True)
def _split_in_parallel(rows, pieces, exponents, below):
    count = rows.shape[1]
    for number in prange(rows.shape[0] * count):
        _split_row(number // count, number % count, rows, pieces, exponents, below)


def split_rows(rows: np.ndarray, pieces: np.ndarray, exponents: np.ndarray, below: int) -> None:
    """Split SrcB operands into their 7-bit and 4-bit pieces and exponents, step by step of K.

    Args:
        rows: [B, M, K] float32; denormals count as zero.
        pieces: [B, 2, K/16, M, 16] float32 to write, or [B, 1, K/16, M, 16] for two phases.
        exponents: [B, 2, K/16, M, 16] int32 to write: biased exponents, `EMPTY` for zeros, each in
            the upper and in the lower 16 bits; then what a byte holds of them, in all four bytes.
        below: `window_of` the largest exponent in `rows`.
    """
    run = _split_in_turn if rows.size < WORTH_WAKING else _split_in_parallel
    run(rows, pieces, exponents, below)


def _operands(stored, at):
    """32 SrcA operands: float32 bits in two vectors, and biased exponents (0 for zeros)."""


@overload(_operands)
def _operands_of(stored, at):
    def bfloat16(stored, at):
        pair = load(stored, at, PAIR)
        exponents = and16(shift_right16(pair, 7), 0xFF)
        return shift_left(half32(pair, 0), 16), shift_left(half32(pair, 1), 16), exponents

    def tf32(stored, at):
        first = and32(load(stored, at, VECTOR), -0x2000)
        second = and32(load(stored, at + VECTOR, VECTOR), -0x2000)
        exponents = joined16(shift_right(first, 23), shift_right(second, 23))
        return first, second, and16(exponents, 0xFF)

    return bfloat16 if stored.dtype == types.uint16 else tf32


@njit
def _split(bits, pieces, k):
    """The upper and the lower 5-bit pieces of SrcA operands."""
    top = float_of(and32(bits, -0x80000))
    store(pieces[0, k], 0, top)
    store(pieces[1, k], 0, float_of(and32(bits, -0x4000)) - top)


@njit
def _decode_pair(row, first, below, pieces, k):
    """Split one K of two vectors of SrcA operands into pieces, and return exponents in bytes."""
    low, high, exponents = _operands(row, first)
    _split(low, pieces[0], k)
    _split(high, pieces[1], k)
    return bytes_of(above16(exponents, below))


@njit
def decode(
    stored: np.ndarray, first: int, below: int, pieces: np.ndarray, exponents: np.ndarray
) -> None:
    """Split a span of a tile of SrcA operands into pieces, and exponents in bytes.

    Args:
        stored: [32, columns] uint16 (bfloat16) or uint32 (float32 bits).
        first: the span's first column.
        below: `window_of` the largest exponent in the matrix.
        pieces: [SPAN, 2, 32, 16] float32 to write.
        exponents: [32, SPAN * 16] int8 to write, columns in the order of `interleaved8`.
    """
    for k in range(TILE):
        low = _decode_pair(stored[k], first, below, pieces[:2], k)
        high = _decode_pair(stored[k], first + PAIR, below, pieces[2:], k)
        store(exponents[k], 0, interleaved8(low, high))


@njit
def decode_exponents(stored: np.ndarray, first: int, exponents: np.ndarray) -> None:
    """Exponents of a span of a tile as 16-bit numbers, `EMPTY` for zeros: [SPAN / 2, 32, 32]."""
    for pair in range(SPAN // 2):
        for k in range(TILE):
            _, _, exponent = _operands(stored[k], first + PAIR * pair)
            empty = and16(shift_right16(add16(exponent, -1), 15), EMPTY)
            store(exponents[pair, k], 0, or16(exponent, empty))

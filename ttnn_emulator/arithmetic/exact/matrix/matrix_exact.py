"""The matrix unit's arithmetic in plain integers, one output at a time: slow and without limits.

This is the definition that `matrix_kernels` computes with float tricks for ordinary values; it also
serves the values those tricks do not cover (infinities, NaNs, magnitudes near 2^100).

A significand has 11 bits, the leading one included. The unit multiplies 5 bits of SrcA by 7 bits
of SrcB; a fidelity phase says which. Sixteen products are summed in two groups of eight, each
aligned to the group's largest exponent, and the two sums are aligned with the old destination.
Source: ttsim tensix.cpp (mvmul, fpu_accum_normalize_encode) and the ISA documentation's MVMUL page.
"""

import numpy as np
from numba import njit, prange

from ttnn_emulator.arithmetic.exact.simd.lanes import Int

# Exponent adjustment of each fidelity phase: the bias, and 5 or 7 bits for the lower pieces.
PHASE_ADJUST = (-127, -132, -134, -139)


@njit
def _exponent(pattern):
    return (np.int64(pattern) >> 23) & 0xFF


@njit
def _significand(pattern):
    return 0x400 | ((np.int64(pattern) >> 13) & 0x3FF)


@njit
def _negative(pattern):
    return (np.int64(pattern) >> 31) & 1


@njit
def _align(magnitude, shift, low):
    """Shift right and round half up, or half down where `low` is 1."""
    if shift <= 0:
        return magnitude
    if shift >= 31:
        return 0
    return (magnitude + (1 << (shift - 1)) - low) >> shift


@njit
def _to_ten_bits(magnitude, low):
    """Round a 24-bit significand to ten fraction bits, as a 16-bit destination does."""
    return ((magnitude + 4096 - low) >> 13) << 13


@njit
def _encode(total, exponent, fp32_dest_acc):
    """float32 bits of `total` units of 2^(exponent-150), rounded half away as Dst stores it."""
    if total == 0:
        return 0
    sign = 0
    magnitude = total
    if total < 0:
        sign = 1 << 31
        magnitude = -total
    if fp32_dest_acc and total == -1:
        # Known erratum of the 32-bit destination: the normaliser moves this value four places the
        # wrong way.
        length = 1
        exponent += 4
        significand = 1 << 23
    else:
        length = 0
        while magnitude >> length:
            length += 1
        exponent += length - 24
        keep = 24 if fp32_dest_acc else 8
        drop = length - keep
        significand = magnitude
        if drop > 0:
            significand = (magnitude + (1 << (drop - 1))) >> drop
        elif drop < 0:
            significand = magnitude << -drop
        if significand >> keep:
            significand >>= 1
            exponent += 1
        significand <<= 24 - keep
    if exponent <= 0:
        return 0
    if exponent >= 255:
        return sign | 0x7F800000
    return sign | (exponent << 23) | (significand & 0x7FFFFF)


@njit
def accumulate(
    dst: Int, sum0: Int, exponent0: Int, sum1: Int, exponent1: Int, fp32_dest_acc: bool
) -> Int:
    """Dst + two group sums, each in units of 2^(exponent-137); exponent 0 is an empty group."""
    dst_exponent = _exponent(dst)
    dst_magnitude = np.int64(0)
    if dst_exponent > 0:
        dst_magnitude = 0x800000 | (np.int64(dst) & 0x7FFFFF)
    exponent = max(exponent0, exponent1, dst_exponent)
    if exponent <= 0:
        return 0
    total = 0
    for value, value_exponent in ((sum0, exponent0), (sum1, exponent1)):
        low = 1 if value < 0 else 0
        magnitude = _align(abs(value) << 13, exponent - value_exponent, low)
        if not fp32_dest_acc:
            magnitude = _to_ten_bits(magnitude, low)
        total += -magnitude if low else magnitude
    magnitude = _align(dst_magnitude, exponent - dst_exponent, 0)
    if not fp32_dest_acc:
        magnitude = _to_ten_bits(magnitude, 0)
    total += -magnitude if _negative(dst) else magnitude
    return _encode(total, exponent, fp32_dest_acc)


@njit
def pieces(pattern_a: Int, pattern_b: Int, phase: int) -> tuple[Int, Int]:
    """The 5-bit piece of SrcA and the 7-bit piece of SrcB that `phase` multiplies."""
    a = _significand(pattern_a)
    b = _significand(pattern_b)
    piece_a = (a >> 1) & 31 if phase & 1 else a >> 6
    piece_b = (b & 15) << 3 if phase & 2 else b >> 4
    return piece_a, piece_b


@njit
def _group(weights, column, activations, row, start, phase, adjust):
    """Aligned sum of eight products and the exponent it is aligned to (0 if it is empty)."""
    largest = max(adjust, 0)
    for k in range(start, start + 8):
        exponent_a = _exponent(weights[k, column])
        exponent_b = _exponent(activations[row, k])
        if exponent_a and exponent_b:
            largest = max(largest, exponent_a + exponent_b + adjust)
    if largest <= 0:
        return 0, 0
    total = 0
    for k in range(start, start + 8):
        exponent_a = _exponent(weights[k, column])
        exponent_b = _exponent(activations[row, k])
        if exponent_a == 0 or exponent_b == 0:
            continue
        piece_a, piece_b = pieces(weights[k, column], activations[row, k], phase)
        shift = min(largest - (exponent_a + exponent_b + adjust), 30)
        product = (2 * piece_a * piece_b + (1 << shift)) >> (shift + 1)
        if _negative(weights[k, column]) != _negative(activations[row, k]):
            product = -product
        total += product
    return total, largest


@njit(parallel=True, cache=True)
def accumulate_tiles(
    weights: np.ndarray, activations: np.ndarray, phases: int, fp32_dest_acc: bool, dst: np.ndarray
) -> None:
    """Accumulate activations @ weights onto `dst`, in place.

    Args:
        weights: [K, N] uint32 bits of float32 (SrcA), K a multiple of 32.
        activations: [M, K] uint32 bits of float32 (SrcB).
        phases: 1 (LoFi) to 4 (HiFi4).
        fp32_dest_acc: whether the destination has 32 bits.
        dst: [M, N] uint32 bits of float32.
    """
    adjusts = PHASE_ADJUST
    rows, depth = activations.shape
    for column in prange(weights.shape[1]):
        for row in range(rows):
            value = np.int64(dst[row, column])
            for tile in range(0, depth, 32):
                for phase in range(phases):
                    for start in (tile, tile + 16):
                        sum0, exponent0 = _group(
                            weights, column, activations, row, start, phase, adjusts[phase]
                        )
                        sum1, exponent1 = _group(
                            weights, column, activations, row, start + 8, phase, adjusts[phase]
                        )
                        value = accumulate(value, sum0, exponent0, sum1, exponent1, fp32_dest_acc)
            dst[row, column] = value


@njit
def _aligned_sum(first, second):
    """Signed sum at ten fraction bits of the larger exponent, and that exponent."""
    if (first & 0x7FFFFFFF) < (second & 0x7FFFFFFF):
        first, second = second, first
    exponent = _exponent(first)
    if exponent == 0:
        return 0, 0
    total = _significand(first)
    distance = exponent - _exponent(second)
    if distance < 12 and _exponent(second):
        smaller = _align(_significand(second), distance, 0)
        total += smaller if _negative(first) == _negative(second) else -smaller
    return -total if _negative(first) else total, exponent


@njit(parallel=True, cache=True)
def add(first: np.ndarray, second: np.ndarray, fp32_dest_acc: bool, out: np.ndarray) -> None:
    """ELWADD: out = first + second, flat arrays of uint32 bits of float32."""
    for i in prange(out.size):
        total, exponent = _aligned_sum(np.int64(first[i]), np.int64(second[i]))
        out[i] = accumulate(0, total, exponent, 0, 0, fp32_dest_acc)


@njit(parallel=True, cache=True)
def add_onto(first: np.ndarray, second: np.ndarray, fp32_dest_acc: bool, dst: np.ndarray) -> None:
    """ELWADD that accumulates: dst += first + second, flat arrays of uint32 bits of float32."""
    for i in prange(dst.size):
        total, exponent = _aligned_sum(np.int64(first[i]), np.int64(second[i]))
        dst[i] = accumulate(np.int64(dst[i]), total, exponent, 0, 0, fp32_dest_acc)


@njit(parallel=True, cache=True)
def multiply(
    first: np.ndarray, second: np.ndarray, phases: int, fp32_dest_acc: bool, out: np.ndarray
) -> None:
    """ELWMUL: out = first * second, flat arrays of uint32 bits of float32; `first` is SrcA."""
    adjusts = PHASE_ADJUST
    for i in prange(out.size):
        value = 0
        if _exponent(first[i]) and _exponent(second[i]):
            for phase in range(phases):
                piece_a, piece_b = pieces(first[i], second[i], phase)
                term = piece_a * piece_b
                if _negative(first[i]) != _negative(second[i]):
                    term = -term
                exponent = _exponent(first[i]) + _exponent(second[i]) + adjusts[phase]
                if exponent > 0:
                    value = accumulate(value, term, exponent, 0, 0, fp32_dest_acc)
                else:
                    value = accumulate(value, 0, 0, 0, 0, fp32_dest_acc)
        out[i] = value

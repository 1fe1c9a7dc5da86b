"""Element by element add, subtract and multiply in the matrix unit (ELWADD, ELWSUB, ELWMUL).

Their sums are aligned and rounded by the same accumulator as a matrix product's, one term at a
time. Source: ttsim tensix.cpp and the ISA documentation's pages of these names.
"""

import numpy as np
import torch
from numba import njit, prange

from ttnn_emulator.arithmetic.compute import FIDELITY_PHASES
from ttnn_emulator.arithmetic.exact.matrix import matrix_exact
from ttnn_emulator.arithmetic.exact.matrix.matrix_accumulator import (
    TIE_AWAY,
    accumulate16,
    accumulate32,
    round_to_eight_bits,
    ruler_of,
)
from ttnn_emulator.arithmetic.exact.simd.lanes import (
    add32,
    and32,
    bits_of,
    float_of,
    fma,
    max32,
    min32,
    shift_right,
    sub32,
)
from ttnn_emulator.arithmetic.formats import ceil_div

# Largest biased exponent of an operand, and of a product, that the vector code below supports.
_LARGEST = 240
# The same of a product in a 32-bit destination: 2^26 units of its exponent are a finite float32.
_LARGEST_PRODUCT_OF_FP32 = 228

_CHUNK = 4096  # elements of one task
WORTH_WAKING = 1 << 16  # elements that one thread computes while another is being woken


_ceil_div = njit(ceil_div)


@njit
def _exponent(value):
    return and32(shift_right(bits_of(value), np.int32(23)), np.int32(0xFF))


@njit
def _normal(value):
    """The value, or +0 for a denormal or a zero."""
    return value if _exponent(value) > np.int32(0) else np.float32(0)


@njit
def _add_chunk(first, second, fp32_dest_acc, dst):
    for i in range(dst.size):
        a = _normal(first[i])
        b = _normal(second[i])
        ruler = ruler_of(max32(_exponent(a), _exponent(b)))
        dst[i] = fma(b, TIE_AWAY, fma(a, TIE_AWAY, ruler)) - ruler
    if fp32_dest_acc:
        for i in range(dst.size):
            dst[i] = _normal(dst[i])
    else:
        for i in range(dst.size):
            dst[i] = round_to_eight_bits(dst[i])


@njit(cache=True)
def _add_in_turn(first, second, fp32_dest_acc, out):
    _add_chunk(first, second, fp32_dest_acc, out)


@njit(parallel=True, cache=True)
def _add_in_parallel(first, second, fp32_dest_acc, out):
    """Both values rounded half away to ten fraction bits of the larger exponent, then added."""
    for chunk in prange(_ceil_div(out.size, _CHUNK)):
        start = chunk * _CHUNK
        stop = min(out.size, start + _CHUNK)
        _add_chunk(first[start:stop], second[start:stop], fp32_dest_acc, out[start:stop])


@njit
def _split(values, top_bits, low_bits, top, low):
    """The upper and the lower pieces of operands."""
    for i in range(values.size):
        bits = bits_of(values[i])
        top[i] = float_of(and32(bits, top_bits))
        low[i] = float_of(and32(bits, low_bits)) - top[i]


@njit
def _phase(pieces_a, pieces_b, exponents, adjust, fp32_dest_acc, dst):
    """One phase of a multiplication onto dst."""
    none = np.int32(0)
    adjust = np.int32(adjust)
    if fp32_dest_acc:
        for i in range(dst.size):
            exponent = max32(add32(exponents[i], adjust), none)
            ruler = ruler_of(exponent)
            units = sub32(bits_of(fma(pieces_a[i], pieces_b[i], ruler)), bits_of(ruler))
            units = units if exponent > none else none
            dst[i] = accumulate32(dst[i], units, exponent, none, none)
    else:
        for i in range(dst.size):
            exponent = max32(add32(exponents[i], adjust), none)
            ruler = ruler_of(exponent)
            term = pieces_a[i] * pieces_b[i]
            term = term if exponent > none else np.float32(0)
            dst[i] = accumulate16(dst[i], term, ruler, np.float32(0), ruler)


@njit
def _multiply_chunk(a, b, phases, fp32_dest_acc, dst):
    top_a, low_a = np.empty_like(a), np.empty_like(a)
    top_b, low_b = np.empty_like(a), np.empty_like(a)
    exponents = np.empty(a.size, np.int32)
    _split(a, np.int32(-0x80000), np.int32(-0x4000), top_a, low_a)
    _split(b, np.int32(-0x20000), np.int32(-0x2000), top_b, low_b)
    for i in range(a.size):
        # Of a product that is 0 any will do; a small one makes denormals, which are slow.
        smaller = min32(_exponent(a[i]), _exponent(b[i]))
        exponent = add32(_exponent(a[i]), _exponent(b[i]))
        exponents[i] = exponent if smaller > np.int32(0) else np.int32(254)
        dst[i] = np.float32(0)
    _phase(top_a, top_b, exponents, -127, fp32_dest_acc, dst)
    if phases > 1:
        _phase(low_a, top_b, exponents, -132, fp32_dest_acc, dst)
    if phases > 2:
        _phase(top_a, low_b, exponents, -134, fp32_dest_acc, dst)
    if phases > 3:
        _phase(low_a, low_b, exponents, -139, fp32_dest_acc, dst)
    for i in range(a.size):
        smaller = min32(_exponent(a[i]), _exponent(b[i]))
        dst[i] = dst[i] if smaller > np.int32(0) else np.float32(0)


@njit(cache=True)
def _multiply_in_turn(first, second, phases, fp32_dest_acc, out):
    _multiply_chunk(first, second, phases, fp32_dest_acc, out)


@njit(parallel=True, cache=True)
def _multiply_in_parallel(first, second, phases, fp32_dest_acc, out):
    """Phase by phase onto the destination, from +0."""
    for chunk in prange(_ceil_div(out.size, _CHUNK)):
        start = chunk * _CHUNK
        stop = min(out.size, start + _CHUNK)
        _multiply_chunk(
            first[start:stop], second[start:stop], phases, fp32_dest_acc, out[start:stop]
        )


def _operands(
    first: torch.Tensor, second: torch.Tensor
) -> tuple[np.ndarray, np.ndarray, torch.Size]:
    """Both operands broadcast, as flat float32 arrays, and the shape."""
    first, second = torch.broadcast_tensors(first.float(), second.float())
    a, b = (operand.contiguous().numpy().reshape(-1) for operand in (first, second))
    return a, b, first.shape


def _bits(values: np.ndarray) -> np.ndarray:
    return values.view(np.uint32)


def largest_exponent(values: np.ndarray) -> int:
    """Largest biased exponent of a float32 array; NaN and infinity have 255."""
    if values.size == 0:
        return 0
    largest = max(values.max(), -values.min())  # NaN where there is one
    return int(np.float32(largest).view(np.uint32) >> 23) & 0xFF


def add(
    first: torch.Tensor,
    second: torch.Tensor,
    *,
    onto: torch.Tensor | None = None,
    fp32_dest_acc: bool = False,
) -> torch.Tensor:
    """first + second in Dst; the smaller is rounded half away to 10 fraction bits of the larger.

    Args:
        first, second: float32 or bfloat16 of shapes that broadcast; bfloat16 values, or tf32.
        onto: what Dst holds, to be added to: float32 of the broadcast shape. None for nothing.
        fp32_dest_acc: whether the destination has 32 bits: else the sum is rounded to 8, half away.

    Returns:
        float32 of the broadcast shape.
    """
    a, b, shape = _operands(first, second)
    if onto is not None:
        dst = onto.clone(memory_format=torch.contiguous_format)
        matrix_exact.add_onto(_bits(a), _bits(b), fp32_dest_acc, _bits(dst.numpy().reshape(-1)))
        return dst
    out = np.empty_like(a)
    if max(largest_exponent(a), largest_exponent(b)) <= _LARGEST:
        if out.size < WORTH_WAKING:
            _add_in_turn(a, b, fp32_dest_acc, out)
        else:
            _add_in_parallel(a, b, fp32_dest_acc, out)
    else:
        matrix_exact.add(_bits(a), _bits(b), fp32_dest_acc, _bits(out))
    return torch.from_numpy(out).reshape(shape)


def subtract(
    first: torch.Tensor, second: torch.Tensor, *, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """first - second in Dst; see `add`."""
    return add(first, -second, fp32_dest_acc=fp32_dest_acc)


def multiply(
    first: torch.Tensor,
    second: torch.Tensor,
    *,
    fidelity: str = "HiFi4",
    fp32_dest_acc: bool = False,
) -> torch.Tensor:
    """first * second in Dst, after all phases of `fidelity`.

    Args:
        first: SrcA, of which a phase sees 5 bits.
        second: SrcB, of which a phase sees 7 bits; the broadcast operand of a kernel.
        fidelity: LoFi, HiFi2, HiFi3 or HiFi4.
        fp32_dest_acc: whether the destination has 32 bits: else each phase is rounded to 8.

    Returns:
        float32 of the broadcast shape.
    """
    phases = FIDELITY_PHASES[fidelity]
    a, b, shape = _operands(first, second)
    out = np.empty_like(a)
    largest = _LARGEST_PRODUCT_OF_FP32 if fp32_dest_acc else _LARGEST
    if largest_exponent(a) + largest_exponent(b) - 127 <= largest:
        if out.size < WORTH_WAKING:
            _multiply_in_turn(a, b, phases, fp32_dest_acc, out)
        else:
            _multiply_in_parallel(a, b, phases, fp32_dest_acc, out)
    else:
        matrix_exact.multiply(_bits(a), _bits(b), phases, fp32_dest_acc, _bits(out))
    return torch.from_numpy(out).reshape(shape)

"""What the unpacker and the packer do to values between L1 and the compute units.

All functions take and return float32 tensors of any shape (block formats: [..., W] with W a
multiple of 16); a block format's values are returned dequantised, which is exact in bfloat16.
Rounding "half away" is round to nearest with ties away from zero.

Source: ttsim tensix.cpp (PACR, the early conversions, UNPACR) and the ISA documentation's pages on
the packer's and the unpacker's format conversion.
"""

import functools
from collections.abc import Callable

import numba
import numpy as np
import torch

from ttnn_emulator.arithmetic.exact.simd.lanes import add32, and32, bits_of, float_of, or32
from ttnn_emulator.arithmetic.formats import BLOCK, BLOCK_FORMAT_BITS

_EXPONENT = np.int32(0x7F800000)
_SIGN = np.int32(-0x80000000)
_MAGNITUDE = np.int32(0x7FFFFFFF)
_UPPER_HALF = np.int32(-0x10000)
_LARGEST_DENORMAL = 2.0**-126 - 2.0**-149


def _bits(values: torch.Tensor) -> torch.Tensor:
    return values.float().contiguous().view(torch.int32)


def _lanewise(loop: Callable[[np.ndarray, np.ndarray], None]) -> Callable[..., torch.Tensor]:
    """A loop over float32 patterns, which writes others, as a function of tensors."""

    @functools.wraps(loop)
    def run(values: torch.Tensor) -> torch.Tensor:
        patterns = _bits(values)
        packed = torch.empty_like(patterns)
        loop(patterns.numpy().reshape(-1), packed.numpy().reshape(-1))
        return packed.view(torch.float32)

    return run


def flush_denormals(values: torch.Tensor) -> torch.Tensor:
    """Values whose exponent field is 0 become +0, negative zero too: what the matrix unit sees."""
    return torch.nn.functional.hardshrink(values.float(), _LARGEST_DENORMAL)


def truncate_to_tf32(values: torch.Tensor) -> torch.Tensor:
    """float32 unpacked to SrcA or SrcB beside a 32-bit destination: the low 13 bits are dropped."""
    return (_bits(values) & -0x2000).view(torch.float32)


def truncate_to_bfloat16(values: torch.Tensor) -> torch.Tensor:
    """float32 unpacked to SrcA or SrcB beside a 16-bit destination; denormals become +0."""
    return flush_denormals((_bits(values) & -0x10000).view(torch.float32))


@numba.njit
def _flushed(bits):
    return bits if and32(bits, _EXPONENT) != np.int32(0) else np.int32(0)


@numba.njit
def _rounded_half_away(bits):
    rounded = and32(add32(bits, np.int32(0x8000)), _UPPER_HALF)
    special = and32(bits, _EXPONENT) == _EXPONENT
    return or32(and32(bits, _SIGN), _EXPONENT) if special else rounded


@_lanewise
@numba.njit(nogil=True, cache=True)
def _pack_32_bits(patterns, packed):
    for i in range(packed.size):
        packed[i] = _flushed(_rounded_half_away(patterns[i]))


@_lanewise
@numba.njit(nogil=True, cache=True)
def _pack_16_bits(patterns, packed):
    for i in range(packed.size):
        bits = patterns[i]
        nan = and32(bits, _MAGNITUDE) > _EXPONENT
        packed[i] = _flushed(or32(and32(bits, _SIGN), _EXPONENT) if nan else bits)


def pack_bfloat16(dst: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    """A destination packed as bfloat16.

    Args:
        dst: contents of the destination; bfloat16 values if it has 16 bits.
        fp32_dest_acc: whether the destination has 32 bits: those round half away.

    NaN becomes infinity of its sign, results with exponent 0 become +0 (negative zero too).
    """
    return (_pack_32_bits if fp32_dest_acc else _pack_16_bits)(dst)


def pack_block_float(
    dst: torch.Tensor, dtype: str, *, six_fraction_bits: bool = True
) -> torch.Tensor:
    """A destination packed as bfloat8_b or bfloat4_b, dequantised.

    Args:
        dst: [..., W] contents of the destination; the last block is padded with zeros.
        dtype: "bfloat8_b" or "bfloat4_b".
        six_fraction_bits: whether the packer first rounds to 6 fraction bits. It does wherever
            TTNN names bfloat8_b as what the packer reads from the destination: for every kernel but
            a typecast to bfloat8_b, where it names the destination's own format.

    A 32-bit destination loses its low 16 bits first. Each magnitude is rounded half away to seven
    bits below the largest exponent of its block and clamped; bfloat4_b keeps the upper three of
    them. A zero has no sign. Values that the format represents exactly stay unchanged.
    """
    width = dst.shape[-1]
    dst = torch.nn.functional.pad(dst, (0, -width % BLOCK))
    bits = _bits(dst) & ~0xFFFF
    if six_fraction_bits:
        bits = (bits + 0x10000) & ~0x1FFFF
    blocks = bits.reshape(*bits.shape[:-1], bits.shape[-1] // BLOCK, BLOCK)
    exponent = (blocks >> 23) & 0xFF
    significand = torch.where(exponent > 0, ((blocks >> 16) & 0x7F) | 0x80, 0)
    shared = exponent.amax(-1, keepdim=True)
    distance = shared - exponent
    near = distance.clamp(max=8)
    magnitude = (significand + (1 << near)) >> (near + 1)
    magnitude = torch.where(distance >= 8, 0, magnitude).clamp(max=127)
    dropped = 7 - BLOCK_FORMAT_BITS[dtype]
    magnitude = (magnitude >> dropped) << dropped
    value = torch.ldexp(magnitude.float(), shared - 127 - 6)
    return torch.where(blocks < 0, -value, value).reshape(dst.shape)[..., :width] + 0.0


def pack(dst: torch.Tensor, dtype: str, fp32_dest_acc: bool) -> torch.Tensor:
    """A destination packed as `dtype`: float32, bfloat16, bfloat8_b or bfloat4_b."""
    if dtype == "float32":
        return dst
    if dtype == "bfloat16":
        return pack_bfloat16(dst, fp32_dest_acc)
    if dtype in BLOCK_FORMAT_BITS:
        return pack_block_float(dst, dtype)
    raise ValueError(f"the packer has no format {dtype!r} here; use float32, bfloat16 or a block")


@numba.njit
def _signed_flush(total):
    """A denormal total becomes a zero of its sign."""
    bits = bits_of(total)
    normal = and32(bits, _EXPONENT) != np.int32(0)
    return float_of(bits if normal else and32(bits, _SIGN))


@numba.njit
def _sum(l1, packed):
    return float_of(_flushed(bits_of(l1))) + float_of(_flushed(bits_of(packed)))


@numba.njit(nogil=True, cache=True)
def _add_float32(l1, packed, total):
    for i in range(total.size):
        total[i] = _signed_flush(_sum(l1[i], packed[i]))


@numba.njit(nogil=True, cache=True)
def _add_bfloat16(l1, packed, total):
    for i in range(total.size):
        bits = bits_of(_sum(l1[i], packed[i]))
        odd = and32(bits >> np.int32(16), np.int32(1))
        even = and32(add32(bits, add32(odd, np.int32(0x7FFF))), _UPPER_HALF)
        nan = and32(bits, _MAGNITUDE) > _EXPONENT
        total[i] = _signed_flush(float_of(np.int32(0x7FC00000) if nan else even))


def add_in_l1(l1: torch.Tensor, packed: torch.Tensor, float32: bool) -> torch.Tensor:
    """Packer L1 accumulation: what lies in L1 plus what is packed, rounded to nearest even.

    Args:
        l1, packed: of shapes that broadcast; bfloat16 values, or float32.
        float32: whether L1 holds float32.
    """
    add = _add_float32 if float32 else _add_bfloat16
    operands = [x.contiguous() for x in torch.broadcast_tensors(l1.float(), packed.float())]
    total = torch.empty_like(operands[0])
    add(*(x.numpy().reshape(-1) for x in (*operands, total)))
    return total

"""What the unpacker and the packer do to values between L1 and the compute units.

All functions take and return float32 tensors of any shape (block formats: [..., W] with W a
multiple of 16); a block format's values are returned dequantised, which is exact in bfloat16.
Rounding "half away" is round to nearest with ties away from zero.

Source: ttsim tensix.cpp (PACR, the early conversions, UNPACR) and the ISA documentation's pages on
the packer's and the unpacker's format conversion.
"""

import torch

from .formats import BLOCK, BLOCK_FORMAT_BITS

_EXPONENT = 0x7F800000
_SIGN = -0x80000000


def _bits(values):
    return values.float().contiguous().view(torch.int32)


def _floats(bits):
    return bits.to(torch.int32).view(torch.float32)


def _is_nan(bits):
    return (bits & 0x7FFFFFFF) > _EXPONENT


def flush_denormals(values):
    """Values whose exponent field is 0 become +0, negative zero too: what the matrix unit sees."""
    bits = _bits(values)
    return _floats(torch.where((bits & _EXPONENT) == 0, 0, bits))


def truncate_to_tf32(values):
    """float32 unpacked to SrcA or SrcB beside a 32-bit destination: the low 13 bits are dropped."""
    return _floats(_bits(values) & ~0x1FFF)


def truncate_to_bfloat16(values):
    """float32 unpacked to SrcA or SrcB beside a 16-bit destination; denormals become +0."""
    return flush_denormals(_floats(_bits(values) & ~0xFFFF))


def round_half_away(values):
    """float32 to bfloat16 values, ties away from zero; NaN and overflow become infinity."""
    bits = _bits(values)
    rounded = (bits + 0x8000) & ~0xFFFF
    special = (bits & _EXPONENT) == _EXPONENT
    return _floats(torch.where(special, (bits & _SIGN) | _EXPONENT, rounded))


def pack_bfloat16(dst, wide):
    """A destination packed as bfloat16.

    Args:
        dst: contents of the destination; bfloat16 values if it has 16 bits.
        wide: whether the destination has 32 bits: those round half away.

    NaN becomes infinity of its sign, results with exponent 0 become +0 (negative zero too).
    """
    if wide:
        return flush_denormals(round_half_away(dst))
    bits = _bits(dst)
    return flush_denormals(torch.where(_is_nan(bits), _floats((bits & _SIGN) | _EXPONENT), dst))


def pack_block_float(dst, dtype, *, six_fraction_bits=True):
    """A destination packed as bfloat8_b or bfloat4_b, dequantised.

    Args:
        dst: [..., W] contents of the destination, W a multiple of 16.
        dtype: "bfloat8_b" or "bfloat4_b".
        six_fraction_bits: whether the packer first rounds to 6 fraction bits.  It does, except in
            a typecast of bfloat16 to bfloat8_b, whose packer reads the destination as bfloat16.

    A 32-bit destination loses its low 16 bits first.  Each magnitude is rounded half away to seven
    bits below the largest exponent of its block and clamped; bfloat4_b keeps the upper three of
    them.  A zero has no sign.
    """
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
    return torch.where(blocks < 0, -value, value).reshape(dst.shape) + 0.0


def pack(dst, dtype, wide):
    """A destination packed as `dtype`: float32, bfloat16, bfloat8_b or bfloat4_b."""
    if dtype == "float32":
        return dst
    if dtype == "bfloat16":
        return pack_bfloat16(dst, wide)
    if dtype in BLOCK_FORMAT_BITS:
        return pack_block_float(dst, dtype)
    raise ValueError(f"the packer has no format {dtype!r} here; use float32, bfloat16 or a block")


def add_in_l1(l1, packed, wide):
    """Packer L1 accumulation: what lies in L1 plus what is packed, rounded to nearest even.

    Args:
        l1, packed: same shape; bfloat16 values, or float32 if `wide`.
        wide: whether L1 holds float32.
    """
    total = flush_denormals(l1) + flush_denormals(packed)
    if not wide:
        total = total.bfloat16().float()
    denormal = (_bits(total) & _EXPONENT) == 0
    return torch.where(denormal, torch.copysign(torch.zeros(()), total), total)

"""Two operands, or one and a scalar, on the vector unit: multiply, add, subtract, divide.

Arguments and results are float32 tensors that broadcast, as they lie in Dst before and after.
Kernel sources: ckernel_sfpu_binary.h and ckernel_sfpu_binop_with_unary.h (Wormhole). `ttnn.add`
and `ttnn.subtract` of 16-bit operands run on the matrix unit instead, unless
`fast_and_approximate_mode=False`; `ttnn.multiply` and `ttnn.divide` run here.
"""

import torch

from ttnn_emulator.arithmetic.exact.vector.vector_roots import reciprocal_lanes
from ttnn_emulator.arithmetic.exact.vector.vector_unit import add as add_lanes
from ttnn_emulator.arithmetic.exact.vector.vector_unit import (
    bits,
    constant,
    copy_sign,
    exponent,
    from_bits,
    is_zero,
    load,
    mad,
    mul,
    on_dest,
    round_to_bf16_even,
    set_exponent,
    store,
    without_denormals,
)

INFINITY = constant(float("inf"))
NAN = constant(float("nan"))


def multiply(a: torch.Tensor, b: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """a*b as `mul_binary_tile` leaves it in Dst: nearest even in either width.

    In a 16-bit Dst, zero times anything is zero, infinity and NaN included. A Python scalar given
    to `ttnn.multiply` arrives here as a tile, rounded to bf16 when the tensor is bf16.
    """
    a, b = without_denormals(a), without_denormals(b)
    product = mul(a, b)
    if fp32_dest_acc:
        return product
    if product.sum().isnan():
        product = torch.where((a == 0) | (b == 0), constant(0.0), product)
    return round_to_bf16_even(product)


def add(a: torch.Tensor, b: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """a+b as binary_ng's `add_binary_tile` leaves it in Dst: nearest even in either width."""
    total = add_lanes(load(a), load(b))
    return store(total if fp32_dest_acc else round_to_bf16_even(total), fp32_dest_acc)


def subtract(a: torch.Tensor, b: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """a-b as binary_ng's `sub_binary_tile` leaves it in Dst: nearest even in either width."""
    return add(a, -b, fp32_dest_acc=fp32_dest_acc)


def _divide_bf16(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    quotient = mul(a, reciprocal_lanes(b, 2))
    by_zero = torch.where(is_zero(a), NAN, copy_sign(INFINITY, a))
    return round_to_bf16_even(torch.where(is_zero(b), by_zero, quotient))


def _divide_fp32(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a_significand = set_exponent(a, torch.full_like(bits(a), 127))
    b_significand = set_exponent(b, torch.full_like(bits(b), 127))
    inverse = reciprocal_lanes(b_significand, 1)
    quotient = mul(a_significand, inverse)
    residual = mad(quotient, -b_significand, a_significand)
    quotient = mad(residual, inverse, quotient)
    # The exponent goes back in two factors, so that overflow and underflow are the unit's own.
    power = exponent(a) - exponent(b) + 127 + exponent(quotient)
    half = (power >> 1) & 0x7FFFFFFF
    ones = torch.full_like(quotient, 1.0)
    result = mul(set_exponent(quotient, half), set_exponent(ones, power - half))
    # Zeros, infinities and NaNs: multiply by the divisor's inverted exponent.
    scale = from_bits((bits(b) & -0x800000) ^ 0x7F800000)
    special = torch.where(b.isnan(), b, mul(a, scale))
    ordinary = ~is_zero(a) & ~is_zero(b) & a.isfinite() & b.isfinite()
    return torch.where(ordinary, result, special)


def divide(a: torch.Tensor, b: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """a/b as `div_binary_tile` leaves it in Dst.

    16-bit: a times the reciprocal of two Newton steps, nearest even; x/0 is infinity of x's sign,
    0/0 NaN. 32-bit: one Newton step and a residual correction.
    """
    a, b = torch.broadcast_tensors(load(a), load(b))
    divide_lanes = _divide_fp32 if fp32_dest_acc else _divide_bf16
    return store(divide_lanes(a, b), fp32_dest_acc)


def multiply_by_scalar(
    x: torch.Tensor, scalar: float, *, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """x*scalar as `mul_unary_tile` leaves it in Dst: a 16-bit Dst truncates, nothing rounds.

    The scalar is float32. rms_norm multiplies the sum of squares by 1/W this way (numeric.h).
    """
    return on_dest(mul, x, float(scalar), fp32_dest_acc=fp32_dest_acc)


def add_scalar(x: torch.Tensor, scalar: float, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """x+scalar as `add_unary_tile` leaves it in Dst: a 16-bit Dst truncates, nothing rounds."""
    return on_dest(add_lanes, x, float(scalar), fp32_dest_acc=fp32_dest_acc)

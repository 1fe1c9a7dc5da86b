"""Short functions on the vector unit, and the steps that longer ones share.

Arguments and results of functions are float32 tensors of any shape, as they lie in Dst before and
after; those of steps are lanes. In a 16-bit Dst most kernels round to bf16 themselves; where one
does not, the store truncates. Kernel sources are ckernel_sfpu_<name>.h of Wormhole unless another
is named.
"""

from collections.abc import Callable

import torch

from ttnn_emulator.arithmetic.exact.vector.vector_unit import (
    Function,
    Lanes,
    add,
    bits,
    choose,
    constant,
    copy_sign,
    exponent,
    flush,
    from_bits,
    is_zero,
    mad,
    maximum,
    minimum,
    mul,
    on_dest,
    round_to_bf16,
    round_to_bf16_even,
    round_to_integer,
    set_exponent,
    store,
)

INFINITY = constant(float("inf"))
NAN = constant(float("nan"))
ZERO = constant(0.0)

# --- steps ---------------------------------------------------------------------------------------


def _is_immediate(c: Lanes) -> bool:
    """Whether the compiler adds a constant by SFPADDI: bf16, and not one of a constant register."""
    if isinstance(c, torch.Tensor) or c in (0.0, 1.0, -1.0):
        return False
    return (int(bits(constant(c))) & 0xFFFF) == 0


def evaluate(x: torch.Tensor, *coefficients: float) -> torch.Tensor:
    """Horner's scheme as compiled from PolynomialEvaluator::eval, from the constant term up.

    As `polynomial` of `vector_unit`, but for constants of bf16: the compiler makes an SFPADDI of
    them before it looks for products to join (gimple-rvtt-combine.cc of sfpi-gcc), so that such a
    step rounds twice.
    """
    *lower, highest = coefficients
    result: Lanes = highest
    for coefficient in reversed(lower):
        if _is_immediate(coefficient):
            result = add(mul(result, x), coefficient)
        else:
            result = mad(result, x, coefficient)
    assert isinstance(result, torch.Tensor)  # there are at least two coefficients
    return result


def below(x: torch.Tensor, limit: Lanes) -> torch.Tensor:
    """x < limit, by the sign of the difference (SFPSETCC): a NaN as its sign says."""
    return bits(add(x, -limit)) < 0


def above(x: torch.Tensor, limit: Lanes) -> torch.Tensor:
    """x > limit, by the sign of the difference (SFPSETCC): a NaN as its sign says."""
    difference = add(x, -limit)
    return (bits(difference) >= 0) & (difference != 0)


def for_dest(x: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    """`x`, rounded to bf16 as most kernels do before they store it in a 16-bit Dst."""
    return x if fp32_dest_acc else round_to_bf16(x)


def followed(lanes: Function) -> Function:
    """From Dst to Dst, the function of lanes `lanes(x, fp32_dest_acc, *numbers)`."""

    def in_dest(x: torch.Tensor, *numbers: float, fp32_dest_acc: bool = False) -> torch.Tensor:
        given = (float(number) for number in numbers)
        return on_dest(lanes, x, fp32_dest_acc, *given, fp32_dest_acc=fp32_dest_acc)

    in_dest.__name__ = lanes.__name__.lstrip("_")
    return in_dest


def followed_fast(lanes: Function) -> Function:
    """As `followed`, of `lanes(x, fp32_dest_acc, approximate, *numbers)`."""

    def in_dest(
        x: torch.Tensor,
        *numbers: float,
        approximate: bool = False,
        fp32_dest_acc: bool = False,
    ) -> torch.Tensor:
        given = (float(number) for number in numbers)
        return on_dest(lanes, x, fp32_dest_acc, approximate, *given, fp32_dest_acc=fp32_dest_acc)

    in_dest.__name__ = lanes.__name__.lstrip("_")
    return in_dest


def signed_integer(x: torch.Tensor, largest: int) -> torch.Tensor:
    """`round_to_integer` with the sign of `x`, as the modes INT8 and INT16 keep it: int32."""
    magnitude = round_to_integer(x, largest)
    return torch.where(bits(x) < 0, -magnitude, magnitude)


def add_exponent(x: torch.Tensor, power: int) -> torch.Tensor:
    """`x` with `power` added to its exponent field, modulo 256; not of infinities (SFPDIVP2)."""
    return torch.where(exponent(x) == 255, x, set_exponent(x, exponent(x) + power))


def truncated(x: torch.Tensor) -> torch.Tensor:
    """The integer part of lanes: fraction bits cleared (_trunc_body_, sfpu_rounding_ops.h)."""
    kept = (23 - (exponent(x) - 127)).clamp(0, 31)
    integer = from_bits(bits(x) & (torch.full_like(bits(x), -1) << kept))
    return torch.where(exponent(x) < 127, copy_sign(ZERO, x), integer)


def floored(x: torch.Tensor) -> torch.Tensor:
    """The largest integer that is not above each lane (_floor_body_, sfpu_rounding_ops.h)."""
    integer = truncated(x)
    return torch.where((bits(x) < 0) & (integer != x), add(integer, -1.0), integer)


# --- of a few instructions -----------------------------------------------------------------------


def negate(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """-x, exact."""
    return on_dest(torch.neg, x, fp32_dest_acc=fp32_dest_acc)


def absolute(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """|x|, exact."""
    return on_dest(torch.abs, x, fp32_dest_acc=fp32_dest_acc)


def _square_bf16(x: torch.Tensor) -> torch.Tensor:
    return round_to_bf16_even(mul(x, x))


def _square_fp32(x: torch.Tensor) -> torch.Tensor:
    return mul(x, x)


def square(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """x*x as `square_tile` leaves it in Dst: nearest even in either width.

    rms_norm squares this way only where a row does not fit in L1 (layernorm_large_tensor.cpp);
    otherwise its matrix unit multiplies (layernorm.cpp).
    """
    return choose(_square_bf16, _square_fp32, x, fp32_dest_acc)


def fill(x: torch.Tensor, value: float, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """One number everywhere; a 16-bit Dst cuts it, no instruction rounds (ckernel_sfpu_fill.h)."""
    return store(torch.full_like(x, value), fp32_dest_acc)


# --- of a number and a few instructions ----------------------------------------------------------
# None of these rounds: a 16-bit Dst truncates.


def _round(x: torch.Tensor, fp32: bool, decimals: float = 0.0) -> torch.Tensor:
    """x to so many decimals, ties to even, by a power of ten and its inverse (rounding_ops.h)."""
    scale, inverse = (flush(constant(_power_of_ten(int(n)))) for n in (decimals, -decimals))
    scaled = mul(x, scale)
    even = add(add(scaled.abs(), 8388608.0), -8388608.0)  # 2**23: no fraction is left
    even = torch.where(exponent(scaled) < 127 + 23, copy_sign(even, scaled), scaled)
    return mul(inverse, even)


def _power_of_ten(power: int) -> float:
    if power > 38:
        return float("inf")
    return 0.0 if power < -45 else float(f"1e{power}")


def _leaky_relu(x: torch.Tensor, fp32: bool, slope: float) -> torch.Tensor:
    """x, times `slope` below zero (ckernel_sfpu_relu.h, ckernel_sfpu_prelu.h)."""
    return torch.where(bits(x) < 0, mul(x, slope), x)


def _sign(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """1 with x's sign, 0 of a zero; a NaN goes by its sign."""
    return torch.where(is_zero(x), ZERO, copy_sign(constant(1.0), x))


LARGEST = float.fromhex("0x1.fffffep127")  # what the host sends in place of a bound that is None


def _clamp(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return minimum(maximum(x, low), high)


def clamp(
    x: torch.Tensor,
    low: float | None = -1.0,
    high: float | None = 1.0,
    *,
    fp32_dest_acc: bool = False,
) -> torch.Tensor:
    """x between two numbers (SFPSWAP, ckernel_sfpu_clamp.h); a 16-bit Dst cuts the numbers."""
    low = -LARGEST if low is None else float(low)
    high = LARGEST if high is None else float(high)
    return on_dest(_clamp, x, low, high, fp32_dest_acc=fp32_dest_acc)


def _relu_max(x: torch.Tensor, fp32: bool, upper: float = 6.0) -> torch.Tensor:
    """x between 0 and a number, by comparisons: a NaN is above it (ckernel_sfpu_relu.h)."""
    x = torch.where(above(x, upper), constant(upper), x)
    return torch.where(bits(x) < 0, ZERO, x)


def _relu_min(x: torch.Tensor, fp32: bool, lower: float) -> torch.Tensor:
    """The larger of x and a number (SFPSWAP, sfpu/ckernel_sfpu_relu.h)."""
    return maximum(x, lower)


def _threshold(x: torch.Tensor, fp32: bool, limit: float, value: float) -> torch.Tensor:
    """x, up to a limit a number (sfpu/ckernel_sfpu_threshold.h)."""
    return torch.where(above(x, limit), x, constant(value))


def _heaviside(x: torch.Tensor, fp32: bool, value: float) -> torch.Tensor:
    """0 below zero, 1 above, `value` at it; a NaN goes by its sign."""
    return torch.where(is_zero(x), constant(value), add(copy_sign(constant(0.5), x), 0.5))


FOLLOWED: dict[str, Callable[..., torch.Tensor]] = {
    "abs": absolute,
    "clamp": clamp,
    "fill": fill,
    "heaviside": followed(_heaviside),
    "leaky_relu": followed(_leaky_relu),
    "neg": negate,
    "relu6": followed(_relu_max),
    "relu_max": followed(_relu_max),
    "relu_min": followed(_relu_min),
    "round": followed(_round),
    "sign": followed(_sign),
    "square": square,
    "threshold": followed(_threshold),
}

"""Trigonometric and hyperbolic functions and their inverses on the vector unit.

Arguments and results of functions are float32 tensors of any shape, as they lie in Dst before and
after; those of functions that end in `_lanes` are lanes. All steps are those of
ckernel_sfpu_trigonometry.h of Wormhole unless another file is named.
"""

import torch

from ttnn_emulator.arithmetic.exact.vector.vector_functions import (
    INFINITY,
    NAN,
    ZERO,
    above,
    below,
    followed,
    for_dest,
)
from ttnn_emulator.arithmetic.exact.vector.vector_logarithms import (
    EXPM1_BF16,
    EXPM1_FP32,
    LN2,
    LN2_LOWER,
    LN2_UPPER,
    ONE_OVER_LN2,
    log1p_lanes,
)
from ttnn_emulator.arithmetic.exact.vector.vector_roots import (
    accurate_root_lanes,
    newton_root_lanes,
    reciprocal_lanes,
    sqrt_custom_lanes,
)
from ttnn_emulator.arithmetic.exact.vector.vector_unit import (
    add,
    bits,
    constant,
    copy_sign,
    exponent,
    from_bits,
    mad,
    mul,
    polynomial,
    round_to_integer,
    store,
)

_ROUNDING = 12582912.0  # 1.5 * 2**23: adding it leaves a rounded integer in the low bits
_ONE_OVER_PI = 0.31830987334251404
_TWO_OVER_PI = 0.6366197466850281
HALF_PI = 1.5707963705062866
# -pi and -pi/2 in four parts.
_PI_PARTS = ("-0x1.92p+1", "-0x1.fbp-11", "-0x1.51p-21", "-0x1.0b4612p-33")
_HALF_PI_PARTS = ("-0x1.92p+0", "-0x1.fbp-12", "-0x1.51p-22", "-0x1.0b4612p-34")


def _hex(*numbers: str) -> tuple[float, ...]:
    return tuple(float.fromhex(number) for number in numbers)


def _reduced(x: torch.Tensor, turns: torch.Tensor, parts: tuple[str, ...]) -> torch.Tensor:
    for part in _hex(*parts):
        x = mad(turns, part, x)
    return x


# --- sine, cosine, tangent -----------------------------------------------------------------------

SINE_SERIES = {  # coefficients of a**2 in (sin(a) - a) / a**3
    False: _hex("-0x1.5554a4p-3", "0x1.10c2a2p-7", "-0x1.8b10a4p-13"),
    True: _hex("-0x1.55554cp-3", "0x1.110edap-7", "-0x1.9f70fp-13", "0x1.5dc908p-19"),
}


def _sine_of_turns(a: torch.Tensor, parity: torch.Tensor, fp32: bool) -> torch.Tensor:
    s = mul(a, a)
    a = from_bits(bits(a) ^ (parity << 31))
    return for_dest(mad(polynomial(s, *SINE_SERIES[fp32]), mul(a, s), a), fp32)


def _sin(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    turns = mad(x, _ONE_OVER_PI, _ROUNDING)
    parity = bits(turns)
    return _sine_of_turns(_reduced(x, add(turns, -_ROUNDING), _PI_PARTS), parity, fp32)


def _cos(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    turns = add(mad(x, _ONE_OVER_PI, 0.5), _ROUNDING)
    parity = bits(turns)
    turns = mad(add(turns, -_ROUNDING), 2.0, -1.0)
    return _sine_of_turns(_reduced(x, turns, _HALF_PI_PARTS), parity, fp32)


_TANGENT = {  # coefficients of a**2 in (tan(a) - a) / a**3
    False: _hex("0x1.55953p-2", "0x1.02b98p-3", "0x1.4f1f4ep-4"),
    True: _hex(
        "0x1.555556p-2",
        "0x1.111072p-3",
        "0x1.ba5716p-5",
        "0x1.620abcp-6",
        "0x1.4787dp-7",
        "0x1.2b404p-10",
        "0x1.fa9f82p-9",
    ),
}
_SEED = (2.121212482452392578125, 1.4545459747314453125, 0.3232325017452239990234375)


def _minus_inverse(r: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """-1/r by one Newton step, and what to scale it by; both as the tangent uses them."""
    negative = from_bits((bits(r) & 0x7FFFFF) | bits(constant(-1.0)))
    t = polynomial(negative, *_SEED)
    scale = mul(from_bits(~bits(r) & -0x800000), 0.5)
    return mad(t, mad(negative, t, 1.0), t), scale


def _tan(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    turns = mad(x, _TWO_OVER_PI, _ROUNDING)
    odd = (bits(turns) & 1) != 0
    a = _reduced(x, add(turns, -_ROUNDING), _HALF_PI_PARTS)
    s = mul(a, a)
    t = mul(polynomial(s, *_TANGENT[fp32]), s)
    r = mad(t, a, a)
    inverse, scale = _minus_inverse(r)
    inverse = mul(inverse, scale)
    if fp32:  # what r has lost corrects its inverse
        lost = mad(t, a, mad(-1.0, r, a))
        error = mad(lost, inverse, mad(r, inverse, 1.0))
        inverse = mad(error, inverse, inverse)
    return for_dest(torch.where(odd, inverse, r), fp32)


# --- inverse functions ---------------------------------------------------------------------------

_MINUS_RECIPROCAL_MAGIC = 0xFEF392E0 - (1 << 32)


def positive_reciprocal_lanes(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """1/x of positive lanes by an integer seed (_sfpu_reciprocal_gt0_)."""
    y = from_bits(_MINUS_RECIPROCAL_MAGIC - bits(x))
    e = mad(x, y, 1.0)
    if fp32:
        y = mad(y, e, y)
        e = mad(x, y, 1.0)
    return mad(-y, mad(e, e, e), -y)


_ARCTANGENT = (
    0.999787867069244384765625,
    -0.325808584690093994140625,
    0.1555790007114410400390625,
    -4.4326744973659515380859375e-2,
)
_ARCTANGENT_FP32 = _hex(
    "-0x1.555552p-2",
    "0x1.999384p-3",
    "-0x1.24p-3",
    "0x1.bd4p-4",
    "-0x1.48cp-4",
    "0x1.93p-5",
    "-0x1.4bcp-6",
    "0x1.01cp-8",
)


def _atan_bf16(x: torch.Tensor) -> torch.Tensor:
    magnitude = x.abs()
    beyond_one = bits(add(magnitude, -1.0)) >= 0
    t = torch.where(beyond_one, reciprocal_lanes(magnitude, 2), magnitude)
    result = mul(polynomial(mul(t, t), *_ARCTANGENT), t)
    result = torch.where(beyond_one, add(HALF_PI, -result), result)
    return torch.where(x.isnan(), NAN, copy_sign(result, x))


def _atan_fp32(x: torch.Tensor) -> torch.Tensor:
    magnitude = from_bits(bits(x) & 0x7FFFFFFF)
    power = exponent(magnitude) - 127
    far = mul(from_bits(bits(magnitude) - 1), 0.0)  # zero, or NaN of a NaN
    a = torch.where(power < 26, positive_reciprocal_lanes(magnitude, fp32=True), far)
    a = torch.where(power >= 0, a, magnitude)
    s = mul(a, a)
    result = mad(polynomial(s, *_ARCTANGENT_FP32), mul(s, a), a)
    result = torch.where(power >= 0, add(HALF_PI, -result), result)
    return copy_sign(result, x)


def _atan(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    return _atan_fp32(x) if fp32 else for_dest(_atan_bf16(x), fp32)


_ARCSINE = (
    0.999978601932525634765625,
    0.16771225631237030029296875,
    0.06381262838840484619140625,
    0.083148844540119171142578125,
)


def _asin_bf16(x: torch.Tensor) -> torch.Tensor:
    magnitude = x.abs()
    near_one = bits(add(magnitude, -0.625)) >= 0
    z = torch.where(near_one, sqrt_custom_lanes(mul(add(1.0, -magnitude), 0.5), 2), magnitude)
    result = mul(z, polynomial(mul(z, z), *_ARCSINE))
    result = torch.where(near_one, add(HALF_PI, -mul(2.0, result)), result)
    return copy_sign(result, x)


_ARCSINE_FP32 = _hex("0x1.55578cp-3", "0x1.329a74p-4", "0x1.7dcp-5", "0x1.364p-6", "0x1.9e0000p-5")
_ARCCOSINE_FP32 = _hex(
    "0x1.555552p-3", "0x1.33411ep-4", "0x1.6acp-5", "0x1.158p-5", "0x1.ca0000p-8", "0x1.830p-5"
)


def _asin_fp32(x: torch.Tensor) -> torch.Tensor:
    magnitude = x.abs()
    half = mul(add(1.0, -magnitude), 0.5)
    near_one = bits(add(magnitude, -0.5625)) >= 0
    z = torch.where(near_one, accurate_root_lanes(half), magnitude)
    s = mul(z, z)
    result = mad(mul(polynomial(s, *_ARCSINE_FP32), s), z, z)
    result = copy_sign(torch.where(near_one, mad(-2.0, result, HALF_PI), result), x)
    return torch.where(bits(half) < 0, NAN, result)


def _acos_fp32(x: torch.Tensor) -> torch.Tensor:
    magnitude = x.abs()
    half = mul(add(1.0, -magnitude), 0.5)
    t = add(magnitude, -0.5625)
    near_one = bits(t) >= 0
    z = torch.where(near_one, accurate_root_lanes(half), magnitude)
    s = mul(z, z)
    p = mul(polynomial(s, *_ARCCOSINE_FP32), s)
    z = copy_sign(z, from_bits(bits(x) ^ bits(t)))
    result = mad(p, z, z)
    result = torch.where((bits(z) | bits(t)) < 0, add(result, HALF_PI), result)
    result = torch.where(near_one, add(result, result), result)
    return torch.where(bits(half) < 0, NAN, result)


def _outside(x: torch.Tensor) -> torch.Tensor:
    return above(x.abs(), 1.0) | x.isnan()


def _asin(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    if fp32:
        return _asin_fp32(x)
    return for_dest(torch.where(_outside(x), NAN, _asin_bf16(x)), fp32)


def _acos(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    if fp32:
        return _acos_fp32(x)
    return for_dest(torch.where(_outside(x), NAN, add(HALF_PI, -_asin_bf16(x))), fp32)


# --- hyperbolic functions ------------------------------------------------------------------------

_EXP_BF16 = (1.0, 0.999963462, 0.500122011, 0.168174848, 0.038877178)
_EXP_FP32 = (1.0, 1.0, 4.99999851e-1, 1.66664720e-1, 4.16695364e-2, 8.37312452e-3, 1.37805939e-3)


def _turns_of_ln2(x: torch.Tensor, fp32: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """|x| in turns of ln 2, at most 255 (int32), and what is left over."""
    turns = round_to_integer(mul(x, ONE_OVER_LN2), 255)
    j, magnitude = turns.to(torch.float32), x.abs()
    if fp32:
        return turns, mad(j, -LN2_LOWER, mad(j, -LN2_UPPER, magnitude))
    return turns, mad(j, -LN2, magnitude)


def _cosh(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """Half of t + 1/t with t = e**|x|, of which a quarter is computed so that it is finite."""
    turns, f = _turns_of_ln2(x, fp32)
    r = polynomial(f, *(_EXP_FP32 if fp32 else _EXP_BF16))
    scaled = mul(r, from_bits((turns + 125) << 23))
    quarter = torch.where(turns + 125 < 255, scaled, mul(x.abs(), float("inf")))
    inverse = mul(positive_reciprocal_lanes(quarter, fp32), 0.125)
    result = add(quarter, quarter)
    result = torch.where(exponent(quarter) < 127 + 24, add(result, inverse), result)
    return for_dest(result, fp32)


def _sinh(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """Half of t + t / (t + 1) with t = e**|x| - 1, of which a quarter is computed."""
    turns, f = _turns_of_ln2(x, fp32)
    r = mad(polynomial(f, *(EXPM1_FP32 if fp32 else EXPM1_BF16)), mul(f, f), f)
    scale = from_bits((turns << 23) + bits(constant(0.25)))
    scaled = mad(r, scale, add(scale, -0.25))
    quarter = torch.where(turns < 130, scaled, mul(x.abs(), float("inf")))
    inverse = positive_reciprocal_lanes(mad(4.0, quarter, 1.0), fp32)
    half = add(quarter, quarter)
    power = exponent(quarter) - 127
    result = torch.where(power < 23, mad(half, inverse, half), half)
    result = torch.where(power >= -27, result, x)
    return for_dest(copy_sign(result, x), fp32)


# --- inverse hyperbolic functions ----------------------------------------------------------------

_LARGE = 2.0**28
_LN2 = 0.6931471805599453
_AREA_SINE = (
    1.000000000e00,
    -1.666652262e-01,
    7.495806366e-02,
    -4.417778924e-02,
    2.785361186e-02,
    -1.484858524e-02,
    4.375355784e-03,
)


def _log1p_by_dest(argument: torch.Tensor, fp32: bool) -> torch.Tensor:
    """log(1 + x) of an argument that was stored in Dst and loaded again, which may cut it."""
    return log1p_lanes(store(argument, fp32), fp32)


def _asinh(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    magnitude, square = x.abs(), mul(x, x)
    large = bits(add(magnitude, -_LARGE)) >= 0
    small = below(magnitude, 0.75)
    root = newton_root_lanes(mad(x, x, 1.0), 3 if fp32 else 2)
    inverse = positive_reciprocal_lanes(add(1.0, root), fp32)
    argument = torch.where(small, ZERO, mad(square, inverse, magnitude))
    argument = torch.where(large, add(magnitude, -1.0), argument)
    result = _log1p_by_dest(argument, fp32)
    result = torch.where(large, add(result, _LN2), result)
    result = torch.where(small, mul(magnitude, polynomial(square, *_AREA_SINE)), result)
    return for_dest(copy_sign(result, x), fp32)


def _acosh(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    large = bits(add(x, -_LARGE)) >= 0
    less_one = add(x, -1.0)
    root = newton_root_lanes(mul(add(x, 1.0), less_one), 3 if fp32 else 2)
    argument = torch.where(large, less_one, add(less_one, root))
    result = _log1p_by_dest(argument, fp32)
    result = torch.where(large, add(result, _LN2), result)
    result = torch.where(below(x, 1.0), NAN, result)
    return for_dest(torch.where(less_one == 0, ZERO, result), fp32)


def _atanh(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    magnitude = x.abs()
    a = torch.where(bits(add(magnitude, -1.0)) >= 0, ZERO, magnitude)
    inverse = positive_reciprocal_lanes(add(1.0, -a), fp32)
    result = _log1p_by_dest(mul(add(a, a), inverse), fp32)
    result = copy_sign(mul(0.5, result), x)
    result = torch.where(magnitude == 1.0, copy_sign(INFINITY, x), result)
    return for_dest(torch.where(above(magnitude, 1.0), NAN, result), fp32)


# --- in Dst --------------------------------------------------------------------------------------

sin = followed(_sin)
cos = followed(_cos)

FOLLOWED = {
    "acos": followed(_acos),
    "acosh": followed(_acosh),
    "asin": followed(_asin),
    "asinh": followed(_asinh),
    "atan": followed(_atan),
    "atanh": followed(_atanh),
    "cos": cos,
    "cosh": followed(_cosh),
    "sin": sin,
    "sinh": followed(_sinh),
    "tan": followed(_tan),
}

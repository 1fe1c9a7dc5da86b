"""Logarithms on the vector unit, powers of two, and the exponential less one.

Arguments and results of functions are float32 tensors of any shape, as they lie in Dst before and
after; those of functions that end in `_lanes` are lanes. Kernel sources are ckernel_sfpu_<name>.h
of Wormhole unless another is named.
"""

import torch

from ttnn_emulator.arithmetic.exact.vector.vector_exponential import exp2_21f
from ttnn_emulator.arithmetic.exact.vector.vector_functions import (
    INFINITY,
    NAN,
    ZERO,
    evaluate,
    followed,
    followed_fast,
    for_dest,
    signed_integer,
)
from ttnn_emulator.arithmetic.exact.vector.vector_unit import (
    add,
    bits,
    constant,
    copy_sign,
    exponent,
    from_bits,
    is_zero,
    mad,
    maximum,
    minimum,
    mul,
    polynomial,
    round_to_bf16,
    set_exponent,
)

# log(1 + m) = m + m**2 * P(m) for m in [-1/4, 1/2), of P from the constant term up.
_LOG_BF16 = (float.fromhex("-0x1.008p-1"), float.fromhex("0x1.744p-2"), -0.25)
_LOG_FP32 = (
    -0.5,
    *(
        float.fromhex(c)
        for c in (
            "0x1.555572p-2",
            "-0x1.00001ap-2",
            "0x1.998p-3",
            "-0x1.55p-3",
            "0x1.274p-3",
            "-0x1.0c4p-3",
            "0x1.b84p-4",
            "-0x1.92cp-5",
        )
    ),
)
# ln 2 for an exponent that is counted in units of the pattern, 2**23 for each power of two.
_LN2_OF_PATTERN = (constant(0.693147182) * constant(1.19209290e-7)).item()
_THREE_QUARTERS = int(bits(constant(0.75)))
_SIGN_AND_EXPONENT = -0x800000


def _powers_of_two(x: torch.Tensor) -> torch.Tensor:
    """k * 2**23 as int32, where 2**-k * x lies in [3/4, 3/2)."""
    return (bits(x) - _THREE_QUARTERS) & _SIGN_AND_EXPONENT


def _as_float(powers: torch.Tensor) -> torch.Tensor:
    return copy_sign(powers.abs().to(torch.float32), from_bits(powers))


def log_lanes(
    x: torch.Tensor,
    fp32: bool,
    *,
    fast: bool = False,
    scale: float | None = None,
    base_two: bool = False,
) -> torch.Tensor:
    """The logarithm of lanes (calculate_log_body, ckernel_sfpu_log.h), not rounded.

    Args:
        x: lanes.
        fp32: with eight terms instead of three.
        fast: without making -0 to +0 first, so that its logarithm is NaN.
        scale: 1 / ln(base), or None for e.
        base_two: `scale` multiplies what is beside the exponent only, so powers of two are exact.
    """
    powers = _powers_of_two(x)
    m = add(from_bits(bits(x) - powers), -1.0)
    r = polynomial(m, *(_LOG_FP32 if fp32 else _LOG_BF16))
    r = mad(r, mul(m, m), m)
    k = _as_float(powers)
    if base_two and scale is not None:
        result = mad(r, scale, mul(k, 2.0**-23))
    else:
        result = mad(k, _LN2_OF_PATTERN, r)
        result = result if scale is None else mul(result, scale)
    result = torch.where(is_zero(x), -INFINITY, result)
    result = torch.where(x == float("inf"), INFINITY, result)
    below_zero = bits(x) < 0 if fast else x < 0
    return torch.where(below_zero | x.isnan(), NAN, result)


_LOG2_SCALE = from_bits(torch.tensor(0x3FB8AA3B)).item()
_LOG10_SCALE = from_bits(torch.tensor(0x3EDE5BD9)).item()


def _log(x: torch.Tensor, fp32: bool, fast: bool) -> torch.Tensor:
    return for_dest(log_lanes(x, fp32, fast=fast), fp32)


def _log2(x: torch.Tensor, fp32: bool, fast: bool) -> torch.Tensor:
    return for_dest(log_lanes(x, fp32, fast=fast, scale=_LOG2_SCALE, base_two=True), fp32)


def _log10(x: torch.Tensor, fp32: bool, fast: bool) -> torch.Tensor:
    return for_dest(log_lanes(x, fp32, fast=fast, scale=_LOG10_SCALE), fp32)


log = followed_fast(_log)


def log1p_lanes(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """log(1 + x) of lanes (calculate_log1p_fp32, ckernel_sfpu_log1p.h), not rounded."""
    u = add(x, 1.0)
    powers = _powers_of_two(u)
    m = from_bits(bits(x) - powers)
    less_one = mad(-0.25, from_bits(bits(constant(-4.0)) - powers), -1.0)  # 2**-k - 1
    m = add(m, less_one)
    r = evaluate(m, *_LOG_FP32) if fp32 else polynomial(m, *_LOG_BF16)
    r = mad(_as_float(powers), _LN2_OF_PATTERN, mad(r, mul(m, m), m))
    r = torch.where(bits(u) >= int(bits(INFINITY)), u, r)
    return torch.where(bits(u) < 0, NAN, r)


def _log1p(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    return for_dest(log1p_lanes(x, fp32), fp32)


def log_without_init_lanes(x: torch.Tensor) -> torch.Tensor:
    """Natural logarithm of positive lanes to about 12 bits (_calculate_log_body_no_init_).

    The third power series of lgamma's and digamma's kernels (sfpu/ckernel_sfpu_log.h).
    """
    power = (exponent(x) - 127).to(torch.float32)
    result = mad(power, 0.692871, log_series(x))
    return torch.where(is_zero(x), -INFINITY, result)


_LOG_SERIES = tuple(
    float.fromhex(c) for c in ("-0x1.952992p+0", "0x2.4f5388p+0", "-0xd.e712ap-4", "0x2.44734p-4")
)


def log_series(x: torch.Tensor) -> torch.Tensor:
    """log(m) of the significand m in [1, 2) of lanes, by a polynomial of degree 3."""
    return polynomial(set_exponent(x.abs(), torch.full_like(bits(x), 127)), *_LOG_SERIES)


# --- 2**x ----------------------------------------------------------------------------------------


def _exp2_bf16(x: torch.Tensor) -> torch.Tensor:
    return round_to_bf16(exp2_21f(minimum(maximum(add(x, 127.0), 0.0), 255.0)))


_EXP2_FP32 = tuple(
    float.fromhex(c)
    for c in (
        "0x1p+0",
        "0x1.62e42ep-1",
        "0x1.ebfba0p-3",
        "0x1.c6afd8p-5",
        "0x1.3b4p-7",
        "0x1.5f4p-10",
        "0x1.41cp-13",
    )
)


def _exp2_fp32(x: torch.Tensor) -> torch.Tensor:
    whole = signed_integer(x, 32767)
    f = add(x, -whole.to(torch.float32))
    overflow = mul(polynomial(f, *_EXP2_FP32[3:]), float("inf"))
    r = polynomial(f, *_EXP2_FP32)
    power = exponent(r) + whole
    result = torch.where(power < 255, set_exponent(r, power), overflow)
    result = torch.where(power < 1, ZERO, result)
    return torch.where(x.isnan() & (bits(x) < 0), overflow, result)


def _exp2(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    return _exp2_fp32(x) if fp32 else _exp2_bf16(x)


# --- e**x - 1 ------------------------------------------------------------------------------------

ONE_OVER_LN2 = 1.442695
LN2 = 0.6931471805599453
LN2_UPPER, LN2_LOWER = 0.693145752, 1.42860677e-6
_ROUNDING = 12582912.0  # 1.5 * 2**23: adding it leaves a rounded integer in the low bits
# (e**f - 1 - f) / f**2
EXPM1_BF16 = (0.5, 1.666259766e-01, 4.177856445e-02, 8.361816406e-03)
EXPM1_FP32 = (
    4.999999702e-1,  # the largest float32 below 1/2
    1.666667163e-1,
    4.166680202e-2,
    8.333439939e-3,
    1.393107930e-3,
    1.974105835e-04,
)


def _beyond(turns: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    """Half of e**x - 1 where e**x is outside the range of float32, by its power of two less 2."""
    tail = signed_integer(turns.abs(), 127)
    far = torch.where(bits(turns) < 0, constant(-0.5), mul(turns, float("inf")))
    return torch.where(tail >= 127, far, result)


def _expm1_bf16(x: torch.Tensor) -> torch.Tensor:
    rounded = mad(ONE_OVER_LN2, x, _ROUNDING)
    j = add(rounded, -_ROUNDING)
    f = mad(j, -LN2, x)
    r = mad(polynomial(f, *EXPM1_BF16), mul(f, f), f)
    scale = from_bits((bits(rounded) << 23) + bits(constant(0.5)))
    half = _beyond(add(j, -2.0), mad(scale, r, add(scale, -0.5)))
    return round_to_bf16(torch.where(j != 0, mul(half, 2.0), r))


def _expm1_fp32(x: torch.Tensor) -> torch.Tensor:
    rounded = mad(ONE_OVER_LN2, x, _ROUNDING)
    j = add(rounded, -_ROUNDING)
    f = mad(j, -LN2_LOWER, mad(j, -LN2_UPPER, x))
    less_one = add(j, -1.0)
    u = torch.where(less_one == 0, add(f, 0.5), f)
    r = mad(polynomial(f, *EXPM1_FP32), mul(f, f), u)
    scale = from_bits((bits(rounded) << 23) + bits(constant(0.5)))
    upper = add(scale, -0.5)
    lower = add(add(scale, -upper), -0.5)
    half = _beyond(add(less_one, -1.0), add(mad(r, scale, lower), upper))
    half = torch.where(less_one == 0, r, half)
    return torch.where(j != 0, mul(half, 2.0), r)


def _expm1(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    return _expm1_fp32(x) if fp32 else _expm1_bf16(x)


_CLAMPED_FACTOR = {  # (e**r - 1) / r
    False: (1.0, 4.9999371171e-01, 1.6666433215e-01, 4.1875664145e-02, 8.3751315251e-03),
    True: (
        1.0,
        5.0000000000e-01,
        1.6666504741e-01,
        4.1666239500e-02,
        8.3691505715e-03,
        1.3948583510e-03,
    ),
}


def expm1_clamped_lanes(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """e**x - 1 of lanes from -87 on (expm1_cw_clamped, sfpu/ckernel_sfpu_expm1_cw.h)."""
    x = maximum(x, -87.0)
    rounded = add(mul(x, 1.4426950408889634), _ROUNDING)
    k = add(rounded, -_ROUNDING)
    r = mad(k, -3.19461832987e-05, mad(k, -0.6931152343750000, x))
    h = mul(r, evaluate(r, *_CLAMPED_FACTOR[fp32]))
    power = set_exponent(torch.ones_like(x), bits(rounded) - 0x4B3FFF81)
    return mad(power, h, add(power, -1.0))


FOLLOWED = {
    "exp2": followed(_exp2),
    "expm1": followed(_expm1),
    "log": log,
    "log10": followed_fast(_log10),
    "log1p": followed(_log1p),
    "log2": followed_fast(_log2),
}

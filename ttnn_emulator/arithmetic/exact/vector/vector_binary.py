"""Two or three operands, or one and scalars, on the vector unit.

Arguments and results are float32 tensors that broadcast, as they lie in Dst before and after.
Kernel sources: ckernel_sfpu_binary.h, ckernel_sfpu_binop_with_unary.h, and ckernel_sfpu_<name>.h of
the function's name, with binary_ before those of fmod and remainder (Wormhole). `ttnn.add`
and `ttnn.subtract` of 16-bit operands run on the matrix unit instead, unless
`fast_and_approximate_mode=False`; `ttnn.multiply` and `ttnn.divide` run here.
"""

from collections.abc import Callable

import torch

from ttnn_emulator.arithmetic.exact.vector.vector_roots import reciprocal_lanes
from ttnn_emulator.arithmetic.exact.vector.vector_trigonometry import SINE_SERIES
from ttnn_emulator.arithmetic.exact.vector.vector_unit import (
    INFINITY_BITS,
    MAGNITUDE,
    bits,
    constant,
    copy_sign,
    exponent,
    from_bits,
    is_zero,
    load,
    mad,
    maximum,
    minimum,
    mul,
    on_dest,
    polynomial,
    round_to_bf16,
    round_to_bf16_even,
    round_to_integer,
    set_exponent,
    store,
    without_denormals,
)
from ttnn_emulator.arithmetic.exact.vector.vector_unit import add as add_lanes

ZERO, ONE = constant(0.0), constant(1.0)
INFINITY = constant(float("inf"))
NAN = constant(float("nan"))
HALF_PI = float.fromhex("0x1.921fb6p+0")
PI, ONE_OVER_PI = constant(3.141592653589793).item(), constant(0.318309886183791).item()


def _loaded(*operands: torch.Tensor) -> list[torch.Tensor]:
    """Operands as registers, of one shape."""
    return [x.contiguous() for x in torch.broadcast_tensors(*map(load, operands))]


def _rounded_store(x: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    """Stored as it is in a 32-bit Dst, rounded with ties away from zero in a 16-bit one."""
    return store(x if fp32_dest_acc else round_to_bf16(x), fp32_dest_acc)


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


# --- remainders ----------------------------------------------------------------------------------


def fmod(a: torch.Tensor, b: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """a - trunc(a/b)*b as `fmod_binary_tile` leaves it in Dst; NaN where b is zero.

    The quotient is a times a reciprocal of two steps. What it leaves outside [0, |b|) is moved by
    |b| once.
    """
    a, b = _loaded(a, b)
    divisor = b.abs()
    result = mad(-torch.trunc(mul(a, reciprocal_lanes(b, 2))), b, a)
    toward_zero = torch.where(result >= 0, add_lanes(result, -divisor), add_lanes(result, divisor))
    result = torch.where(result.abs() >= divisor, toward_zero, result)
    under, over = (a >= 0) & (result < 0), (a < 0) & (result > 0)
    result = torch.where(under, add_lanes(result, divisor), result)
    result = torch.where(over, add_lanes(result, -divisor), result)
    result = torch.where(a == b, ZERO, result)
    return _rounded_store(torch.where(is_zero(b), NAN, result), fp32_dest_acc)


def remainder(a: torch.Tensor, b: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """a - floor(a/b)*b as `remainder_binary_tile` leaves it in Dst; NaN where b is zero."""
    a, b = _loaded(a, b)
    result = mad(-torch.floor(mul(a, reciprocal_lanes(b, 2))), b, a)
    opposite = (result != 0) & ((bits(result) ^ bits(b)) < 0)
    result = torch.where(opposite, add_lanes(result, b), result)
    less = add_lanes(result, -b)
    positive, negative = (b > 0) & (a > 0), (b < 0) & (a < 0)
    result = torch.where((positive & (less >= 0)) | (negative & (less <= 0)), less, result)
    return _rounded_store(torch.where(is_zero(b), NAN, result), fp32_dest_acc)


def _reduced(x: torch.Tensor, divisor: float, over: bool) -> torch.Tensor:
    """|x| less its whole multiples of |divisor|, by the reciprocal that the host computed.

    `over` lowers a quotient that is greater than |x| / |divisor| as the reciprocal gives it; else
    one whose product is greater than |x|.
    """
    v, s = x.abs(), abs(divisor)
    inverse = (ONE / constant(s)).item()
    exact = mul(v, inverse)
    quotient = torch.trunc(exact)
    high = quotient > exact if over else (mul(quotient, s) > v) & (exponent(exact) < 127 + 23)
    quotient = torch.where(high, add_lanes(quotient, -1.0), quotient)
    return mad(-quotient, s, v)


def _settled_below(v: torch.Tensor, divisor: float) -> torch.Tensor:
    """v less |divisor| up to ten times, as long as it is not smaller; zero where they are equal."""
    s = constant(abs(divisor))
    for _ in range(10):
        v = torch.where(v >= s, add_lanes(v, -s), v)
    return torch.where(v.abs() == s, ZERO, v)


def _fmod_by(x: torch.Tensor, divisor: float) -> torch.Tensor:
    if divisor == 0:
        return torch.full_like(x, float("nan"))
    return _settled_below(copy_sign(_reduced(x, divisor, over=False), x), divisor)


def _remainder_by(x: torch.Tensor, divisor: float) -> torch.Tensor:
    if divisor == 0:
        return torch.full_like(x, float("nan"))
    v = _reduced(x, divisor, over=True)
    v = torch.where((x < 0) & (v != 0), add_lanes(-v, abs(divisor)), v)
    if divisor < 0:
        v = torch.where(v != 0, add_lanes(v, divisor), v)
    return _settled_below(copy_sign(v, torch.full_like(v, divisor)), divisor)


def fmod_by(x: torch.Tensor, divisor: float, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """fmod of a tensor and a number as `fmod_tile` leaves it; a 16-bit Dst truncates."""
    return on_dest(_fmod_by, x, constant(divisor).item(), fp32_dest_acc=fp32_dest_acc)


def remainder_by(x: torch.Tensor, divisor: float, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """The remainder of a tensor and a number as `remainder_tile` leaves it; truncated as well."""
    return on_dest(_remainder_by, x, constant(divisor).item(), fp32_dest_acc=fp32_dest_acc)


# --- other functions of two ----------------------------------------------------------------------

_ARCTANGENT = {  # coefficients of a**2 in (atan(a) - a) / a**3
    False: ("-0x1.54p-2", "0x1.668p-3", "-0x1.de8p-5"),
    True: (
        "-0x1.555558p-2",
        "0x1.99938ap-3",
        "-0x1.24p-3",
        "0x1.bd4p-4",
        "-0x1.48cp-4",
        "0x1.93p-5",
        "-0x1.4bcp-6",
        "0x1.01cp-8",
    ),
}


def atan2(y: torch.Tensor, x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """The angle of (x, y) as `atan2_binary_tile` leaves it in Dst.

    The smaller magnitude is divided by the larger with a reciprocal of two steps, or of none beside
    a 16-bit Dst.
    """
    y, x = _loaded(y, x)
    x_bits, y_bits = bits(x) & MAGNITUDE, bits(y) & MAGNITUDE
    least, most = torch.minimum(x_bits, y_bits), torch.maximum(x_bits, y_bits)
    ratio = mul(from_bits(least), reciprocal_lanes(from_bits(most), 2 if fp32_dest_acc else 0))
    square = mul(ratio, ratio)
    series = polynomial(square, *(float.fromhex(c) for c in _ARCTANGENT[fp32_dest_acc]))
    r = mad(mul(series, square), ratio, ratio)
    r = torch.where(least >= x_bits, add_lanes(-r, HALF_PI), r)
    diagonal = torch.where(most == 0, ZERO, constant(HALF_PI / 2))
    r = torch.where(least >= most, diagonal, r)
    r = torch.where(bits(x) < 0, add_lanes(-r, 2 * HALF_PI), r)
    r = copy_sign(r if fp32_dest_acc else round_to_bf16(r), y)
    return store(torch.where(most > INFINITY_BITS, NAN, r), fp32_dest_acc)


def nextafter(a: torch.Tensor, b: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """The number after a towards b, as `nextafter_binary_tile` or its bf16 variant leaves it.

    From zero that is the smallest denormal, which Dst holds as zero.
    """
    a, b = _loaded(a, b)
    step = 1 if fp32_dest_acc else 1 << 16
    outwards = torch.where(a > 0, a < b, torch.where(a < 0, a > b, a != b))
    moved = from_bits(bits(a) + torch.where(outwards, step, torch.where(a == b, 0, -step)))
    moved = torch.where(is_zero(a), ZERO.copysign(b), moved)
    return store(torch.where(a.isnan() | b.isnan(), NAN, moved), fp32_dest_acc)


def isclose(
    a: torch.Tensor,
    b: torch.Tensor,
    rtol: float,
    atol: float,
    equal_nan: bool,
    *,
    fp32_dest_acc: bool = False,
) -> torch.Tensor:
    """1 where |a - b| <= atol + rtol*|b|, or where both are the same infinity (or NaN); else 0."""
    a, b = _loaded(a, b)
    close = add_lanes(a, -b).abs() <= mad(constant(rtol).item(), b.abs(), constant(atol).item())
    finite = a.isfinite() & b.isfinite()
    same = (bits(a) == bits(b)) & a.isinf()
    if equal_nan:
        same |= a.isnan() & b.isnan()
    return torch.where(finite, close, same).float()


# --- three operands ------------------------------------------------------------------------------


def addcmul(
    a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, value: float, *, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """a + value*b*c as `addcmul_tile` leaves it in Dst: one product, then a multiply-add."""
    a, b, c = _loaded(a, b, c)
    return _rounded_store(mad(mul(constant(value).item(), b), c, a), fp32_dest_acc)


def addcdiv(
    a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, value: float, *, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """a + value*b/c as `addcdiv_tile` leaves it in Dst, by a reciprocal of two steps."""
    a, b, c = _loaded(a, b, c)
    result = mad(mul(b, constant(value).item()), reciprocal_lanes(c, 2), a)
    return store(result if fp32_dest_acc else round_to_bf16_even(result), fp32_dest_acc)


def lerp(
    a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor, *, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """a + weight*(b - a) as `lerp_tile` leaves it in Dst."""
    a, b, weight = _loaded(a, b, weight)
    result = mad(weight, add_lanes(b, -a), a)
    return store(result if fp32_dest_acc else round_to_bf16_even(result), fp32_dest_acc)


def mac(
    a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, *, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """a*b + c as `mac_tile` leaves it in Dst: one multiply-add."""
    return _rounded_store(mad(*_loaded(a, b, c)), fp32_dest_acc)


def number_in_dest(value: float, fp32_dest_acc: bool) -> torch.Tensor:
    """A number as `fill_tile` leaves it in Dst, in place of an operand."""
    return store(constant(value), fp32_dest_acc)


# --- one operand and a number --------------------------------------------------------------------


def _prelu(x: torch.Tensor, weight: float) -> torch.Tensor:
    return torch.where((x < 0), mul(x, weight), x)


def prelu(x: torch.Tensor, weight: float, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """x, times the weight where x is negative, as `prelu_tile` leaves it; nothing rounds."""
    return on_dest(_prelu, x, constant(weight).item(), fp32_dest_acc=fp32_dest_acc)


_ROUNDED_QUOTIENT = {None: lambda x: x, "trunc": torch.trunc, "floor": torch.floor}


def rdiv(
    x: torch.Tensor, value: float, rounding: str | None = None, *, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """value/x as `rdiv_tile` leaves it in Dst.

    The reciprocal takes two steps, or one and a rounding beside a 16-bit Dst, which truncates the
    product.
    """
    x = load(x)
    inverse = reciprocal_lanes(x, 2 if fp32_dest_acc else 1)
    inverse = inverse if fp32_dest_acc else round_to_bf16(inverse)
    return store(_ROUNDED_QUOTIENT[rounding](mul(inverse, constant(value).item())), fp32_dest_acc)


def snake_beta(
    x: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor, *, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """x + sin(alpha*x)**2 / beta as `snake_beta_tile` leaves it in Dst.

    The sine is that of the argument less its whole turns of pi, of which 32767 are told apart.
    """
    x, alpha, beta = _loaded(x, alpha, beta)
    turns = mul(mul(alpha, x), ONE_OVER_PI)
    whole = round_to_integer(turns, 32767).float().copysign(turns)
    a = mul(add_lanes(turns, -whole), PI)
    s = mul(a, a)
    series = polynomial(s, *SINE_SERIES[fp32_dest_acc])
    sine = mad(mul(a, s), series, a)
    inverse = reciprocal_lanes(beta, 2 if fp32_dest_acc else 1)
    return _rounded_store(mad(mul(sine, sine), inverse, x), fp32_dest_acc)


def maximum_with(x: torch.Tensor, number: float, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """The larger of x and a number as `unary_max_tile` leaves it; a 16-bit Dst cuts the number."""
    return on_dest(maximum, x, constant(number).item(), fp32_dest_acc=fp32_dest_acc)


def minimum_with(x: torch.Tensor, number: float, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """The smaller of x and a number as `unary_min_tile` leaves it; see `maximum_with`."""
    return on_dest(minimum, x, constant(number).item(), fp32_dest_acc=fp32_dest_acc)


def mac_with(
    x: torch.Tensor, factor: float, addend: float, *, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """x*factor + addend of two numbers that are filled into Dst (mac_tss_kernel.cpp)."""
    numbers = (number_in_dest(n, fp32_dest_acc) for n in (factor, addend))
    return mac(x, *numbers, fp32_dest_acc=fp32_dest_acc)


# Of one operand and numbers.
FOLLOWED: dict[str, Callable[..., torch.Tensor]] = {
    "add_number": add_scalar,
    "fmod": fmod_by,
    "mac": mac_with,
    "maximum": maximum_with,
    "minimum": minimum_with,
    "multiply_by": multiply_by_scalar,
    "prelu": prelu,
    "rdiv": rdiv,
    "remainder": remainder_by,
}

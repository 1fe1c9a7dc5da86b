"""Powers and logarithms of two operands on the vector unit: pow, xlogy, logaddexp, logaddexp2.

Arguments and results are float32 tensors that broadcast, as they lie in Dst before and after.
Kernel sources (Wormhole): ckernel_sfpu_binary_pow.h, ckernel_sfpu_binary.h (xlogy),
ckernel_sfpu_logaddexp.h, ckernel_sfpu_logaddexp2.h, ckernel_sfpu_log1p.h.
"""

import torch

from ttnn_emulator.arithmetic.exact.vector.vector_exponential import (
    EXP_21F,
    ONE_OVER_LN2,
    exp2_21f,
    exp_accurate_fp32,
)
from ttnn_emulator.arithmetic.exact.vector.vector_unit import (
    INFINITY_BITS,
    MAGNITUDE,
    SIGN,
    add,
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
    polynomial,
    round_to_bf16,
    round_to_integer,
    set_exponent,
    store,
)

ZERO, ONE = constant(0.0), constant(1.0)
INFINITY, NAN = constant(float("inf")), constant(float("nan"))
LARGEST_INT16 = 32767
ADDEND_OF_ROUNDING = 12582912.0  # 2**23 + 2**22: what is added to it is rounded to an integer

# ln(x) for x in [1, 2) of power's 16-bit way, constant term first.
LN_OF_POWER = tuple(
    float.fromhex(c) for c in ("-0x1.952992p+0", "0x2.4f5388p+0", "-0xd.e712ap-4", "0x2.44734p-4")
)
# ln(x) for x in [1, 2) of `log_tile`'s older body, which xlogy still calls.
LN_OF_XLOGY = (-1.49277612, 2.11263230, -0.72910421, 0.10968964)
LN2 = 0.69314718
LOG2_E = 1.442695  # as pow's kernel rounds it


def _operands(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = torch.broadcast_tensors(load(a), load(b))
    return a.contiguous(), b.contiguous()


def _to_integer(x: torch.Tensor) -> torch.Tensor:
    """x cut to int32, from 0 to 2**31 - 1 (_float_to_int32_positive_)."""
    shift = exponent(x) - 127 - 23
    significand = (bits(x) & 0x7FFFFF) | 0x800000
    whole = torch.where(
        shift >= 0, significand << shift.clamp(0, 7), significand >> (-shift).clamp(0, 31)
    )
    whole = torch.where(shift > 30 - 23, MAGNITUDE, whole)
    return torch.where(shift < -23, 0, whole)


def _signed_by_parity(y: torch.Tensor, base: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    """y with the sign that a negative base gives it; NaN if the power is no 16-bit integer."""
    magnitude = round_to_integer(power, LARGEST_INT16)
    odd = from_bits((bits(y) & MAGNITUDE) | (magnitude << 31))
    y_of_negative = torch.where(magnitude.float() == power.abs(), odd, NAN)
    return torch.where((bits(base) < 0) & ~is_zero(base), y_of_negative, y)


def _power_bf16(base: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    magnitude = base.abs()
    series = polynomial(set_exponent(magnitude, torch.full_like(bits(base), 127)), *LN_OF_POWER)
    turns = (exponent(base) - 127).float()
    z = mul(power, mad(series, LOG2_E, turns))
    z = torch.where(z < -127.0, constant(-127.0), z)
    z = from_bits(bits(z) + (23 << 23))  # times 2**23
    fixed = _to_integer(add(z, float(0x3F800000)))
    fraction = fixed & 0x7FFFFF
    first = mul(0.40196114e-7, (fraction + 0xF94EE7).float())
    fraction = _to_integer(mul(first, (fraction + 0x560E).float()))
    y = set_exponent(from_bits(fraction), exponent(from_bits(fixed)))
    y = _signed_by_parity(y, base, power)
    of_zero = torch.where((bits(power) < 0), NAN, ZERO)
    y = torch.where(is_zero(base) & ~is_zero(power), of_zero, y)
    return round_to_bf16(y)


def _binary_logarithm(base: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """|base| as 2**exponent * m: the exponent, and ln(m) for m in [1/sqrt(2), sqrt(2))."""
    m = set_exponent(base.abs(), torch.full_like(bits(base), 127))
    turns = exponent(base) - 127
    large = m >= 1.4142135381698608
    m = torch.where(large, mul(m, 0.5), m)
    turns = torch.where(large, turns + 1, turns)
    above = add(m, 1.0)
    inverse = mad(-0.2426406871192851, above, 1.0)
    for _ in range(3):
        inverse = mul(inverse, mad(-above, inverse, 2.0))
    z = mul(add(m, -1.0), inverse)
    odd = (1.0, 0.3333333333333333, 0.2, 0.14285714285714285, 0.1111111111111111)
    series = polynomial(mul(z, z), *odd, 0.09090909090909091)
    return turns.float(), mul(2.0, mul(z, series))


def _power_fp32(base: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    turns, logarithm = _binary_logarithm(base)
    # The power in two parts of 12 bits, so that its product with the exponent is exact.
    split = mul(power, 4097.0)
    upper = add(split, -add(split, -power))
    lower = add(power, -upper)
    z_upper = mul(upper, turns)
    z_lower = mad(lower, turns, mul(power, mul(logarithm, LOG2_E)))
    s = add(z_upper, z_lower)
    error = add(z_lower, -add(s, -z_upper))
    low = s < -127.0
    s, error = torch.where(low, constant(-127.0), s), torch.where(low, ZERO, error)
    shifted = add(s, ADDEND_OF_ROUNDING)
    whole = add(shifted, -ADDEND_OF_ROUNDING)
    whole_bits = bits(shifted) - bits(constant(ADDEND_OF_ROUNDING))
    y = exp_accurate_fp32(mul(add(add(s, -whole), error), 0.693147180559945309))
    scaled = exponent(y) + whole_bits
    y = torch.where(scaled >= 255, INFINITY, set_exponent(y, scaled))
    y = _signed_by_parity(y, base, power)
    of_zero = torch.where(bits(power) < 0, copy_sign(INFINITY, y), copy_sign(ZERO, y))
    of_zero = torch.where(is_zero(power), y, of_zero)
    of_zero = torch.where(power.isnan(), NAN, of_zero)
    return torch.where(is_zero(base), of_zero, y)


def power(a: torch.Tensor, b: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """a**b as `power_binary_tile` leaves it in Dst.

    16-bit: a cubic for the logarithm and the short exponential; 0 to a negative power is NaN, which
    becomes infinity when it is rounded. 32-bit: ln by atanh's series and the accurate exponential.
    In both a negative base gives NaN unless the power is an integer of up to 32767.
    """
    run = _power_fp32 if fp32_dest_acc else _power_bf16
    return store(run(*_operands(a, b)), fp32_dest_acc)


def rpow(x: torch.Tensor, base: float, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """base**x of a number as `rpow_tile` leaves it in Dst: `power` of the number in every lane."""
    return power(constant(base).expand_as(x), x, fp32_dest_acc=fp32_dest_acc)


def xlogy(a: torch.Tensor, b: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """a*ln(b) as `xlogy_binary_tile` leaves it in Dst; NaN for a negative b.

    The logarithm lies in Dst in between, which cuts it to 16 bits if Dst has no more. Nothing
    rounds. The kernel's own check for NaN compares with NaN and finds none.
    """
    a, b = _operands(a, b)
    series = polynomial(set_exponent(b, torch.full_like(bits(b), 127)), *LN_OF_XLOGY)
    logarithm = mad((exponent(b) - 127).float(), LN2, series)
    logarithm = torch.where(is_zero(b), -INFINITY, logarithm)
    result = mul(store(logarithm, fp32_dest_acc), a)
    return store(torch.where((bits(b) < 0) & ~is_zero(b), NAN, result), fp32_dest_acc)


def _largest_and_gap(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The larger of both, and by how much; their sum and 0 where the difference is NaN."""
    gap = add(a, -b).abs()
    a_order, b_order = (torch.where(bits(x) < 0, bits(x) ^ MAGNITUDE, bits(x)) for x in (a, b))
    largest = torch.where(a_order > b_order, a, b)
    undefined = gap.isnan()
    return torch.where(undefined, add(a, b), largest), torch.where(undefined, ZERO, gap)


def _log1p_of_unit_bf16(y: torch.Tensor) -> torch.Tensor:
    """ln(1 + y) for y in [0, 1], a cubic (_sfpu_logaddexp_log1p_unit_bf16_)."""
    coefficients = ("-0x1.f48448p-2", "0x1.074d5ap-2", "-0x1.3402cep-4")
    return mad(polynomial(y, *map(float.fromhex, coefficients)), mul(y, y), y)


_LOG1P_FP32 = tuple(
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
)


def _log1p_fp32(a: torch.Tensor) -> torch.Tensor:
    """ln(1 + a) for a >= 0 (calculate_log1p_fp32)."""
    u = add(a, 1.0)
    e = (bits(u) - bits(constant(0.75))) & (SIGN | INFINITY_BITS)
    m = from_bits(bits(a) - e)
    scale = from_bits(bits(constant(-4.0)) - e)
    m = add(m, mad(-0.25, scale, -1.0))
    r = polynomial(m, -0.5, *_LOG1P_FP32)
    turns = e.abs().float().copysign(e.float())
    r = mad(r, mul(m, m), m)
    r = mad(turns, constant(0.693147182).item() * 2.0**-23, r)
    return torch.where(bits(u) >= INFINITY_BITS, u, r)


def _exp_of_gap_bf16(gap: torch.Tensor) -> torch.Tensor:
    return round_to_bf16(exp2_21f(mad(-minimum(gap, 88.0), ONE_OVER_LN2, 127.0), EXP_21F))


def _exp2_of_gap_bf16(gap: torch.Tensor) -> torch.Tensor:
    return round_to_bf16(exp2_21f(minimum(maximum(add(-gap, 127.0), 0.0), 255.0), EXP_21F))


def logaddexp(a: torch.Tensor, b: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """ln(e**a + e**b) as `logaddexp_binary_tile` leaves it: the larger, and ln(1 + e**-gap)."""
    largest, gap = _largest_and_gap(*_operands(a, b))
    if fp32_dest_acc:
        return store(add(largest, _log1p_fp32(exp_accurate_fp32(-gap))), fp32_dest_acc)
    return round_to_bf16(add(largest, _log1p_of_unit_bf16(_exp_of_gap_bf16(gap))))


def logaddexp2(a: torch.Tensor, b: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """log2(2**a + 2**b) as `logaddexp2_binary_tile` leaves it in Dst."""
    largest, gap = _largest_and_gap(*_operands(a, b))
    if fp32_dest_acc:
        unit = exp_accurate_fp32(mul(gap, -0.693147182))
        return store(mad(_log1p_fp32(unit), 1.442695041, largest), fp32_dest_acc)
    unit = _exp2_of_gap_bf16(gap)
    return round_to_bf16(mad(_log1p_of_unit_bf16(unit), 1.442695041, largest))


FOLLOWED = {"rpow": rpow}

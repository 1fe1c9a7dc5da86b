"""Reciprocals, roots and powers on the vector unit.

Arguments and results are float32 tensors of any shape, as they lie in Dst before and after. In a
16-bit Dst most kernels round to bf16 themselves; where one does not, the store truncates.
Kernel sources are ckernel_sfpu_<name>.h of Wormhole unless another is named.
"""

import torch

from ttnn_emulator.arithmetic.exact.vector.vector_functions import (
    INFINITY,
    NAN,
    add_exponent,
    below,
    evaluate,
    followed,
    for_dest,
    signed_integer,
)
from ttnn_emulator.arithmetic.exact.vector.vector_logarithms import log_series
from ttnn_emulator.arithmetic.exact.vector.vector_unit import (
    INFINITY_BITS,
    MAGNITUDE,
    SIGN,
    add,
    bits,
    choose,
    constant,
    copy_sign,
    exponent,
    from_bits,
    is_zero,
    mad,
    maximum,
    mul,
    on_bf16_dest,
    on_dest,
    on_fp32_dest,
    polynomial,
    round_to_bf16,
    rounded,
    set_exponent,
)

# Seed 1/m = k2 - k1*m + k0*m**2 on [1, 2).
SHARED_SEED = (0.3232325017452239990234375, 1.4545459747314453125, 2.121212482452392578125)
BF16_SEED = (0.32133400440216064453125, 1.4514148235321044921875, 2.1200883388519287109375)


def reciprocal_lanes(
    x: torch.Tensor,
    steps: int,
    seed: tuple[float, float, float] = SHARED_SEED,
    round_result: bool = False,
) -> torch.Tensor:
    """1/x by `steps` Newton steps from a quadratic seed (sfpu_reciprocal_iter); lanes in and out.

    1/0 is infinity and 1/infinity zero, each of the argument's sign.
    """
    k0, k1, k2 = seed
    negative = from_bits((bits(x) & 0x7FFFFF) | bits(constant(-1.0)))
    y = mad(k0, negative, k1)
    y = mad(y, negative, k2)
    scale = mul(from_bits(~bits(x) & (SIGN | INFINITY_BITS)), 0.5)
    for _ in range(steps):
        y = mad(y, mad(negative, y, 1.0), y)
    if round_result:
        y = round_to_bf16(y)
    return copy_sign(mul(y, scale), x)


def _reciprocal_approximate(x: torch.Tensor) -> torch.Tensor:
    return reciprocal_lanes(x, 1)


def _reciprocal_fp32(x: torch.Tensor) -> torch.Tensor:
    return reciprocal_lanes(x, 2)


def _reciprocal_bf16(x: torch.Tensor) -> torch.Tensor:
    return reciprocal_lanes(x, 1, BF16_SEED, round_result=True)


def reciprocal(
    x: torch.Tensor, *, approximate: bool = False, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """1/x as `recip_tile` leaves it in Dst.

    Accurate: correctly rounded bf16, or two Newton steps in fp32. Approximate: one step with the
    shared seed, which a 16-bit Dst truncates. `approximate` is the compute config's
    math_approx_mode; `ttnn.reciprocal` has it off.
    """
    if approximate:
        return on_dest(_reciprocal_approximate, x, fp32_dest_acc=fp32_dest_acc)
    return choose(_reciprocal_bf16, _reciprocal_fp32, x, fp32_dest_acc)


def softmax_reciprocal(x: torch.Tensor, *, approximate: bool, fp32_dest_acc: bool) -> torch.Tensor:
    """1/row sum in `ttnn.softmax`: as `reciprocal`, but a 32-bit Dst is always accurate.

    softmax.cpp asks for ReciprocalApproxMode::Precise there, whatever math_approx_mode says.
    """
    return reciprocal(x, approximate=approximate and not fp32_dest_acc, fp32_dest_acc=fp32_dest_acc)


def _attention_reciprocal_bf16(x: torch.Tensor, seed: tuple[float, float, float]) -> torch.Tensor:
    return round_to_bf16(reciprocal_lanes(x, 1, seed))


def attention_reciprocal(
    x: torch.Tensor,
    *,
    approximate: bool = True,
    fp32_dest_acc: bool = False,
    streaming: bool = True,
) -> torch.Tensor:
    """1/row sum in attention (calculate_recip_first_column, ckernel_sfpu_sdpa.h).

    Approximate is the default of both attention ops. When it is off, a 16-bit Dst gets one step
    and a rounding; its seed is recip_tile's bf16 seed in prefill's streaming kernel
    (compute_streaming.hpp) and the shared one elsewhere (recip_block_inplace in
    compute_common.hpp: decode).
    """
    if approximate or fp32_dest_acc:
        return reciprocal(x, approximate=approximate, fp32_dest_acc=fp32_dest_acc)
    return on_bf16_dest(_attention_reciprocal_bf16, x, BF16_SEED if streaming else SHARED_SEED)


def _root_seed(x: torch.Tensor, magic: int) -> torch.Tensor:
    return from_bits(magic - ((bits(x) >> 1) & MAGNITUDE))


def _inverse_root(x: torch.Tensor) -> torch.Tensor:
    """1/sqrt(x) after one step of third order."""
    y = _root_seed(x, 0x5F1110A0)
    c = mul(-y, mul(x, y))
    return mul(y, mad(c, add(2.2533049, c), 2.2825186))


def inverse_root_lanes(x: torch.Tensor) -> torch.Tensor:
    """1/sqrt(x) of positive lanes to 23 bits."""
    y = _inverse_root(x)
    return mad(mad(-y, mul(x, y), 1.0), mul(y, 0.5), y)


def accurate_root_lanes(x: torch.Tensor) -> torch.Tensor:
    """sqrt(x) of lanes from 0 on to 23 bits."""
    y = _inverse_root(x)
    xy = mul(x, y)
    return mad(mad(-y, xy, 1.0), mul(0.5, xy), xy)


def sqrt_custom_lanes(x: torch.Tensor, steps: int) -> torch.Tensor:
    """sqrt(x) by a bf16 seed and Newton steps (sfpu_sqrt_custom); 0 and infinity are themselves."""
    y = _root_seed(x, 0x5F370000)
    minus_half = mul(x, -0.5)
    for _ in range(steps):
        y = mul(add(mul(mul(y, y), minus_half), 1.5), y)
    return torch.where(is_zero(x) | (exponent(x) == 255), x, mul(y, x))


def newton_root_lanes(x: torch.Tensor, steps: int) -> torch.Tensor:
    """sqrt(x) of lanes from 0 on, as the inverse hyperbolic kernels do (_sfpu_sqrt_ge0_)."""
    half = add_exponent(x, -1)
    y = _root_seed(x, 0x5F1110A0)
    for _ in range(steps):
        y = mul(y, add(1.5, -mul(mul(half, y), y)))
    root = mul(x, y)
    root = mad(mul(0.5, add(x, -mul(root, root))), y, root)
    return torch.where(x == 0, constant(0.0), root)


def _rsqrt(x: torch.Tensor, approximate: bool) -> torch.Tensor:
    if approximate:
        y = _root_seed(x, 0x5F0B3892)
        y = mul(y, mad(-y, mul(x, y), 1.89099014875))
    else:
        y = inverse_root_lanes(x)
    y = torch.where(bits(x) < 0, NAN, y)
    y = torch.where(x == float("inf"), constant(0.0), y)
    return torch.where(is_zero(x), copy_sign(INFINITY, x), y)


def _sqrt(x: torch.Tensor, approximate: bool) -> torch.Tensor:
    if approximate:
        y = _root_seed(x, 0x5F0B3892)
        c = mul(x, y)
        result = mul(c, mad(-y, c, 1.89099014875))
    else:
        result = accurate_root_lanes(x)
    result = torch.where(x == float("inf"), INFINITY, result)
    result = torch.where(bits(x) < 0, NAN, result)
    return torch.where(is_zero(x), x, result)


_rsqrt_bf16 = rounded(_rsqrt)
_sqrt_bf16 = rounded(_sqrt)


def rsqrt(
    x: torch.Tensor, *, approximate: bool = False, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """1/sqrt(x) as `rsqrt_tile` leaves it in Dst, rounded to bf16 if Dst is 16 bits wide.

    `approximate` is the compute config's math_approx_mode: 10 bits instead of 23. `ttnn.rsqrt`
    has it off; rms_norm has it on by default (layernorm.cpp calls rsqrt_tile without a mode).
    A negative argument gives NaN, +-0 the infinity of its sign.
    """
    if fp32_dest_acc:
        return on_fp32_dest(_rsqrt, x, approximate)
    return on_bf16_dest(_rsqrt_bf16, x, approximate)


def sqrt(
    x: torch.Tensor, *, approximate: bool = False, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """sqrt(x) as `sqrt_tile` leaves it in Dst, rounded to bf16 if Dst is 16 bits wide."""
    if fp32_dest_acc:
        return on_fp32_dest(_sqrt, x, approximate)
    return on_bf16_dest(_sqrt_bf16, x, approximate)


_CUBE_ROOT = tuple(float.fromhex(c) for c in ("0x1.c09806p0", "-0x1.403e6cp0", "0x1.04cdb2p-1"))
_THIRD_OF_PATTERN = float.fromhex("-0x1.555556p-10")  # -1/3/256
_CUBE_ROOT_MAGIC = (constant(1418472267.0) / 256.0 + 8388608.0).item()


def _cbrt(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """Moroz et al. 2021: a third of the pattern, and one step of third order or two."""
    magnitude = x.abs()
    seed = mad(bits(magnitude).to(torch.float32), _THIRD_OF_PATTERN, _CUBE_ROOT_MAGIC)
    y = from_bits(bits(seed) << 8)
    if fp32:
        c = mul(mul(magnitude, y), mul(y, y))
        y = mul(y, polynomial(c, *_CUBE_ROOT))
        d = mul(magnitude, mul(y, y))
        t = mad(mad(d, y, -1.0), _THIRD_OF_PATTERN * 256.0, 1.0)
    else:
        d = mul(magnitude, mul(y, y))
        t = polynomial(mul(d, y), *_CUBE_ROOT)
    return for_dest(mul(copy_sign(d, x), mul(t, t)), fp32)


# --- powers --------------------------------------------------------------------------------------

_ONE_OVER_LN2 = 1.4426950408889634


def _positive_to_integer(x: torch.Tensor) -> torch.Tensor:
    """Positive lanes cut to int32 (_float_to_int32_positive_, ckernel_sfpu_conversions.h)."""
    power = exponent(x) - 127
    significand = ((bits(x) & 0x7FFFFF) | 0x800000).long()
    shifted = torch.where(
        power > 23,
        significand << (power - 23).clamp(0, 31),
        significand >> (23 - power).clamp(0, 31),
    )
    result = torch.where(power > 30, 0x7FFFFFFF, shifted)
    return torch.where(power < 0, 0, result).to(torch.int32)


def _signed_power(y: torch.Tensor, base: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    """The power of a negative base: negative where it is odd, NaN where it is no integer."""
    whole = signed_integer(power, 32767)
    odd = torch.where((whole & 1) != 0, constant(-1.0), constant(1.0))
    signed = torch.where(whole.to(torch.float32) == power, copy_sign(y, odd), NAN)
    return torch.where(bits(base) < 0, signed, y)


def _power_21f(base: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    """|base|**power to bf16's precision, as 2**(power * log2|base|) by Moroz et al. 2022."""
    whole = (exponent(base) - 127).to(torch.float32)
    log2 = mad(log_series(base), _ONE_OVER_LN2, whole)
    z = mul(power, log2)
    z = torch.where(below(z, -127.0), constant(-127.0), z)
    pattern = _positive_to_integer(add(add_exponent(z, 23), float(0x3F800000)))
    fraction = pattern & 0x7FFFFF
    first = mul(0.40196114e-7, (fraction + 0xF94EE7).to(torch.float32))
    second = (fraction + 0x560E).to(torch.float32)
    refined = _positive_to_integer(mul(first, second))
    y = set_exponent(from_bits(refined), (pattern >> 23) & 0xFF)
    return _signed_power(y, base, power)


def _power_of_log2(base: torch.Tensor, power: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """power * log2|base| as a sum of two lanes: what comes of the exponent, and the rest."""
    m = set_exponent(base.abs(), torch.full_like(bits(base), 127))
    upper_half = bits(add(m, -1.4142135381698608)) >= 0
    m = torch.where(upper_half, mul(m, 0.5), m)
    whole = (exponent(base) - 127 + upper_half.to(torch.int32)).to(torch.float32)
    t = add(m, 1.0)
    inverse = add(1.003, -mul(0.244, t))
    for _ in range(3):
        inverse = mul(inverse, add(2.0, -mul(t, inverse)))
    z = mul(add(m, -1.0), inverse)
    series = polynomial(mul(z, z), 1.0, 1 / 3, 0.2, 1 / 7, 1 / 9, 1 / 11)
    log = mul(2.0, mul(z, series))
    split = mul(power, 4097.0)
    upper = add(split, -add(split, -power))
    lower = add(power, -upper)
    return mul(upper, whole), mad(power, mul(log, _ONE_OVER_LN2), mul(lower, whole))


def _nearest_integer(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Nearest even as a float and as int32 (_sfpu_round_to_nearest_int32_)."""
    shifted = add(x, 12582912.0)
    return add(shifted, -12582912.0), bits(shifted) - 0x4B400000


_EXP_TAYLOR = (1.0, 1.0, 0.5, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040)


def _power_61f(base: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    """|base|**power in float32 (_sfpu_unary_power_61f_updated_)."""
    upper, lower = _power_of_log2(base, power)
    s = add(upper, lower)
    e = add(lower, -add(s, -upper))
    s = maximum(s, -float.fromhex("0x7e.ffff8p0"))
    k, whole = _nearest_integer(s)
    f = add(add(s, -k), e)
    r = mad(f, -2.12194440e-4, mul(f, 0.693359375))
    y = evaluate(r, *_EXP_TAYLOR)
    y = set_exponent(y, exponent(y) + whole)
    return _signed_power(torch.where(bits(add(s, -128.0)) >= 0, INFINITY, y), base, power)


def _power(x: torch.Tensor, fp32: bool, exponent_: float) -> torch.Tensor:
    """x to a number (power_tile, ckernel_sfpu_unary_power.h); 0 to a negative one is NaN."""
    power = torch.full_like(x, exponent_)
    y = _power_61f(x, power) if fp32 else _power_21f(x, power)
    if exponent_ > 0:
        y = torch.where(is_zero(x), constant(0.0), y)
    elif exponent_ < 0:
        y = torch.where(is_zero(x), NAN, y)
    return for_dest(y, fp32)


def _power_iterative(x: torch.Tensor, fp32: bool, exponent_: float) -> torch.Tensor:
    """x to a natural number by squaring; nothing rounds (power_iterative_tile)."""
    if exponent_ == 0:
        return torch.ones_like(x)
    result, remaining = x, int(exponent_) - 1
    while remaining > 0:
        if remaining & 1:
            result = mul(result, x)
        x = mul(x, x)
        remaining >>= 1
    return result


def _pow(x: torch.Tensor, fp32: bool, exponent_: float) -> torch.Tensor:
    """x to a number as `ttnn.pow` chooses: 2 and 3 by squaring, 0 fills ones, 1 copies."""
    if exponent_ in (0.0, 1.0, 2.0, 3.0):
        return _power_iterative(x, fp32, exponent_)
    return _power(x, fp32, exponent_)


FOLLOWED = {
    "cbrt": followed(_cbrt),
    "pow": followed(_pow),
    "power": followed(_power),
    "power_iterative": followed(_power_iterative),
    "reciprocal": reciprocal,
    # Their fast variants only skip the check of the sign.
    "rsqrt": rsqrt,
    "sqrt": sqrt,
}

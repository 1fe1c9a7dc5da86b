"""Every exponential the kernels use: exp's three, softmax's, and the two inside attention.

Arguments and results are float32 tensors of any shape, as they lie in Dst before and after.
Kernel sources: ckernel_sfpu_exp.h and ckernel_sfpu_sdpa.h (Wormhole).
"""

import numba
import numpy as np
import torch

from ttnn_emulator.arithmetic.exact.simd.lanes import bits_of, float_of
from ttnn_emulator.arithmetic.exact.vector.vector_unit import (
    INFINITY_BITS,
    LARGEST_DENORMAL,
    WORTH_WAKING,
    add,
    bits,
    constant,
    copy_sign,
    exponent,
    from_bits,
    load,
    mad,
    mad_of_lane,
    maximum,
    minimum,
    mul,
    on_bf16_dest,
    on_dest,
    on_fp32_dest,
    polynomial,
    round_to_bf16,
    round_to_integer,
    set_exponent,
    store,
)

ONE_OVER_LN2 = 1.4426950216293334961
# 2**f for f in [0, 1) scaled by 2**23: Moroz et al. 2022, "exp_21f".
EXP_21F = (1.0017248, 7.839635491371155e-08, 4.791750143340323e-15)
# exp_tile's instruction sequence can load the constant term only as a half float.
EXP_21F_INSTRUCTIONS = (1.001953125, *EXP_21F[1:])
# _sfpu_exp_fp32_accurate_: x in turns of ln 2, which is in two parts, and a Taylor polynomial.
ONE_OVER_LN2_FP32 = np.float32(1.442695)
LN2_UPPER, LN2_LOWER = np.float32(-6.93145752e-1), np.float32(-1.42860677e-6)
EXP_FP32 = tuple(
    np.float32(c)
    for c in (1.0, 1.0, 4.99999851e-1, 1.66664720e-1, 4.16695364e-2, 8.37312452e-3, 1.37805939e-3)
)
# Schraudolph's exponential: the pattern of exp(x), shifted right by 15, is A*x + B.
SCHRAUDOLPH_A = 369.329925537109375
SCHRAUDOLPH_B = 32500.818359375
SCHRAUDOLPH_LOWEST = -88.5


def exp_21f(x: torch.Tensor, coefficients: tuple[float, ...] = EXP_21F) -> torch.Tensor:
    """e**x to about 21 bits, unrounded (_sfpu_exp_21f_bf16_): 0 below -88, infinity above 88.7.

    The helper that sigmoid and silu call; lanes in, lanes out.
    """
    power = mad(x, ONE_OVER_LN2, 127.0)
    power = minimum(maximum(power, 0.0), 255.0)
    return exp2_21f(power, coefficients)


def exp2_21f(power: torch.Tensor, coefficients: tuple[float, ...] = EXP_21F) -> torch.Tensor:
    """2**(power - 127) for power in [0, 256), the second half of `exp_21f`."""
    shift = exponent(power) - 127
    significand = (bits(power) & 0x7FFFFF) | 0x800000
    fixed = torch.where(shift >= 0, significand << shift.clamp(min=0), 0)
    fixed = torch.where(shift < 0, significand >> (-shift).clamp(0, 31), fixed)
    fraction = (fixed & 0x7FFFFF).to(torch.float32)
    return set_exponent(polynomial(fraction, *coefficients), fixed >> 23)


@numba.njit(forceinline=True)
def _exp_of_lane(x):
    """`exp_accurate_fp32` of one lane, without branches."""
    is_finite = abs(x) < np.inf
    argument = x if is_finite else np.float32(0.0)
    turns = argument * ONE_OVER_LN2_FP32
    half_up = np.float64(abs(turns)) + 0.5
    # numba's min looks for NaN, with a branch
    magnitude = np.int32(half_up if half_up < 32767.0 else 32767.0)  # noqa: FURB136
    magnitude = -magnitude if turns < -LARGEST_DENORMAL else magnitude
    f = mad_of_lane(np.float32(magnitude), LN2_UPPER, argument)
    f = mad_of_lane(np.float32(magnitude), LN2_LOWER, f)
    r = EXP_FP32[-1]
    for coefficient in EXP_FP32[-2::-1]:  # of a huge argument meaningless, and not looked at
        r = mad_of_lane(r, f, coefficient)
    pattern = bits_of(r)
    scaled = ((pattern >> 23) & 0xFF) + magnitude
    result = float_of(np.int32((pattern & ~INFINITY_BITS) | (scaled << 23)))
    result = np.float32(np.inf) if scaled >= 255 else result
    result = np.float32(0.0) if scaled < 1 else result
    beyond = np.float32(0.0) if x < 0 else x  # minus infinity, else x itself, a NaN perhaps
    return result if is_finite else beyond


@numba.njit(nogil=True, cache=True)
def _exp_in_turn(x, result):
    for i in range(x.size):
        result[i] = _exp_of_lane(x[i])


@numba.njit(parallel=True, nogil=True, cache=True)
def _exp_in_parallel(x, result):
    for i in numba.prange(x.size):
        result[i] = _exp_of_lane(x[i])


def exp_accurate_fp32(x: torch.Tensor) -> torch.Tensor:
    """e**x to about 2 units in the last fp32 place (_sfpu_exp_fp32_accurate_); lanes in and out.

    Minus infinity gives +0.
    """
    result = torch.empty(x.shape)
    run = _exp_in_turn if x.numel() < WORTH_WAKING else _exp_in_parallel
    run(x.contiguous().numpy().reshape(-1), result.numpy().reshape(-1))
    return result


def _scaled(scale: float) -> tuple[float, float]:
    # The kernels fold the scale into A and the lower limit when they are compiled, in float32.
    factor = constant(scale)
    return (constant(SCHRAUDOLPH_A) * factor).item(), (SCHRAUDOLPH_LOWEST / factor).item()


def _schraudolph_clamped(x: torch.Tensor, scale: float) -> torch.Tensor:
    slope, lowest = _scaled(scale)
    power = mad(slope, maximum(x, lowest), SCHRAUDOLPH_B)
    return from_bits(round_to_integer(power, 65535) << 15)


def _schraudolph_unclamped(x: torch.Tensor, scale: float) -> torch.Tensor:
    slope, _ = _scaled(scale)
    power = mad(slope, x, SCHRAUDOLPH_B)
    return copy_sign(from_bits(round_to_integer(power, 32767) << 15), power)


def _exp_bf16(x: torch.Tensor) -> torch.Tensor:
    return round_to_bf16(exp_21f(x, EXP_21F_INSTRUCTIONS))


def exp(x: torch.Tensor, *, approximate: bool = False, fp32_dest_acc: bool = False) -> torch.Tensor:
    """e**x as `exp_tile` leaves it in Dst.

    Accurate: 21 bits rounded to bf16 in a 16-bit Dst, fp32 in a 32-bit one.
    Approximate (`ttnn.exp(fast_and_approximate_mode=True)`): Schraudolph's line through the
    exponent field, wrong by -3.4 % to +3.1 %, not rounded when it is stored.
    """
    if approximate:
        return on_dest(_schraudolph_clamped, x, 1.0, fp32_dest_acc=fp32_dest_acc)
    if fp32_dest_acc:
        return on_fp32_dest(exp_accurate_fp32, x)
    return on_bf16_dest(_exp_bf16, x)


def softmax_exp(x: torch.Tensor, *, approximate: bool, fp32_dest_acc: bool) -> torch.Tensor:
    """exp in `ttnn.softmax` (softmax.cpp): exp_tile<EXP_APPROX> with its input clamped.

    EXP_APPROX is the compute config's math_approx_mode; by default it is on for bf16 inputs and
    off for fp32 ones, both with a 32-bit Dst.
    """
    return exp(x, approximate=approximate, fp32_dest_acc=fp32_dest_acc)


def attention_score_exp(
    x: torch.Tensor, scale: float, *, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """e**(x*scale) of attention scores less their row maximum, as packed: x <= 0, negatives to 0.

    exp_tile<approx, scale_fp32, InputClamping::None> followed by the packer's ReLU. Attention
    uses it wherever EXP_APPROX_MODE is on (the default), and even where it is off in prefill with
    a 16-bit Dst (compute_streaming.hpp) and in decode with half tiles (up to 16 heads per key head:
    VectorMode::R in sub_exp_block_bcast_cols_inplace, compute_common.hpp). `scale` is the full
    float32 scale. Above x*scale = 0.72 the line saturates.
    """
    result = on_dest(_schraudolph_unclamped, x, float(scale), fp32_dest_acc=fp32_dest_acc)
    return torch.where(bits(result) < 0, constant(0.0), result)


def attention_score_exp_accurate(
    x: torch.Tensor, scale: float, *, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """e**(x*scale) of attention scores with EXP_APPROX_MODE off, where the kernel honours that.

    mul_unary_tile by the float32 scale, whose store into a 16-bit Dst truncates, then exp_tile
    (compute_common.hpp sub_exp_block_bcast_cols_inplace: decode, and prefill with a 32-bit Dst).
    """
    scaled = on_dest(mul, x, float(scale), fp32_dest_acc=fp32_dest_acc)
    return exp(scaled, fp32_dest_acc=fp32_dest_acc)


def _truncated_to_bf16(scale: float) -> float:
    # The kernels take `scale_fp32 >> 16`.
    return from_bits(bits(constant(scale)) & -0x10000).item()


def _correction_bf16(x: torch.Tensor, scale: float) -> torch.Tensor:
    return round_to_bf16(exp_21f(mul(x, scale)))


def _correction_fp32(x: torch.Tensor, scale: float) -> torch.Tensor:
    return exp_accurate_fp32(mul(x, scale))


def attention_correction_exp(
    x: torch.Tensor, scale: float, *, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """e**(x*scale) of the difference of two running maxima, EXP_APPROX_MODE on (the default).

    calculate_exponential_first_column<true>, and always in decode's merge of cores
    (calculate_fused_max_sub_exp_add_tile): the scale is cut to bf16, then the accurate exp.
    """
    scale = _truncated_to_bf16(scale)
    if fp32_dest_acc:
        return on_fp32_dest(_correction_fp32, x, scale)
    return on_bf16_dest(_correction_bf16, x, scale)


_CORRECTION_POLYNOMIALS = {  # degree 2 for a 16-bit Dst, 4 for a 32-bit one
    False: (0.999848792924395313327, 1.01508760098521056684, 0.50628367056745568861),
    True: (
        1.0000001510806179002040,
        0.99996228117047652035,
        0.49998365704615426417,
        0.16792157982882225102,
        4.1959439860014343843e-2,
    ),
}


def _correction_polynomial(
    x: torch.Tensor, scale: float, coefficients: tuple[float, ...]
) -> torch.Tensor:
    x = mul(x, scale)
    turns = mul(x, 1.44269504088896340736)
    magnitude = round_to_integer(turns, 127)
    integer = copy_sign(magnitude.to(torch.float32), turns)
    fraction = mad(integer, -0.69314718055994530942, x)
    biased = add(integer, 127.0)
    power_of_two = from_bits(round_to_integer(biased, 255) << 23)
    result = mul(polynomial(fraction, *coefficients), power_of_two)
    return torch.where(biased <= 0, constant(0.0), result)


def _correction_polynomial_bf16(
    x: torch.Tensor, scale: float, coefficients: tuple[float, ...]
) -> torch.Tensor:
    return round_to_bf16(_correction_polynomial(x, scale, coefficients))


def attention_correction_exp_polynomial(
    x: torch.Tensor, scale: float, *, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """As `attention_correction_exp`, with EXP_APPROX_MODE off: a short polynomial instead.

    calculate_exponential_polynomial (ckernel_sfpu_sdpa.h); the scale is cut to bf16 here too.
    """
    coefficients = _CORRECTION_POLYNOMIALS[fp32_dest_acc]
    run = on_fp32_dest if fp32_dest_acc else on_bf16_dest
    function = _correction_polynomial if fp32_dest_acc else _correction_polynomial_bf16
    return run(function, x, _truncated_to_bf16(scale), coefficients)


def attention_merge(
    own_max: torch.Tensor,
    other_max: torch.Tensor,
    own_sum: torch.Tensor,
    other_sum: torch.Tensor,
    scale: float,
    *,
    fp32_dest_acc: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The row statistics of two cores' parts of one decode attention, merged.

    Args:
        own_max, other_max: running maxima of the scores, [..., rows].
        own_sum, other_sum: running sums of the exponentials, [..., rows].
        scale: float32 scale of the scores, cut to bf16 here.

    Returns:
        (own_correction, other_correction, maximum, total), each [..., rows]: the factors for the
        two partial outputs, and the merged statistics.

    calculate_fused_max_sub_exp_add_tile (ckernel_sfpu_sdpa.h): the difference of the maxima is not
    rounded. Each product is stored before it is added, except that with a 32-bit Dst the other
    core's product stays in its register.
    """
    own_max, other_max = load(own_max), load(other_max)
    maximum_ = torch.where(own_max < other_max, other_max, own_max)
    scale = _truncated_to_bf16(scale)
    correction = _correction_fp32 if fp32_dest_acc else _correction_bf16
    own_factor = correction(add(own_max, -maximum_), scale)
    other_factor = correction(add(other_max, -maximum_), scale)
    own_total = store(mul(own_factor, load(own_sum)), fp32_dest_acc)
    other_total = mul(other_factor, load(other_sum))
    if not fp32_dest_acc:
        other_total = store(other_total, fp32_dest_acc)
    total = store(add(other_total, own_total), fp32_dest_acc)
    return store(own_factor, fp32_dest_acc), store(other_factor, fp32_dest_acc), maximum_, total


FOLLOWED = {"exp": exp}

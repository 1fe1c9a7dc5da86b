"""The vector unit (SFPU): what one instruction does to float32 lanes, and its loads and stores.

Functions made of these instructions are in the modules beside this one. A lane is a float32; a
tensor stands for any number of lanes. Sources: the Wormhole pages of Tenstorrent's ISA
documentation (SFPMAD, SFPSTOCHRND, SFPSWAP, SFPSTORE) and its bit-exact model of the multiply-add
(Miscellaneous/FMA).
"""

import functools
from collections.abc import Callable

import numba
import numpy as np
import torch

from ttnn_emulator.arithmetic.exact.simd.lanes import bits_of, float_of, leading_zeros64

Lanes = torch.Tensor | float  # a number stands for it in every lane
Function = Callable[..., torch.Tensor]  # of lanes, and of `Parameter`s
Parameter = float | tuple[float, ...]

SIGN = -0x80000000
MAGNITUDE = 0x7FFFFFFF
INFINITY_BITS = 0x7F800000
LARGEST_DENORMAL = 2.0**-126 - 2.0**-149


# --- registers -----------------------------------------------------------------------------------


def constant(value: float) -> torch.Tensor:
    """A float32 constant as a register holds it (Python floats round to nearest even once)."""
    return torch.tensor(value, dtype=torch.float32)


def bits(x: torch.Tensor) -> torch.Tensor:
    """The int32 pattern of float32 `x`."""
    return x.contiguous().view(torch.int32)


def from_bits(pattern: torch.Tensor) -> torch.Tensor:
    """The float32 whose int32 pattern is given."""
    return pattern.to(torch.int32).contiguous().view(torch.float32)


def exponent(x: torch.Tensor) -> torch.Tensor:
    """Biased exponent field of `x`, int32 in 0..255 (SFPEXEXP without debias)."""
    return (bits(x) >> 23) & 0xFF


def set_exponent(x: torch.Tensor, biased: torch.Tensor) -> torch.Tensor:
    """`x` with its exponent field replaced by the low 8 bits of int32 `biased` (SFPSETEXP)."""
    return from_bits((bits(x) & ~INFINITY_BITS) | ((biased & 0xFF) << 23))


def copy_sign(magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """The magnitude of the first with the sign bit of the second (SFPSETSGN)."""
    return from_bits((bits(magnitude) & MAGNITUDE) | (bits(sign) & SIGN))


def is_zero(x: torch.Tensor) -> torch.Tensor:
    """True where the exponent field is 0: the unit takes denormals for zero."""
    return exponent(x) == 0


def without_denormals(x: torch.Tensor) -> torch.Tensor:
    """Denormals and -0 become +0."""
    return torch.nn.functional.hardshrink(x, LARGEST_DENORMAL)


def flush(x: torch.Tensor) -> torch.Tensor:
    """Denormals become zero and keep their sign."""
    return torch.copysign(without_denormals(x), x)


# --- arithmetic ----------------------------------------------------------------------------------


@numba.njit
def _beyond_finite(a, b, c):
    """`_mad` of operands that are `_is_beyond_finite`."""
    infinity = np.uint32(0x7F800000)
    # The unit's NaNs carry a sign and always have their lowest bit set.
    nan = np.uint32(0x7FC00001)
    product_sign = (a ^ b) & np.uint32(0x80000000)
    c_sign = c & np.uint32(0x80000000)
    a_exponent = np.int64((a >> 23) & 0xFF)
    b_exponent = np.int64((b >> 23) & 0xFF)
    c_infinite = (c & infinity) == infinity
    a_nan = (a & np.uint32(0x7FFFFFFF)) > infinity
    b_nan = (b & np.uint32(0x7FFFFFFF)) > infinity
    c_nan = (c & np.uint32(0x7FFFFFFF)) > infinity
    undefined = (a_exponent == 255 and b_exponent == 0) or (b_exponent == 255 and a_exponent == 0)
    product_infinite = max(a_exponent, b_exponent, a_exponent + b_exponent - 127) >= 255
    opposite = c_infinite and not c_nan and product_infinite and c_sign != product_sign
    if a_nan or b_nan or undefined or opposite:
        return product_sign | nan
    if c_nan:
        return c_sign | nan
    return c if c_infinite else product_sign | infinity


# Of one width with what they are applied to: numba would widen the lanes otherwise.
_EXPONENT_PLACE, _EXPONENT_FIELD = np.uint32(23), np.uint32(0xFF)
_FRACTION, _HIDDEN_ONE = np.uint32(0x7FFFFF), np.uint32(0x800000)
_SIGN_BIT, _SIGN_PLACE = np.uint32(0x80000000), np.uint32(31)
_INFINITY, _ZERO = np.uint32(0x7F800000), np.uint32(0)


@numba.njit(forceinline=True)
def _exponent_of(pattern):
    return np.int64((pattern >> _EXPONENT_PLACE) & _EXPONENT_FIELD)


@numba.njit(forceinline=True)
def _significand_of(pattern):
    return np.int64((pattern & _FRACTION) | _HIDDEN_ONE)


@numba.njit
def _is_beyond_finite(a, b, c):
    """Whether an operand or the product has the largest exponent."""
    product_exponent = _exponent_of(a) + _exponent_of(b) - np.int64(127)
    return max(_exponent_of(a), _exponent_of(b), _exponent_of(c), product_exponent) >= 255


@numba.njit(forceinline=True)
def _mad(a, b, c):
    """Pattern of a*b + c for uint32 patterns a, b, c, as the Wormhole unit rounds it.

    The product is cut to 27 bits with a sticky bit before the addition, so this is not a fused
    multiply-add: a residual such as 1 - x*y loses what lies under 2**-26.

    Of operands that are `_is_beyond_finite` it is meaningless. It has no branches, so that loops
    over lanes become vector instructions.
    """
    none, one = np.int64(0), np.int64(1)
    c_exponent = _exponent_of(c)
    product_exponent = _exponent_of(a) + _exponent_of(b) - np.int64(127)
    no_product = (_exponent_of(a) == 0) | (_exponent_of(b) == 0) | (product_exponent < 0)
    product_exponent = none if no_product else product_exponent
    product = _significand_of(a) * _significand_of(b)
    product = (product >> np.int64(20)) | np.int64((product & np.int64(0xFFFFF)) != 0)
    product = none if no_product else product
    addend = _significand_of(c) << np.int64(3)
    addend = addend if c_exponent > 0 else none
    # Align the smaller one; lost bits set its lowest (sticky) bit, unless nothing of it is left.
    distance = product_exponent - c_exponent
    larger = product if distance >= 0 else addend
    smaller = addend if distance >= 0 else product
    shift = min(abs(distance), np.int64(32))
    shifted = smaller >> shift
    sticky = np.int64((shifted << shift) != smaller)
    smaller = (shifted | sticky) if shifted > 0 else none
    opposite = ((a ^ b ^ c) >> _SIGN_PLACE) != 0
    total = larger - smaller if opposite else larger + smaller
    sign = (a ^ b) if distance >= 0 else c
    sign = (~sign if total < 0 else sign) & _SIGN_BIT
    magnitude = abs(total)
    # Normalise to 27 bits: 24 of the result, guard, round, sticky. A shift down by two keeps only
    # bit 0 as sticky: bit 1 is lost.
    excess = np.int64(64 - 27) - leading_zeros64(magnitude | np.int64(total == 0))
    down = max(excess, none)
    magnitude = (magnitude >> down) | (magnitude & np.int64(down > 0))
    magnitude = magnitude << max(-excess, none)
    significand = magnitude >> np.int64(3)
    significand += np.int64((magnitude & np.int64(7)) + (significand & one) > 4)
    carry = significand >> np.int64(24)
    exponent = max(product_exponent, c_exponent) + excess + carry
    fraction = np.uint32((significand >> carry) & np.int64(0x7FFFFF))
    finite = sign | np.uint32(exponent << np.int64(23)) | fraction
    result = (sign | _INFINITY) if exponent >= 255 else finite
    return _ZERO if (total == 0) | (exponent < 1) else result


@numba.njit(forceinline=True)
def mad_of_lane(a: float, b: float, c: float) -> float:
    """a*b + c of one lane's finite float32 numbers, within compiled code; see `mad`."""
    pattern = _mad(np.uint32(bits_of(a)), np.uint32(bits_of(b)), np.uint32(bits_of(c)))
    return float_of(np.int32(pattern))


@numba.njit(forceinline=True)
def _at(i, x):
    """A lane of a vector, which may have length 1."""
    return x[i] if x.size > 1 else x[0]


@numba.njit(nogil=True, cache=True)
def _mad_in_turn(a, b, c, out):
    for i in range(out.size):
        out[i] = _mad(_at(i, a), _at(i, b), _at(i, c))
    for i in range(out.size):
        if _is_beyond_finite(_at(i, a), _at(i, b), _at(i, c)):
            out[i] = _beyond_finite(_at(i, a), _at(i, b), _at(i, c))


@numba.njit(parallel=True, nogil=True, cache=True)
def _mad_in_parallel(a, b, c, out):
    for i in numba.prange(out.size):
        out[i] = _mad(_at(i, a), _at(i, b), _at(i, c))
    for i in numba.prange(out.size):
        if _is_beyond_finite(_at(i, a), _at(i, b), _at(i, c)):
            out[i] = _beyond_finite(_at(i, a), _at(i, b), _at(i, c))


# Lanes that one thread computes while another is being woken.
WORTH_WAKING = 1 << 14


def _mad_bits(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """`_mad` of arrays, which broadcast."""
    out = np.empty(np.broadcast_shapes(a.shape, b.shape, c.shape), np.uint32)
    operands = [x if x.size in (1, out.size) else np.broadcast_to(x, out.shape) for x in (a, b, c)]
    run = _mad_in_turn if out.size < WORTH_WAKING else _mad_in_parallel
    run(*(x.reshape(-1) for x in (*operands, out)))
    return out


def _lanes(x: Lanes) -> torch.Tensor:
    return x if isinstance(x, torch.Tensor) else constant(float(x))


def _pattern(x: Lanes) -> np.ndarray:
    return _lanes(x).contiguous().numpy().view(np.uint32)


def mad(a: Lanes, b: Lanes, c: Lanes) -> torch.Tensor:
    """a*b + c lanewise (SFPMAD); tensors broadcast, Python floats are float32 constants."""
    result = _mad_bits(_pattern(a), _pattern(b), _pattern(c))
    return torch.from_numpy(result.view(np.float32))


def _settled(result: torch.Tensor, a: Lanes, b: Lanes, c: Lanes) -> torch.Tensor:
    """`result` with its denormals and zeros made +0 and its NaNs made the unit's own."""
    result = without_denormals(result)
    if result.sum().isnan():  # a NaN, or infinities of both signs
        result = torch.where(result.isnan(), mad(a, b, c), result)
    return result


def mul(a: Lanes, b: Lanes) -> torch.Tensor:
    """a*b lanewise (SFPMUL): nearest even, a denormal result and any zero are +0.

    Lanes hold no denormals (`load`). This is `mad(a, b, 0)` made of one float32 product, except
    for products within 2**-151 under the smallest normal number.
    """
    first, second = _lanes(a), _lanes(b)
    return _settled(first * second, first, second, 0.0)


def add(a: Lanes, b: Lanes) -> torch.Tensor:
    """a+b lanewise (SFPADD): nearest even, a denormal result and any zero are +0.

    Equal to `mad(1, a, b)`.
    """
    first, second = _lanes(a), _lanes(b)
    return _settled(first + second, 1.0, first, second)


def polynomial(x: torch.Tensor, *coefficients: Lanes) -> torch.Tensor:
    """Horner's scheme with one multiply-add per step; coefficients from the constant term up."""
    *lower, next_to_highest, highest = coefficients
    result = mad(highest, x, next_to_highest)
    for coefficient in reversed(lower):
        result = mad(result, x, coefficient)
    return result


def _order(x: torch.Tensor) -> torch.Tensor:
    pattern = bits(x)
    return torch.where(pattern < 0, pattern ^ MAGNITUDE, pattern)


def minimum(x: torch.Tensor, limit: float) -> torch.Tensor:
    """The smaller in the order of SFPSWAP: by sign and magnitude, so a NaN is beyond infinity."""
    bound = constant(limit).expand_as(x)
    return torch.where(_order(bound) < _order(x), bound, x)


def maximum(x: torch.Tensor, limit: float) -> torch.Tensor:
    """The larger in the order of SFPSWAP: by sign and magnitude, so a NaN is beyond infinity."""
    bound = constant(limit).expand_as(x)
    return torch.where(_order(bound) > _order(x), bound, x)


# --- conversions ---------------------------------------------------------------------------------


def round_to_bf16(x: torch.Tensor) -> torch.Tensor:
    """Nearest bf16, ties away from zero (SFPSTOCHRND FP32_TO_FP16B without randomness).

    Exponent 0 becomes +0, NaN the infinity of its sign. sfpi's `convert<vFloat16b>(x, Nearest)`.
    """
    pattern = bits(x)
    rounded = torch.where((pattern & 0x8000) != 0, (pattern & -0x10000) + 0x10000, pattern)
    rounded = rounded & -0x10000
    special = pattern & -0x800000
    rounded = torch.where(exponent(x) == 255, special, rounded)
    return from_bits(torch.where(is_zero(x), 0, rounded))


def rounded(function: Function) -> Function:
    """`function` followed by the kernel's own rounding to bf16, ties away from zero."""

    def run(x: torch.Tensor, *parameters: Parameter) -> torch.Tensor:
        return round_to_bf16(function(x, *parameters))

    return run


def round_to_bf16_even(x: torch.Tensor) -> torch.Tensor:
    """Nearest bf16, ties to even, by integer arithmetic on the pattern.

    What the multiply, square, divide and typecast kernels do instead of `round_to_bf16`
    (float32_to_bf16_rne in ckernel_sfpu_conversions.h).
    """
    pattern = bits(x)
    rounded = (pattern >> 16).bitwise_and_(1).add_(pattern).add_(0x7FFF).bitwise_and_(-0x10000)
    return from_bits(rounded)


def round_to_integer(x: torch.Tensor, largest: int) -> torch.Tensor:
    """|x| to the nearest integer, ties away from zero, at most `largest`: int32 (SFPSTOCHRND).

    The modes UINT8 (255) and UINT16 (65535) drop the sign; for INT8 (127) and INT16 (32767) the
    caller puts it back. NaN and infinity give `largest`.
    """
    magnitude = torch.nan_to_num(x.abs().double(), nan=float(largest), posinf=float(largest))
    return torch.floor(magnitude + 0.5).clamp(max=largest).to(torch.int32)


# --- Dst -----------------------------------------------------------------------------------------


def load(x: torch.Tensor) -> torch.Tensor:
    """What a register holds after loading Dst: denormals were zeroed on their way into Dst."""
    return flush(x)


def store(x: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    """What Dst holds after SFPSTORE: float32, or its upper 16 bits (truncation, no rounding)."""
    x = flush(x)
    return x if fp32_dest_acc else from_bits(bits(x) & -0x10000)


@functools.lru_cache(maxsize=128)
def _table(function: Function, parameters: tuple[Parameter, ...]) -> np.ndarray:
    patterns = torch.arange(1 << 16, dtype=torch.int32) << 16
    return store(function(load(from_bits(patterns)), *parameters), fp32_dest_acc=False).numpy()


def on_bf16_dest(function: Function, x: torch.Tensor, *parameters: Parameter) -> torch.Tensor:
    """store(function(load(x), *parameters)) for a 16-bit Dst, by a table of all 65536 values.

    Only the upper 16 bits of each lane of `x` are looked at: a 16-bit Dst holds no others.
    Raises TypeError unless `x` is float32.
    """
    if x.dtype != torch.float32:
        raise TypeError(f"the vector unit works on float32 lanes, not on {x.dtype}")
    upper_halves = x.reshape(-1).contiguous().numpy().view(np.uint16).reshape(*x.shape, 2)[..., 1]
    return torch.from_numpy(np.asarray(_table(function, parameters).take(upper_halves)))


def on_fp32_dest(function: Function, x: torch.Tensor, *parameters: Parameter) -> torch.Tensor:
    """store(function(load(x), *parameters)) for a 32-bit Dst."""
    return store(function(load(x), *parameters), fp32_dest_acc=True)


def on_dest(
    function: Function, x: torch.Tensor, *parameters: Parameter, fp32_dest_acc: bool
) -> torch.Tensor:
    """`function` from Dst to Dst, for kernels whose arithmetic does not depend on its width."""
    run = on_fp32_dest if fp32_dest_acc else on_bf16_dest
    return run(function, x, *parameters)


def choose(
    bf16_function: Function, fp32_function: Function, x: torch.Tensor, fp32_dest_acc: bool
) -> torch.Tensor:
    """From Dst to Dst, for kernels whose arithmetic depends on Dst's width."""
    if fp32_dest_acc:
        return on_fp32_dest(fp32_function, x)
    return on_bf16_dest(bf16_function, x)

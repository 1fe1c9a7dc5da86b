"""Accumulating sixteen products in float32, with the same bits as `matrix_exact`'s integers.

Every function takes scalars or vectors, a lane of which is one output column. Three facts make
plain float32 arithmetic exact here:

* Adding a value to 1.5 * 2^23 * u rounds it to a multiple of u, so a chain of eight fused
  multiply-adds that starts from such a "ruler" is the sum of eight products, each rounded to the
  unit u of its group; subtracting the ruler gives that sum without error.
* The hardware rounds ties away from zero where float32 rounds them to even. A product has at most
  12 bits, so making it larger by 2^-13 of itself breaks every tie and moves nothing else.
* Rounding first to 23 and then to 10 fraction bits, as the accumulator does, is one rounding after
  adding 2^-14 of the coarser unit.

Values are ordinary while no product's exponent exceeds `LARGEST_PRODUCT`: rulers must be finite.
"""

import numpy as np
from numba import njit

from ttnn_emulator.arithmetic.exact.simd.lanes import (
    Float,
    Int,
    abs32,
    add32,
    and32,
    bits_of,
    converted,
    equal,
    equal32,
    float_of,
    fma,
    greater32,
    larger,
    max32,
    min32,
    negated,
    or32,
    select32,
    shift_left,
    shift_right,
    smaller,
    sub32,
    truncated,
    xor32,
)
from ttnn_emulator.arithmetic.exact.simd.lanes_memory import constants_in_memory

# Sum of two biased exponents up to which rulers stay finite, with room for sums to grow.
LARGEST_PRODUCT = 327

# How far apart the exponents of two groups may be for `accumulate32_near`: their sums, at most
# 31496 * (1 + 2^7) units of the finer one, then are less than the 2^22 that fit under its ruler.
NEAR = 7

# The smallest exponent of a group with which `accumulate16` meets no denormals: a tie's least
# addend, 13 - 37 places above it, is normal.
SMALLEST_16 = 25

# One step from 1 that is too small to move anything but a tie (see above).
TIE_AWAY = np.float32(1 + 2.0**-13)

# Of a ruler 1.5 * 2^23 * u: 3/16 u, to round ties of a group's sum up.
TIE_UP = np.float32(2.0**-26)
# 1.125 * 2^-14 u: the same where the sum lies more than 13 bits below the accumulator's unit.
TIE_UP_FAR = np.float32(0.75 * 2.0**-37)

# From an exponent to the ruler that rounds to 10 fraction bits at it: 23 - 10 places up, times 1.5.
_RULER_SHIFT = 13 << 23
_RULER_HALF = 0x400000
_RULER = _RULER_SHIFT | _RULER_HALF
_SIGN = -0x80000000
# From 1.5 times a power of two to 2^-23 times that power, and to 2^23 divided by it.
_UNIT = (23 << 23) | _RULER_HALF
_PER_UNIT = (277 << 23) + _RULER_HALF - (1 << 32)
_EXPONENT = 0x7F800000
# The smallest denormal pattern that rounds to a normal number at 8 significant bits.
_ROUNDS_TO_NORMAL = 0x7FC000

# float32 patterns: of the number before 0.5, of 2^-30, of `TIE_UP`, `TIE_UP_FAR` and `TIE_AWAY`.
_ALMOST_HALF = 0x3EFFFFFF
_TWO_TO_MINUS_30 = (127 - 30) << 23
_TIE_UP_BITS, _TIE_UP_FAR_BITS, _TIE_AWAY_BITS = (
    int(number.view(np.int32)) for number in (TIE_UP, TIE_UP_FAR, TIE_AWAY)
)
# Half a unit of the upper 16 bits, and these.
_HALF = 0x8000
_UPPER_HALF = -0x10000
# Added to a float32 pattern, multiplies the number by 2^27.
_ERRATUM_PLACES = 27 << 23

_in_memory = constants_in_memory(
    _SIGN,
    _EXPONENT,
    _RULER_HALF,
    _TIE_UP_BITS,
    _ALMOST_HALF,
    _RULER_SHIFT,
    _UNIT,
    _PER_UNIT,
    _TWO_TO_MINUS_30,
    _ERRATUM_PLACES,
    _RULER,
    _TIE_UP_FAR_BITS,
    _TIE_AWAY_BITS,
    _HALF,
    _UPPER_HALF,
)


@njit
def ruler_of(exponent: Int) -> Float:
    """1.5 * 2^23 times the unit of a group with that biased exponent."""
    return ruler_at(shift_left(exponent, 23))


@njit
def ruler_at(exponent: Int) -> Float:
    """`ruler_of` an exponent that is already in place, shifted left by 23 bits."""
    return float_of(add32(exponent, _RULER))


@njit
def round_to_eight_bits(total: Float) -> Float:
    """A sum as a 16-bit destination stores it: rounded half away, denormals flushed to +0."""
    bits = bits_of(total)
    rounded = and32(add32(bits, 0x8000), -0x10000)
    magnitude = and32(bits, 0x7FFFFFFF)
    return float_of(select32(greater32(_ROUNDS_TO_NORMAL, magnitude), 0, rounded))


@njit
def accumulate16(dst: Float, sum0: Float, ruler0: Float, sum1: Float, ruler1: Float) -> Float:
    """A 16-bit destination plus two group sums, each given with the ruler of its group."""
    dst_ruler = ruler_at(and32(bits_of(dst), _EXPONENT))
    ruler = larger(larger(ruler0, ruler1), dst_ruler)
    far = ruler * TIE_UP_FAR
    first = sum0 + larger(ruler0 * TIE_UP, far)
    second = sum1 + larger(ruler1 * TIE_UP, far)
    return round_to_eight_bits(((fma(dst, TIE_AWAY, ruler) + first) + second) - ruler)


@njit
def accumulate16_large(dst: Float, sum0: Float, ruler0: Float, sum1: Float, ruler1: Float) -> Float:
    """`accumulate16` for groups of exponents `SMALLEST_16` to 200, in three quarters of the time.

    No result is a denormal then, nor is anything on the way to it: with those, each instruction
    takes the machine a hundred times as long.
    """
    exponent = and32(bits_of(dst), _in_memory(_EXPONENT))
    dst_ruler = float_of(add32(exponent, _in_memory(_RULER)))
    ruler = larger(larger(ruler0, ruler1), dst_ruler)
    far = ruler * float_of(_in_memory(_TIE_UP_FAR_BITS))
    tie = float_of(_in_memory(_TIE_UP_BITS))
    # The sum of a tie's two addends in place of the larger: 1.125 * 2^-14 u and 3/16 of the
    # group's unit stay between what makes a tie round up and what the next number below can take.
    first = sum0 + fma(ruler0, tie, far)
    second = sum1 + fma(ruler1, tie, far)
    scaled = fma(dst, float_of(_in_memory(_TIE_AWAY_BITS)), ruler)
    bits = bits_of(((scaled + first) + second) - ruler)
    return float_of(and32(add32(bits, _in_memory(_HALF)), _in_memory(_UPPER_HALF)))


@njit
def _aligned(doubled, shift):
    """Half of an integer shifted right, ties toward plus infinity; 31 places or more leave 0."""
    return shift_right(add32(shift_right(doubled, min32(shift, 31)), 1), 1)


@njit
def accumulate32(dst: Float, sum0: Int, exponent0: Int, sum1: Int, exponent1: Int) -> Float:
    """A 32-bit destination plus two group sums, integers at ten fraction bits of their exponent."""
    bits = bits_of(dst)
    dst_exponent = and32(shift_right(bits, 23), 0xFF)
    exponent = max32(max32(exponent0, exponent1), dst_exponent)
    significand = or32(and32(bits, 0x7FFFFF), 0x800000)
    significand = select32(greater32(dst_exponent, 0), significand, 0)
    magnitude = _aligned(shift_left(significand, 1), sub32(exponent, dst_exponent))
    sign = shift_right(bits, 31)
    total = sub32(xor32(magnitude, sign), sign)
    total = add32(total, _aligned(shift_left(sum0, 14), sub32(exponent, exponent0)))
    total = add32(total, _aligned(shift_left(sum1, 14), sub32(exponent, exponent1)))
    # Above 24 bits the conversion to float32 rounds; an extra low bit turns ties away from 0.
    magnitude = abs32(total)
    doubled = or32(shift_left(magnitude, 1), min32(shift_right(magnitude, 24), 1))
    scale = float_of(shift_left(max32(exponent, 1), 23))
    value = bits_of(converted(doubled) * scale * np.float32(2.0**-24))
    # The known erratum of the hardware: a total of exactly -1 is normalised to -2^27.
    value = select32(equal32(total, -1), shift_left(add32(exponent, 4), 23), value)
    value = select32(equal32(and32(value, _EXPONENT), 0), 0, value)
    return float_of(or32(value, and32(total, _SIGN)))


@njit
def accumulate32_of_sums(
    dst: Float, sum0: Float, ruler0: Float, sum1: Float, ruler1: Float
) -> Float:
    """`accumulate32` of sums as `accumulate32_near` takes them, of groups that are not empty."""
    bits0, bits1 = bits_of(ruler0), bits_of(ruler1)
    units0 = sub32(bits_of(sum0 + ruler0), bits0)
    units1 = sub32(bits_of(sum1 + ruler1), bits1)
    exponent0 = shift_right(sub32(bits0, _RULER), 23)
    exponent1 = shift_right(sub32(bits1, _RULER), 23)
    return accumulate32(dst, units0, exponent0, units1, exponent1)


@njit
def aligned32(
    bits: Int, sum0: Float, sum1: Float, finest: Float, coarsest: Float
) -> tuple[Float, Float, Float]:
    """A 32-bit destination and the sums of two near groups as they are added up.

    Args:
        bits: of the destination.
        sum0, sum1: of the groups, float32 values.
        finest, coarsest: the smaller and the larger of the groups' rulers.

    Returns:
        (the destination in whole units of the accumulator; the unit, which is 2^-23 of the largest
        exponent; the total of the sums, each rounded to the unit where that is the coarser).
    """
    dst_ruler = float_of(or32(and32(bits, _in_memory(_EXPONENT)), _in_memory(_RULER_HALF)))
    ruler = larger(finest, dst_ruler)
    tie = float_of(_in_memory(_TIE_UP_BITS))
    total = ((ruler + fma(finest, tie, sum0)) + fma(finest, tie, sum1)) - ruler
    coarsest = float_of(sub32(bits_of(coarsest), _in_memory(_RULER_SHIFT)))
    largest = bits_of(larger(coarsest, dst_ruler))
    unit = float_of(sub32(largest, _in_memory(_UNIT)))
    per_unit = float_of(sub32(_in_memory(_PER_UNIT), largest))
    # Half away from zero: add the number before 0.5 and truncate.
    half = float_of(or32(and32(bits, _in_memory(_SIGN)), _in_memory(_ALMOST_HALF)))
    return truncated(fma(float_of(bits), per_unit, half)), unit, total


@njit
def joined32(units: Float, unit: Float, total: Float) -> tuple[Float, Float]:
    """What `aligned32` returns, summed: (to nearest even, as the destination stores it)."""
    new = fma(units, unit, total)
    # What was lost in rounding; a 2^-30th of the sum turns its ties away from zero.
    lost = fma(units, unit, negated(new - total))
    return new, new + fma(new, float_of(_in_memory(_TWO_TO_MINUS_30)), lost)


@njit
def accumulate32_near(dst: Float, sum0: Float, ruler0: Float, sum1: Float, ruler1: Float) -> Float:
    """`accumulate32` for groups of exponents 24 to 200 that are within `NEAR` of each other.

    The sums are float32 values, each given with the ruler of its group. Exact like the integers,
    in half as many instructions. The weights of a step fill half the registers, so that most
    constants are read from memory.

    A plain dst + (sum0 + sum1) in float32 would take two thirds of the time, but change 0.02 % of
    the bfloat16 results of a HiFi4 product with K = 768, 0.1 % with 3072 and 0.3 % with 8192, and
    miss the erratum, which one in a million of them meets.
    """
    finest, coarsest = smaller(ruler0, ruler1), larger(ruler0, ruler1)
    units, unit, total = aligned32(bits_of(dst), sum0, sum1, finest, coarsest)
    new, rounded = joined32(units, unit, total)
    # The erratum again: 2^27 times a total of -1.
    wrong = add32(bits_of(rounded), _in_memory(_ERRATUM_PLACES))
    return float_of(select32(equal(new, negated(unit)), wrong, bits_of(rounded)))


@njit
def smallest_suspect(exponent: int) -> int:
    """An int32 above the pattern of every new destination that can show the erratum.

    Args:
        exponent: the largest biased exponent of any group.

    Two groups sum to less than 2^6 times that power of two (31496 units of 2^-10 each). They cannot
    leave a total of -1 on a destination with a larger exponent, whose unit is 2^-23 of it. Among
    negative values the smallest in magnitude have the smallest patterns.
    """
    return _SIGN + (max(exponent + 6 - 23, 0) << 23) + 1

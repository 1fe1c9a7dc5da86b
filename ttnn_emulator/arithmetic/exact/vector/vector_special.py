"""Special functions on the vector unit: the error function, Bessel and gamma functions, logit.

Arguments and results of functions are float32 tensors of any shape, as they lie in Dst before and
after; those that begin with an underscore take lanes. Kernel sources are ckernel_sfpu_<name>.h of
Wormhole unless another is named.
"""

import math

import torch

from ttnn_emulator.arithmetic.exact.vector import vector_binary
from ttnn_emulator.arithmetic.exact.vector.vector_activations import (
    ERF_FP32_DENOMINATOR,
    ERF_FP32_NUMERATOR,
)
from ttnn_emulator.arithmetic.exact.vector.vector_exponential import exp_21f, exp_accurate_fp32
from ttnn_emulator.arithmetic.exact.vector.vector_functions import (
    INFINITY,
    ZERO,
    above,
    absolute,
    below,
    evaluate,
    fill,
    floored,
    followed,
    followed_fast,
    for_dest,
    truncated,
)
from ttnn_emulator.arithmetic.exact.vector.vector_logarithms import (
    log,
    log_lanes,
    log_without_init_lanes,
)
from ttnn_emulator.arithmetic.exact.vector.vector_roots import (
    inverse_root_lanes,
    reciprocal_lanes,
    sqrt_custom_lanes,
)
from ttnn_emulator.arithmetic.exact.vector.vector_trigonometry import sin
from ttnn_emulator.arithmetic.exact.vector.vector_unit import (
    add,
    bits,
    constant,
    copy_sign,
    load,
    mad,
    maximum,
    minimum,
    mul,
    on_dest,
    polynomial,
    round_to_bf16_even,
    store,
)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split()))


# --- error function ------------------------------------------------------------------------------

# Odd numerator over even denominator, of x**2: for bfloat16 operands, and for float32 ones.
_ERF_NUMERATOR = {
    False: _numbers("1.1280932447 2.7609212279e-01 4.5400281738e-02 7.4481184425e-04"),
    True: ERF_FP32_NUMERATOR,
}
_ERF_DENOMINATOR = {
    False: _numbers("1 5.7439188334e-01 1.3675764810e-01 8.2844606784e-03 2.4813862145e-05"),
    True: ERF_FP32_DENOMINATOR,
}


def _erf(x: torch.Tensor, fp32: bool, fast: bool) -> torch.Tensor:
    """A quotient of polynomials between -1 and 1, not rounded; fast: one Newton step, not two."""
    x = copy_sign(minimum(x.abs(), 10.0), x)
    square = mul(x, x)
    numerator = mul(polynomial(square, *_ERF_NUMERATOR[fp32]), x)
    denominator = polynomial(square, *_ERF_DENOMINATOR[fp32])
    result = mul(numerator, reciprocal_lanes(denominator, 1 if fast else 2))
    return minimum(maximum(result, -1.0), 1.0)


_ERFC = (  # up to 2.5, and from there to 5: numerator and denominator
    (
        _numbers("1.0000233650 -1.3375675678 6.8185544014e-01 -1.5691982210e-01 1.3746744953e-02"),
        _numbers(
            "1.0 -2.0801517367e-01 4.3667086959e-01 -3.4568668343e-03 "
            "2.5104774162e-02 2.8375532478e-02"
        ),
    ),
    (
        _numbers(
            "-2.5655237550e-05 2.1275576728e-05 -6.6162156145e-06 9.1439767402e-07 "
            "-4.7387182178e-08"
        ),
        _numbers(
            "1.0 -1.6457208991e-01 -2.0572184026e-01 -1.3888636231e-01 "
            "1.2677097321e-01 -2.1375391632e-02"
        ),
    ),
)


def _erfc(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """1 - erf(x) by two quotients of polynomials of |x|, not rounded."""
    magnitude = minimum(x.abs(), 5.0)
    near, far = (
        [polynomial(magnitude, *coefficients) for coefficients in segment] for segment in _ERFC
    )
    beyond = bits(add(magnitude, -2.5)) >= 0
    numerator, denominator = (torch.where(beyond, b, a) for a, b in zip(near, far, strict=True))
    result = mul(numerator, reciprocal_lanes(denominator, 1))
    return torch.where(bits(x) < 0, add(2.0, -result), result)


def _erfinv(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """Winitzki 2008: of log(1 - x**2) to bf16's precision; not rounded."""
    logarithm = log_lanes(add(1.0, -mul(x, x)), fp32=False)
    t = mad(-0.5, logarithm, -4.330746750799873)
    radicand = mad(t, t, -mul(logarithm, 6.802721088435375))
    result = sqrt_custom_lanes(add(t, sqrt_custom_lanes(radicand, 2)), 2)
    return copy_sign(result, x)


# --- Bessel functions ----------------------------------------------------------------------------

_I0 = (
    0.25,
    0.015625,
    0.0004340277778,
    0.000006781684028,
    6.78e-08,
    4.71e-10,
    2.40e-12,
    9.39e-15,
    2.90e-17,
    7.24e-20,
    1.50e-22,
)


def _i0(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """The power series of degree 22, not rounded: good to |x| about 10."""
    square = mul(x, x)
    return mad(evaluate(square, *_I0), square, 1.0)


_I1_NUMERATOR = {
    False: (4.9992737740e-01, 5.4503594600e-02, 1.6126291630e-03, 2.0223499130e-05),
    True: (
        5.0000000000e-01,
        5.6819390506e-02,
        1.9247245509e-03,
        2.8397364076e-05,
        2.0916867527e-07,
        7.7937084564e-10,
        1.2293555930e-12,
    ),
}
_I1_DENOMINATOR = {
    False: (1.0, -1.6242591070e-02, 1.0333660750e-04, -2.5076132990e-07),
    True: (
        1.0,
        -1.1361218989e-02,
        6.1268139689e-05,
        -1.9771712800e-07,
        3.8127551116e-10,
        -3.1218170410e-13,
        -3.0635529988e-16,
        7.4301498523e-19,
    ),
}
_I1_BEYOND_TEN = (
    3.9894228967e-01,
    -1.4960495444e-01,
    -4.6652925320e-02,
    -4.3674591560e-02,
    -1.9748322314e-02,
    -3.3467922914e-01,
)


def _i1(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """A quotient of polynomials to |x| = 10, then e**|x| / sqrt|x| times one, to 88.5."""
    x = copy_sign(minimum(x.abs(), 88.5), x)
    magnitude, square = x.abs(), mul(x, x)
    numerator = mul(evaluate(square, *_I1_NUMERATOR[fp32]), x)
    near = mul(numerator, reciprocal_lanes(polynomial(square, *_I1_DENOMINATOR[fp32]), 2))
    exponential = exp_accurate_fp32(magnitude) if fp32 else exp_21f(magnitude)
    inverse_root = inverse_root_lanes(magnitude)
    series = polynomial(mul(inverse_root, inverse_root), *_I1_BEYOND_TEN)
    far = copy_sign(mul(mul(exponential, inverse_root), series), x)
    return for_dest(torch.where(above(magnitude, 10.0), far, near), fp32)


# --- gamma functions -----------------------------------------------------------------------------

_DIGAMMA = {  # numerator and denominator of each segment
    False: (
        (
            _numbers(
                "-3.3767190625e05 -6.0287050000e05 2.1532992188e05 2.1398454688e05 "
                "1.9496867188e04 2.4847094727e02 8.7151519954e-02"
            ),
            _numbers(
                "1.0 3.3760150000e05 4.0892268750e05 9.9775718750e04 "
                "5.1246479492e03 4.1351390839e01"
            ),
        ),
    ),
    True: (
        (
            _numbers(
                "-4.2596286535e-01 -1.2459139824e00 -7.0374596119e-01 "
                "3.5418295860e-01 3.9686101675e-01 1.0760356486e-01 "
                "1.1159370653e-02 4.5299832709e-04 6.4513715188e-06 "
                "2.3348954770e-08 3.3629592167e-12"
            ),
            _numbers(
                "-6.3762914866e-08 4.2596703768e-01 1.0 8.2736301422e-01 "
                "3.0081826448e-01 4.9985647202e-02 3.7117889151e-03 "
                "1.1463041301e-04 1.2610012732e-06 3.3732798776e-09"
            ),
        ),
        (
            _numbers(
                "1.3856337913e05 -2.7915017828e05 5.5189096727e04 2.6230285816e04 "
                "2.0102400217e03 5.4774037756e01 6.1410588531e-01 2.8495312547e-03 "
                "4.9248967852e-06 2.2963254970e-09 3.8530168912e-14"
            ),
            _numbers(
                "-1.6724299601e05 1.0 6.3677231206e04 1.1013851737e04 "
                "5.9383811201e02 1.2890647910e01 1.2061770104e-01 4.7490052009e-04 "
                "6.9240316615e-07 2.5925175628e-10"
            ),
        ),
    ),
}
_SECOND_SEGMENT = 51.005


def _digamma(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """Quotients of polynomials to 102, then Bernoulli's series; not rounded."""
    (numerator, denominator), *others = (
        [polynomial(x, *coefficients) for coefficients in segment] for segment in _DIGAMMA[fp32]
    )
    for other in others:
        beyond = bits(add(x, -_SECOND_SEGMENT)) >= 0
        numerator = torch.where(beyond, other[0], numerator)
        denominator = torch.where(beyond, other[1], denominator)
    result = mul(numerator, reciprocal_lanes(denominator, 2))
    inverse = reciprocal_lanes(x, 2)
    square = mul(inverse, inverse)
    bernoulli = add(0.0833333333, -mul(square, 0.0083333333))
    far = add(log_without_init_lanes(x), -mul(inverse, 0.5))
    far = torch.where(x.abs() == INFINITY, INFINITY, add(far, -mul(square, bernoulli)))
    return torch.where(above(x, 102.0), far, result)


def _polygamma(x: torch.Tensor, fp32: bool, n: float, scale: float) -> torch.Tensor:
    """scale * sum of (x + k)**-(n + 1): six terms, and Euler and Maclaurin's tail.

    `scale` is (-1)**(n + 1) * n! as TTNN's host computes it.
    """
    steps, factor = (2 if fp32 else 1), constant(scale)
    total = torch.zeros_like(x)
    for k in range(6):
        inverse = reciprocal_lanes(add(x, float(k)), steps)
        term = mul(inverse, factor)
        for _ in range(int(n)):
            term = mul(term, inverse)
        total = add(total, term)
    rising = [constant(n + i) for i in range(6)]
    coefficients = (
        factor / rising[0],
        factor * rising[1] / 12.0,
        -factor * (rising[1] * rising[2] * rising[3]) / 720.0,
        factor * (rising[1] * rising[2] * rising[3] * rising[4] * rising[5]) / 30240.0,
    )
    inverse = reciprocal_lanes(add(x, 6.0), steps)
    series = polynomial(mul(inverse, inverse), *(c.item() for c in coefficients))
    tail = mad((0.5 * factor).item(), inverse, series)
    for _ in range(int(n)):
        tail = mul(tail, inverse)
    return for_dest(add(total, tail), fp32)


_LOG_SQRT_2PI, _LOG_SQRT_PI, _LOG_PI = 0.9189385332046727, 0.57236494, 1.1447298858
_NEAR_ONE = (-0.57721566, 0.82246703, -0.40068563, 0.27058081, -0.20738555)
_NEAR_TWO = (0.42278434, 0.32246703, -0.06735230, 0.02058081, -0.00738555)
_BERNOULLI = (0.0833333333, -0.0027777777, 0.0007936507, -0.0005952380)


def _stirling(z: torch.Tensor, logarithm: torch.Tensor, terms: int) -> torch.Tensor:
    base = add(mad(add(z, -0.5), logarithm, -z), _LOG_SQRT_2PI)
    inverse = reciprocal_lanes(z, 2)
    return mad(inverse, polynomial(mul(inverse, inverse), *_BERNOULLI[:terms]), base)


def _lgamma_positive_bf16(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """log Gamma(z) by Stirling's series, z = x or below 1/2 its mirror 1 - x."""
    z = torch.where(below(x, 0.5), add(1.0, -x), x)
    result = _stirling(z, log_without_init_lanes(z), 2)
    return for_dest(torch.where((x == 1.0) | (x == 2.0), ZERO, result), fp32)


def _lgamma_positive_fp32(x: torch.Tensor, logarithm: torch.Tensor) -> torch.Tensor:
    z = torch.where(below(x, 0.5), add(1.0, -x), x)
    one, two = add(z, -1.0), add(z, -2.0)
    result = _stirling(z, logarithm, 4)
    result = torch.where(~above(two.abs(), 0.25), mul(two, polynomial(two, *_NEAR_TWO)), result)
    result = torch.where(~above(one.abs(), 0.25), mul(one, polynomial(one, *_NEAR_ONE)), result)
    return torch.where(below(add(z, -0.5).abs(), 0.01), constant(_LOG_SQRT_PI), result)


def _log_of_sine(x: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    """log|sin(pi x)| as lgamma's kernels make it of functions in Dst; -infinity of integers."""
    wide = {"fp32_dest_acc": fp32_dest_acc}
    fraction = store(add(x, -truncated(x)), fp32_dest_acc)
    pi = fill(x, math.pi, **wide)
    sine = sin(vector_binary.multiply(fraction, pi, **wide), **wide)
    sine = torch.where(floored(x) == x, ZERO, sine)
    return log(absolute(sine, **wide), **wide)


def lgamma(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """log|Gamma(x)| as lgamma_fast_kernel.cpp makes it, of float32 lgamma_kernel.cpp."""
    x = load(x)
    if fp32_dest_acc:
        mirror = torch.where(
            below(x, 0.5), vector_binary.subtract(torch.ones_like(x), x, fp32_dest_acc=True), x
        )
        result = store(_lgamma_positive_fp32(x, load(log(mirror, fp32_dest_acc=True))), True)
    else:
        result = on_dest(_lgamma_positive_bf16, x, False, fp32_dest_acc=False)
    reflected = add(add(_LOG_PI, -_log_of_sine(x, fp32_dest_acc)), -result)
    result = for_dest(torch.where(below(x, 0.5), reflected, result), fp32_dest_acc)
    if fp32_dest_acc:
        result = torch.where(x.abs() == INFINITY, INFINITY, result)
    return store(result, fp32_dest_acc)


# --- logit ---------------------------------------------------------------------------------------


def _minus_from_one(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    difference = add(1.0, -x)
    return difference if fp32 else round_to_bf16_even(difference)


def logit(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """log(x / (1 - x)), each step stored (logit_kernel.cpp; the clamp before it is packed)."""
    rest = on_dest(_minus_from_one, x, fp32_dest_acc, fp32_dest_acc=fp32_dest_acc)
    quotient = vector_binary.divide(x, rest, fp32_dest_acc=fp32_dest_acc)
    return log(quotient, fp32_dest_acc=fp32_dest_acc)


FOLLOWED = {
    "digamma": followed(_digamma),
    "erf": followed_fast(_erf),
    "erfc": followed(_erfc),
    "erfinv": followed(_erfinv),
    "i0": followed(_i0),
    "i1": followed(_i1),
    "lgamma": lgamma,
    "logit": logit,
    "polygamma": followed(_polygamma),
}

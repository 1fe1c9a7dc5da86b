"""Activations on the vector unit: sigmoid, silu, gelu, tanh, softplus, relu.

Arguments and results are float32 tensors of any shape, as they lie in Dst before and after. In a
16-bit Dst most kernels round to bf16 themselves; where one does not, the store truncates.
Kernel sources are ckernel_sfpu_<name>.h of Wormhole unless another is named.
"""

import torch

from ttnn_emulator.arithmetic.exact.vector.vector_exponential import (
    exp,
    exp2_21f,
    exp_21f,
    exp_accurate_fp32,
)
from ttnn_emulator.arithmetic.exact.vector.vector_functions import NAN, above
from ttnn_emulator.arithmetic.exact.vector.vector_linear_units import negative_exp_lanes
from ttnn_emulator.arithmetic.exact.vector.vector_roots import reciprocal, reciprocal_lanes
from ttnn_emulator.arithmetic.exact.vector.vector_unit import (
    add,
    bits,
    choose,
    constant,
    copy_sign,
    exponent,
    from_bits,
    mad,
    maximum,
    minimum,
    mul,
    on_dest,
    polynomial,
    round_to_bf16,
    round_to_integer,
    rounded,
    set_exponent,
)

Segments = tuple[tuple[float, float, float], ...]  # see `piecewise_linear`


def piecewise_linear(x: torch.Tensor, segments: Segments) -> torch.Tensor:
    """slope*|x| + intercept of the segment |x| falls in (SFPLUT, SFPLUTFP32).

    Args:
        x: float32 lanes.
        segments: (upper bound of |x|, slope, intercept), ascending; the last bound is infinite.
    """
    magnitude = x.abs()
    slope = torch.full_like(x, segments[-1][1])
    intercept = torch.full_like(x, segments[-1][2])
    for bound, segment_slope, segment_intercept in reversed(segments[:-1]):
        inside = magnitude < bound
        slope = torch.where(inside, constant(segment_slope), slope)
        intercept = torch.where(inside, constant(segment_intercept), intercept)
    return mad(slope, magnitude, intercept)


def _sigmoid_21f(x: torch.Tensor) -> torch.Tensor:
    return reciprocal_lanes(add(1.0, exp_21f(-x)), 1)


def _sigmoid_fp32(x: torch.Tensor) -> torch.Tensor:
    return reciprocal_lanes(add(1.0, exp_accurate_fp32(-x)), 2)


def _silu_21f(x: torch.Tensor) -> torch.Tensor:
    return mul(x, _sigmoid_21f(x))


def _silu_fp32(x: torch.Tensor) -> torch.Tensor:
    return mul(x, _sigmoid_fp32(x))


_sigmoid_bf16 = rounded(_sigmoid_21f)
_silu_bf16 = rounded(_silu_21f)


def sigmoid(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """1 / (1 + e**-x) as `sigmoid_tile` leaves it in Dst, not approximate (the default)."""
    return choose(_sigmoid_bf16, _sigmoid_fp32, x, fp32_dest_acc)


_SIGMOID_LUT: Segments = (  # SFPLUT: slopes and intercepts of 8 bits, which hold these exactly
    (1.0, 0.2265625, 0.0),
    (2.0, 0.265625, -0.046875),
    (float("inf"), 0.0, 0.5),
)


def _sigmoid_linear(x: torch.Tensor) -> torch.Tensor:
    return add(copy_sign(piecewise_linear(x, _SIGMOID_LUT), x), 0.5)


def sigmoid_linear(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """sigmoid(x) by a table of three lines (SigmoidMode.FastApproximate): nothing rounds."""
    return on_dest(_sigmoid_linear, x, fp32_dest_acc=fp32_dest_acc)


def _plus_one(x: torch.Tensor) -> torch.Tensor:
    return add(x, 1.0)


def sigmoid_chain(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """sigmoid(x) as four functions: negation, approximate exponential, one more, reciprocal.

    SigmoidMode.AccurateWithFastExp, and the fast mode of sigmoid_accurate.
    """
    exponential = exp(-x, approximate=True, fp32_dest_acc=fp32_dest_acc)
    one_more = on_dest(_plus_one, exponential, fp32_dest_acc=fp32_dest_acc)
    return reciprocal(one_more, fp32_dest_acc=fp32_dest_acc)


def silu(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """x * sigmoid(x) as `silu_tile` leaves it in Dst; it has no approximate form."""
    return choose(_silu_bf16, _silu_fp32, x, fp32_dest_acc)


_GELU_TAIL = (3.0369991064e-01, 9.5413386822e-02, 1.3809983619e-02, 7.5950479368e-04)
_GELU_CORE = (
    3.9894227818e-01,
    -6.6361041488e-02,
    9.7720050615e-03,
    -1.0717806322e-03,
    8.1812159812e-05,
    -3.8082057209e-06,
    7.9821413868e-08,
)
_GELU_LUT: Segments = (
    (0.5, 0.1928, -0.00010443),
    (1.0, 0.4939, -0.1604),
    (1.5, 0.6188, -0.2796),
    (2.0, 0.6099, -0.2635),
    (3.0, 0.5402, -0.1194),
    (float("inf"), 0.5, 0.0),
)


def _half_precision(segments: Segments) -> Segments:
    """The table as SFPLUTFP32 holds it: slopes and intercepts in half precision.

    The recorded kernels cut them to 10 fraction bits rather than round them; whether the vendor's
    compiler does is not known.
    """

    def half(value: float) -> float:
        return from_bits(bits(constant(value)) & ~0x1FFF).item()

    return tuple((bound, half(slope), half(intercept)) for bound, slope, intercept in segments)


_GELU_LUT = _half_precision(_GELU_LUT)


def _gelu_piecewise(x: torch.Tensor) -> torch.Tensor:
    """x * Phi(x) in four pieces (calculate_gelu_piecewise)."""
    square = mul(x, x)
    tail = mul(exp2_21f(mad(square, -0.72134752044, 127.0)), polynomial(x, *_GELU_TAIL))
    # Adding and subtracting 0.375 rounds to multiples of 2**-25, as float32 erfc does.
    tail = mul(x, add(add(tail, 0.375), -0.375))
    core = mul(x, mad(x, polynomial(square, *_GELU_CORE), 0.5))
    result = torch.where(x > -5.54259443, tail, constant(0.0))
    result = torch.where(x >= -3.125, core, result)
    return torch.where(x >= 2.78125, x, result)


_gelu_bf16 = rounded(_gelu_piecewise)


def _gelu_linear(x: torch.Tensor) -> torch.Tensor:
    return add(mul(x, 0.5), piecewise_linear(x, _GELU_LUT))


ERF_FP32_NUMERATOR = (
    1.1283791065e00,
    2.1477432549e-01,
    6.2133435160e-02,
    5.6230435148e-03,
    6.1307044234e-04,
    1.7678321456e-05,
    2.7384647439e-08,
    -2.8632063387e-10,
)
ERF_FP32_DENOMINATOR = (
    1.0,
    5.2367275953e-01,
    1.2961706519e-01,
    1.9642570987e-02,
    1.9545555115e-03,
    1.3179056987e-04,
    1.3156344494e-06,
    -3.5153888689e-09,
    -6.7350725691e-12,
)


def _gelu_fp32(x: torch.Tensor) -> torch.Tensor:
    """x/2 * (1 + erf(x/sqrt 2)) with erf as a quotient of polynomials."""
    scaled = minimum(mul(x, 0.7071067811865475), 10.0)
    square = mul(scaled, scaled)
    numerator = mul(polynomial(square, *ERF_FP32_NUMERATOR), scaled)
    denominator = polynomial(square, *ERF_FP32_DENOMINATOR)
    erf = mul(numerator, reciprocal_lanes(denominator, 2))
    erf = minimum(maximum(erf, -1.0), 1.0)
    result = mul(x, mad(0.5, erf, 0.5))
    result = torch.where(erf == -1.0, mul(x, 2.0**-25), result)
    return torch.where(x > -5.54259443, result, add(x, -x))


def gelu(
    x: torch.Tensor, *, approximate: bool = False, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """gelu(x) as `gelu_tile` leaves it in Dst.

    Accurate (the default): piecewise and rounded to bf16, or by erf in fp32. Approximate
    (`fast_and_approximate_mode=True`): x/2 plus a table of six lines, truncated in a 16-bit Dst.
    """
    if approximate:
        return on_dest(_gelu_linear, x, fp32_dest_acc=fp32_dest_acc)
    return choose(_gelu_bf16, _gelu_fp32, x, fp32_dest_acc)


_TANH = (
    0.999004364013671875,
    3.0897438526153564453125e-2,
    -0.4890659749507904052734375,
    0.281917631626129150390625,
    -6.6649019718170166015625e-2,
    5.876733921468257904052734375e-3,
)
_TANH_LUT = _half_precision(
    (
        (0.5, 0.96191406, 0.0),
        (1.0, 0.57617188, 0.192871094),
        (1.5, 0.28710938, 0.48193359),
        (2.0, 0.0964355469, 0.76806641),
        (3.0, 0.0390625, 0.8828125),
        (float("inf"), 0.0, 1.0),
    )
)


# Less a positive float's pattern: the pattern of about minus its reciprocal.
_MINUS_RECIPROCAL_MAGIC = 0xFEF30000 - (1 << 32)


def _tanh_polynomial(x: torch.Tensor) -> torch.Tensor:
    magnitude = x.abs()
    result = mul(polynomial(magnitude, *_TANH), magnitude)
    return round_to_bf16(copy_sign(minimum(result, 1.0), x))


def _tanh_linear(x: torch.Tensor) -> torch.Tensor:
    return copy_sign(piecewise_linear(x, _TANH_LUT), x)


def _tanh_fp32(x: torch.Tensor) -> torch.Tensor:
    """t / (t + 1) with t = expm1(2|x|)/2 (_sfpu_tanh_fp32_accurate_)."""
    turns = round_to_integer(mul(x, 2.0 * 1.442695), 255)
    f = mad(turns.to(torch.float32), -0.6931471805599453, mul(x.abs(), 2.0))
    r = polynomial(
        f,
        0.5,
        1.666667163e-1,
        4.166680202e-2,
        8.331298828e-3,
        1.393318176e-3,
        1.974105835e-04,
    )
    r = mad(r, mul(f, f), f)
    scale = set_exponent(torch.zeros_like(x), turns + 126)
    numerator = mad(r, scale, add(scale, -0.5))
    denominator = add(numerator, 1.0)
    guess = from_bits(_MINUS_RECIPROCAL_MAGIC - bits(denominator))
    error = mad(denominator, guess, 1.0)
    guess = mad(guess, mad(error, error, error), guess)
    quotient = mul(numerator, guess)
    residual = mad(denominator, quotient, numerator)
    ratio = torch.where(exponent(x) >= 115, mad(residual, guess, quotient), x)
    result = torch.where(turns < 61, ratio, torch.where(x.isnan(), NAN, constant(1.0)))
    return copy_sign(result, x)


def tanh(
    x: torch.Tensor, *, approximate: bool = False, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """tanh(x) as `tanh_tile` leaves it in Dst: a polynomial, fp32, or a table of six lines."""
    if approximate:
        return on_dest(_tanh_linear, x, fp32_dest_acc=fp32_dest_acc)
    return choose(_tanh_polynomial, _tanh_fp32, x, fp32_dest_acc)


def _gelu_tanh(x: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    p = mad(0.044715, mul(x, x), 1.0)
    t = _tanh_fp32(mul(0.7978845608028654, mul(x, p)))
    half = mul(0.5, x)
    result = mad(half, t, half)
    return result if fp32_dest_acc else round_to_bf16(result)


def gelu_tanh(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x**3))) as `gelu_tanh_tile` leaves it."""
    return on_dest(_gelu_tanh, x, fp32_dest_acc, fp32_dest_acc=fp32_dest_acc)


_SOFTPLUS_BF16 = (
    6.9423984729e-01,
    -5.0932420424e-01,
    1.4279095486e-01,
    -1.3000584069e-02,
    -1.8627923291e-03,
    5.0152968088e-04,
    -3.1273466851e-05,
)


def _softplus_bf16(x: torch.Tensor, beta: float, threshold: float) -> torch.Tensor:
    t = mul(beta, x)
    magnitude = t.abs()
    residual = polynomial(magnitude, *_SOFTPLUS_BF16)
    residual = torch.where(magnitude > 5.0, constant(0.0), residual)
    result = mul(1.0 / beta, add(maximum(t, 0.0), residual))
    return torch.where(t <= threshold, round_to_bf16(result), x)


_SOFTPLUS_FP32 = (
    6.9310557842e-01,
    -4.9926245213e-01,
    1.2186349183e-01,
    5.6753782555e-03,
    -1.0528374463e-02,
    2.7290175203e-03,
    -3.4358495031e-04,
    2.1285692128e-05,
    -4.8245715334e-07,
)
_EXP_TAYLOR = (
    1.0,
    1.0,
    0.5,
    0.166666667,
    0.0416666667,
    0.00833333333,
    0.00138888889,
    0.000198412698,
)


def _softplus_fp32(x: torch.Tensor, beta: float, threshold: float) -> torch.Tensor:
    t = mul(beta, x)
    magnitude = t.abs()
    e = negative_exp_lanes(-magnitude, _EXP_TAYLOR)
    tail = mul(e, mad(e, add(mul(e, 0.333333343), -0.5), 1.0))
    residual = torch.where(above(magnitude, 5.0), tail, polynomial(magnitude, *_SOFTPLUS_FP32))
    inverse = (constant(1.0) / constant(beta)).item()
    result = mul(inverse, add(maximum(t, 0.0), residual))
    return torch.where(above(t, threshold), x, result)


def softplus(
    x: torch.Tensor, beta: float = 1.0, threshold: float = 20.0, *, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """log(1 + e**(beta x)) / beta as `softplus_tile` leaves it in Dst."""
    run = _softplus_fp32 if fp32_dest_acc else _softplus_bf16
    return on_dest(run, x, float(beta), float(threshold), fp32_dest_acc=fp32_dest_acc)


def relu(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """max(x, 0); relu_tile is relu_min with threshold 0."""
    return on_dest(maximum, x, 0.0, fp32_dest_acc=fp32_dest_acc)


FOLLOWED = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": relu,
    "sigmoid": sigmoid,
    "sigmoid_chain": sigmoid_chain,
    "sigmoid_linear": sigmoid_linear,
    "silu": silu,
    "softplus": softplus,
    "tanh": tanh,
}

"""Functions of one value on the vector unit: reciprocal, roots, sigmoid, silu, gelu, tanh, ...

Arguments and results are float32 tensors of any shape, as they lie in Dst before and after.  In a
16-bit Dst most kernels round to bf16 themselves; where one does not, the store truncates.
Kernel sources are ckernel_sfpu_<name>.h of Wormhole unless another is named.
"""

import torch

from emulator.arithmetic.vector_exponential import exp2_21f, exp_21f, exp_accurate_fp32
from emulator.arithmetic.vector_unit import (
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
    mad,
    maximum,
    minimum,
    mul,
    on_bf16_dest,
    on_dest,
    on_fp32_dest,
    piecewise_linear,
    polynomial,
    round_to_bf16,
    round_to_bf16_even,
    round_to_integer,
    set_exponent,
)

INFINITY = constant(float("inf"))
NAN = constant(float("nan"))


def _rounded(function):
    """`function` followed by the kernel's own rounding to bf16."""

    def run(x, *parameters):
        return round_to_bf16(function(x, *parameters))

    return run


def _select(function_bf16, function_fp32, x, fp32_dest):
    if fp32_dest:
        return on_fp32_dest(function_fp32, x)
    return on_bf16_dest(function_bf16, x)


# --- reciprocal ----------------------------------------------------------------------------------

# Seed 1/m = k2 - k1*m + k0*m**2 on [1, 2).
SHARED_SEED = (0.3232325017452239990234375, 1.4545459747314453125, 2.121212482452392578125)
BF16_SEED = (0.32133400440216064453125, 1.4514148235321044921875, 2.1200883388519287109375)


def reciprocal_lanes(x, steps, seed=SHARED_SEED, round_result=False):
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


def _reciprocal_approximate(x):
    return reciprocal_lanes(x, 1)


def _reciprocal_fp32(x):
    return reciprocal_lanes(x, 2)


def _reciprocal_bf16(x):
    return reciprocal_lanes(x, 1, BF16_SEED, round_result=True)


def reciprocal(x, *, approximate=False, fp32_dest=False):
    """1/x as `recip_tile` leaves it in Dst.

    Accurate: correctly rounded bf16, or two Newton steps in fp32.  Approximate: one step with the
    shared seed, which a 16-bit Dst truncates.  `approximate` is the compute config's
    math_approx_mode, except in softmax, which always asks for the accurate one when Dst is 32 bits
    wide (softmax.cpp).
    """
    if approximate:
        return on_dest(_reciprocal_approximate, x, fp32_dest=fp32_dest)
    return _select(_reciprocal_bf16, _reciprocal_fp32, x, fp32_dest)


def _attention_reciprocal_bf16(x, seed):
    return round_to_bf16(reciprocal_lanes(x, 1, seed))


def attention_reciprocal(x, *, approximate=True, fp32_dest=False, streaming=True):
    """1/row sum in attention (calculate_recip_first_column, ckernel_sfpu_sdpa.h).

    Approximate is the default of both attention ops.  When it is off, a 16-bit Dst gets one step
    and a rounding; its seed is recip_tile's bf16 seed in prefill's streaming kernel
    (compute_streaming.hpp) and the shared one elsewhere (recip_block_inplace in
    compute_common.hpp: decode).
    """
    if approximate or fp32_dest:
        return reciprocal(x, approximate=approximate, fp32_dest=fp32_dest)
    return on_bf16_dest(_attention_reciprocal_bf16, x, BF16_SEED if streaming else SHARED_SEED)


# --- roots ---------------------------------------------------------------------------------------


def _root_seed(x, magic):
    return from_bits(magic - ((bits(x) >> 1) & MAGNITUDE))


def _rsqrt(x, approximate):
    if approximate:
        y = _root_seed(x, 0x5F0B3892)
        y = mul(y, mad(-y, mul(x, y), 1.89099014875))
    else:
        y = _root_seed(x, 0x5F1110A0)
        c = mul(-y, mul(x, y))
        y = mul(y, mad(c, add(2.2533049, c), 2.2825186))
        residual = mad(-y, mul(x, y), 1.0)
        y = mad(residual, mul(y, 0.5), y)
    y = torch.where(x < 0, NAN, y)
    y = torch.where(x == float("inf"), constant(0.0), y)
    return torch.where(is_zero(x), copy_sign(INFINITY, x), y)


def _sqrt(x, approximate):
    if approximate:
        y = _root_seed(x, 0x5F0B3892)
        c = mul(x, y)
        result = mul(c, mad(-y, c, 1.89099014875))
    else:
        y = _root_seed(x, 0x5F1110A0)
        c = mul(-y, mul(x, y))
        y = mul(y, mad(c, add(2.2533049, c), 2.2825186))
        xy = mul(x, y)
        result = mad(mad(-y, xy, 1.0), mul(0.5, xy), xy)
    result = torch.where(x == float("inf"), INFINITY, result)
    result = torch.where(x < 0, NAN, result)
    return torch.where(is_zero(x), x, result)


_rsqrt_bf16 = _rounded(_rsqrt)
_sqrt_bf16 = _rounded(_sqrt)


def rsqrt(x, *, approximate=False, fp32_dest=False):
    """1/sqrt(x) as `rsqrt_tile` leaves it in Dst, rounded to bf16 if Dst is 16 bits wide.

    `approximate` is the compute config's math_approx_mode: 10 bits instead of 23.  `ttnn.rsqrt`
    has it off; rms_norm has it on by default (layernorm.cpp calls rsqrt_tile without a mode).
    A negative argument gives NaN, +-0 the infinity of its sign.
    """
    if fp32_dest:
        return on_fp32_dest(_rsqrt, x, approximate)
    return on_bf16_dest(_rsqrt_bf16, x, approximate)


def sqrt(x, *, approximate=False, fp32_dest=False):
    """sqrt(x) as `sqrt_tile` leaves it in Dst, rounded to bf16 if Dst is 16 bits wide."""
    if fp32_dest:
        return on_fp32_dest(_sqrt, x, approximate)
    return on_bf16_dest(_sqrt_bf16, x, approximate)


# --- sigmoid, silu -------------------------------------------------------------------------------


def _sigmoid_21f(x):
    return reciprocal_lanes(add(1.0, exp_21f(-x)), 1)


def _sigmoid_fp32(x):
    return reciprocal_lanes(add(1.0, exp_accurate_fp32(-x)), 2)


def _silu_21f(x):
    return mul(x, _sigmoid_21f(x))


def _silu_fp32(x):
    return mul(x, _sigmoid_fp32(x))


_sigmoid_bf16 = _rounded(_sigmoid_21f)
_silu_bf16 = _rounded(_silu_21f)


def sigmoid(x, *, fp32_dest=False):
    """1 / (1 + e**-x) as `sigmoid_tile` leaves it in Dst, not approximate (the default)."""
    return _select(_sigmoid_bf16, _sigmoid_fp32, x, fp32_dest)


def silu(x, *, fp32_dest=False):
    """x * sigmoid(x) as `silu_tile` leaves it in Dst; it has no approximate form."""
    return _select(_silu_bf16, _silu_fp32, x, fp32_dest)


# --- gelu ----------------------------------------------------------------------------------------

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
_GELU_LUT = (
    (0.5, 0.1928, -0.00010443),
    (1.0, 0.4939, -0.1604),
    (1.5, 0.6188, -0.2796),
    (2.0, 0.6099, -0.2635),
    (3.0, 0.5402, -0.1194),
    (float("inf"), 0.5, 0.0),
)


def _half_precision(segments):
    """The table as SFPLUTFP32 holds it: slopes and intercepts in half precision."""
    return tuple(
        (bound, *(torch.tensor(v, dtype=torch.float32).half().item() for v in line))
        for bound, *line in segments
    )


_GELU_LUT = _half_precision(_GELU_LUT)


def _gelu_piecewise(x):
    """x * Phi(x) in four pieces (calculate_gelu_piecewise)."""
    square = mul(x, x)
    tail = mul(exp2_21f(mad(square, -0.72134752044, 127.0)), polynomial(x, *_GELU_TAIL))
    # Adding and subtracting 0.375 rounds to multiples of 2**-25, as float32 erfc does.
    tail = mul(x, add(add(tail, 0.375), -0.375))
    core = mul(x, mad(x, polynomial(square, *_GELU_CORE), 0.5))
    result = torch.where(x > -5.54259443, tail, constant(0.0))
    result = torch.where(x >= -3.125, core, result)
    return torch.where(x >= 2.78125, x, result)


_gelu_bf16 = _rounded(_gelu_piecewise)


def _gelu_linear(x):
    return add(mul(x, 0.5), piecewise_linear(x, _GELU_LUT))


_ERF_NUMERATOR = (
    1.1283791065e00,
    2.1477432549e-01,
    6.2133435160e-02,
    5.6230435148e-03,
    6.1307044234e-04,
    1.7678321456e-05,
    2.7384647439e-08,
    -2.8632063387e-10,
)
_ERF_DENOMINATOR = (
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


def _gelu_fp32(x):
    """x/2 * (1 + erf(x/sqrt 2)) with erf as a quotient of polynomials."""
    scaled = minimum(mul(x, 0.7071067811865475), 10.0)
    square = mul(scaled, scaled)
    numerator = mul(polynomial(square, *_ERF_NUMERATOR), scaled)
    denominator = polynomial(square, *_ERF_DENOMINATOR)
    erf = mul(numerator, reciprocal_lanes(denominator, 2))
    erf = minimum(maximum(erf, -1.0), 1.0)
    result = mul(x, mad(0.5, erf, 0.5))
    result = torch.where(erf == -1.0, mul(x, 2.0**-25), result)
    return torch.where(x > -5.54259443, result, add(x, -x))


def gelu(x, *, approximate=False, fp32_dest=False):
    """gelu(x) as `gelu_tile` leaves it in Dst.

    Accurate (the default): piecewise and rounded to bf16, or by erf in fp32.  Approximate
    (`fast_and_approximate_mode=True`): x/2 plus a table of six lines, truncated in a 16-bit Dst.
    """
    if approximate:
        return on_dest(_gelu_linear, x, fp32_dest=fp32_dest)
    return _select(_gelu_bf16, _gelu_fp32, x, fp32_dest)


# --- tanh ----------------------------------------------------------------------------------------

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


def _tanh_polynomial(x):
    magnitude = x.abs()
    result = mul(polynomial(magnitude, *_TANH), magnitude)
    return round_to_bf16(copy_sign(minimum(result, 1.0), x))


def _tanh_linear(x):
    return copy_sign(piecewise_linear(x, _TANH_LUT), x)


def _tanh_fp32(x):
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
    guess = from_bits(-0x10D0000 - bits(denominator))
    error = mad(denominator, guess, 1.0)
    guess = mad(guess, mad(error, error, error), guess)
    quotient = mul(numerator, guess)
    residual = mad(denominator, quotient, numerator)
    ratio = torch.where(exponent(x) >= 115, mad(residual, guess, quotient), x)
    result = torch.where(turns < 61, ratio, torch.where(x.isnan(), NAN, constant(1.0)))
    return copy_sign(result, x)


def tanh(x, *, approximate=False, fp32_dest=False):
    """tanh(x) as `tanh_tile` leaves it in Dst: a polynomial, fp32, or a table of six lines."""
    if approximate:
        return on_dest(_tanh_linear, x, fp32_dest=fp32_dest)
    return _select(_tanh_polynomial, _tanh_fp32, x, fp32_dest)


# --- log, softplus, sine, cosine -----------------------------------------------------------------

_LOG_FP32 = tuple(
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


def _log_lanes(x, coefficients):
    three_quarters = bits(constant(0.75))
    scaled = (bits(x) - three_quarters) & -0x800000
    m = add(from_bits(bits(x) - scaled), -1.0)
    r = polynomial(m, *coefficients)
    r = mad(r, mul(m, m), m)
    powers = copy_sign(scaled.abs().to(torch.float32), from_bits(scaled))
    per_power = (constant(0.693147182) * constant(1.19209290e-7)).item()
    result = mad(powers, per_power, r)
    result = torch.where(is_zero(x), -INFINITY, result)
    result = torch.where(x == float("inf"), INFINITY, result)
    return torch.where((x < 0) | x.isnan(), NAN, result)


def _log_bf16(x):
    coefficients = (float.fromhex("-0x1.008p-1"), float.fromhex("0x1.744p-2"), -0.25)
    return round_to_bf16(_log_lanes(x, coefficients))


def _log_fp32(x):
    return _log_lanes(x, (-0.5, *_LOG_FP32))


def log(x, *, fp32_dest=False):
    """Natural logarithm as `log_tile` leaves it in Dst; -infinity at 0, NaN below."""
    return _select(_log_bf16, _log_fp32, x, fp32_dest)


_SOFTPLUS_BF16 = (
    6.9423984729e-01,
    -5.0932420424e-01,
    1.4279095486e-01,
    -1.3000584069e-02,
    -1.8627923291e-03,
    5.0152968088e-04,
    -3.1273466851e-05,
)


def _softplus_bf16(x, beta, threshold):
    t = mul(beta, x)
    magnitude = t.abs()
    residual = polynomial(magnitude, *_SOFTPLUS_BF16)
    residual = torch.where(magnitude > 5.0, constant(0.0), residual)
    result = mul(1.0 / beta, add(maximum(t, 0.0), residual))
    return torch.where(t <= threshold, round_to_bf16(result), x)


def softplus(x, *, beta=1.0, threshold=20.0):
    """log(1 + e**(beta x)) / beta as `softplus_tile` leaves it in a 16-bit Dst."""
    return on_bf16_dest(_softplus_bf16, x, float(beta), float(threshold))


_SINE = {  # coefficients of a**2 in (sin(a) - a) / a**3
    False: ("-0x1.5554a4p-3", "0x1.10c2a2p-7", "-0x1.8b10a4p-13"),
    True: ("-0x1.55554cp-3", "0x1.110edap-7", "-0x1.9f70fp-13", "0x1.5dc908p-19"),
}
_ROUNDING = 12582912.0  # 1.5 * 2**23: adding it leaves a rounded integer in the low bits
_ONE_OVER_PI = 0.31830987334251404


def _sine_of_turns(x, turns, parity, parts, fp32_dest):
    a = x
    for part in parts:
        a = mad(turns, float.fromhex(part), a)
    s = mul(a, a)
    a = from_bits(bits(a) ^ (parity << 31))
    r = polynomial(s, *(float.fromhex(c) for c in _SINE[fp32_dest]))
    r = mad(r, mul(a, s), a)
    return r if fp32_dest else round_to_bf16(r)


def _sin(x, fp32_dest):
    turns = mad(x, _ONE_OVER_PI, _ROUNDING)
    parity = bits(turns)
    parts = ("-0x1.92p+1", "-0x1.fbp-11", "-0x1.51p-21", "-0x1.0b4612p-33")
    return _sine_of_turns(x, add(turns, -_ROUNDING), parity, parts, fp32_dest)


def _cos(x, fp32_dest):
    turns = add(mad(x, _ONE_OVER_PI, 0.5), _ROUNDING)
    parity = bits(turns)
    turns = mad(add(turns, -_ROUNDING), 2.0, -1.0)
    parts = ("-0x1.92p+0", "-0x1.fbp-12", "-0x1.51p-22", "-0x1.0b4612p-34")
    return _sine_of_turns(x, turns, parity, parts, fp32_dest)


def sin(x, *, fp32_dest=False):
    """sin(x) as `sin_tile` leaves it in Dst (ckernel_sfpu_trigonometry.h)."""
    return on_dest(_sin, x, fp32_dest, fp32_dest=fp32_dest)


def cos(x, *, fp32_dest=False):
    """cos(x) as `cos_tile` leaves it in Dst (ckernel_sfpu_trigonometry.h)."""
    return on_dest(_cos, x, fp32_dest, fp32_dest=fp32_dest)


# --- exact ones ----------------------------------------------------------------------------------


def relu(x, *, fp32_dest=False):
    """max(x, 0); relu_tile is relu_min with threshold 0."""
    return on_dest(maximum, x, 0.0, fp32_dest=fp32_dest)


def negate(x, *, fp32_dest=False):
    """-x, exact."""
    return on_dest(torch.neg, x, fp32_dest=fp32_dest)


def absolute(x, *, fp32_dest=False):
    """|x|, exact."""
    return on_dest(torch.abs, x, fp32_dest=fp32_dest)


def _square_bf16(x):
    return round_to_bf16_even(mul(x, x))


def _square_fp32(x):
    return mul(x, x)


def square(x, *, fp32_dest=False):
    """x*x as `square_tile` leaves it in Dst: nearest even in either width."""
    return _select(_square_bf16, _square_fp32, x, fp32_dest)

"""Activations that are linear in parts: the ELU family, hard and soft ones, and shrinking.

Arguments and results of functions are float32 tensors of any shape, as they lie in Dst before and
after; those that begin with an underscore take lanes. In a 16-bit Dst some kernels round to bf16
themselves; where one does not, the store truncates. Kernel sources are ckernel_sfpu_<name>.h of
Wormhole unless another is named.
"""

import torch

from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.vector import vector_binary
from ttnn_emulator.arithmetic.exact.vector.vector_exponential import (
    exp,
    exp_21f,
    exp_accurate_fp32,
)
from ttnn_emulator.arithmetic.exact.vector.vector_functions import (
    ZERO,
    above,
    below,
    evaluate,
    followed,
    followed_fast,
    for_dest,
    negate,
)
from ttnn_emulator.arithmetic.exact.vector.vector_logarithms import expm1_clamped_lanes
from ttnn_emulator.arithmetic.exact.vector.vector_roots import reciprocal_lanes
from ttnn_emulator.arithmetic.exact.vector.vector_unit import (
    add,
    bits,
    constant,
    copy_sign,
    exponent,
    load,
    mad,
    maximum,
    minimum,
    mul,
    polynomial,
    set_exponent,
    store,
)

# --- exponential below zero ----------------------------------------------------------------------


def _elu(x: torch.Tensor, fp32: bool, alpha: float = 1.0) -> torch.Tensor:
    """x, below zero alpha * (e**x - 1)."""
    result = mul(alpha, expm1_clamped_lanes(x, fp32))
    return for_dest(torch.where(bits(x) >= 0, x, result), fp32)


def _celu(x: torch.Tensor, fp32: bool, alpha: float = 1.0) -> torch.Tensor:
    """x, below zero alpha * (e**(x/alpha) - 1); the host inverts alpha."""
    inverse = (constant(1.0) / constant(alpha)).item()
    result = mul(alpha, expm1_clamped_lanes(mul(inverse, x), fp32))
    return for_dest(torch.where(bits(x) >= 0, x, result), fp32)


SELU_SCALE, SELU_ALPHA = 1.0506999492645264, 1.673259973526001  # TTNN's defaults


def _selu(
    x: torch.Tensor, fp32: bool, scale: float = SELU_SCALE, alpha: float = SELU_ALPHA
) -> torch.Tensor:
    """scale * x, below zero scale * alpha * (e**x - 1)."""
    both = (constant(scale) * constant(alpha)).item()
    result = mul(both, expm1_clamped_lanes(x, fp32))
    return for_dest(torch.where(bits(x) >= 0, mul(scale, x), result), fp32)


_XIELU_NEAR_ZERO = (  # (e**x - 1 - x) / x**2
    0.500000059604644775390625,
    0.16666667163372039794921875,
    4.16650883853435516357421875e-2,
    8.333188481628894805908203125e-3,
    1.400390756316483020782470703125e-3,
    1.99588379473425447940826416015625e-4,
)
_EXP_TAYLOR = (1.0, 1.0, 0.5, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040)
_LN2_UPPER, _LN2_LOWER = -0.6931152343750000, -3.19461832987e-05
_ROUNDING = 12582912.0  # 1.5 * 2**23: adding it leaves a rounded integer in the low bits


def negative_exp_lanes(
    x: torch.Tensor, coefficients: tuple[float, ...], lowest: float | None = None
) -> torch.Tensor:
    """e**x of negative lanes by a Taylor series (_sfpu_neg_exp_f32_, softplus_exp_negative).

    `lowest` is where the power of two is cut off; what would be a denormal is 0.
    """
    z = mul(x, 1.4426950408889634)
    z = z if lowest is None else maximum(z, lowest)
    shifted = add(z, _ROUNDING)
    k = add(shifted, -_ROUNDING)
    p = evaluate(mad(k, _LN2_LOWER, mad(k, _LN2_UPPER, x)), *coefficients)
    power = exponent(p) + bits(shifted) - int(bits(constant(_ROUNDING)))
    return torch.where(power >= 1, set_exponent(p, power), ZERO)


def _xielu(x: torch.Tensor, fp32: bool, alpha_p: float = 0.8, alpha_n: float = 0.8) -> torch.Tensor:
    """x/2 + alpha_p * x**2, from zero down x/2 + alpha_n * (e**x - 1 - x)."""
    tiny = add(-0.0000009999995427, -x)
    near = mul(mul(x, x), polynomial(x, *_XIELU_NEAR_ZERO))
    far = add(add(negative_exp_lanes(x, _EXP_TAYLOR, lowest=-126.5), -1.0), -x)
    term = torch.where(above(x, -0.5), near, far)
    term = torch.where(bits(add(x, 1e-6)) >= 0, tiny, term)
    half = mul(0.5, x)
    positive = (bits(x) >= 0) & (x != 0)
    result = torch.where(positive, mad(mul(alpha_p, x), x, half), mad(alpha_n, term, half))
    return for_dest(result, fp32)


# --- sigmoids and their kin ----------------------------------------------------------------------


def _mish(x: torch.Tensor, fp32: bool, fast: bool) -> torch.Tensor:
    """x * u(u+2) / (u**2 + 2u + 2) with u = e**x; x from 8 on."""
    u = exp_accurate_fp32(x) if fp32 and not fast else for_dest(exp_21f(x), fp32)
    numerator = mul(u, add(u, 2.0))
    one_more = add(u, 1.0)
    denominator = mad(one_more, one_more, 1.0)
    inverse = reciprocal_lanes(denominator, 2 if fp32 and not fast else 1)
    result = mul(x, mul(numerator, inverse))
    return for_dest(torch.where(below(x, 8.0), result, x), fp32)


def _softsign(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """x / (1 + |x|), not rounded."""
    return mul(x, reciprocal_lanes(add(x.abs(), 1.0), 2))


def _hardsigmoid(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """x/6 + 1/2 between 0 and 1, not rounded (ckernel_sfpu_activations.h)."""
    line = mad(x, 0.1666666716337204, 0.5)
    line = torch.where(above(line, 1.0), constant(1.0), line)
    return torch.where(bits(line) < 0, ZERO, line)


hardsigmoid = followed(_hardsigmoid)


def hardswish(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """x * hardsigmoid(x) as hardswish_kernel.cpp multiplies them.

    In a 16-bit Dst the matrix unit does, by the operand as it was unpacked; float32 the vector
    unit.
    """
    gate = hardsigmoid(x, fp32_dest_acc=fp32_dest_acc)
    if fp32_dest_acc:
        return vector_binary.multiply(gate, x, fp32_dest_acc=True)
    return eltwise_unit.multiply(gate, load(x), fidelity="HiFi4", fp32_dest_acc=False)


def _hardmish(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """x * (x/2 + 1 between 0 and 1), not rounded."""
    return mul(x, minimum(maximum(mad(x, 0.5, 1.0), 0.0), 1.0))


_LOG_SIGMOID = (  # softplus(-x) between -4 and 4
    0.6924354434013367,
    0.49275708198547363,
    0.12142381817102432,
    0.0031102809589356184,
    -0.00330807245336473,
    -0.00028794066747650504,
    5.3185409342404455e-05,
    7.1853546614875086e-06,
    7.4961114648886e-08,
)


def log_sigmoid(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """-softplus(-x) as logsigmoid_kernel.cpp makes it; nothing rounds.

    Above 4 it is minus the approximate exponential of -x, which has been stored; up to -4 it is x.
    """
    x = load(x)
    exp_of_minus = exp(
        negate(x, fp32_dest_acc=fp32_dest_acc), approximate=True, fp32_dest_acc=fp32_dest_acc
    )
    result = torch.where(below(-x, 4.0), -polynomial(-x, *_LOG_SIGMOID), x)
    return store(torch.where(below(-x, -4.0), -exp_of_minus, result), fp32_dest_acc)


# --- shrinking -----------------------------------------------------------------------------------


def _hardshrink(x: torch.Tensor, fp32: bool, lambd: float = 0.5) -> torch.Tensor:
    """x, or 0 up to |x| = lambd, which the host rounds to bf16 for a 16-bit operand."""
    limit = constant(lambd) if fp32 else constant(lambd).bfloat16().float()
    return torch.where(bits(add(limit, -x.abs())) >= 0, ZERO, x)


def _softshrink(x: torch.Tensor, fp32: bool, lambd: float = 0.5) -> torch.Tensor:
    """x less x between -lambd and lambd, not rounded."""
    limit = constant(lambd).item()
    return add(x, -minimum(maximum(x, -limit), limit))


_TANHSHRINK = {  # (x - tanh(x)) / x**3 up to 1, of x**2
    False: (3.3329936862e-01, -1.3223160803e-01, 4.8076551408e-02, -1.0762925260e-02),
    True: (
        3.3333331347e-01,
        -1.3333128393e-01,
        5.3934831172e-02,
        -2.1660288796e-02,
        8.2192532718e-03,
        -2.5107525289e-03,
        4.2079269770e-04,
    ),
}
_TANH_BEYOND_ONE = (6.1829000893e-02, 1.0561303143e00, -4.0859283753e-01, 5.3348409333e-02)


def _tanhshrink(x: torch.Tensor, fp32: bool) -> torch.Tensor:
    """x - tanh(x), by a series of its own up to 1."""
    magnitude, square = x.abs(), mul(x, x)
    near = mul(mul(x, square), polynomial(square, *_TANHSHRINK[fp32]))
    if fp32:
        e = exp_accurate_fp32(mul(-2.0, minimum(magnitude, 9.0)))
        tanh = add(mul(2.0, reciprocal_lanes(add(1.0, e), 2)), -1.0)
        far = copy_sign(add(magnitude, -tanh), x)
    else:
        tanh = minimum(polynomial(magnitude, *_TANH_BEYOND_ONE), 1.0)
        far = add(x, -copy_sign(tanh, x))
    return for_dest(torch.where(above(magnitude, 1.0), far, near), fp32)


FOLLOWED = {
    "celu": followed(_celu),
    "elu": followed(_elu),
    "hardmish": followed(_hardmish),
    "hardshrink": followed(_hardshrink),
    "hardsigmoid": hardsigmoid,
    "hardswish": hardswish,
    "log_sigmoid": log_sigmoid,
    "mish": followed_fast(_mish),
    "selu": followed(_selu),
    "softshrink": followed(_softshrink),
    "softsign": followed(_softsign),
    "tanhshrink": followed(_tanhshrink),
    "xielu": followed(_xielu),
}

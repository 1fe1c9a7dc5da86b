"""Elementwise operations in float32 (integers in int64), for `ttnn_emulator.arithmetic.rounded.rounded`."""

import torch
from torch.nn import functional

from ttnn_emulator.arithmetic.formats import encode


def wide(values):
    """The type that arithmetic happens in: float32 for floats, int64 for integers."""
    return values.float() if values.dtype.is_floating_point else values.long()


def _fill(x, value):
    return torch.full_like(x, value)


def _threshold(x, threshold, value):
    return torch.where(x > threshold, x, value)


def _softplus(x, beta=1.0, threshold=20.0):
    return functional.softplus(x, beta, threshold)


def _round(x, decimals=0):
    return torch.round(x, decimals=decimals)


# Operation -> function of wide values and the operation's own numbers.
UNARY = {
    "abs": torch.abs,
    "cbrt": lambda x: x.sign() * x.abs().pow(1 / 3),
    "ceil": torch.ceil,
    "clamp": torch.clamp,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "elu": functional.elu,
    "eqz": lambda x: x == 0,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "fill": _fill,
    "floor": torch.floor,
    "frac": torch.frac,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "gez": lambda x: x >= 0,
    "gtz": lambda x: x > 0,
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
    "identity": torch.clone,
    "isfinite": torch.isfinite,
    "isinf": torch.isinf,
    "isnan": torch.isnan,
    "leaky_relu": functional.leaky_relu,
    "lez": lambda x: x <= 0,
    "log": torch.log,
    "log10": torch.log10,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "log_sigmoid": functional.logsigmoid,
    "logical_not": torch.logical_not,
    "ltz": lambda x: x < 0,
    "mish": functional.mish,
    "neg": torch.neg,
    "nez": lambda x: x != 0,
    "pow": torch.pow,
    "reciprocal": torch.reciprocal,
    "relu": torch.relu,
    "relu6": lambda x: x.clamp(0, 6),
    "relu_max": lambda x, upper: x.clamp(0, upper),
    "relu_min": lambda x, lower: torch.relu(x.clamp(min=lower)),
    "round": _round,
    "rsqrt": torch.rsqrt,
    "selu": functional.selu,
    "sigmoid": torch.sigmoid,
    "sign": torch.sign,
    "silu": functional.silu,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "softplus": _softplus,
    "softsign": functional.softsign,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
    "threshold": _threshold,
    "trunc": torch.trunc,
}

BINARY = {
    "add": torch.add,
    "subtract": torch.subtract,
    "multiply": torch.multiply,
    "divide": torch.divide,
    "rsub": torch.rsub,
    "pow": torch.pow,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "eq": torch.eq,
    "ne": torch.ne,
    "lt": torch.lt,
    "le": torch.le,
    "gt": torch.gt,
    "ge": torch.ge,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "squared_difference": lambda a, b: torch.square(a - b),
}


def unary(x, *steps, dtype="bfloat16", out="bfloat16"):
    """Functions of each element, one after the other.

    Args:
        x: contents of any shape.
        steps: `compute.Step`s with names of `UNARY`. The error of a fast variant is not modelled.
        dtype, out: the operand's and the result's dtype.
    """
    x = wide(x)
    for step in steps:
        x = UNARY[step.name](x, *step.numbers)
    return x


def binary(
    operation,
    a,
    b,
    *,
    dtypes=("bfloat16", "bfloat16"),
    out="bfloat16",
    a_steps=(),
    b_steps=(),
    steps=(),
    fast=None,
):
    """An operation of `BINARY` on the elements of two tensors that broadcast.

    Args:
        operation: its name.
        a, b: contents.
        dtypes, out: the operands' and the result's dtypes.
        a_steps, b_steps, steps: `compute.Step`s applied to the operands and to the result.
        fast: fast_and_approximate_mode, which picks a unit of the core; None for TTNN's default.
    """
    return unary(BINARY[operation](unary(a, *a_steps), unary(b, *b_steps)), *steps)


def where(condition, if_true, if_false, *, out="bfloat16"):
    """`if_true` where `condition` is not zero, `if_false` elsewhere; all three broadcast."""
    return torch.where(condition != 0, wide(if_true), wide(if_false))


def typecast(x, from_dtype, to_dtype):
    """Values of `x` on their way to another dtype; writing them to the output rounds them."""
    return x


def moved(x, dtype, out=None, *, wide=None):
    """Contents that a compute kernel only moves (tilize, untilize, transpose, a cache's update).

    Args:
        x: contents of `dtype`.
        dtype, out: the operand's and the result's dtype; no `out` is the operand's.
        wide: whether Dst has 32 bits, None where float32 goes straight there; not modelled here.
    """
    return x


def stored(values, dtype):
    """What an output buffer holds of a kernel's result, in its storage dtype.

    Values are rounded once: block formats too, as the host encodes them.
    """
    return encode(values, dtype)

"""Arithmetic in float32, each operation's result rounded once to its output's dtype.

The quick arithmetic: shapes, layouts and data movement are the device's, rounding within an
operation is not. Functions take the operands' contents in storage dtype and return float32 values
(bfloat16 ones where a library routine rounds float32 sums once on its own), or int64 for integers.
"""

import math

import torch
from torch.nn import functional

from emulator.arithmetic.rounded_attention import (
    attention,
    attention_decode,
    attention_rows,
    rotary,
    rotary_pairs,
    rotate_half,
)

COLUMN_CHUNK = 1024  # columns of a bf16 weight that are float32 at a time


def wide(values):
    """The type that arithmetic happens in: float32 for floats, int64 for integers."""
    return values.float() if values.dtype.is_floating_point else values.long()


# --- elementwise ---------------------------------------------------------------------------------


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


def moved(x, dtype):
    """Contents that a compute kernel only moves (tilize, untilize, transpose, a cache's update)."""
    return x


# --- matrix products -----------------------------------------------------------------------------


def matmul(
    a,
    b,
    bias=None,
    *,
    product,
    compute=None,
    cores=(8, 8),
    core_grid=None,
    planned=False,
    k_block=None,
    steps=(),
):
    """Matrix product with float32 sums.

    Args:
        a: [..., M, K] contents.
        b: [..., K, N] contents; leading dimensions broadcast against those of `a`.
        bias: [..., 1, N] contents to add, or None.
        product: a `matrix_plan.Product`. For any output but float32 the sums of bf16 operands are
            rounded to bf16, the destination register's format.
        compute: a `compute.Compute`, None for TTNN's default.
        cores: (columns, rows) of worker cores.
        core_grid: (columns, rows) that the caller asked for, or None.
        planned: whether the caller gave a program configuration.
        k_block: tiles of K in one block that it names, or None.
        steps: `compute.Step`s fused to the product.

    How the device sums (`compute` and the blocks) is not modelled here.

    Returns:
        [..., M, N] bfloat16 or float32.
    """
    sums = _biased(a, b, bias, product.out)
    return unary(sums, *steps) if steps else sums


def _biased(a, b, bias, out):
    half = a.dtype == b.dtype == torch.bfloat16
    if not half or out == "float32":
        product = _float32_matmul(a, b)
        return product if bias is None else product + bias
    if bias is None:
        return _matmul(a, b)
    flat = b.numel() == b.shape[-1] * b.shape[-2] and bias.numel() == bias.shape[-1]
    if flat:
        rows = a.reshape(-1, a.shape[-1])
        product = functional.linear(rows, b.reshape(b.shape[-2:]).mT, bias.to(a.dtype).flatten())
        return product.reshape(*a.shape[:-1], b.shape[-1])
    return _matmul(a, b).float() + bias


def _matmul(a, b):
    if b.numel() != b.shape[-1] * b.shape[-2]:
        return torch.matmul(a, b)
    rows = a.reshape(-1, a.shape[-1])  # one product, where torch would batch over ones
    weight = b.reshape(b.shape[-2:])
    return (rows @ weight).reshape(*a.shape[:-1], b.shape[-1])


def _float32_matmul(a, b):
    """a @ b in float32, without a whole float32 copy of a bf16 `b`."""
    a = a.float()
    if b.dtype == torch.float32:
        return torch.matmul(a, b)
    chunks = b.split(COLUMN_CHUNK, dim=-1)
    return torch.cat([torch.matmul(a, chunk.float()) for chunk in chunks], dim=-1)


LONG_SIDE = 1024  # rows and columns of a matrix that is worth a second look at how it lies


def arranged(contents):
    """A tensor on its way to the device, as products read it fastest: its values stay in place.

    A large matrix lies with a column's values next to each other, as Hugging Face keeps its
    weights: a product of few rows reads it 1.2 to 1.8 times as fast.
    """
    *batch, rows, columns = contents.shape if contents.dim() > 1 else (0, 0)
    if math.prod(batch) != 1 or min(rows, columns) < LONG_SIDE:
        return contents
    return contents.mT.contiguous().mT


# --- normalization -------------------------------------------------------------------------------


def rms_norm(
    x,
    weight=None,
    bias=None,
    residual=None,
    *,
    epsilon,
    width=None,
    compute=None,
    dtype="bfloat16",
    out="bfloat16",
):
    """x / sqrt(mean(x^2) + epsilon) * weight + bias over the last dimension.

    Args:
        x: [..., W] contents, W padded or not.
        weight, bias: [W] contents or None.
        residual: [..., W] contents added to `x` first, or None.
        epsilon: number under the root.
        width: columns that are not padding; None for all W.
        compute: a `compute.Compute`, None for TTNN's default; not modelled here.
        dtype, out: the operand's and the result's dtype.
    """
    x = x.float() if residual is None else x.float() + residual.float()
    mean = x[..., :width].square().mean(-1, keepdim=True)
    return _affine(x * torch.rsqrt(mean + epsilon), weight, bias)


def layer_norm(
    x,
    weight=None,
    bias=None,
    residual=None,
    *,
    epsilon,
    width=None,
    compute=None,
    dtype="bfloat16",
    out="bfloat16",
):
    """(x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias; arguments as for `rms_norm`."""
    x = x.float() if residual is None else x.float() + residual.float()
    mean = x[..., :width].mean(-1, keepdim=True)
    variance = x[..., :width].var(-1, correction=0, keepdim=True)
    return _affine((x - mean) * torch.rsqrt(variance + epsilon), weight, bias)


def _affine(x, weight, bias):
    if weight is not None:
        x = x * weight.float()
    return x if bias is None else x + bias.float()


def softmax(
    x,
    dim=-1,
    *,
    width=None,
    scale=None,
    mask=None,
    numeric_stable=True,
    compute=None,
    dtype="bfloat16",
    out="bfloat16",
):
    """softmax(x * scale + mask) along `dim`.

    Args:
        x: contents of any shape.
        dim: dimension that sums to one.
        width: columns of the last dimension that are not padding; None for all.
        scale: number, or None for 1.
        mask: contents that broadcast against `x`, or None.
        numeric_stable: whether the maximum is subtracted first; without it large values overflow.
        compute: a `compute.Compute`, None for TTNN's default; not modelled here.
        dtype, out: the operand's and the result's dtype.

    Returns:
        Values of x's shape, 0 in columns of padding.
    """
    padding = 0 if width is None else x.shape[-1] - width
    x = x[..., :width].float()
    if scale is not None:
        x = x * scale
    if mask is not None:
        x = x + mask.float()
    if numeric_stable:
        x = torch.softmax(x, dim)
    else:
        x = x.exp()
        x = x / x.sum(dim, keepdim=True)
    return functional.pad(x, (0, padding))


# --- reductions ----------------------------------------------------------------------------------

REDUCTIONS = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}


def reduce(
    operation,
    x,
    dims,
    *,
    scalar=1.0,
    compute=None,
    fast=None,
    dtype="bfloat16",
    out="bfloat16",
):
    """Contents reduced over `dims`, which stay as ones, times a scalar.

    Args:
        operation: "sum", "mean", "max" or "min".
        x: logical contents.
        dims: tuple of dimensions.
        scalar: factor of the result.
        compute: a `compute.Compute`, None for TTNN's default; not modelled here.
        fast: fast_and_approximate_mode, which picks a unit of the core; not modelled here.
        dtype, out: the operand's and the result's dtype.
    """
    x = wide(x)
    if operation == "mean":
        x = x.float()
    result = REDUCTIONS[operation](x, dims, keepdim=True)
    return result if scalar == 1.0 else result * scalar


def variance(x, dims, correction, *, scalar=1.0, compute=None, out="bfloat16"):
    """Variance of x * scalar over `dims`, which stay as ones.

    The divisor is the count, less one with `correction`; other arguments as for `reduce`.
    """
    x = x.float() * scalar
    return torch.var(x, dims, correction=int(correction), keepdim=True)


def standard_deviation(x, dims, correction, *, scalar=1.0, compute=None, out="bfloat16"):
    """The root of `variance`."""
    return variance(x, dims, correction, scalar=scalar).sqrt()


__all__ = [
    "arranged",
    "attention",
    "attention_decode",
    "attention_rows",
    "binary",
    "layer_norm",
    "matmul",
    "moved",
    "reduce",
    "rms_norm",
    "rotary",
    "rotary_pairs",
    "rotate_half",
    "softmax",
    "standard_deviation",
    "typecast",
    "unary",
    "variance",
    "where",
    "wide",
]

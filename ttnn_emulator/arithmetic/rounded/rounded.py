"""Arithmetic in float32, each operation's result rounded once to its output's dtype.

The quick arithmetic: shapes, layouts and data movement are the device's, rounding within an
operation is not. Functions take the operands' contents in storage dtype and return float32 values
(bfloat16 ones where a library routine rounds float32 sums once on its own), or int64 for integers.
"""

import math

import torch
from torch.nn import functional

from ttnn_emulator.arithmetic.rounded.rounded_attention import (
    attention,
    attention_decode,
    attention_rows,
    rotary,
    rotary_pairs,
    rotate_half,
)
from ttnn_emulator.arithmetic.rounded.rounded_eltwise import (
    binary,
    moved,
    stored,
    typecast,
    unary,
    where,
    wide,
)

COLUMN_CHUNK = 1024  # columns of a bf16 weight that are float32 at a time


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
    "stored",
    "typecast",
    "unary",
    "variance",
    "where",
    "wide",
]

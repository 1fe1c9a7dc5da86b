"""Arithmetic in float32, each operation's result rounded once to its output's dtype.

The quick arithmetic: shapes, layouts and data movement are the device's, rounding within an
operation is not. `interface.Arithmetic` documents the functions.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from ttnn_emulator.arithmetic.compute import (
    BFLOAT16,
    ON_ALL_CORES,
    Blocking,
    Compute,
    Formats,
    FusedOp,
    Product,
    Split,
)
from ttnn_emulator.arithmetic.formats import TILE
from ttnn_emulator.arithmetic.rounded import rounded_along, rounded_attention, rounded_eltwise

ONE_THREAD = 0  # torch computes everything, small results of large operands too
COLUMN_CHUNK = 1024  # columns of a bf16 weight converted to float32 at a time
LONG_SIDE = 1024  # rows and columns from which a matrix's order in memory matters
REDUCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "sum": torch.sum,
    "mean": torch.mean,
    "max": torch.amax,
    "min": torch.amin,
}

# What has modules of its own.
attention = rounded_attention.attention
attention_decode = rounded_attention.attention_decode
attention_rows = rounded_attention.attention_rows
cumulative = rounded_along.cumulative
expert_share = rounded_along.expert_share
group_norm = rounded_along.group_norm
grouped_gate = rounded_along.grouped_gate
latent_product = rounded_along.latent_product
latent_sum = rounded_along.latent_sum
moving_average = rounded_along.moving_average
product = rounded_along.product
rotary = rounded_attention.rotary
sampled = rounded_along.sampled
scattered = rounded_along.scattered
sorted_rows = rounded_along.sorted_rows
state_scan = rounded_along.state_scan
tile_sum = rounded_along.tile_sum
top_of_rows = rounded_along.top_of_rows
rotary_pairs = rounded_attention.rotary_pairs
rotate_half = rounded_attention.rotate_half
binary = rounded_eltwise.binary
chip_sum = rounded_eltwise.chip_sum
moved = rounded_eltwise.moved
stored = rounded_eltwise.stored
typecast = rounded_eltwise.typecast
unary = rounded_eltwise.unary
ternary = rounded_eltwise.ternary


# --- matrix products -----------------------------------------------------------------------------


def matmul(
    a: torch.Tensor,
    b: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    product: Product,
    compute: Compute | None = None,
    blocking: Blocking = ON_ALL_CORES,
    fused: tuple[FusedOp, ...] = (),
) -> torch.Tensor:
    """See `interface.Arithmetic`.

    For any output but float32 the float32 sums of bf16 operands are rounded to bf16, the format of
    the destination register; then the result is bfloat16.
    """
    sums = _biased(a, b, bias, product.out)
    return unary(sums, *fused) if fused else sums


def _biased(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None, out: str) -> torch.Tensor:
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
    return _float32_matmul(a, b) + bias


def _matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    if b.numel() != b.shape[-1] * b.shape[-2]:
        return torch.matmul(a, b)
    rows = a.reshape(-1, a.shape[-1])  # one product, where torch would batch over ones
    weight = b.reshape(b.shape[-2:])
    return (rows @ weight).reshape(*a.shape[:-1], b.shape[-1])


def _float32_matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a @ b in float32, without a whole float32 copy of a bf16 `b`."""
    a = a.float()
    if b.dtype == torch.float32:
        return torch.matmul(a, b)
    chunks = b.split(COLUMN_CHUNK, dim=-1)
    return torch.cat([torch.matmul(a, chunk.float()) for chunk in chunks], dim=-1)


def arranged(contents: torch.Tensor) -> torch.Tensor:
    """See `interface.Arithmetic`.

    A large matrix is stored column by column, as Hugging Face stores its weights: a product of few
    rows reads it 1.2 to 1.8 times as fast.
    """
    *batch, rows, columns = contents.shape if contents.dim() > 1 else (0, 0)
    if math.prod(batch) != 1 or min(rows, columns) < LONG_SIDE:
        return contents
    return contents.mT.contiguous().mT


# --- normalization -------------------------------------------------------------------------------


def rms_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    *,
    epsilon: float,
    width: int | None = None,
    compute: Compute | None = None,
    formats: Formats = BFLOAT16,
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    x = x.float() if residual is None else x.float() + residual.float()
    mean = x[..., :width].square().mean(-1, keepdim=True)
    return _affine(x * torch.rsqrt(mean + epsilon), weight, bias)


def layer_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    *,
    epsilon: float,
    width: int | None = None,
    compute: Compute | None = None,
    formats: Formats = BFLOAT16,
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    x = x.float() if residual is None else x.float() + residual.float()
    mean = x[..., :width].mean(-1, keepdim=True)
    variance = x[..., :width].var(-1, correction=0, keepdim=True)
    return _affine((x - mean) * torch.rsqrt(variance + epsilon), weight, bias)


def norm_statistics(
    x: torch.Tensor,
    residual: torch.Tensor | None = None,
    *,
    centred: bool,
    compute: Compute | None = None,
    fast: bool = False,
    formats: Formats = BFLOAT16,
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    x = x.float() if residual is None else x.float() + residual.float()
    sums = [x.square().sum(-1, keepdim=True)] + ([x.sum(-1, keepdim=True)] if centred else [])
    return torch.cat([functional.pad(total, (0, TILE - 1)) for total in sums], -1)


def norm_from_statistics(
    x: torch.Tensor,
    statistics: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    centred: bool,
    epsilon: float,
    compute: Compute | None = None,
    formats: Formats = BFLOAT16,
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    x = x.float()
    tiles = statistics.float().unflatten(-1, (-1, 2 if centred else 1, TILE))
    means = tiles.sum((-3, -1)) / (x.shape[-1] * tiles.shape[-3])
    variance = means[..., :1]
    if centred:
        mean = means[..., 1:]
        x, variance = x - mean, variance - mean.square()
    return _affine(x * torch.rsqrt(variance + epsilon), weight, bias)


def split_layer_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    *,
    split: Split,
    epsilon: float,
    compute: Compute | None = None,
    formats: Formats = BFLOAT16,
) -> torch.Tensor:
    """See `AlongArithmetic`."""
    return layer_norm(x, weight, bias, residual, epsilon=epsilon, width=split.width)


def split_rms_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    *,
    split: Split,
    epsilon: float,
    compute: Compute | None = None,
    formats: Formats = BFLOAT16,
) -> torch.Tensor:
    """See `AlongArithmetic`."""
    return rms_norm(x, weight, bias, residual, epsilon=epsilon, width=split.width)


def split_statistics(
    x: torch.Tensor,
    residual: torch.Tensor | None = None,
    *,
    split: Split,
    centred: bool,
    compute: Compute | None = None,
    formats: Formats = BFLOAT16,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `AlongArithmetic`."""
    x = x.float() if residual is None else x.float() + residual.float()
    inside = x[..., : split.width]
    terms = ([inside] if centred else []) + [inside.square()]
    means = (functional.pad(term.mean(-1, keepdim=True), (0, TILE - 1)) for term in terms)
    return torch.cat(list(means), -1), x


def split_norm_from_statistics(
    x: torch.Tensor,
    statistics: torch.Tensor,
    parameters: Sequence[torch.Tensor | None] = (None, None),
    *,
    centred: bool,
    epsilon: float,
    compute: Compute | None = None,
    formats: Formats = BFLOAT16,
) -> torch.Tensor:
    """See `AlongArithmetic`."""
    x = x.float()
    tiles = statistics.float().unflatten(-1, (-1, 2 if centred else 1, TILE))
    means = tiles.sum(-1).mean(-2)
    variance = means[..., -1:]
    if centred:
        mean = means[..., :1]
        x, variance = x - mean, variance - mean.square()
    return _affine(x * torch.rsqrt(variance + epsilon), *parameters)


def _affine(
    x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None
) -> torch.Tensor:
    if weight is not None:
        x = x * weight.float()
    return x if bias is None else x + bias.float()


def softmax(
    x: torch.Tensor,
    dim: int = -1,
    *,
    width: int | None = None,
    scale: float | None = None,
    mask: torch.Tensor | None = None,
    numeric_stable: bool = True,
    compute: Compute | None = None,
    formats: Formats = BFLOAT16,
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
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


def reduce(
    operation: str,
    x: torch.Tensor,
    dims: tuple[int, ...],
    *,
    scalar: float = 1.0,
    compute: Compute | None = None,
    fast: bool | None = None,
    dtype: str = "bfloat16",
    out: str = "bfloat16",
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    x = rounded_eltwise.promoted(x)
    if operation == "mean":
        x = x.float()
    result = REDUCTIONS[operation](x, dims, keepdim=True)
    return result if scalar == 1.0 else result * scalar


def variance(
    x: torch.Tensor,
    dims: tuple[int, ...],
    correction: bool,
    *,
    scalar: float = 1.0,
    compute: Compute | None = None,
    out: str = "bfloat16",
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    x = x.float() * scalar
    return torch.var(x, dims, correction=int(correction), keepdim=True)


def standard_deviation(
    x: torch.Tensor,
    dims: tuple[int, ...],
    correction: bool,
    *,
    scalar: float = 1.0,
    compute: Compute | None = None,
    out: str = "bfloat16",
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    return variance(x, dims, correction, scalar=scalar).sqrt()

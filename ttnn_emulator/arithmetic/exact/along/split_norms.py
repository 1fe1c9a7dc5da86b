"""Norms of rows whose columns lie on several cores, step by step.

Kernel sources: layernorm_sharded.cpp, layernorm_sharded_pre_allgather.cpp and
layernorm_sharded_post_allgather.cpp with their readers and writers (ttnn/operations/normalization).
A core takes the mean of its columns; the means of a line of cores are added, and those of several
lines in a second stage. Each accumulation is in Dst and packed to a buffer with as many bits.
The scalers are 1/columns and columns/width, cut to bfloat16 (prepare_reduce_scaler); what the host
gives for shards that the rows do not fill is not known. A worker begins with its own core's part
where here all begin with the first core's.
"""

from collections.abc import Sequence

import torch

from ttnn_emulator.arithmetic.compute import BFLOAT16, Compute, Formats, Split
from ttnn_emulator.arithmetic.exact.layer_norms import LAYER_NORM, normalized
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import row_sum, unpack
from ttnn_emulator.arithmetic.exact.norms import RMS_NORM
from ttnn_emulator.arithmetic.exact.packer import pack, truncate_to_bfloat16
from ttnn_emulator.arithmetic.exact.partial_norms import DISTRIBUTED
from ttnn_emulator.arithmetic.formats import TILE


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
    compute = compute or LAYER_NORM
    fp32_dest_acc = compute.fp32_dest_acc
    x = _sum(x, residual, compute)
    mean = unpack(_mean(_inside(x, split, compute), split, compute), fp32_dest_acc)
    centred = eltwise_unit.subtract(x, mean, fp32_dest_acc=fp32_dest_acc)
    centred = _inside(centred, split, compute)
    variance = _mean(_squares(unpack(centred, fp32_dest_acc), compute), split, compute)
    return normalized(
        centred,
        unpack(variance, fp32_dest_acc),
        weight,
        bias,
        epsilon=epsilon,
        compute=compute,
        formats=formats,
    )


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
    compute = compute or RMS_NORM
    x = _sum(x, residual, compute)
    squares = _inside(_squares(x, compute), split, compute)
    mean = unpack(_mean(squares, split, compute), compute.fp32_dest_acc)
    return normalized(x, mean, weight, bias, epsilon=epsilon, compute=compute, formats=formats)


def split_statistics(
    x: torch.Tensor,
    residual: torch.Tensor | None = None,
    *,
    split: Split,
    centred: bool,
    compute: Compute | None = None,
    formats: Formats = BFLOAT16,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `AlongArithmetic`; the sum with a residual is packed to the operand's own format."""
    compute = compute or DISTRIBUTED
    fp32_dest_acc = compute.fp32_dest_acc
    if residual is not None:
        x = pack(_sum(x, residual, compute), formats.operand, fp32_dest_acc)
    operand = unpack(x, fp32_dest_acc)
    terms = [_inside(operand, split, compute)] if centred else []
    terms.append(_inside(_squares(operand, compute), split, compute))
    means = (pack(_mean(term, split, compute), formats.out, fp32_dest_acc) for term in terms)
    return torch.cat([torch.nn.functional.pad(mean, (0, TILE - 1)) for mean in means], -1), x


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
    compute = compute or DISTRIBUTED
    fp32_dest_acc = compute.fp32_dest_acc
    x = unpack(x, fp32_dest_acc)
    kinds = 2 if centred else 1
    tiles = unpack(statistics, fp32_dest_acc).unflatten(-1, (-1, kinds, TILE))
    share = _cut(1 / tiles.shape[-3])
    *means, variance = (
        unpack(row_sum(tiles[..., kind, :].flatten(-2), compute, scaler=share), fp32_dest_acc)
        for kind in range(kinds)
    )
    for mean in means:
        squared = unpack(_squares(mean, compute), fp32_dest_acc)
        variance = eltwise_unit.subtract(variance, squared, fp32_dest_acc=fp32_dest_acc)
        x = eltwise_unit.subtract(x, mean, fp32_dest_acc=fp32_dest_acc)
    variance = unpack(variance, fp32_dest_acc)
    weight, bias = parameters
    return normalized(x, variance, weight, bias, epsilon=epsilon, compute=compute, formats=formats)


def _sum(x: torch.Tensor, residual: torch.Tensor | None, compute: Compute) -> torch.Tensor:
    """x, or x + residual, as the unpacker gives it."""
    fp32_dest_acc = compute.fp32_dest_acc
    x = unpack(x, fp32_dest_acc)
    if residual is None:
        return x
    residual = unpack(residual, fp32_dest_acc)
    return unpack(eltwise_unit.add(x, residual, fp32_dest_acc=fp32_dest_acc), fp32_dest_acc)


def _squares(x: torch.Tensor, compute: Compute) -> torch.Tensor:
    return eltwise_unit.multiply(
        x, x, fidelity=compute.fidelity, fp32_dest_acc=compute.fp32_dest_acc
    )


def _inside(x: torch.Tensor, split: Split, compute: Compute) -> torch.Tensor:
    """Columns beyond the row's width as 0: a product with a mask, if the last tile has some."""
    if split.width % TILE == 0:
        return x
    mask = (torch.arange(x.shape[-1]) < split.width).float()
    return eltwise_unit.multiply(
        unpack(x, compute.fp32_dest_acc),
        mask.expand_as(x),
        fidelity=compute.fidelity,
        fp32_dest_acc=compute.fp32_dest_acc,
    )


def _mean(values: torch.Tensor, split: Split, compute: Compute) -> torch.Tensor:
    """[..., S, W] to [..., S, 1], in Dst."""
    missing = split.columns * split.cores * split.lines - values.shape[-1]
    parts = torch.nn.functional.pad(values, (0, missing))
    parts = parts.unflatten(-1, (split.lines, split.cores, split.columns))
    means = unpack(
        row_sum(parts, compute, scaler=_cut(1 / split.columns)), compute.fp32_dest_acc
    ).squeeze(-1)
    first = means[..., 0, :]
    if split.lines > 1:
        others = unpack(_added(means[..., 1:, :], 1.0, compute), compute.fp32_dest_acc)
        first = torch.cat([first, others.squeeze(-1)], -1)
    return _added(first, _cut(split.columns / split.width), compute)


def _added(parts: torch.Tensor, scaler: float, compute: Compute) -> torch.Tensor:
    """[..., N] parts, each in the first column of a tile of its own, to [..., 1] in Dst."""
    tiles = torch.nn.functional.pad(parts.unsqueeze(-1), (0, TILE - 1)).flatten(-2)
    return row_sum(tiles, compute, scaler=scaler)


def _cut(scaler: float) -> float:
    return truncate_to_bfloat16(torch.tensor(scaler, dtype=torch.float32)).item()

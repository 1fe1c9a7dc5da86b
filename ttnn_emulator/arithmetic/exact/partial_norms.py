"""Norms of rows that are spread over chips, step by step: statistics of a part, and their use.

Kernel sources: rmsnorm_pre_allgather.cpp, rmsnorm_post_allgather_metal2.cpp and, with the mean
taken off, layernorm_pre_allgather.cpp and layernorm_post_allgather.cpp, with their readers
(ttnn/operations/normalization). Buffers between the steps have as many bits as Dst; epsilon and the
scaler of the mean are cut to bfloat16 (float_to_scaler_bits of reduce_helpers_dataflow.inl).
"""

import torch

from ttnn_emulator.arithmetic.compute import BFLOAT16, Compute, Formats
from ttnn_emulator.arithmetic.exact.layer_norms import normalized, product
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import row_sum, unpack
from ttnn_emulator.arithmetic.exact.packer import pack, truncate_to_bfloat16
from ttnn_emulator.arithmetic.exact.reductions import reduce
from ttnn_emulator.arithmetic.exact.vector.vector_functions import square
from ttnn_emulator.arithmetic.exact.vector.vector_unit import add as add_lanes
from ttnn_emulator.arithmetic.exact.vector.vector_unit import load, store
from ttnn_emulator.arithmetic.formats import TILE

# The compute config that TTNN builds these programs with where the caller gives none
# (rmsnorm_pre_all_gather.cpp and the three like it).
DISTRIBUTED = Compute("HiFi4", approximate=True)


def norm_statistics(
    x: torch.Tensor,
    residual: torch.Tensor | None = None,
    *,
    centred: bool,
    compute: Compute | None = None,
    fast: bool = False,
    formats: Formats = BFLOAT16,
) -> torch.Tensor:
    """See `interface.Arithmetic`; the vector unit squares and adds float32 beside a 32-bit Dst."""
    compute = compute or DISTRIBUTED
    in_lanes = formats.operand == "float32" and compute.fp32_dest_acc and not fast
    sums = _sums_in_lanes if in_lanes else _sums
    tiles = []
    for total in sums(x, residual, centred, compute):
        packed = pack(total, formats.out, compute.fp32_dest_acc)
        tiles.append(torch.nn.functional.pad(packed, (0, TILE - 1)))
    return torch.cat(tiles, -1)


def _sums(
    x: torch.Tensor, residual: torch.Tensor | None, centred: bool, compute: Compute
) -> list[torch.Tensor]:
    """[..., S, 1] in Dst: the sum of squares and, if `centred`, the sum."""
    fp32_dest_acc = compute.fp32_dest_acc
    x = unpack(x, fp32_dest_acc)
    if residual is not None:
        residual = unpack(residual, fp32_dest_acc)
        x = unpack(eltwise_unit.add(x, residual, fp32_dest_acc=fp32_dest_acc), fp32_dest_acc)
    squares = eltwise_unit.multiply(x, x, fidelity=compute.fidelity, fp32_dest_acc=fp32_dest_acc)
    sums = [row_sum(unpack(squares, fp32_dest_acc), compute)]
    return [*sums, row_sum(x, compute)] if centred else sums


def _sums_in_lanes(
    x: torch.Tensor, residual: torch.Tensor | None, centred: bool, compute: Compute
) -> list[torch.Tensor]:
    if residual is not None:
        x = store(add_lanes(load(x.float()), load(residual.float())), compute.fp32_dest_acc)
    terms = [square(x.float(), fp32_dest_acc=True)] + ([x] if centred else [])
    return [
        reduce("sum", term, -1, compute=compute, dtype="float32", out="float32") for term in terms
    ]


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
    compute = compute or DISTRIBUTED
    fp32_dest_acc = compute.fp32_dest_acc
    x = unpack(x, fp32_dest_acc)
    kinds = 2 if centred else 1
    tiles = unpack(statistics, fp32_dest_acc).unflatten(-1, (-1, kinds, TILE))
    width = x.shape[-1] * tiles.shape[-3]
    scaler = truncate_to_bfloat16(torch.tensor(1.0) / width).item()
    variance, *means = (
        unpack(row_sum(tiles[..., kind, :].flatten(-2), compute, scaler=scaler), fp32_dest_acc)
        for kind in range(kinds)
    )
    for mean in means:
        squared = product(mean, mean, compute)
        variance = eltwise_unit.subtract(
            variance, unpack(squared, fp32_dest_acc), fp32_dest_acc=fp32_dest_acc
        )
        x = eltwise_unit.subtract(x, mean, fp32_dest_acc=fp32_dest_acc)
    variance = unpack(variance, fp32_dest_acc)
    return normalized(x, variance, weight, bias, epsilon=epsilon, compute=compute, formats=formats)

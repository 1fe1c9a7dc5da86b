"""Rotary embeddings step by step, with their intermediate formats.

Tensors are float32 or bfloat16 and hold bfloat16 values; S rows, D head_dim. Every step's result
is packed before the next one reads it: products in the format of cos and sin, the sum in that of x.
"""

import torch

from ttnn_emulator.arithmetic.compute import Compute
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import matmul
from ttnn_emulator.arithmetic.exact.packer import pack
from ttnn_emulator.arithmetic.formats import TILE
from ttnn_emulator.arithmetic.rounded.rounded_attention import rotate_half

# The compute config that TTNN 0.81.1 builds its programs with where the caller gives none.
ROTARY = Compute("HiFi4")


def rotary(
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    *,
    table: str = "bfloat16",
    out: str = "bfloat16",
    compute: Compute | None = None,
) -> torch.Tensor:
    """See `interface.Arithmetic`.

    rotary_embedding.cpp (and rotary_embedding_single_tile.cpp, rotary_embedding_hf.cpp): products
    of the matrix unit. The half that changes its sign is multiplied by -1 and packed; in a single
    tile the halves change places in a product with a matrix of 0 and +-1. Both are exact from HiFi3
    on.
    """
    turned = rotate_half(x.float()) if compute is None else _turned(x, compute, out)
    return _sum_of_products((x, cos), (turned, sin), compute or ROTARY, table, out)


def _turned(x: torch.Tensor, compute: Compute, out: str) -> torch.Tensor:
    """The negated second half and the first one, as the matrix unit makes them."""
    fp32_dest_acc = compute.fp32_dest_acc
    if x.shape[-1] == TILE:
        matrix = rotate_half(torch.eye(TILE))
        return matmul(x.float(), matrix, compute=compute, out=out)
    first, second = x.float().chunk(2, -1)
    negated = eltwise_unit.multiply(
        second, torch.tensor(-1.0), fidelity=compute.fidelity, fp32_dest_acc=fp32_dest_acc
    )
    return torch.cat([pack(negated, out, fp32_dest_acc), first], -1)


def rotary_pairs(
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    transformation: torch.Tensor,
    *,
    compute: Compute | None = None,
) -> torch.Tensor:
    """See `interface.Arithmetic`; the result is rounded to bfloat16.

    rotary_embedding_llama.cpp and its sharded twin: the product with a matrix of 0 and +-1 is exact
    from HiFi3 on; below, the lowest bit of x is lost there.
    """
    compute = compute or ROTARY
    tiles = x.unflatten(-1, (-1, TILE))
    rotated = matmul(tiles, transformation, compute=compute).flatten(-2)
    return _sum_of_products((x, cos), (rotated, sin), compute)


def _sum_of_products(
    first: tuple[torch.Tensor, torch.Tensor],
    second: tuple[torch.Tensor, torch.Tensor],
    compute: Compute,
    table: str = "bfloat16",
    out: str = "bfloat16",
) -> torch.Tensor:
    """x * cos + rotated * sin, the products packed as `table`."""
    fp32_dest_acc = compute.fp32_dest_acc

    def product(values: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        dst = eltwise_unit.multiply(
            values, factor, fidelity=compute.fidelity, fp32_dest_acc=fp32_dest_acc
        )
        return pack(dst, table, fp32_dest_acc)

    total = eltwise_unit.add(product(*first), product(*second), fp32_dest_acc=fp32_dest_acc)
    return pack(total, out, fp32_dest_acc)

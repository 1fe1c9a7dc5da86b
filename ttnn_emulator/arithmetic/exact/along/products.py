"""Products over dimensions, and sums over leading ones, tile by tile in the destination.

Kernel sources: prod_nc.cpp, prod_all.cpp, reduce_nc.cpp of fast_reduce_nc, and
deepseek_moe_fast_reduce_nc_reduce.cpp, which adds as that one does.
"""

import functools

import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import Compute
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import unpack
from ttnn_emulator.arithmetic.exact.packer import pack, truncate_to_bfloat16, truncate_to_tf32
from ttnn_emulator.arithmetic.exact.reductions import add_tiles
from ttnn_emulator.arithmetic.formats import FACE, TILE

# The host's loop is that of a version near 0.81.1.
ON_THE_HOST = paths.approximation("the last tile's product on the host, in the result's format")


def tile_sum(
    x: torch.Tensor, dim: int, *, compute: Compute | None = None, out: str = "bfloat16"
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    return add_tiles(x, dim, compute is not None and compute.fp32_dest_acc, out)


def product(
    x: torch.Tensor, dim: int | None, *, dtype: str = "bfloat16", out: str = "bfloat16"
) -> torch.Tensor:
    """See `interface.Arithmetic`.

    Over a dimension a 16-bit Dst takes all four phases, one of 32 bits (float32) three. Over all of
    them Dst has 32 bits, and the host multiplies what one tile is left with.
    """
    if dim is None:
        return _of_all(x, dtype, out)
    fp32_dest_acc = dtype == "float32"
    dst = _multiplied(x.float().movedim(dim, 0), dtype, fp32_dest_acc)
    return pack(dst, out, fp32_dest_acc).unsqueeze(dim)


def _of_all(x: torch.Tensor, dtype: str, out: str) -> torch.Tensor:
    paths.tell(ON_THE_HOST)
    rows, columns = x.shape[-2:]
    tiles = x.float().reshape(-1, rows // TILE, TILE, columns // TILE, TILE).transpose(2, 3)
    dst = _multiplied(tiles.reshape(-1, TILE, TILE), dtype, fp32_dest_acc=True)
    between = "bfloat16" if out == "bfloat16" else "float32"
    tile = pack(dst, between, fp32_dest_acc=True)
    faces = tile.reshape(2, FACE, 2, FACE).transpose(1, 2).flatten()
    kept = torch.bfloat16 if between == "bfloat16" else torch.float32
    total = functools.reduce(lambda a, b: (a.float() * b.float()).to(kept), faces.to(kept))
    return total.float()


def _multiplied(terms: torch.Tensor, dtype: str, fp32_dest_acc: bool) -> torch.Tensor:
    """The product of the first dimension's parts in Dst.

    What Dst holds comes back as SrcA for each step, cut to the format of the operand: the loss is
    one-sided, and a product of many factors comes out low, as TTNN's own test of accuracy says of
    the card (test_prod_all.py, test_prod_all_fp32_truncation_accuracy).
    """
    cut = truncate_to_tf32 if dtype == "float32" else truncate_to_bfloat16
    fidelity = "HiFi3" if fp32_dest_acc else "HiFi4"
    first, *others = unpack(terms, fp32_dest_acc)
    dst = first.float()
    for term in others:
        dst = eltwise_unit.multiply(cut(dst), term, fidelity=fidelity, fp32_dest_acc=fp32_dest_acc)
    return dst

"""What several kernels do alike: into the destination register, through it, and out of it.

`fp32_dest_acc` says whether the register has 32 bits or 16, as in `ttnn_verify.numerics.rounding`.
"""

from collections.abc import Iterable

import torch

from ttnn_verify.numerics.floors import Floor, between, chain, output
from ttnn_verify.numerics.formats import BLOCK_BITS
from ttnn_verify.numerics.rounding import BF16_BITS, TF32_BITS, cut, dot, line_exp, nearest, phases


def packed(
    exact: torch.Tensor,
    result: torch.Tensor,
    out: str,
    fp32_dest_acc: bool = False,
    count: float | None = None,
) -> Floor:
    """The floor of a result in the destination register that is packed to format `out`."""
    last, measured = output(exact, out), between(exact, result, count)
    if fp32_dest_acc or out in BLOCK_BITS:
        return chain(measured, last)
    # A 16-bit result is rounded already; with few elements it can hit the exact value by chance, so
    # take the larger floor.
    return Floor(
        max(measured.relative_l2, last.relative_l2), max(measured.worst_row, last.worst_row)
    )


def stored(x: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    """x as the vector unit stores it into the destination register: truncated."""
    return x if fp32_dest_acc else cut(x, BF16_BITS)


def as_read(x: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    """x as the matrix unit reads an intermediate result: a float32 as a TF32."""
    return cut(x, TF32_BITS) if fp32_dest_acc else x


def product(
    b: torch.Tensor,
    a: torch.Tensor,
    fidelity: str,
    fp32_dest_acc: bool,
    k_block: int | None = None,
) -> torch.Tensor:
    if not fp32_dest_acc:
        return dot(b, a, fidelity, k_block, l1_acc=k_block is not None)
    return add_up(first @ second for first, second in phases(b, a, fidelity))


def add_up(terms: Iterable[torch.Tensor]) -> torch.Tensor:
    return sum(terms, torch.zeros(()))


def exponentials(x: torch.Tensor, approximate: bool, fp32_dest_acc: bool) -> torch.Tensor:
    """e^x as a bfloat16: truncated by the vector unit, rounded by the packer."""
    if approximate:
        x = line_exp(x)
        return nearest(x, BF16_BITS) if fp32_dest_acc else cut(x, BF16_BITS)
    return nearest(x.exp(), BF16_BITS)

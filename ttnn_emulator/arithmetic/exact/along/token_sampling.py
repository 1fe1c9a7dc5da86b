"""Softmax over the few largest of a row, from which a token or an expert is chosen.

The rows are packed as bfloat16 between any two steps and the destination has 16 bits. Kernel
sources: sampling.cpp and writer_interleaved.cpp of ttnn.sampling, moe.cpp of ttnn.moe. How random
numbers come about is the caller's affair.
"""

import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import Compute
from ttnn_emulator.arithmetic.exact.along.ordering import tied_rows, top_of_rows
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import row_max
from ttnn_emulator.arithmetic.exact.packer import pack_bfloat16
from ttnn_emulator.arithmetic.exact.reductions import matrix_sum
from ttnn_emulator.arithmetic.exact.vector.vector_exponential import exp
from ttnn_emulator.arithmetic.exact.vector.vector_roots import reciprocal
from ttnn_emulator.arithmetic.rounded import rounded_along

EXPERT_TIES = paths.approximation("experts of equal score in order of place")

KEPT = 32  # largest of a row that take part: one tile
CONFIG = Compute("HiFi4")  # of both programs of TTNN 0.81.1


def sampled(
    x: torch.Tensor,
    k: torch.Tensor,
    p: torch.Tensor,
    temperature: torch.Tensor,
    chances: torch.Tensor,
) -> torch.Tensor:
    """See `interface.Arithmetic`; equal logits in order of place."""
    values, places = top_of_rows(x.float(), KEPT, stable=True)
    beyond = torch.arange(KEPT) >= k[:, None]
    hidden = torch.where(beyond, -torch.inf, 0.0)
    shown = pack_bfloat16(eltwise_unit.add(values, hidden), fp32_dest_acc=False)
    scaled = eltwise_unit.multiply(shown, temperature.float()[:, None], fidelity="HiFi4")
    shares = softmax(pack_bfloat16(scaled, fp32_dest_acc=False))
    return rounded_along.choose(shares, places, k, p, chances)


def softmax(values: torch.Tensor) -> torch.Tensor:
    """Rows [..., 32] of bfloat16 values -> their shares, each step packed as bfloat16."""
    largest = row_max(values)
    away = eltwise_unit.subtract(values, largest)
    exponentials = _packed(exp(away, approximate=True))
    inverse = _packed(reciprocal(_packed(matrix_sum(exponentials, -1, 1.0, CONFIG))))
    return _packed(eltwise_unit.multiply(exponentials, inverse, fidelity="HiFi4"))


def expert_share(
    x: torch.Tensor, expert_mask: torch.Tensor, top_mask: torch.Tensor, k: int
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    masked = _packed(eltwise_unit.add(x.float(), expert_mask.float()))
    values, places = top_of_rows(masked, k, stable=True)
    if tied_rows(masked, values).any():
        paths.tell(EXPERT_TIES)
    shares = softmax(_packed(eltwise_unit.add(values, top_mask.float())))
    first = (places == 0).float()
    own = _packed(eltwise_unit.multiply(shares, first, fidelity="HiFi4"))
    return _packed(matrix_sum(own, -1, 1.0, CONFIG))


def _packed(dst: torch.Tensor) -> torch.Tensor:
    return pack_bfloat16(dst, fp32_dest_acc=False)

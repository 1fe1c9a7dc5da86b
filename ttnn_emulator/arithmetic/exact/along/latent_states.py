"""The recurrence of a state space, and products and sums over its latents, step by step.

Tensors are float32 or bfloat16 with bfloat16 values, as the kernels' Float16_b buffers between the
steps hold them; results are float32 with such values. The destination has 16 bits. Kernel sources:
ssm_prefix_scan.cpp, ssm_1d_sum_reduce.cpp, ssm_eltwise_mul.cpp. Their transposes and changes
between tiles and rows change no bits.
"""

import torch

from ttnn_emulator.arithmetic.compute import Compute
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.packer import pack
from ttnn_emulator.arithmetic.exact.reductions import matrix_sum
from ttnn_emulator.arithmetic.formats import TILE

HIFI4 = Compute("HiFi4")  # the program factories' choice where the caller makes none


def state_scan(
    a: torch.Tensor, bx: torch.Tensor, state: torch.Tensor, *, compute: Compute | None = None
) -> torch.Tensor:
    """See `interface.Arithmetic`; a row's product is packed, then its sum, which the next reads."""
    states = []
    for factor, term in zip(a.unbind(-2), bx.unbind(-2), strict=True):
        kept = latent_product(factor, state, compute=compute)
        state = pack(eltwise_unit.add(kept, term), "bfloat16", False)
        states.append(state)
    return torch.stack(states, -2)


def latent_product(
    a: torch.Tensor, b: torch.Tensor, *, compute: Compute | None = None
) -> torch.Tensor:
    """See `interface.Arithmetic`; b is SrcB, of which a kernel may broadcast a row."""
    fidelity = (compute or HIFI4).fidelity
    return pack(eltwise_unit.multiply(a, b, fidelity=fidelity), "bfloat16", False)


def latent_sum(x: torch.Tensor, *, compute: Compute | None = None) -> torch.Tensor:
    """See `interface.Arithmetic`; a tile is turned, and its columns are summed (REDUCE_COL)."""
    channels = x.unflatten(-1, (-1, TILE))
    turned = channels.flatten(0, -2).mT.contiguous()  # columns are independent
    total = matrix_sum(turned, -2, 1.0, compute or HIFI4)
    return pack(total, "bfloat16", False).reshape(channels.shape[:-1])

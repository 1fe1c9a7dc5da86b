"""Products by the matrix unit's definition in integers, for the vector code, and operands."""

import numpy as np
import torch

from ttnn_emulator.arithmetic.exact import packer
from ttnn_emulator.arithmetic.exact.matrix import matrix_exact


def exact_product(activation, weight, phases, fp32_dest_acc):
    """activation [M, K] @ weight [K, N] as Dst holds it, float32 [M, N]."""
    dst = np.zeros((activation.shape[0], weight.shape[1]), np.uint32)
    matrix_exact.accumulate_tiles(
        weight.numpy().view(np.uint32),
        activation.numpy().view(np.uint32),
        phases,
        fp32_dest_acc,
        dst,
    )
    return torch.from_numpy(dst.view(np.float32))


def operand(generator, shape, spread, tf32=False, scale=0):
    """Values of magnitudes 2^-spread to 2^spread, one in twenty of them zero."""
    values = torch.randn(shape, generator=generator)
    exponents = torch.randint(-spread, spread + 1, shape, generator=generator)
    values = torch.ldexp(values, exponents + scale)
    values[torch.rand(shape, generator=generator) < 0.05] = 0
    return packer.truncate_to_tf32(values) if tf32 else packer.truncate_to_bfloat16(values)

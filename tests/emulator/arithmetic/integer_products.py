"""Products by the matrix unit's definition in integers, the reference for the vector code."""

import numpy as np
import torch

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

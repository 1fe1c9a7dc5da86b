"""Arithmetic in float32, each operation's result rounded once to its output's dtype.

The quick arithmetic: shapes, layouts and data movement are the device's, rounding within an
operation is not. Functions take the operands' contents and return float32 values (or bfloat16
ones, where a library routine rounds float32 sums once on its own).
"""

import torch

from emulator.arithmetic.rounded_attention import attention, rotary, rotary_pairs, rotate_half  # noqa: F401


def matmul(a, b):
    """[..., M, K] x [..., K, N] -> [..., M, N]; float32, or bfloat16 rounded once from float32."""
    return torch.matmul(a, b)

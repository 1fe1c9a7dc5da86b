"""Rotary position embedding: Phi-3's LongRoPE, on TTNN's rotary kernel."""

import math

import torch
import ttnn

from .compute import linear, to_device
from .config import RopeConfig


def inverse_frequencies(rope: RopeConfig, head_dim: int, max_seq_len: int) -> torch.Tensor:
    """float32 [D / 2], as Hugging Face's `_compute_longrope_parameters`.

    The short factors hold for sequences up to `original_max_position`, the long ones beyond.
    Hugging Face chooses anew for every call; here `max_seq_len` decides once, because keys
    already in the cache cannot be rotated again.
    """
    wavelengths = rope.theta ** (torch.arange(0, head_dim, 2).float() / head_dim)
    factors = rope.long_factor if max_seq_len > rope.original_max_position else rope.short_factor
    return 1.0 / (wavelengths if factors is None else torch.tensor(factors) * wavelengths)


def attention_scaling(rope: RopeConfig) -> float:
    """LongRoPE's factor on cos and sin (arXiv 2402.13753, section 3), 1.0 for plain RoPE."""
    if rope.short_factor is None:
        return 1.0
    if rope.attention_factor is not None:
        return rope.attention_factor
    factor = rope.factor
    if factor is None:
        factor = rope.max_position / rope.original_max_position
    if factor <= 1.0:
        return 1.0
    return math.sqrt(1 + math.log(factor) / math.log(rope.original_max_position))


def cos_sin(rope: RopeConfig, head_dim: int, max_seq_len: int, length: int):
    """cos and sin of positions 0..length-1, float32 [length, D] each, scaling included."""
    frequencies = inverse_frequencies(rope, head_dim, max_seq_len)
    angles = torch.arange(length).float()[:, None] * frequencies  # [length, D / 2]
    angles = torch.cat((angles, angles), dim=-1)  # [length, D]
    scaling = attention_scaling(rope)
    return angles.cos() * scaling, angles.sin() * scaling


def rotary_width(head_dim: int) -> int:
    """The narrowest row the rotary kernel accepts for this head: 32 or a multiple of 64."""
    return head_dim if head_dim == 32 else -(-head_dim // 64) * 64


def spread(head_dim: int, width: int) -> torch.Tensor:
    """0/1 matrix [D, W] that puts each half of a head at the start of a half of the wide row.

    The rotation pairs column i with column i + D/2, and the kernel column i with i + W/2, so it
    is the halves that need padding, not the row. Each column has at most a single 1: a product
    with this matrix or its transpose moves numbers and changes none.
    """
    matrix = torch.zeros(head_dim, width)
    half = head_dim // 2
    index = torch.arange(half)
    matrix[index, index] = 1
    matrix[half + index, width // 2 + index] = 1
    return matrix


class RotaryEmbedding:
    """Rotates queries or keys by their position."""

    def __init__(self, rope: RopeConfig, head_dim: int, max_seq_len: int, length: int, device):
        self.head_dim = head_dim
        width = rotary_width(head_dim)
        matrix = spread(head_dim, width)
        cos, sin = (
            table.to(torch.bfloat16).float() @ matrix
            for table in cos_sin(rope, head_dim, max_seq_len, length)
        )
        self.cos = to_device(cos[None, None], device)  # [1, 1, C, W]
        self.sin = to_device(sin[None, None], device)
        self.padded = width != head_dim
        if self.padded:
            self.spread = to_device(matrix, device)  # [D, W]
            self.gather = to_device(matrix.T, device)  # [W, D]

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:  # [1, N, S, D], positions 0..S-1
        return self._rotate(x)

    def decode(self, x: ttnn.Tensor, position: int) -> ttnn.Tensor:  # [1, 1, N, D]
        n_heads = x.shape[2]
        x = self._rotate(x, position)  # the kernel turns N into whole tiles, [1, 1, 32, D]
        return ttnn.slice(x, [0, 0, 0, 0], [1, 1, n_heads, self.head_dim])

    def _rotate(self, x, position=None):
        if self.padded:
            x = linear(x, self.spread, memory_config=ttnn.DRAM_MEMORY_CONFIG)  # [..., W]
        x = ttnn.experimental.rotary_embedding(x, self.cos, self.sin, position)
        if self.padded:
            x = linear(x, self.gather)  # [..., D]
        return x

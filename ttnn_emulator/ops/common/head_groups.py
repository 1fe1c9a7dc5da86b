"""Common to operations on heads: columns split into heads, by section or by group, and joined.

B batch, S sequence, N heads, K kv heads, D head_dim.
"""

import torch

from ttnn_emulator.memory import DeviceTensor, Output
from ttnn_emulator.ops.common.padding import undefined


def split(fused: torch.Tensor, heads: int, width: int) -> torch.Tensor:
    """[B, S, ...] -> [B, heads, S, width] from the first heads * width columns."""
    return fused[..., : heads * width].unflatten(-1, (heads, width)).transpose(1, 2)


def split_groups(
    fused: torch.Tensor,
    separate: torch.Tensor | None,
    counts: tuple[int, int],
    width: int,
    *,
    tied: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Heads of columns that lie group by group: one kv head and the query heads that share it.

    Args:
        fused: [B, S, K (N / K + 2) D], in each group the query heads, the key, the value.
        separate: [B, S, K 2 D], in each group the key and the value, where `fused` has queries
            alone; or None.
        counts: (N, K).
        width: D.
        tied: whether groups have a key alone, which is the value too.

    Returns:
        [B, N, S, D], [B, K, S, D], [B, K, S, D].
    """
    heads, kv_heads = counts
    each = heads // kv_heads
    groups = fused.unflatten(-1, (kv_heads, -1, width))  # [B, S, K, ..., D]
    query = groups[..., :each, :].flatten(2, 3)
    if separate is not None:
        groups, each = separate.unflatten(-1, (kv_heads, -1, width)), 0
    key, value = groups[..., each, :], groups[..., each + (0 if tied else 1), :]
    return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)


def joined(input_tensor: DeviceTensor) -> torch.Tensor:
    """[B, N, S, D] -> [B, S, N D], padding included."""
    return input_tensor.data.transpose(1, 2).flatten(2)


def in_undefined(values: torch.Tensor, plan: Output) -> torch.Tensor:
    """`values` in the first corner of an output of which nothing else is written."""
    padded = undefined(plan.padded_shape, plan.dtype).to(values.dtype)
    padded[tuple(slice(0, n) for n in values.shape)] = values
    return padded

"""Writing keys and values into caches: data that moves.

B batch, K kv heads, S sequence, D head_dim, C cache length, P pages.
"""

import torch

from ttnn_verify.ops import comparison
from ttnn_verify.ops.expected import CallContext, Expected
from ttnn_verify.ops.spec import CacheWrite, OpSpec, without_context


def fill_cache(
    context: CallContext,
    cache_tensor: torch.Tensor,
    input_tensor: torch.Tensor,
    batch_idx: int = 0,
    *,
    update_idx: int = 0,
) -> Expected:
    """A prompt [1, K, S, D] into user `batch_idx` of a cache [B, K, C, D].

    Whole tiles are written: the padding rows of the last one may hold anything.
    """
    cache, end = cache_tensor.clone(), update_idx + input_tensor.shape[2]
    cache[batch_idx, :, update_idx:end] = input_tensor[0]
    if end % comparison.TILE == 0:
        return Expected(cache)
    region = torch.ones(cache.shape, dtype=torch.bool)
    region[batch_idx, :, end : end + -end % comparison.TILE] = False
    return Expected(cache[region], None, region)


def update_cache(
    context: CallContext,
    cache: torch.Tensor,
    input: torch.Tensor,
    update_idx: int,
    *,
    batch_offset: int = 0,
) -> Expected:
    """A token of each user, rows `batch_offset` on of [1, K, 32, D], into [B, K, C, D]."""
    cache = cache.clone()
    cache[:, :, update_idx] = input[0, :, batch_offset : batch_offset + len(cache)].transpose(0, 1)
    return Expected(cache)


SPECS = (
    OpSpec(
        ("fill_cache",),
        fill_cache,
        writes=(CacheWrite(0, "cache_tensor", 1, "input_tensor"),),
    ),
    OpSpec(
        ("update_cache",),
        update_cache,
        writes=(CacheWrite(0, "cache", 1, "input"),),
    ),
    # TTNN's own goldens
    OpSpec(("fill_cache_for_user_",), writes=(CacheWrite(0, "cache", 1, "input"),)),
    OpSpec(("update_cache_for_token_",), writes=(CacheWrite(0, "cache", 1, "input"),)),
    OpSpec(
        ("paged_update_cache",),
        without_context(comparison.paged_update_cache),
        writes=(CacheWrite(0, "cache_tensor", 1, "input_tensor"),),
        neutral={"batch_offset": (0,), "mesh_coords": ()},
        comparison=comparison.paged_update_cache,
    ),
    OpSpec(
        ("paged_fused_update_cache",),
        without_context(comparison.paged_fused_update_cache),
        writes=(
            CacheWrite(0, "cache_tensor1", 1, "input_tensor1"),
            CacheWrite(2, "cache_tensor2", 3, "input_tensor2"),
        ),
        neutral={"batch_offset": (0,), "mesh_coords": ()},
        comparison=comparison.paged_fused_update_cache,
    ),
    OpSpec(
        ("paged_fill_cache",),
        without_context(comparison.paged_fill_cache),
        writes=(CacheWrite(0, "cache_tensor", 1, "input_tensor"),),
        page_table_at=2,
        neutral={"mesh_coords": ()},
        comparison=comparison.paged_fill_cache,
    ),
)

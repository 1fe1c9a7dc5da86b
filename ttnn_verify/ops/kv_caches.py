"""Writing keys and values into caches: data that moves.

B batch, K kv heads, S sequence, D head_dim, C cache length, P pages.
"""

from collections.abc import Sequence
from typing import Any

import torch

from ttnn_verify.numerics.formats import TILE
from ttnn_verify.ops.expected import CallContext, Expected
from ttnn_verify.ops.spec import CacheWrite, OpSpec, called, without_context


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
    if end % TILE == 0:
        return Expected(cache)
    region = torch.ones(cache.shape, dtype=torch.bool)
    region[batch_idx, :, end : end + -end % TILE] = False
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


def paged_update_cache(
    cache_tensor: torch.Tensor,
    input_tensor: torch.Tensor,
    *,
    update_idxs: Sequence[int] = (),
    update_idxs_tensor: torch.Tensor | None = None,
    share_cache: bool | None = None,
    page_table: torch.Tensor | None = None,
    cache_position_modulo: int | None = None,
    _ttnn_global_golden: bool = False,
) -> torch.Tensor:
    """Cache [B, K, C, D], or pages [P, K, block, D] and a table [B, pages]; tokens [1, B, K, D].

    Returns the cache as the operation leaves it: a copy, or the argument itself with
    `_ttnn_global_golden`, by which TTNN marks the accumulated golden. So do the functions
    below.
    """
    cache = cache_tensor if _ttnn_global_golden else cache_tensor.clone()
    positions = list(update_idxs)
    if update_idxs_tensor is not None:
        positions = update_idxs_tensor.flatten().tolist()
    heads, block = cache.shape[1:3]
    for user, position in enumerate(positions):
        if position < 0:  # this user is skipped
            continue
        if cache_position_modulo is not None:
            position %= cache_position_modulo
        row = 0 if share_cache else user
        if page_table is not None:
            row, position = int(page_table[user, position // block]), position % block
        cache[row, :, position] = input_tensor[0, user, :heads].to(cache.dtype)
    return cache


def paged_fused_update_cache(
    cache_tensor1: torch.Tensor,
    input_tensor1: torch.Tensor,
    cache_tensor2: torch.Tensor,
    input_tensor2: torch.Tensor,
    *,
    _ttnn_global_golden: bool = False,
    **arguments: Any,
) -> tuple[torch.Tensor, ...]:
    """`paged_update_cache` of two caches at once, with the same keyword arguments.

    Raises:
        NoGolden: `paged_update_cache` has no such argument.
    """
    arguments["_ttnn_global_golden"] = _ttnn_global_golden
    name = "paged_fused_update_cache"
    return (
        called(name, paged_update_cache, cache_tensor1, input_tensor1, **arguments),
        called(name, paged_update_cache, cache_tensor2, input_tensor2, **arguments),
    )


def paged_fill_cache(
    cache_tensor: torch.Tensor,
    input_tensor: torch.Tensor,
    page_table: torch.Tensor,
    *,
    batch_idx_tensor: torch.Tensor | None = None,
    batch_idx: int = 0,
    _ttnn_global_golden: bool = False,
) -> torch.Tensor:
    """Pages [P, K, block, D], prompts [users, K, S, D], table [B, pages]; page -1 is skipped."""
    cache = cache_tensor if _ttnn_global_golden else cache_tensor.clone()
    users = [batch_idx] if batch_idx_tensor is None else batch_idx_tensor.flatten().tolist()
    for prompt, user in zip(input_tensor, users, strict=False):
        for page, rows in zip(
            page_table[user].tolist(), prompt.split(cache.shape[2], dim=1), strict=False
        ):
            if page >= 0:
                cache[page, :, : rows.shape[1]] = rows.to(cache.dtype)
    return cache


def indexed_fused_update_cache(
    cache_tensor1: torch.Tensor,
    input_tensor1: torch.Tensor,
    cache_tensor2: torch.Tensor,
    input_tensor2: torch.Tensor,
    physical_update_idxs_tensor: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Rows [1, K, R, D] into pages [P, K, block, D] at places that count all pages' rows."""
    places = physical_update_idxs_tensor.flatten()
    results = []
    for cache, rows in ((cache_tensor1, input_tensor1), (cache_tensor2, input_tensor2)):
        flat = cache.transpose(0, 1).flatten(1, 2).clone()  # [K, P block, D]
        for row, place in zip(rows[0].transpose(0, 1), places.tolist(), strict=False):
            if 0 <= place < flat.shape[1]:
                flat[:, place] = row.to(flat.dtype)
        results.append(flat.unflatten(1, (cache.shape[0], -1)).transpose(0, 1))
    return tuple(results)


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
        without_context(paged_update_cache),
        writes=(CacheWrite(0, "cache_tensor", 1, "input_tensor"),),
        neutral={
            "batch_offset": (0,),
            "mesh_coords": (),
            "block_size": (),
            "num_kv_heads": (),
        },
        comparison=paged_update_cache,
    ),
    OpSpec(
        ("paged_fused_update_cache",),
        without_context(paged_fused_update_cache),
        writes=(
            CacheWrite(0, "cache_tensor1", 1, "input_tensor1"),
            CacheWrite(2, "cache_tensor2", 3, "input_tensor2"),
        ),
        neutral={"batch_offset": (0,), "mesh_coords": ()},
        comparison=paged_fused_update_cache,
    ),
    OpSpec(
        ("paged_fill_cache",),
        without_context(paged_fill_cache),
        writes=(CacheWrite(0, "cache_tensor", 1, "input_tensor"),),
        page_table_at=2,
        neutral={
            "mesh_coords": (),
            "block_size": (),
            "cache_position_modulo": (),
            "valid_seq_len_tensor": (),
        },
        comparison=paged_fill_cache,
    ),
    OpSpec(
        ("indexed_fused_update_cache",),
        without_context(indexed_fused_update_cache),
        writes=(
            CacheWrite(0, "cache_tensor1", 1, "input_tensor1"),
            CacheWrite(2, "cache_tensor2", 3, "input_tensor2"),
        ),
    ),
)

"""Kernels that write keys and values into a cache: data movement, in place on the first argument.

B users, S sequence, K kv heads, D head_dim, C cache length, P pages.
"""

import torch

from emulator.dispatch import NotEmulated
from emulator.ops.compute import compute_of
from emulator.ops.paging import positions_of

TILE_ROWS = 32


def fill_cache(launch, cache_tensor, input_tensor, batch_idx, *, update_idx=0):
    """Write [1, K, S, D] into user `batch_idx` of the cache [B, K, C, D] from row `update_idx` on.

    Whole tiles: the padding rows of the input are written too.
    """
    rows = slice(update_idx, update_idx + input_tensor.padded_shape[-2])
    cache_tensor.data[batch_idx, :, rows] = input_tensor.data[0]


def fill_cache_for_user_(launch, cache, input, batch_index, *, update_idx=0):
    """`fill_cache` under its other name."""
    fill_cache(launch, cache, input, batch_index, update_idx=update_idx)


def update_cache(launch, cache, input, update_idx, *, batch_offset=0, compute_kernel_config=None):
    """Write row `update_idx` of all users: [1, K, 32, D] into [B, K, C, D].

    User b's row is row `batch_offset` + b of the input.
    """
    users = cache.shape[0]
    rows = input.data[0, :, batch_offset : batch_offset + users]
    rows = _packed(launch, rows, input.dtype, cache, compute_kernel_config)
    cache.data[:, :, update_idx] = rows.transpose(0, 1)
    for user in range(users):
        _repack(launch, cache, user, update_idx)


def update_cache_for_token_(
    launch, cache, input, update_index, batch_offset=0, compute_kernel_config=None
):
    """`update_cache` under its other name."""
    update_cache(
        launch,
        cache,
        input,
        update_index,
        batch_offset=batch_offset,
        compute_kernel_config=compute_kernel_config,
    )


def paged_update_cache(
    launch,
    cache_tensor,
    input_tensor,
    *,
    update_idxs=(),
    update_idxs_tensor=None,
    share_cache=None,
    page_table=None,
    batch_offset=0,  # the host side takes no other
    compute_kernel_config=None,
    mesh_coords=None,
    cache_position_modulo=None,
):
    """Write one row for each user: [1, B, K, D] into [B, K, C, D], or into pages [P, K, block, D].

    A position of -1 in `update_idxs_tensor` skips its user. With `share_cache` all users write to
    the cache of user 0, with a page table [B, pages] each to the page that holds its position.
    """
    users = input_tensor.shape[1]
    positions = positions_of(update_idxs, update_idxs_tensor, users)
    active = torch.nonzero(positions >= 0).flatten()
    positions = positions[active]
    if cache_position_modulo:
        positions = positions % cache_position_modulo
    slots = torch.zeros_like(active) if share_cache else active
    if page_table is not None:
        slots, positions = _page_of(launch, page_table, active, positions, cache_tensor)
    if positions.numel() and int(positions.max()) >= cache_tensor.padded_shape[2]:
        raise NotEmulated(
            f"{launch.name} writes row {int(positions.max())} of a cache of length "
            f"{cache_tensor.shape[2]}, which on the device is memory of something else."
        )
    rows = input_tensor.data[0, active, : cache_tensor.shape[1]]
    rows = _packed(launch, rows, input_tensor.dtype, cache_tensor, compute_kernel_config)
    cache_tensor.data[slots, :, positions] = rows
    for slot, position in zip(slots.tolist(), positions.tolist(), strict=True):
        _repack(launch, cache_tensor, slot, position)


def _packed(launch, rows, dtype, cache, config):
    """New rows of `dtype` as the kernel's packer leaves them in the cache (update_cache.cpp).

    Float32 rows reach a cache of another format through SrcA, in the width of its destination.
    """
    compute = compute_of(config)
    wide = None if cache.dtype == "float32" else compute is not None and compute.fp32_dest_acc
    moved = launch.math.moved(rows, dtype, cache.dtype, wide=wide)
    return launch.math.stored(moved, cache.dtype)


def _repack(launch, cache, slot, position):
    """The tile rows that hold a position go through a compute kernel whole (update_cache.cpp).

    Old rows of a block format come out as they went in: the packer has nothing to round in values
    that have their block's largest exponent already.
    """
    first = position // TILE_ROWS * TILE_ROWS
    tile = cache.data[slot, :, first : first + TILE_ROWS]
    tile.copy_(launch.math.moved(tile, cache.dtype))


def paged_fused_update_cache(
    launch, cache_tensor1, input_tensor1, cache_tensor2, input_tensor2, **arguments
):
    """`paged_update_cache` of two caches at once, with the same keyword arguments."""
    paged_update_cache(launch, cache_tensor1, input_tensor1, **arguments)
    paged_update_cache(launch, cache_tensor2, input_tensor2, **arguments)


def paged_fill_cache(
    launch,
    cache_tensor,
    input_tensor,
    page_table,
    *,
    batch_idx_tensor=None,
    batch_idx=0,
    compute_kernel_config=None,
    mesh_coords=None,
):
    """Write [B, K, S, D] into the pages [P, K, block, D] of the users that the batch indices name.

    Whole tiles, so the padding rows of the input are written too. A page of -1 is skipped
    (writer_fill_cache_interleaved.cpp).
    """
    block = cache_tensor.shape[2]
    users = [batch_idx] if batch_idx_tensor is None else batch_idx_tensor.logical.flatten().tolist()
    for sequence, user in zip(input_tensor.data, users, strict=True):
        for start in range(0, sequence.shape[1], block):
            page = int(page_table.logical[user, start // block])
            rows = sequence[:, start : start + block]
            if page >= 0:
                cache_tensor.data[page, :, : rows.shape[1]] = rows


def _page_of(launch, page_table, users, positions, cache_tensor):
    """(pages, rows within them) of positions."""
    block = cache_tensor.shape[2]
    pages = page_table.logical[users, positions // block].long()
    if pages.numel() and not 0 <= int(pages.min()) <= int(pages.max()) < len(cache_tensor.data):
        raise NotEmulated(
            f"{launch.name}: the page table names pages {pages.tolist()}, the cache has "
            f"{len(cache_tensor.data)}."
        )
    return pages, positions % block


KERNELS = {
    "ttnn.fill_cache": fill_cache,
    "ttnn.update_cache": update_cache,
    "ttnn.kv_cache.fill_cache_for_user_": fill_cache_for_user_,
    "ttnn.kv_cache.update_cache_for_token_": update_cache_for_token_,
    "ttnn.experimental.paged_update_cache": paged_update_cache,
    "ttnn.experimental.paged_fused_update_cache": paged_fused_update_cache,
    "ttnn.experimental.paged_fill_cache": paged_fill_cache,
}

"""Bindings that write keys and values into a cache: data movement, in place on the first argument.

B users, S sequence, K kv heads, D head_dim, C cache length, P pages.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
import ttnn

from ttnn_emulator.arithmetic.formats import TILE, ceil_div
from ttnn_emulator.dispatch import Binding, Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.configs import compute_of
from ttnn_emulator.ops.common.paging import check_pages, positions_of

SKIP = -1  # as a position or a page: nothing is written


def fill_cache(
    launch: Launch,
    cache_tensor: DeviceTensor,
    input_tensor: DeviceTensor,
    batch_idx: int,
    *,
    update_idx: int = 0,
) -> None:
    """Write [1, K, S, D] into user `batch_idx` of the cache [B, K, C, D] from row `update_idx` on.

    Whole tiles: the padding rows of the input are written too. The host side checks that user and
    rows lie in the cache.
    """
    rows = slice(update_idx, update_idx + input_tensor.padded_shape[-2])
    cache_tensor.data[batch_idx, :, rows] = input_tensor.data[0]


def fill_cache_for_user_(
    launch: Launch,
    cache: DeviceTensor,
    input: DeviceTensor,
    batch_index: int,
    *,
    update_idx: int = 0,
) -> None:
    """`fill_cache` under its other name."""
    fill_cache(launch, cache, input, batch_index, update_idx=update_idx)


def update_cache(
    launch: Launch,
    cache: DeviceTensor,
    input: DeviceTensor,
    update_idx: int,
    *,
    batch_offset: int = 0,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> None:
    """Write row `update_idx` of all users: [1, K, 32, D] into [B, K, C, D].

    User b's row is row `batch_offset` + b of the input.

    Raises:
        OutOfBounds: a row beyond the cache.
    """
    users = cache.shape[0]
    bounds.within(update_idx, cache.padded_shape[2], op=launch.name, operand="cache", unit="row")
    rows = input.data[0, :, batch_offset : batch_offset + users]
    rows = _packed(launch, rows, input.dtype, cache, compute_kernel_config)
    cache.data[:, :, update_idx] = rows.transpose(0, 1)
    for user in range(users):
        _repack(launch, cache, user, update_idx)


def update_cache_for_token_(
    launch: Launch,
    cache: DeviceTensor,
    input: DeviceTensor,
    update_index: int,
    batch_offset: int = 0,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> None:
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
    launch: Launch,
    cache_tensor: DeviceTensor,
    input_tensor: DeviceTensor,
    *,
    update_idxs: Sequence[int] = (),
    update_idxs_tensor: DeviceTensor | None = None,
    share_cache: bool | None = None,
    page_table: DeviceTensor | None = None,
    batch_offset: int = 0,  # the host side takes no other
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    mesh_coords: object = None,
    cache_position_modulo: int | None = None,
) -> None:
    """Write one row for each user: [1, B, K, D] into [B, K, C, D], or into pages [P, K, block, D].

    A position of -1 in `update_idxs_tensor` skips its user. With `share_cache` all users write to
    the cache of user 0, with a page table [B, pages] each to the page that holds its position.

    Raises:
        OutOfBounds: a position beyond the cache or the page table, or a page beyond the cache. A
            page of -1 is one too (writer_update_cache_interleaved_start_id.cpp).
    """
    users = input_tensor.shape[1]
    positions = positions_of(update_idxs, update_idxs_tensor, users)
    active = torch.nonzero(positions != SKIP).flatten()
    positions = positions[active]
    capacity = (
        cache_tensor.padded_shape[2] if page_table is None else _covered(page_table, cache_tensor)
    )
    if cache_position_modulo:  # which is taken of them as unsigned numbers
        bounds.within(positions, 1 << 31, op=launch.name, operand="cache_tensor", unit="row")
        positions = positions % cache_position_modulo
    where = "cache_tensor" if page_table is None else "the sequence in page_table"
    bounds.within(positions, capacity, op=launch.name, operand=where, unit="row")
    heads, rows_of_user = cache_tensor.shape[1], input_tensor.padded_shape[2]
    bounds.span(0, heads, rows_of_user, op=launch.name, operand="input_tensor", unit="head")
    slots = torch.zeros_like(active) if share_cache else active
    if page_table is not None:
        slots, positions = _page_of(launch, page_table, active, positions, cache_tensor)
    rows = input_tensor.data[0, active, : cache_tensor.shape[1]]
    rows = _packed(launch, rows, input_tensor.dtype, cache_tensor, compute_kernel_config)
    cache_tensor.data[slots, :, positions] = rows
    for slot, position in zip(slots.tolist(), positions.tolist(), strict=True):
        _repack(launch, cache_tensor, slot, position)


def _packed(
    launch: Launch,
    rows: torch.Tensor,
    dtype: str,
    cache: DeviceTensor,
    config: ttnn.DeviceComputeKernelConfig | None,
) -> torch.Tensor:
    """New rows of `dtype` as the kernel's packer leaves them in the cache (update_cache.cpp).

    Float32 rows reach a cache of another format through SrcA, in the width of its destination.
    """
    compute = compute_of(config)
    fp32_dest_acc = (
        None if cache.dtype == "float32" else compute is not None and compute.fp32_dest_acc
    )
    moved = launch.math.moved(rows, dtype, cache.dtype, fp32_dest_acc=fp32_dest_acc)
    return launch.math.stored(moved, cache.dtype)


def _repack(launch: Launch, cache: DeviceTensor, slot: int, position: int) -> None:
    """Pack the whole tile rows that hold a position once more, as update_cache.cpp does.

    Old rows of a block format come out as they went in: the packer has nothing to round in values
    that have their block's largest exponent already.
    """
    first = position // TILE * TILE
    tile = cache.data[slot, :, first : first + TILE]
    tile.copy_(launch.math.moved(tile, cache.dtype))


def paged_fused_update_cache(
    launch: Launch,
    cache_tensor1: DeviceTensor,
    input_tensor1: DeviceTensor,
    cache_tensor2: DeviceTensor,
    input_tensor2: DeviceTensor,
    **arguments: Any,
) -> None:
    """`paged_update_cache` of two caches at once, with the same keyword arguments."""
    paged_update_cache(launch, cache_tensor1, input_tensor1, **arguments)
    paged_update_cache(launch, cache_tensor2, input_tensor2, **arguments)


def paged_fill_cache(
    launch: Launch,
    cache_tensor: DeviceTensor,
    input_tensor: DeviceTensor,
    page_table: DeviceTensor,
    *,
    batch_idx_tensor: DeviceTensor | None = None,
    batch_idx: int = 0,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    mesh_coords: object = None,
) -> None:
    """Write [B, K, S, D] into the pages [P, K, block, D] of the users that the batch indices name.

    Whole tiles, so the padding rows of the input are written too. A page of -1 is skipped
    (writer_fill_cache_interleaved.cpp).

    Raises:
        OutOfBounds: a user beyond the page table, or a page beyond the cache.
    """
    block = cache_tensor.shape[2]
    users = [batch_idx] if batch_idx_tensor is None else batch_idx_tensor.logical.flatten().tolist()
    bounds.within(
        users,
        page_table.shape[0],
        op=launch.name,
        operand="page_table",
        unit="row",
        because="a user",
    )
    for sequence, user in zip(input_tensor.data, users, strict=True):
        pages = page_table.logical[user, : ceil_div(sequence.shape[1], block)].long()
        check_pages(launch, pages[pages != SKIP], cache_tensor, "cache_tensor")
        for start in range(0, sequence.shape[1], block):
            page = int(pages[start // block])
            rows = sequence[:, start : start + block]
            if page != SKIP:
                cache_tensor.data[page, :, : rows.shape[1]] = rows


def _covered(page_table: DeviceTensor, cache_tensor: DeviceTensor) -> int:
    """Positions that a row of the page table has pages for."""
    return page_table.shape[-1] * cache_tensor.shape[2]


def _page_of(
    launch: Launch,
    page_table: DeviceTensor,
    users: torch.Tensor,
    positions: torch.Tensor,
    cache_tensor: DeviceTensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(pages, rows within them) of positions."""
    block = cache_tensor.shape[2]
    pages = page_table.logical[users, positions // block].long()
    check_pages(launch, pages, cache_tensor, "cache_tensor")
    return pages, positions % block


BINDINGS: dict[str, Binding] = {
    "ttnn.fill_cache": fill_cache,
    "ttnn.update_cache": update_cache,
    "ttnn.kv_cache.fill_cache_for_user_": fill_cache_for_user_,
    "ttnn.kv_cache.update_cache_for_token_": update_cache_for_token_,
    "ttnn.experimental.paged_update_cache": paged_update_cache,
    "ttnn.experimental.paged_fused_update_cache": paged_fused_update_cache,
    "ttnn.experimental.paged_fill_cache": paged_fill_cache,
}

# Operation -> the operands that it writes.
WRITES = {
    name: tuple(operand for operand in inspect.signature(binding).parameters if "cache" in operand)
    for name, binding in BINDINGS.items()
}

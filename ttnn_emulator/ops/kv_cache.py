"""Bindings that write keys and values into a cache: data movement, in place on the first argument.

B users, S sequence, K kv heads, D head_dim, C cache length, P pages.
"""

import inspect
from collections.abc import Sequence

import torch
import ttnn

from ttnn_emulator.arithmetic.formats import TILE, ceil_div
from ttnn_emulator.dispatch import Binding, Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.configs import compute_of
from ttnn_emulator.ops.common.paging import (
    Geometry,
    check_pages,
    own_geometry,
    positions_of,
    retiled,
)

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
    given = input.padded_shape[2]
    bounds.span(batch_offset, users, given, op=launch.name, operand="input", unit="row")
    rows = input.data[0, :, batch_offset : batch_offset + users]
    rows = _packed(launch, rows, input.dtype, cache, compute_kernel_config)
    cache.data[:, :, update_idx] = rows.transpose(0, 1)
    everyone = torch.arange(users)
    _repack(launch, cache.data, cache.dtype, everyone, torch.full_like(everyone, update_idx))


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
    block_size: int | None = None,
    num_kv_heads: int | None = None,
    cache_position_modulo: int | None = None,
) -> None:
    """Write one row for each user: [1, B, K, D] into [B, K, C, D], or into pages [P, K, block, D].

    A position of -1 in `update_idxs_tensor` skips its user. With `share_cache` all users write to
    the cache of user 0, with a page table [B, pages] each to the page that holds its position.
    `block_size` and `num_kv_heads` read the tiles of a page in another geometry.

    Raises:
        NotEmulated: another geometry of a cache without pages.
        OutOfBounds: a position beyond the cache or the page table, or a page beyond the cache. A
            page of -1 is one too (writer_update_cache_interleaved_start_id.cpp).
    """
    users = input_tensor.shape[1]
    own = own_geometry(cache_tensor)
    geometry = Geometry(
        num_kv_heads or own.heads, block_size or own.block, input_tensor.padded_shape[-1]
    )
    if page_table is None and geometry != own:
        raise NotEmulated(f"{launch.name}: block_size and num_kv_heads without a page table.")
    positions = positions_of(update_idxs, update_idxs_tensor, users)
    where = "update_idxs" if update_idxs_tensor is None else "update_idxs_tensor"
    bounds.span(0, users, len(positions), op=launch.name, operand=where, unit="position")
    active = torch.nonzero(positions != SKIP).flatten()
    positions = positions[active]
    capacity = own.block if page_table is None else page_table.shape[-1] * geometry.block
    if cache_position_modulo:  # which is taken of them as unsigned numbers
        bounds.within(positions, 1 << 31, op=launch.name, operand="cache_tensor", unit="row")
        positions = positions % cache_position_modulo
    where = "cache_tensor" if page_table is None else "the sequence in page_table"
    bounds.within(positions, capacity, op=launch.name, operand=where, unit="row")
    rows_of_user = input_tensor.padded_shape[2]
    bounds.span(
        0, geometry.heads, rows_of_user, op=launch.name, operand="input_tensor", unit="head"
    )
    slots = torch.zeros_like(active) if share_cache else active
    if page_table is not None:
        pages = _page_of(launch, page_table, active, positions // geometry.block, cache_tensor)
        slots, positions = pages, positions % geometry.block
    rows = input_tensor.data[0, active, : geometry.heads]
    rows = _packed(launch, rows, input_tensor.dtype, cache_tensor, compute_kernel_config)
    if geometry != own:
        for slot, position, row in zip(slots.tolist(), positions, rows, strict=True):
            page = retiled(cache_tensor.data[slot], geometry)
            page[:, position] = row
            _repack(launch, page[None], cache_tensor.dtype, torch.tensor([0]), position[None])
            cache_tensor.data[slot] = retiled(page, own)
        return
    bounds.within(slots, cache_tensor.shape[0], op=launch.name, operand="cache_tensor", unit="user")
    cache_tensor.data[slots, :, positions] = rows
    _repack(launch, cache_tensor.data, cache_tensor.dtype, slots, positions)


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


def _repack(
    launch: Launch, cache: torch.Tensor, dtype: str, slots: torch.Tensor, positions: torch.Tensor
) -> None:
    """Pack the whole tile rows of [B, K, C, D] that hold a position once more (update_cache.cpp).

    `slots` and `positions` are int64 [n], a position in each of these of the B.

    Old rows of a block format come out as they went in: the packer has nothing to round in values
    that have their block's largest exponent already.
    """
    rows = (positions // TILE * TILE)[:, None] + torch.arange(min(TILE, cache.shape[2]))
    tiles = slots[:, None], slice(None), rows
    cache[tiles] = launch.math.moved(cache[tiles], dtype).to(cache.dtype)  # [slots, rows, K, D]


def paged_fused_update_cache(
    launch: Launch,
    cache_tensor1: DeviceTensor,
    input_tensor1: DeviceTensor,
    cache_tensor2: DeviceTensor,
    input_tensor2: DeviceTensor,
    *,
    update_idxs: Sequence[int] = (),
    update_idxs_tensor: DeviceTensor | None = None,
    share_cache: bool | None = None,
    page_table: DeviceTensor | None = None,
    batch_offset: int = 0,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    mesh_coords: object = None,
) -> None:
    """`paged_update_cache` of two caches at once."""
    for cache, rows in ((cache_tensor1, input_tensor1), (cache_tensor2, input_tensor2)):
        paged_update_cache(
            launch,
            cache,
            rows,
            update_idxs=update_idxs,
            update_idxs_tensor=update_idxs_tensor,
            share_cache=share_cache,
            page_table=page_table,
            compute_kernel_config=compute_kernel_config,
        )


def indexed_fused_update_cache(
    launch: Launch,
    cache_tensor1: DeviceTensor,
    input_tensor1: DeviceTensor,
    cache_tensor2: DeviceTensor,
    input_tensor2: DeviceTensor,
    physical_update_idxs_tensor: DeviceTensor,
) -> None:
    """Write rows [1, K, R, D] of two inputs into rows of pages [P, K, block, D] of two caches.

    Row r goes to row `physical_update_idxs_tensor[0, r]` of all pages' rows, one page after the
    other; what lies outside is skipped, and of rows with the same place the last one stays
    (indexed_fused_update_cache.cpp).
    """
    places = physical_update_idxs_tensor.logical.flatten().tolist()
    for cache, rows in ((cache_tensor1, input_tensor1), (cache_tensor2, input_tensor2)):
        block = cache.shape[2]
        for row, place in enumerate(places[: rows.shape[2]]):
            if 0 <= place < cache.shape[0] * block:
                cache.data[place // block, :, place % block] = rows.data[0, :, row]


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
    block_size: int | None = None,
    cache_position_modulo: int | None = None,
    valid_seq_len_tensor: DeviceTensor | None = None,
) -> None:
    """Write [B, K, S, D] into the pages [P, K, block, D] of the users that the batch indices name.

    Whole tiles, so the padding rows of the input are written too. A page of -1 is skipped. With
    `cache_position_modulo` the pages are a ring of so many positions, in which the input's last
    ones stay, those up to `valid_seq_len_tensor` if it is given. `block_size` reads the tiles of a
    page in another geometry (writer_fill_cache_interleaved.cpp).

    Raises:
        OutOfBounds: a user or a position beyond the page table, or a page beyond the cache.
    """
    own = own_geometry(cache_tensor)
    _, heads, length, width = input_tensor.padded_shape
    geometry = Geometry(heads, block_size or own.block, width) if block_size else own
    users = [batch_idx] if batch_idx_tensor is None else batch_idx_tensor.logical.flatten().tolist()
    bounds.within(
        users,
        page_table.shape[0],
        op=launch.name,
        operand="page_table",
        unit="row",
        because="a user",
    )
    tiles = _kept_tiles(length, geometry.block, cache_position_modulo, valid_seq_len_tensor)
    ring = (cache_position_modulo or length) // TILE
    per_page = geometry.block // TILE
    of_block: dict[int, list[int]] = {}
    for tile in tiles:
        of_block.setdefault(tile % ring // per_page, []).append(tile)
    bounds.within(
        list(of_block),
        page_table.shape[-1],
        op=launch.name,
        operand="page_table",
        unit="page",
        because="of the input's positions",
    )
    for sequence, user in zip(input_tensor.data, users, strict=True):
        pages = page_table.logical[user].long()
        named = pages[list(of_block)]
        check_pages(launch, named[named != SKIP], cache_tensor, "cache_tensor")
        for block, chosen in of_block.items():
            page = int(pages[block])
            if page == SKIP:
                continue
            held = cache_tensor.data[page]
            held = held if geometry == own else retiled(held, geometry)
            for tile in chosen:
                row = tile % ring % per_page * TILE
                held[:, row : row + TILE] = sequence[:, tile * TILE : (tile + 1) * TILE]
            if geometry != own:
                cache_tensor.data[page] = retiled(held, own)


def _kept_tiles(
    length: int, block: int, modulo: int | None, valid: DeviceTensor | None
) -> list[int]:
    """Numbers of the input's tile rows that are written: the last ones that fit into the ring."""
    end = length // TILE
    if valid is not None:
        tiles = ceil_div(ceil_div(int(valid.logical.flatten()[0]), TILE), block // TILE)
        tiles *= block // TILE
        end = tiles if 0 < tiles < end else end
    first = max(0, end - modulo // TILE) if modulo else 0
    return list(range(first, end))


def _page_of(
    launch: Launch,
    page_table: DeviceTensor,
    users: torch.Tensor,
    blocks: torch.Tensor,
    cache_tensor: DeviceTensor,
) -> torch.Tensor:
    """The pages that hold these blocks of users' sequences."""
    rows = page_table.shape[0]
    bounds.within(
        users, rows, op=launch.name, operand="page_table", unit="row", because="of a user"
    )
    pages = page_table.logical[users, blocks].long()
    check_pages(launch, pages, cache_tensor, "cache_tensor")
    return pages


BINDINGS: dict[str, Binding] = {
    "ttnn.fill_cache": fill_cache,
    "ttnn.update_cache": update_cache,
    "ttnn.kv_cache.fill_cache_for_user_": fill_cache_for_user_,
    "ttnn.kv_cache.update_cache_for_token_": update_cache_for_token_,
    "ttnn.experimental.paged_update_cache": paged_update_cache,
    "ttnn.experimental.paged_fused_update_cache": paged_fused_update_cache,
    "ttnn.experimental.paged_fill_cache": paged_fill_cache,
    "ttnn.experimental.indexed_fused_update_cache": indexed_fused_update_cache,
}

# Operation -> the operands that it writes.
WRITES = {
    name: tuple(
        operand
        for operand in inspect.signature(binding).parameters
        if operand == "cache" or operand.startswith("cache_tensor")
    )
    for name, binding in BINDINGS.items()
}

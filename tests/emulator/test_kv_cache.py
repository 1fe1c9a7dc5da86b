"""Writing keys and values into caches: in place, exact, and nothing else touched."""

import pytest
import torch
import ttnn

from tests.support.emulated import contents
from tests.support.tensors import bf16_normal, in_rows, on_cores, on_tiles


def test_filling_starts_at_the_row_that_is_named(device):
    values, rows = bf16_normal(2, 2, 96, 64), bf16_normal(1, 2, 32, 64)
    cache = on_tiles(device, values)
    ttnn.kv_cache.fill_cache_for_user_(cache, on_tiles(device, rows), 1, update_idx=32)
    values[1, :, 32:64] = rows[0]
    assert torch.equal(ttnn.to_torch(cache).float(), values)


@pytest.mark.parametrize(("users", "offset"), [(4, 0), (4, 8), (32, 0)])
def test_a_token_of_all_users_goes_to_one_row(device, users, offset):
    values, rows = bf16_normal(users, 2, 64, 64), bf16_normal(1, 2, 32, 64)
    for update in (
        lambda cache, x: ttnn.update_cache(cache, x, 37, batch_offset=offset),
        lambda cache, x: ttnn.kv_cache.update_cache_for_token_(cache, x, 37, offset),
    ):
        cache = on_tiles(device, values)
        update(cache, on_tiles(device, rows))
        expected = values.clone()
        expected[:, :, 37] = rows[0, :, offset : offset + users].transpose(0, 1)
        assert torch.equal(ttnn.to_torch(cache).float(), expected)


@pytest.mark.parametrize("as_tensor", [False, True], ids=["list", "tensor"])
def test_every_user_has_a_position_of_its_own(device, as_tensor):
    values, rows, positions = bf16_normal(4, 2, 64, 96), bf16_normal(1, 4, 2, 96), [0, 31, 32, 63]
    cache = on_tiles(device, values)
    where = (
        {"update_idxs_tensor": in_rows(device, torch.tensor(positions))}
        if as_tensor
        else {"update_idxs": positions}
    )
    ttnn.experimental.paged_update_cache(cache, on_cores(device, rows), **where)
    for user, position in enumerate(positions):
        values[user, :, position] = rows[0, user]
    assert torch.equal(ttnn.to_torch(cache).float(), values)


def test_position_minus_one_leaves_the_users_cache_alone(device):
    values, rows = bf16_normal(3, 2, 64, 64), bf16_normal(1, 3, 2, 64)
    cache = on_tiles(device, values)
    positions = in_rows(device, torch.tensor([5, -1, 6]))
    ttnn.experimental.paged_update_cache(
        cache, on_cores(device, rows), update_idxs_tensor=positions
    )
    values[0, :, 5], values[2, :, 6] = rows[0, 0], rows[0, 2]
    assert torch.equal(ttnn.to_torch(cache).float(), values)


def test_a_shared_cache_takes_all_users_rows(device):
    values, rows = bf16_normal(1, 2, 64, 64), bf16_normal(1, 3, 2, 64)
    cache = on_tiles(device, values)
    ttnn.experimental.paged_update_cache(
        cache, on_cores(device, rows), update_idxs=[1, 2, 40], share_cache=True
    )
    values[0, :, [1, 2, 40]] = rows[0].transpose(0, 1)
    assert torch.equal(ttnn.to_torch(cache).float(), values)


def test_a_table_of_pages_finds_every_users_row(device):
    table = torch.tensor([[5, 0], [2, 7]])
    values, rows = bf16_normal(8, 2, 32, 64), bf16_normal(1, 2, 2, 64)
    cache = on_tiles(device, values)
    ttnn.experimental.paged_update_cache(
        cache,
        on_cores(device, rows),
        update_idxs_tensor=in_rows(device, torch.tensor([3, 40])),
        page_table=in_rows(device, table),
    )
    values[5, :, 3], values[7, :, 8] = rows[0, 0], rows[0, 1]
    assert torch.equal(ttnn.to_torch(cache).float(), values)


def test_positions_wrap_around_a_ring_of_pages(device):
    values, rows = bf16_normal(4, 2, 32, 64), bf16_normal(1, 1, 2, 64)
    cache = on_tiles(device, values)
    ttnn.experimental.paged_update_cache(
        cache,
        on_cores(device, rows),
        update_idxs_tensor=in_rows(device, torch.tensor([100])),
        page_table=in_rows(device, torch.tensor([[3, 1]])),
        cache_position_modulo=64,
    )
    values[1, :, 4] = rows[0, 0]  # 100 modulo 64 is row 4 of the second page
    assert torch.equal(ttnn.to_torch(cache).float(), values)


def test_several_sequences_fill_the_pages_of_the_users_that_are_named(device):
    values, rows = bf16_normal(6, 2, 32, 64), bf16_normal(2, 2, 32, 64)
    cache = on_tiles(device, values)
    ttnn.experimental.paged_fill_cache(
        cache,
        on_tiles(device, rows),
        in_rows(device, torch.tensor([[0], [4], [2]])),
        batch_idx_tensor=in_rows(device, torch.tensor([2, 1])),
    )
    values[2], values[4] = rows
    assert torch.equal(ttnn.to_torch(cache).float(), values)


def test_filled_pages_are_the_sequence_and_a_page_of_minus_one_is_skipped(device):
    values, rows = bf16_normal(6, 2, 32, 64), bf16_normal(1, 2, 96, 64)
    cache = on_tiles(device, values)
    table = in_rows(device, torch.tensor([[0, 1, 2], [4, -1, 3]]))
    ttnn.experimental.paged_fill_cache(cache, on_tiles(device, rows), table, batch_idx=1)
    values[4], values[3] = rows[0, :, :32], rows[0, :, 64:]
    assert torch.equal(ttnn.to_torch(cache).float(), values)


def test_a_block_float_cache_keeps_its_other_rows(device):
    cache = on_tiles(device, bf16_normal(2, 2, 64, 64), ttnn.bfloat8_b)
    before = contents(cache).clone()
    rows = bf16_normal(1, 2, 2, 64)
    ttnn.experimental.paged_update_cache(cache, on_cores(device, rows), update_idxs=[3, 4])
    packed = ttnn.from_torch(rows, dtype=ttnn.bfloat8_b, layout=ttnn.TILE_LAYOUT).to_torch()
    before[0, :, 3], before[1, :, 4] = packed[0, 0], packed[0, 1]
    assert torch.equal(contents(cache), before)

"""Writing keys and values into caches: in place, exact, and nothing else touched."""

import pytest
import torch
import ttnn

from tests.support.edges import Edge, each, ints, refuses_what_is_beyond
from tests.support.emulated import contents
from tests.support.packing import (
    AS_IT_LIES,
    BLOCK_FORMATS,
    MIDDLE,
    NEXT,
    NO_SUCH_OUTPUT,
    PACKER,
    assert_is,
    named,
    packed,
)
from tests.support.tensors import bf16_normal, in_rows, on_cores, on_tiles
from ttnn_emulator.ops.kv_cache import BINDINGS


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


# --- block formats -------------------------------------------------------------------------------


def updated(update, device, cache, rows, source, config):
    options = {} if config is None else {"compute_kernel_config": config}
    if update == "update_cache":
        padded = torch.zeros(1, rows.shape[2], 32, rows.shape[3])
        padded[0, :, : rows.shape[1]] = rows[0].transpose(0, 1)
        ttnn.update_cache(cache, on_tiles(device, padded, source), 3, **options)
        return
    options["update_idxs"] = [3] * rows.shape[1]
    new = on_cores(device, rows, dtype=source)
    if update == "paged_update_cache":
        ttnn.experimental.paged_update_cache(cache, new, **options)
    else:
        other = on_tiles(device, torch.zeros(tuple(cache.shape)), cache.dtype)
        second = on_cores(device, rows, first_row=4, dtype=source)
        ttnn.experimental.paged_fused_update_cache(cache, new, other, second, **options)
        assert torch.equal(contents(other)[:, :, 3], contents(cache)[:, :, 3])


UPDATES = ["update_cache", "paged_update_cache", "paged_fused_update_cache"]


@pytest.mark.parametrize("wide", [False, True], ids=["16-bit Dst", "32-bit Dst"])
@pytest.mark.parametrize("source", [ttnn.bfloat16, ttnn.float32], ids=str)
@pytest.mark.parametrize("to", BLOCK_FORMATS, ids=str)
@pytest.mark.parametrize("update", UPDATES)
def test_a_row_of_a_cache_is_packed_and_the_others_stay(kernel_device, update, to, source, wide):
    if update == "update_cache" and to == ttnn.bfloat4_b:
        pytest.skip("TTNN takes no bfloat4_b cache here")
    cache = on_tiles(kernel_device, bf16_normal(4, 2, 64, 64), to)
    before = contents(cache).clone()
    rows = torch.randn(1, 4, 2, 64) if source == ttnn.float32 else bf16_normal(1, 4, 2, 64)
    config = ttnn.WormholeComputeKernelConfig(fp32_dest_acc_en=wide)
    updated(update, kernel_device, cache, rows, source, config)
    before[:, :, 3] = packed(rows[0], to)
    assert_is(cache, before)


@pytest.mark.parametrize(("wide", "due"), [(False, 1.0), (True, NEXT)])
@pytest.mark.parametrize("update", UPDATES)
def test_a_float32_row_reaches_a_bfloat16_cache_as_the_destination_is_wide(
    kernel_device, update, wide, due
):
    cache = on_tiles(kernel_device, torch.zeros(1, 2, 64, 64))
    config = ttnn.WormholeComputeKernelConfig(fp32_dest_acc_en=wide)
    updated(update, kernel_device, cache, torch.full((1, 1, 2, 64), MIDDLE), ttnn.float32, config)
    assert (contents(cache)[:, :, 3] == due).all()


def test_filled_caches_hold_the_blocks_of_the_input(kernel_device):
    values = torch.randn(1, 2, 64, 64) * torch.logspace(-2, 2, 64)
    x = on_tiles(kernel_device, values, ttnn.bfloat8_b)
    cache, pages = (
        on_tiles(kernel_device, torch.zeros(2, 2, 64, 64), ttnn.bfloat8_b) for _ in range(2)
    )
    ttnn.fill_cache(cache, x, 1)
    table = in_rows(kernel_device, torch.tensor([[1]]))
    ttnn.experimental.paged_fill_cache(pages, x, table, batch_idx=0)
    for filled in (cache, pages):
        assert torch.equal(contents(filled)[1], contents(x)[0])


def test_of_every_operation_on_caches_it_is_known_who_encodes_its_blocks():
    encoders = {
        PACKER: """update_cache kv_cache.update_cache_for_token_ experimental.paged_update_cache
            experimental.paged_fused_update_cache""",
        AS_IT_LIES: "fill_cache kv_cache.fill_cache_for_user_ experimental.paged_fill_cache",
        NO_SUCH_OUTPUT: "experimental.indexed_fused_update_cache",
    }
    assert named(encoders) == sorted(BINDINGS)


# --- rings -------------------------------------------------------------------------------------

TABLE = [[2, 0, 3, 1]]


def filled(device, prompt, table=TABLE, pages=4, **how):
    """A prompt [1, K, S, D] in pages [P, K, 32, D] of zeros."""
    cache = on_tiles(device, torch.zeros(pages, prompt.shape[1], 32, prompt.shape[3]))
    ttnn.experimental.paged_fill_cache(
        cache, on_tiles(device, prompt), ints(device, table), batch_idx=0, **how
    )
    return contents(cache).float()


def test_the_last_positions_of_a_prompt_stay_in_a_ring(device):
    prompt = bf16_normal(1, 2, 160, 64)
    pages = filled(device, prompt, cache_position_modulo=64)
    assert torch.equal(pages[2], prompt[0, :, 128:160])  # position 128 is place 0 of the ring
    assert torch.equal(pages[0], prompt[0, :, 96:128])
    assert not pages[[1, 3]].any()


def test_padding_behind_a_valid_length_does_not_enter_the_ring(device):
    prompt = bf16_normal(1, 2, 160, 64)
    pages = filled(
        device, prompt, cache_position_modulo=64, valid_seq_len_tensor=ints(device, [90])
    )
    assert torch.equal(pages[2], prompt[0, :, 64:96])
    assert torch.equal(pages[0], prompt[0, :, 32:64])


# --- bounds --------------------------------------------------------------------------------------


def one_row_for_all(device, position):
    ttnn.update_cache(
        on_tiles(device, bf16_normal(2, 2, 64, 64)),
        on_tiles(device, bf16_normal(1, 2, 32, 64)),
        position,
    )


def listed_position(device, position):
    cache = on_tiles(device, bf16_normal(1, 2, 64, 64))
    rows = on_cores(device, bf16_normal(1, 1, 2, 64))
    ttnn.experimental.paged_update_cache(cache, rows, update_idxs=[position])


def rows_written(device, positions, pages=None, heads=2):
    """Users' rows written into a cache of 64 rows, or of 8 pages."""
    users = len(positions)
    cache = bf16_normal(users, heads, 64, 64) if pages is None else bf16_normal(8, heads, 32, 64)
    ttnn.experimental.paged_update_cache(
        on_tiles(device, cache),
        on_cores(device, bf16_normal(1, users, 2, 64)),
        update_idxs_tensor=ints(device, positions),
        page_table=None if pages is None else ints(device, pages),
    )


def position(device, index):
    rows_written(device, [3, index])


def position_in_pages(device, index):
    rows_written(device, [3, index], [[0, 1], [2, 3]])


def page_written(device, page):
    rows_written(device, [3, 40], [[0, 1], [2, page]])


def heads_written(device, heads):
    rows_written(device, [3], heads=heads)


def pages_written(device, page):
    caches = [on_tiles(device, bf16_normal(8, 2, 32, 64)) for _ in range(2)]
    rows = [on_cores(device, bf16_normal(1, 2, 2, 64), first_row=n) for n in range(2)]
    ttnn.experimental.paged_fused_update_cache(
        caches[0],
        rows[0],
        caches[1],
        rows[1],
        update_idxs_tensor=ints(device, [3, 40]),
        page_table=ints(device, [[0, 1], [2, page]]),
    )


def pages_filled(device, pages, user):
    ttnn.experimental.paged_fill_cache(
        on_tiles(device, bf16_normal(8, 2, 32, 64)),
        on_tiles(device, bf16_normal(1, 2, 64, 64)),
        ints(device, pages),
        batch_idx_tensor=ints(device, [user]),
    )


def page_filled(device, page):
    pages_filled(device, [[0, page], [9, 9]], 0)  # row 1 is of nobody


def user_filled(device, user):
    pages_filled(device, [[0, 1], [2, 3]], user)


IN_CACHE = "of cache_tensor, which has pages 0 to 7"

EDGES = [
    Edge(
        "row of all users",
        one_row_for_all,
        63,
        64,
        "reaches row 64 of cache, which has rows 0 to 63",
    ),
    Edge(
        "listed position", listed_position, 63, 64, "reaches row 64 of cache_tensor, which has rows"
    ),
    Edge("position", position, 63, 64, "reaches row 64 of cache_tensor, which has rows 0 to 63"),
    Edge("negative position", position, -1, -2, "reaches row -2 of cache_tensor, which has"),
    Edge(
        "position behind the pages",
        position_in_pages,
        63,
        64,
        "reaches row 64 of the sequence in page_table, which has rows 0 to 63",
    ),
    Edge("page that is written", page_written, 7, 8, f"reaches page 8 {IN_CACHE}"),
    Edge("page -1 that is written", page_written, 0, -1, f"reaches page -1 {IN_CACHE}"),
    Edge("page that is written, fused", pages_written, 7, 8, "reaches page 8 of cache_tensor"),
    Edge(
        "heads of a row", heads_written, 32, 33, "reaches heads 0 to 32 of input_tensor, which has"
    ),
    Edge("page that is filled", page_filled, 7, 8, f"reaches page 8 {IN_CACHE}"),
    Edge("page -2 that is filled", page_filled, -1, -2, f"reaches page -2 {IN_CACHE}"),
    Edge(
        "user that is filled", user_filled, 1, 2, "reaches row 2 of page_table (a user), which has"
    ),
    Edge("user -1 that is filled", user_filled, 0, -1, "reaches row -1 of page_table (a user)"),
]


@each(EDGES)
def test_what_an_operand_does_not_hold_is_refused(device, edge):
    refuses_what_is_beyond(device, edge)

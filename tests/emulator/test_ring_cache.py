"""Pages that are a ring of positions, or are read in another geometry; rows at given places."""

import torch
import ttnn

from tests.support.edges import ints
from tests.support.emulated import contents
from tests.support.tensors import bf16_normal, on_cores, on_tiles

X = ttnn.experimental
TABLE = [[2, 0, 3, 1]]


def filled(device, prompt, table=TABLE, pages=4, **how):
    """A prompt [1, K, S, D] in pages [P, K, 32, D] of zeros."""
    cache = on_tiles(device, torch.zeros(pages, prompt.shape[1], 32, prompt.shape[3]))
    X.paged_fill_cache(cache, on_tiles(device, prompt), ints(device, table), batch_idx=0, **how)
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


def tiles_of(page):
    """[K, block, D] -> its tiles in order, [tiles, 32, 32]."""
    return page.unflatten(-1, (-1, 32)).unflatten(1, (-1, 32)).transpose(2, 3).flatten(0, 2)


def test_a_token_is_written_in_another_geometry(device):
    before = bf16_normal(4, 4, 64, 64)
    cache = on_tiles(device, before)
    token = bf16_normal(1, 1, 2, 64)
    X.paged_update_cache(
        cache,
        on_cores(device, token),
        update_idxs_tensor=ints(device, [70]),
        page_table=ints(device, [[3, 1]]),
        block_size=128,
        num_kv_heads=2,
    )
    expected = tiles_of(before[3]).clone()
    for head in range(2):  # 4 rows of 2 tiles each
        for column in range(2):
            tile = head * 8 + 70 // 32 * 2 + column
            expected[tile, 70 % 32] = token[0, 0, head, column * 32 : (column + 1) * 32]
    after = contents(cache).float()
    assert torch.equal(tiles_of(after[3]), expected)
    assert torch.equal(after[:3], before[:3])


def test_rows_go_to_the_places_they_are_given(device):
    caches = [torch.zeros(2, 2, 32, 64), torch.zeros(2, 2, 32, 64)]
    rows = [bf16_normal(1, 2, 4, 64) for _ in range(2)]
    keys, values = (on_tiles(device, cache) for cache in caches)
    places = ints(device, [[40, -1, 999, 3]])
    X.indexed_fused_update_cache(
        keys, on_tiles(device, rows[0]), values, on_tiles(device, rows[1]), places
    )
    for cache, tensor, new in zip(caches, (keys, values), rows, strict=True):
        cache[1, :, 8], cache[0, :, 3] = new[0, :, 0], new[0, :, 3]
        assert torch.equal(contents(tensor).float(), cache)

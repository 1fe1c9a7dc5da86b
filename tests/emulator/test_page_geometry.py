"""Pages that are read in another geometry, and rows at given places of all pages."""

import torch
import ttnn

from tests.support.edges import ints
from tests.support.emulated import contents
from tests.support.tensors import bf16_normal, on_cores, on_tiles

X = ttnn.experimental


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

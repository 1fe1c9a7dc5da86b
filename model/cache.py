"""The key/value cache on the device, and the handle `generate` passes around for it."""

import torch
import ttnn

from .config import TILE, ModelConfig

# Sequences the cache has room for. paged_update_cache and the decode attention want as many rows
# in a batch as the cache has; only slot 0 holds a sequence, the others are skipped.
CACHE_BATCH = 32
# Positions. With the full model's weights this is what an n150 holds: at 512 its DRAM is full.
MAX_CACHE_SEQ_LEN = 256
SKIP = -1  # as a position: the kernels leave this slot alone


def cache_length(max_seq_len: int) -> int:
    return min(-(-max_seq_len // TILE) * TILE, MAX_CACHE_SEQ_LEN)


class KVCache:
    """Keys and values of one layer, each bfloat16 [32, K, C, D] in DRAM."""

    def __init__(self, config: ModelConfig, length: int, device):
        self.device = device
        self.keys, self.values = (
            ttnn.zeros(
                (CACHE_BATCH, config.n_kv_heads, length, config.head_dim),
                dtype=ttnn.bfloat16,
                layout=ttnn.TILE_LAYOUT,
                device=device,
            )
            for _ in range(2)
        )

    def fill(self, k: ttnn.Tensor, v: ttnn.Tensor) -> None:
        """Write positions 0..S-1 of slot 0 from k, v [1, K, S, D]; S in whole tiles."""
        for cache, x in ((self.keys, k), (self.values, v)):
            sharded = ttnn.to_memory_config(x, _prefill_shards(x.shape, self.device))
            ttnn.fill_cache(cache, sharded, 0)

    def update(self, k: ttnn.Tensor, v: ttnn.Tensor, positions: ttnn.Tensor) -> None:
        """Write k, v [1, 1, K, D] at slot 0's position; positions int32 [32]."""
        for cache, x in ((self.keys, k), (self.values, v)):
            slots = to_slots(x, memory_config=_decode_shards(x.padded_shape, self.device))
            ttnn.experimental.paged_update_cache(cache, slots, update_idxs_tensor=positions)


def to_slots(x: ttnn.Tensor, memory_config=ttnn.DRAM_MEMORY_CONFIG) -> ttnn.Tensor:
    """[1, 1, N, D] of slot 0 to [1, 32, N, D]; zeros for the slots that are skipped."""
    padding = [(0, 0), (0, CACHE_BATCH - 1), (0, 0), (0, 0)]
    return ttnn.pad(x, padding, 0.0, memory_config=memory_config)


def slot_positions(position: int, device) -> ttnn.Tensor:
    """int32 [32]: slot 0 at `position`, the others skipped."""
    positions = torch.full((CACHE_BATCH,), SKIP, dtype=torch.int32)
    positions[0] = position
    return ttnn.from_torch(positions, device=device)


def shard_tiles(n_kv_heads: int, tiles: int, n_cores: int) -> int:
    """Tile rows per shard for K heads of `tiles` tile rows each: as few as the cores allow.

    fill_cache wants shards that divide a head. Any head count fits, in any of the cores: they
    are counted row by row and need not form a rectangle.
    """
    for rows in range(1, tiles + 1):
        if tiles % rows == 0 and n_kv_heads * tiles // rows <= n_cores:
            return rows
    raise ValueError(
        f"{n_kv_heads} key/value heads do not fit {n_cores} cores; at most one head a core."
    )


def _prefill_shards(shape, device):
    _, n_kv_heads, seq_len, head_dim = shape
    tiles = seq_len // TILE
    grid = device.compute_with_storage_grid_size()
    rows = shard_tiles(n_kv_heads, tiles, grid.x * grid.y)
    return _height_sharded(rows * TILE, head_dim, n_kv_heads * tiles // rows, grid)


def _decode_shards(padded_shape, device):
    _, _, heads, head_dim = padded_shape
    grid = device.compute_with_storage_grid_size()
    return _height_sharded(heads, head_dim, CACHE_BATCH, grid)  # a core for each slot's heads


def _height_sharded(height: int, width: int, n_cores: int, grid):
    return ttnn.create_sharded_memory_config(
        (height, width),
        ttnn.num_cores_to_corerangeset(n_cores, grid, row_wise=True),
        ttnn.ShardStrategy.HEIGHT,
        ttnn.ShardOrientation.ROW_MAJOR,
        use_height_and_width_as_shard_shape=True,
    )


class Sequence:
    """`past_key_values`: how many positions of the device's cache hold this sequence.

    The keys and values themselves stay on the device. There is one cache, so a new sequence ends
    the one before it.
    """

    is_compileable = False  # asked by transformers' generate()

    def __init__(self):
        self.length = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.length

"""The key/value cache: its pages on the device, its length, the tokens it holds.

B batch, S sequence, K kv heads, D head_dim, C cache length.
"""

import torch
import ttnn

from ..config import TILE, ModelConfig

# A page is one tile row of positions for all heads, so a prompt can be filled in from any tile.
PAGE = TILE
# Cache lengths are multiples of this, because TTNN requires page table rows of whole 32 bytes.
ALIGNMENT = 8 * PAGE


def cache_length(max_seq_len: int) -> int:
    """The length of a cache for max_seq_len positions."""
    return -(-max_seq_len // ALIGNMENT) * ALIGNMENT


def page_table(batch: int, length: int) -> torch.Tensor:
    """int32 [B, C / 32]: the pages of each row of the batch, one after the other."""
    return torch.arange(batch * length // PAGE, dtype=torch.int32).reshape(batch, -1)


class KVCache:
    """Keys and values of one layer, each [B C / 32, K, 32, D] in DRAM: pages of 32 positions."""

    def __init__(
        self,
        config: ModelConfig,
        batch: int,
        length: int,
        dtype: ttnn.DataType,
        device: ttnn.MeshDevice,
    ):
        self.dtype = dtype
        self.keys, self.values = (
            ttnn.zeros(
                (batch * length // PAGE, config.n_kv_heads, PAGE, config.head_dim),
                dtype=dtype,
                layout=ttnn.TILE_LAYOUT,
                device=device,
            )
            for _ in range(2)
        )

    def fill(self, k: ttnn.Tensor, v: ttnn.Tensor, pages: ttnn.Tensor) -> None:
        """Write k, v [1, K, S, D] into pages, int32 [1, S / 32]."""
        for cache, x in ((self.keys, k), (self.values, v)):
            if x.dtype != self.dtype:
                x = ttnn.typecast(x, self.dtype)
            ttnn.experimental.paged_fill_cache(cache, x, pages, batch_idx=0)

    def update(
        self, k: ttnn.Tensor, v: ttnn.Tensor, positions: ttnn.Tensor, pages: ttnn.Tensor
    ) -> None:
        """Write k, v [1, B, K, D] at positions, int32 [B]; pages int32 [B, C / 32].

        The kernel writes both at once, so k and v must lie on different cores.
        """
        ttnn.experimental.paged_fused_update_cache(
            self.keys, k, self.values, v, update_idxs_tensor=positions, page_table=pages
        )

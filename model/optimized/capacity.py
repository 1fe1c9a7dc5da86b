"""How many positions of cache fit beside the weights, by the device's free DRAM.

TTNN spreads a buffer's pages (tiles, or rows of a row-major tensor) over the DRAM banks one by one,
so the fullest bank decides: a buffer of n pages takes ceil(n / banks) of them there.
"""

import math
from dataclasses import dataclass

import ttnn

from ..config import TILE, ModelConfig
from .cache import ALIGNMENT, PAGE
from .phi3 import CHUNK
from .precision import Precision

# Bytes of a tile: two per number, or 8 or 4 bits each and an exponent for every 16 of them.
TILE_BYTES = {
    ttnn.bfloat16: TILE * TILE * 2,
    ttnn.bfloat8_b: TILE * TILE + TILE * TILE // 16,
    ttnn.bfloat4_b: TILE * TILE // 2 + TILE * TILE // 16,
}

# Tensors of a sum over chips beside its operand: what arrives from both sides, and the whole.
SUMMED = 4


@dataclass(frozen=True)
class Dram:
    """Free DRAM of each bank in bytes, and how many banks there are."""

    free: int
    banks: int

    @classmethod
    def of(cls, device: ttnn.MeshDevice) -> "Dram":
        view = ttnn.get_memory_view(device, ttnn.BufferType.DRAM)
        return cls(view.largest_contiguous_bytes_free_per_bank, view.num_banks)

    def tiles(self, rows: int, columns: int, dtype: ttnn.DataType = ttnn.bfloat16) -> int:
        """Bytes in the fullest bank of a tiled tensor."""
        pages = math.ceil(rows / TILE) * math.ceil(columns / TILE)
        return math.ceil(pages / self.banks) * TILE_BYTES[dtype]

    def rows(self, rows: int, columns: int) -> int:
        """Bytes in the fullest bank of a row-major bfloat16 tensor."""
        return math.ceil(rows / self.banks) * columns * 2


def weights_bytes(config: ModelConfig, precision: Precision, dram: Dram, chips: int = 1) -> int:
    """Bytes of all weights of a chip in the fullest bank."""
    own = config.share(chips)
    hidden, inner = own.hidden_size, own.intermediate_size
    heads = own.n_heads * own.head_dim
    qkv = heads + 2 * own.n_kv_heads * own.head_dim
    layers = sum(
        dram.tiles(hidden, qkv, asked.qkv.weights)
        + dram.tiles(heads, hidden, asked.o.weights)
        + dram.tiles(hidden, inner, asked.gate.weights)
        + dram.tiles(hidden, inner, asked.up.weights)
        + dram.tiles(inner, hidden, asked.down.weights)
        + 2 * dram.tiles(1, hidden)
        for asked in map(precision.of_layer, range(config.n_layers))
    )
    head = dram.tiles(hidden, own.vocab_size, precision.lm_head.weights)
    embedding = dram.rows(config.vocab_size, hidden)
    return layers + dram.tiles(1, hidden) + head + embedding


def cache_bytes(
    config: ModelConfig, precision: Precision, dram: Dram, batch: int, length: int, chips: int = 1
) -> int:
    """Bytes of all caches and of the rotary tables of a chip in the fullest bank."""
    rows = batch * length // PAGE * config.share(chips).n_kv_heads * PAGE
    tables = 2 * dram.rows(length + config.rope.original_max_position, config.head_dim)
    formats = [precision.of_layer(number).cache for number in range(config.n_layers)]
    return sum(2 * dram.tiles(rows, config.head_dim, dtype) for dtype in formats) + tables


def activations_bytes(config: ModelConfig, dram: Dram, chips: int = 1) -> int:
    """Upper bound of the bytes in the fullest bank to prefill a chunk: all its tensors at once."""
    own = config.share(chips)
    heads = (own.n_heads + 2 * own.n_kv_heads) * own.head_dim
    hidden = 4 if chips == 1 else 4 + SUMMED  # tensors
    columns = hidden * own.hidden_size + 3 * own.intermediate_size + 3 * heads
    return dram.tiles(CHUNK, columns + own.vocab_size)


def longest_cache(
    config: ModelConfig, precision: Precision, batch: int, dram: Dram, chips: int = 1
) -> int:
    """Positions for each of `batch` sequences that fit beside the weights; 0 if none do."""
    used = weights_bytes(config, precision, dram, chips) + activations_bytes(config, dram, chips)
    length = 0
    while (
        used + cache_bytes(config, precision, dram, batch, length + ALIGNMENT, chips) <= dram.free
    ):
        length += ALIGNMENT
        if length >= config.rope.max_position:
            break
    return length

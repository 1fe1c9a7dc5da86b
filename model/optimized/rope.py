"""Rotary position embedding: Phi-3's LongRoPE on TTNN's kernel that rotates neighbouring columns.

B batch, S sequence, N heads, K kv heads, D head_dim, C cache length.
"""

import torch
import ttnn

from ..config import TILE, RopeConfig
from .precision import compute_config

COMPUTE_CONFIG = compute_config(ttnn.MathFidelity.HiFi4)


def inverse_frequencies(rope: RopeConfig, head_dim: int, long: bool) -> torch.Tensor:
    """float32 [D / 2], as Hugging Face's `_compute_longrope_parameters`."""
    wavelengths = rope.theta ** (torch.arange(0, head_dim, 2).float() / head_dim)
    factors = rope.long_factor if long else rope.short_factor
    return 1.0 / (wavelengths if factors is None else torch.tensor(factors) * wavelengths)


def cos_sin(
    rope: RopeConfig, head_dim: int, long: bool, length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin of positions 0..length-1, float32 [length, D] each, scaling included.

    Both columns of a pair hold the pair's value.
    """
    angles = torch.arange(length).float()[:, None] * inverse_frequencies(rope, head_dim, long)
    angles = angles.repeat_interleave(2, dim=-1)  # [length, D]
    scaling = rope.scaling
    return angles.cos() * scaling, angles.sin() * scaling


def pairs(head_dim: int) -> torch.Tensor:
    """Rows of a head's weights in the order that puts the columns of a pair side by side, [D].

    Hugging Face rotates column i with column i + D/2, the kernel column 2i with 2i + 1. Products of
    queries and keys do not depend on the order of columns, so it is never undone.
    """
    return torch.arange(head_dim).reshape(2, -1).T.flatten()


def quarter_turn() -> torch.Tensor:
    """float32 [32, 32]: x times this is (-x1, x0, -x3, x2, ...), which sin multiplies."""
    turn = torch.zeros(TILE, TILE)
    even = torch.arange(0, TILE, 2)
    turn[even, even + 1] = 1
    turn[even + 1, even] = -1
    return turn


class RotaryEmbedding:
    """Rotates queries and keys by their position.

    The tables hold a row for each position with the short factors, then one for each with the long
    ones: the row number chooses both. A sequence takes the long ones as soon as it is longer than
    `original_max_position`, for all its positions, as Hugging Face's `longrope_frequency_update`.
    """

    def __init__(
        self, rope: RopeConfig, head_dim: int, batch: int, length: int, device: ttnn.MeshDevice
    ):
        short = cos_sin(rope, head_dim, False, length)
        tables: tuple[torch.Tensor, ...] = short
        self.limit = length  # longest sequence that takes the short factors
        if rope.long_factor is not None and length > rope.original_max_position:
            self.limit = rope.original_max_position
            long = cos_sin(rope, head_dim, True, length)
            tables = tuple(
                torch.cat((s[: self.limit], t)) for s, t in zip(short, long, strict=True)
            )
        self.tables = [_to_device(t, device, ttnn.ROW_MAJOR_LAYOUT) for t in tables]  # [rows, D]

        turn = quarter_turn()[None, None]
        self.turn = _to_device(turn, device)
        # Decode: a core holds a user's heads; queries lie on the first B, keys on the next B.
        first, second = _cores(device, 0, batch), _cores(device, batch, batch)
        both = first.merge(second)
        self.key_shards = _shards(second, head_dim)
        self.table_shards = _shards(both, head_dim)
        self.turns = _to_device(
            turn.repeat(1, 1, 2 * batch, 1), device, memory_config=_shards(both, TILE)
        )  # one for each core

    def is_long(self, length: int) -> bool:
        """Whether a sequence of so many tokens takes the long factors."""
        return length > self.limit

    def row(self, position: int, long: bool) -> int:
        """The tables' row; `long` says whether the sequence takes the long factors."""
        return self.limit + position if long else position

    def prefill_rows(self, rows: ttnn.Tensor) -> list[ttnn.Tensor]:  # uint32 [1, S]
        """cos and sin, [1, 1, S, D] each, for `prefill`."""
        return [
            ttnn.unsqueeze_to_4D(ttnn.embedding(rows, table, layout=ttnn.TILE_LAYOUT))
            for table in self.tables
        ]

    def decode_ids(self, rows: list[int]) -> torch.Tensor:  # a row for each user
        """What `decode_rows` looks up, [2 B, 32]: a tile of ids for each core, the users twice.

        The kernel that looks up a tile reads 32 ids for it, whatever the shape of the ids says
        (embeddings_tilize.cpp). Only the tile's first row is used for rotation, so all 32 are the
        user's.
        """
        return torch.tensor(rows * 2)[:, None].expand(-1, TILE)

    def decode_rows(self, ids: ttnn.Tensor) -> list[ttnn.Tensor]:  # uint32 [2 B, 32]
        """cos and sin, [1, 2 B, 32, D] each, for `decode`; ids as `decode_ids` makes them."""
        cos_sin = [
            ttnn.embedding(ids, table, layout=ttnn.TILE_LAYOUT, memory_config=self.table_shards)
            for table in self.tables
        ]
        return [ttnn.reshape(x, (1, *x.shape)) for x in cos_sin]  # a view

    def prefill(  # [1, N, S, D]
        self, x: ttnn.Tensor, cos_sin: list[ttnn.Tensor]
    ) -> ttnn.Tensor:
        return ttnn.experimental.rotary_embedding_llama(
            x, *cos_sin, self.turn, is_decode_mode=False, compute_kernel_config=COMPUTE_CONFIG
        )

    def decode(  # [1, B, N, D], [1, B, K, D]
        self, q: ttnn.Tensor, k: ttnn.Tensor, cos_sin: list[ttnn.Tensor]
    ) -> tuple[ttnn.Tensor, ttnn.Tensor]:
        # the fused kernel requires keys on other cores than queries
        k = ttnn.to_memory_config(k, self.key_shards)
        return ttnn.experimental.rotary_embedding_llama_fused_qk(
            q, k, *cos_sin, self.turns, compute_kernel_config=COMPUTE_CONFIG
        )


def _to_device(
    table: torch.Tensor,
    device: ttnn.MeshDevice,
    layout: ttnn.Layout = ttnn.TILE_LAYOUT,
    memory_config: ttnn.MemoryConfig | None = None,
) -> ttnn.Tensor:
    return ttnn.from_torch(
        table, dtype=ttnn.bfloat16, layout=layout, device=device, memory_config=memory_config
    )


def _cores(device: ttnn.MeshDevice, first: int, count: int) -> ttnn.CoreRangeSet:
    """`count` cores, counted row by row from number `first`."""
    grid = device.compute_with_storage_grid_size()
    whole = ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(grid.x - 1, grid.y - 1))
    start = ttnn.CoreCoord(first % grid.x, first // grid.x)
    return ttnn.num_cores_to_corerangeset_in_subcoregrids(
        start, count, ttnn.CoreRangeSet([whole]), row_wise=True
    )


def _shards(cores: ttnn.CoreRangeSet, width: int) -> ttnn.MemoryConfig:
    """One tile row for each core."""
    return ttnn.create_sharded_memory_config(
        (TILE, width),
        cores,
        ttnn.ShardStrategy.HEIGHT,
        ttnn.ShardOrientation.ROW_MAJOR,
        use_height_and_width_as_shard_shape=True,
    )

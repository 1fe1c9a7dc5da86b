"""Moves tests' tensors to the device and back.

B users of a batch, N heads, D head_dim.
"""

import torch
import ttnn

TILE, FACE = 32, 16  # sides of a tile, and of the faces that it is made of

# Products of all bfloat16 bits, summed in float32: only the result is rounded.
ACCURATE = ttnn.WormholeComputeKernelConfig(
    math_fidelity=ttnn.MathFidelity.HiFi4,
    math_approx_mode=False,
    fp32_dest_acc_en=True,
    packer_l1_acc=False,
)


def on_tiles(
    device: ttnn.MeshDevice,
    values: torch.Tensor,
    dtype: ttnn.DataType = ttnn.bfloat16,
    memory_config: ttnn.MemoryConfig = ttnn.DRAM_MEMORY_CONFIG,
) -> ttnn.Tensor:
    """A tensor in tile layout, its padding zero."""
    return ttnn.from_torch(
        values, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=device, memory_config=memory_config
    )


def padded_with(
    padding: float,
    device: ttnn.MeshDevice,
    values: torch.Tensor,
    dtype: ttnn.DataType = ttnn.bfloat16,
) -> ttnn.Tensor:
    """Like `on_tiles`, with `padding` in the tile padding."""
    return ttnn.from_torch(
        values, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=device, pad_value=padding
    )


def in_rows(
    device: ttnn.MeshDevice, values: torch.Tensor, dtype: ttnn.DataType = ttnn.int32
) -> ttnn.Tensor:
    """A row-major tensor: indices, positions, page tables."""
    return ttnn.from_torch(values, dtype=dtype, layout=ttnn.ROW_MAJOR_LAYOUT, device=device)


def on_cores(
    device: ttnn.MeshDevice,
    values: torch.Tensor,
    first_row: int = 0,
    dtype: ttnn.DataType = ttnn.bfloat16,
) -> ttnn.Tensor:
    """[1, B, N, D] height sharded in L1, 32 rows to a core, from row `first_row` of the grid on."""
    shards = values.shape[1] * -(-values.shape[2] // TILE)
    grid = device.compute_with_storage_grid_size()
    whole = ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(grid.x - 1, grid.y - 1))
    cores = ttnn.num_cores_to_corerangeset_in_subcoregrids(
        ttnn.CoreCoord(0, first_row), shards, ttnn.CoreRangeSet({whole}), row_wise=True
    )
    shard = ttnn.ShardSpec(cores, [TILE, values.shape[-1]], ttnn.ShardOrientation.ROW_MAJOR)
    memory = ttnn.MemoryConfig(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.BufferType.L1, shard)
    return on_tiles(device, values, dtype, memory)


def moved_to_cores(tensor: ttnn.Tensor) -> ttnn.Tensor:
    """A device tensor [1, B, N, D] in L1, a core for each user, as decode kernels require it."""
    _, users, heads, width = tensor.padded_shape
    grid = tensor.device().compute_with_storage_grid_size()
    shard = ttnn.create_sharded_memory_config(
        (heads, width),
        ttnn.num_cores_to_corerangeset(users, grid, row_wise=True),
        ttnn.ShardStrategy.HEIGHT,
        ttnn.ShardOrientation.ROW_MAJOR,
        use_height_and_width_as_shard_shape=True,
    )
    return ttnn.to_memory_config(tensor, shard)


def read(tensor: ttnn.Tensor) -> torch.Tensor:
    """The logical contents, in torch's dtype of the same name."""
    return ttnn.to_torch(tensor)


def bf16_normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
    """Normal random values times `scale` that bfloat16 holds exactly, float32."""
    return (torch.randn(shape) * scale).bfloat16().float()


def pair_matrix(copies: int = 1) -> torch.Tensor:
    """[1, 1, 32 copies, 32]: each maps a pair of columns (x0, x1) to (-x1, x0) from the right.

    The transformation matrix of the rotation in pairs.
    """
    matrix = torch.zeros(TILE, TILE)
    even = torch.arange(0, TILE, 2)
    matrix[even + 1, even], matrix[even, even + 1] = -1.0, 1.0
    return matrix.repeat(copies, 1)[None, None]


def pairs_together(x: torch.Tensor) -> torch.Tensor:
    """Columns i and i + D / 2 brought together: the order of the rotation in pairs."""
    return torch.stack(x.chunk(2, -1), -1).flatten(-2)


def rotary_tables(length: int, width: int, pairs: bool = False) -> list[torch.Tensor]:
    """cos and sin float32 [1, 1, length, width], theta 10000.

    For columns i and i + width / 2, as Hugging Face has them, or for pairs of neighbouring columns.
    """
    frequencies = 10000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * frequencies
    angles = angles.repeat_interleave(2, -1) if pairs else torch.cat((angles, angles), -1)
    return [table[None, None] for table in (angles.cos(), angles.sin())]

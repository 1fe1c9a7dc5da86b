"""Ways to put a test's tensors on the device."""

import torch
import ttnn

import ttnn_emulator


def on_tiles(device, values, dtype=ttnn.bfloat16):
    """A tensor in tile layout, interleaved in DRAM."""
    return ttnn.from_torch(values, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=device)


def in_rows(device, values, dtype=ttnn.int32):
    """A row-major tensor: indices, positions, page tables."""
    return ttnn.from_torch(values, dtype=dtype, layout=ttnn.ROW_MAJOR_LAYOUT, device=device)


def on_cores(device, values, first_row=0, dtype=ttnn.bfloat16):
    """[1, B, N, D] height sharded in L1, 32 rows to a core, from row `first_row` of the grid on."""
    width = values.shape[-1]
    shards = values.shape[1] * -(-values.shape[2] // 32)
    grid = device.compute_with_storage_grid_size()
    start = ttnn.CoreCoord(0, first_row)
    cores = ttnn.num_cores_to_corerangeset_in_subcoregrids(
        start, shards, _whole(grid), row_wise=True
    )
    shard = ttnn.ShardSpec(cores, [32, width], ttnn.ShardOrientation.ROW_MAJOR)
    memory = ttnn.MemoryConfig(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.BufferType.L1, shard)
    return ttnn.from_torch(
        values, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=device, memory_config=memory
    )


def contents(tensor):
    """What the emulation holds in a tensor's buffer, padding included: writing to it is poking."""
    return ttnn_emulator.contents(tensor)


def padded_with(value, tensor):
    """The same tensor, its tile padding filled with `value`."""
    data = contents(tensor)
    kept = tuple(slice(0, n) for n in tensor.shape)
    logical = data[kept].clone()
    data.fill_(value)
    data[kept] = logical
    return tensor


def bf16(*shape, scale=1.0):
    """Normal random values that bf16 holds exactly, float32."""
    return (torch.randn(shape) * scale).bfloat16().float()


def _whole(grid):
    last = ttnn.CoreCoord(grid.x - 1, grid.y - 1)
    return ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), last)})

"""Putting operands on the device, and what the device then holds of them."""

import math

import torch
import ttnn

from tests.support.tensors import TILE

from .opinfo import Operand

SIDE = 8  # cores of a side of the grid that shards are laid on


def place(operand, device):
    """The operand as a ttnn tensor on the device."""
    config = memory_config(operand.memory, operand.values.shape, device)
    return ttnn.to_device(operand.on_host, device, memory_config=config)


def on(device, values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, memory="dram"):
    """`place` for a tensor that stands alone."""
    return place(Operand(values, dtype, layout, memory), device)


# Formats that torch has too; TTNN packs the others on the host.
IN_TORCH = {ttnn.bfloat16: torch.bfloat16, ttnn.float32: torch.float32}


def held(operand):
    """The operand's values as its dtype holds them; integers in int64."""
    if operand.dtype in IN_TORCH:
        return operand.values.to(IN_TORCH[operand.dtype])
    return comparable(ttnn.to_torch(operand.on_host))


def comparable(values):
    """Integers in int64, as torch does little with unsigned ones."""
    return values if values.is_floating_point() else values.to(torch.int64)


def memory_config(memory, shape, device):
    """The memory configuration of a name of `MEMORY`, for a tensor [..., H, W].

    Shards are whole tiles, as few to a core as the grid allows; the last one may be partly empty.
    """
    return MEMORY[memory](shape, device)


def _tiles(shape):
    """Tile rows and tile columns of a tensor seen as a matrix."""
    rows = math.prod(shape[:-2]) * -(-shape[-2] // TILE)
    return rows, -(-shape[-1] // TILE)


def _height(shape, device, first_row=0):
    rows, columns = _tiles(shape)
    each = -(-rows // (SIDE * SIDE))
    cores = _cores(device, -(-rows // each), first_row)
    return _sharded(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, cores, each, columns)


def _both(shape, device):
    """A tile row on each core of "height" and then of "lower", half of the tensor's on either."""
    rows, columns = _tiles(shape)
    cores = _cores(device, rows // 2).merge(_cores(device, rows // 2, 4))
    return _sharded(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, cores, 1, columns)


def _width(shape, device):
    rows, columns = _tiles(shape)
    each = -(-columns // (SIDE * SIDE))
    cores = _cores(device, -(-columns // each))
    return _sharded(ttnn.TensorMemoryLayout.WIDTH_SHARDED, cores, rows, each)


def _block(shape, device):
    rows, columns = _tiles(shape)
    down, across = -(-rows // SIDE), -(-columns // SIDE)
    end = ttnn.CoreCoord(-(-columns // across) - 1, -(-rows // down) - 1)
    cores = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), end)})
    return _sharded(ttnn.TensorMemoryLayout.BLOCK_SHARDED, cores, down, across)


def _cores(device, count, first_row=0):
    """`count` cores row by row, from row `first_row` of the grid on."""
    grid = device.compute_with_storage_grid_size()
    whole = ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(grid.x - 1, grid.y - 1))
    return ttnn.num_cores_to_corerangeset_in_subcoregrids(
        ttnn.CoreCoord(0, first_row), count, ttnn.CoreRangeSet({whole}), row_wise=True
    )


def _sharded(kind, cores, rows, columns):
    shard = ttnn.ShardSpec(cores, [rows * TILE, columns * TILE], ttnn.ShardOrientation.ROW_MAJOR)
    return ttnn.MemoryConfig(kind, ttnn.BufferType.L1, shard)


MEMORY = {
    "dram": lambda shape, device: ttnn.DRAM_MEMORY_CONFIG,
    "l1": lambda shape, device: ttnn.L1_MEMORY_CONFIG,
    "height": _height,
    "lower": lambda shape, device: _height(shape, device, first_row=4),  # apart from "height"
    "both": _both,
    "width": _width,
    "block": _block,
}

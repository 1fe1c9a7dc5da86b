"""Tensors of which each chip of a mesh holds something else."""

import torch
import ttnn


def on_each(
    mesh: ttnn.MeshDevice,
    values: torch.Tensor,
    dtype: ttnn.DataType = ttnn.bfloat16,
    layout: ttnn.Layout = ttnn.TILE_LAYOUT,
) -> ttnn.Tensor:
    """Equal parts of the first dimension, on one chip after the other."""
    mapper = ttnn.ShardTensorToMesh(mesh, dim=0)
    return ttnn.from_torch(values, dtype=dtype, layout=layout, device=mesh, mesh_mapper=mapper)


def of_each(tensor: ttnn.Tensor) -> list[torch.Tensor]:
    """What the chips hold, row by row of the mesh."""
    return [ttnn.to_torch(part) for part in ttnn.get_device_tensors(tensor)]


def error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative L2 of what a chip holds."""
    return ((actual.double() - expected).norm() / expected.norm()).item()

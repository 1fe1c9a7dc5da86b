"""Chips that share the work: which part of a weight each one has, and what joins their results.

Tensor parallel, as Megatron-LM's (arXiv 1909.08053): heads, the MLP's columns and the vocabulary
are divided among the chips of a line; all else is the same on each. One chip is a line of one, on
which nothing is divided and nothing joined.
"""

import torch
import ttnn


class Mesh:
    """The chips of a TTNN device.

    Raises ValueError for a mesh that is no line.

    Attributes:
        chips: how many there are.
        shape: (rows, columns).
    """

    def __init__(self, device: ttnn.MeshDevice):
        rows, columns = self.shape = tuple(device.shape)
        if min(rows, columns) > 1:
            raise ValueError(
                f"The mesh has {rows} rows and {columns} columns of chips; this model divides its "
                f"heads along one line: 1 and {rows * columns}."
            )
        self.chips = rows * columns
        self.device = device

    def split(self, dim: int) -> ttnn.CppTensorToMesh | None:
        """A `mesh_mapper`: equal parts along a dimension, one for each chip."""
        return None if self.chips == 1 else ttnn.ShardTensorToMesh(self.device, dim)

    def sum(self, x: ttnn.Tensor) -> ttnn.Tensor:
        """The sum of what the chips have, on each of them, in the memory that `x` is in."""
        return x if self.chips == 1 else ttnn.all_reduce(x, memory_config=x.memory_config())

    def columns(self, x: ttnn.Tensor) -> torch.Tensor:  # [1, 1, S, V / chips]
        """The columns of all chips side by side, on the host: [S, V]."""
        joined = None if self.chips == 1 else ttnn.ConcatMeshToTensor(self.device, dim=3)
        return ttnn.to_torch(x, mesh_composer=joined)[0, 0]


def padded(weight: torch.Tensor, dim: int, size: int) -> torch.Tensor:
    """A weight [out, in] with zeros behind it, to a size of that dimension."""
    missing = size - weight.shape[dim]
    if not missing:
        return weight
    padding = (0, 0, 0, missing) if dim == 0 else (0, missing)
    return torch.nn.functional.pad(weight, padding)


def chip_by_chip(weights: list[torch.Tensor], each: list[int], chips: int) -> torch.Tensor:
    """Rows of the first chip of every weight [out, in], then those of the second, and so on.

    Args:
        each: how many rows of each weight a chip has. There are zeros where a weight has fewer.
    """
    pairs = zip(weights, each, strict=True)
    parts = [padded(w, 0, rows * chips).unflatten(0, (chips, rows)) for w, rows in pairs]
    return torch.cat(parts, dim=1).flatten(0, 1)

"""The values that a tensor may hold, compared with it all at once.

Most tensors hold none of most values. A few rows tell, and those of all values of a shape are
compared in one go; what is left is looked at row by row, see `identification`.
"""

import functools
from collections.abc import Sequence

import torch

from ttnn_verify.drift.expected_values import ExpectedRows
from ttnn_verify.huggingface.hf_values import HfValue

# Below this relative L2 error a cell counts as the value's.
SAME = 0.1
CELL = 32  # columns of a cell at most
FEW = 4  # rows that are looked at first, where it is known which they are
# Rows that are looked for first, where it is not known: of fewer new rows all, so that none of the
# parts that a prompt is computed in is without one.
PROBED = 128

Shape = tuple[int, ...]


class Cells:
    """Expected rows in cells, what a tensor's rows are compared with."""

    def __init__(self, expected: torch.Tensor) -> None:
        """Take the rows apart, `[..., R, W]` with NaN for what is not known."""
        unknown = expected.isnan()
        self._unknown = unknown if unknown.any() else None
        self._rows = expected if self._unknown is None else expected.masked_fill(unknown, 0.0)
        self._cells = (-1, _cell(expected.shape[-1]))
        size = torch.linalg.vector_norm(self._rows.unflatten(-1, self._cells), dim=-1)
        usual = size.square().mean(-1, keepdim=True).sqrt()
        self._near = SAME * torch.maximum(size, SAME * usual)
        self._counted = size > 0
        self._total = self._counted.sum((-1, -2))

    def shares(self, actual: torch.Tensor) -> torch.Tensor:
        """The share of cells that are the expected ones: `[R, W]` or `[..., R, W]` -> `[...]`."""
        difference = actual - self._rows
        if self._unknown is not None:
            difference = difference.masked_fill(self._unknown, 0.0)
        error = torch.linalg.vector_norm(difference.unflatten(-1, self._cells), dim=-1)
        same = ((error <= self._near) & self._counted).sum((-1, -2))
        return torch.where(self._total > 0, same / self._total.clamp(min=1), 0.0)


class Pool:
    """Values that tensors may hold at a call of the model.

    Attributes:
        pairs: (value, its expected rows), of the same positions.
        groups: shape of a row -> indices into `pairs`.
    """

    def __init__(self, pairs: Sequence[tuple[HfValue, ExpectedRows]]) -> None:
        self.pairs = tuple(pairs)
        self.groups: dict[Shape, list[int]] = {}
        for number, (value, _) in enumerate(self.pairs):
            self.groups.setdefault(tuple(value.shape), []).append(number)
        self._rows: dict[tuple[Shape, tuple[int, ...]], torch.Tensor] = {}
        self._cells: dict[tuple[Shape, tuple[int, ...]], Cells] = {}
        self._probes: dict[Shape, tuple[torch.Tensor, torch.Tensor]] = {}

    def at(self, shape: Shape, positions: torch.Tensor) -> torch.Tensor:
        """The rows `[C, R, W]` of a group's values at a few positions `[R]`."""
        key = shape, tuple(positions.tolist())
        if key not in self._rows:
            rows = [self.pairs[number][1].flat[positions] for number in self.groups[shape]]
            self._rows[key] = torch.stack(rows)
        return self._rows[key]

    def cells(self, shape: Shape, positions: torch.Tensor) -> Cells:
        """The same rows, to be compared with."""
        key = shape, tuple(positions.tolist())
        if key not in self._cells:
            self._cells[key] = Cells(self.at(shape, positions))
        return self._cells[key]

    def near(self, shape: Shape, signatures: torch.Tensor) -> torch.Tensor:
        """Which values `[C]` of a group have any of a few new rows among a tensor's.

        Args:
            signatures: `[M, 16]` of the tensor's rows.
        """
        if shape not in self._probes:
            expected = [self.pairs[number][1] for number in self.groups[shape]]
            new = torch.cat(
                [torch.arange(first + start, last) for first, last, start in expected[0].runs()]
            )
            few = torch.cat((new[:: -(-len(new) // PROBED)], new[-1:]))
            probes = torch.stack([rows.signatures[few] for rows in expected])
            self._probes[shape] = probes, 2 * SAME * probes.norm(dim=-1)
        probes, near = self._probes[shape]
        distance = torch.cdist(probes.flatten(0, 1), signatures).min(-1).values
        return (distance.reshape(near.shape) <= near).any(-1)


def shares(actual: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """The share of cells that are the expected ones: `[..., R, W]`, NaN for unknown -> `[...]`."""
    return Cells(expected).shares(actual)


@functools.cache
def _cell(width: int) -> int:
    return next(size for size in range(min(CELL, width), 0, -1) if width % size == 0)

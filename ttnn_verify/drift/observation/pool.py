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
PROBED = 16  # rows that are looked for first, where it is not

Shape = tuple[int, ...]


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
        self._probes: dict[Shape, tuple[torch.Tensor, torch.Tensor]] = {}

    def at(self, shape: Shape, positions: torch.Tensor) -> torch.Tensor:
        """The rows `[C, R, W]` of a group's values at a few positions `[R]`."""
        key = shape, tuple(positions.tolist())
        if key not in self._rows:
            rows = [self.pairs[number][1].flat[positions] for number in self.groups[shape]]
            self._rows[key] = torch.stack(rows)
        return self._rows[key]

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
            few = new[:: -(-len(new) // PROBED)]
            probes = torch.stack([rows.signatures[few] for rows in expected])
            self._probes[shape] = probes, 2 * SAME * probes.norm(dim=-1)
        probes, near = self._probes[shape]
        distance = torch.cdist(probes.flatten(0, 1), signatures).min(-1).values
        return (distance.reshape(near.shape) <= near).any(-1)


def shares(actual: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """The share of cells that are the expected ones: `[..., R, W]`, NaN for unknown -> `[...]`."""
    unknown = expected.isnan()
    if unknown.any():
        actual, expected = (
            x.expand(unknown.shape).masked_fill(unknown, 0.0) for x in (actual, expected)
        )
    cells = (-1, _cell(expected.shape[-1]))
    error = (actual - expected).unflatten(-1, cells).norm(dim=-1)
    size = expected.unflatten(-1, cells).norm(dim=-1)
    usual = size.square().mean(-1, keepdim=True).sqrt()
    same = error <= SAME * torch.maximum(size, SAME * usual)
    counted = size > 0
    total = counted.sum((-1, -2))
    return torch.where(total > 0, (same & counted).sum((-1, -2)) / total.clamp(min=1), 0.0)


@functools.cache
def _cell(width: int) -> int:
    return next(size for size in range(min(CELL, width), 0, -1) if width % size == 0)

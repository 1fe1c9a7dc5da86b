"""How a value may lie over the chips of a mesh: divided along a dimension, the same on all, both.

TTNN's own account of it, a tensor's topology, says nothing of sums that are not added up yet. So
ways are tried, and values decide.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import torch

Parts = tuple[torch.Tensor, ...]  # of each chip, row by row; the same object where bits are equal
Shape = tuple[int, ...]
ONE_CHIP = (1, 1)

# Of parts that are all different, how many are taken for the whole value: where one chip of two is
# wrong, either may be.
MOST_WHOLES = 2


@dataclasses.dataclass(frozen=True)
class Distribution:
    """How a value lies over chips.

    Attributes:
        grid: the chips whose parts make it, in rows.
        dims: along which the rows are joined, and the chips of a row.
        like: of each chip of the mesh, the place in `grid`, counted row by row, of what it has;
            None where it has something else.
    """

    grid: tuple[tuple[int, ...], ...]
    dims: tuple[int, int]
    like: tuple[int | None, ...]

    @property
    def chips(self) -> tuple[int, ...]:
        """Those of the grid."""
        return tuple(itertools.chain(*self.grid))

    @property
    def others(self) -> tuple[int, ...]:
        """The chips that have something else."""
        return tuple(chip for chip, place in enumerate(self.like) if place is None)

    def joined(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """The value, of what the chips have."""
        if len(self.chips) == 1:
            return parts[self.chips[0]]
        rows = [torch.cat([parts[chip] for chip in row], self.dims[1]) for row in self.grid]
        return rows[0] if len(rows) == 1 else torch.cat(rows, self.dims[0])

    def split(self, values: torch.Tensor) -> list[torch.Tensor | None]:
        """What each chip has of a value; None of those that have something else."""
        rows = values.chunk(len(self.grid), self.dims[0]) if len(self.grid) > 1 else [values]
        pieces = [
            piece
            for row in rows
            for piece in (
                row.chunk(len(self.grid[0]), self.dims[1]) if len(self.grid[0]) > 1 else [row]
            )
        ]
        return [None if place is None else pieces[place] for place in self.like]

    def through(self, chip: int) -> "Distribution":
        """The same with a chip in the place of the one that it is like."""
        place = self.like[chip]
        width = len(self.grid[0])
        grid = tuple(
            tuple(chip if row * width + n == place else own for n, own in enumerate(chips))
            for row, chips in enumerate(self.grid)
        )
        return dataclasses.replace(self, grid=grid)


ONE = Distribution(((0,),), (-1, -1), (0,))


def whole(chip: int, count: int) -> Distribution:
    """A value that a chip has by itself, and all others too."""
    return Distribution(((chip,),), (-1, -1), (0,) * count)


def all_equal(parts: Parts) -> bool:
    """Whether all chips have the same."""
    return all(part is parts[0] for part in parts)


def of(parts: Parts, mesh: tuple[int, int]) -> Iterator[Distribution]:
    """The ways in which a value may lie over the chips, the likeliest first."""
    count = len(parts)
    if all_equal(parts):
        yield whole(0, count)
        return
    if parts[0].dim() < 2:
        return
    for grid, like in _grids(parts, mesh):
        for dims in _dims(parts[0].dim(), len(grid), len(grid[0])):
            yield Distribution(grid, dims, like)
    for chip in _most_frequent(parts)[:MOST_WHOLES]:
        yield whole(chip, count)


def _grids(
    parts: Parts, mesh: tuple[int, int]
) -> Iterator[tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]]:
    """(grid, like) of the ways to choose chips whose parts are joined."""
    chips = tuple(range(len(parts)))
    if min(mesh) > 1:
        by_row = tuple(chips[first : first + mesh[1]] for first in chips[:: mesh[1]])
        by_column = tuple(zip(*by_row, strict=True))
        in_row = tuple(chip % mesh[1] for chip in chips)
        in_column = tuple(chip // mesh[1] for chip in chips)
        along = [(by_row[0], in_row), (by_column[0], in_column)]
        exact = next((pair for pair in along if _are_like(parts, *pair)), None)
        if exact is not None:
            yield (exact[0],), exact[1]
            return
        for line, like in (*along, (by_row[-1], in_row), (by_column[-1], in_column)):
            yield (line,), like
        yield by_row, chips
    yield (chips,), chips
    yield from _shared(parts)


def _shared(parts: Parts) -> Iterator[tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]]:
    """The first chip of each run of equal parts: heads that several chips share."""
    chips = range(len(parts))
    first = [chip for chip in chips if not chip or parts[chip] is not parts[chip - 1]]
    if len(first) < len(parts):
        yield (tuple(first),), tuple(sum(one <= chip for one in first) - 1 for chip in chips)


def _are_like(parts: Parts, line: Sequence[int], like: Sequence[int]) -> bool:
    return all(parts[line[place]] is part for part, place in zip(parts, like, strict=True))


def _dims(rank: int, rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """The dimensions along which models divide tensors: columns, heads, rows, batch."""
    dims = list(dict.fromkeys(dim for dim in (rank - 1, 1, 2, 0) if dim < rank))
    if rows == 1:
        yield from ((dim, dim) for dim in dims)
    elif columns > 1:
        yield from itertools.permutations(dims, 2)


def _most_frequent(parts: Parts) -> list[int]:
    """A chip for each part that differs from the others, the part that most chips have first."""
    counts = collections.Counter(id(part) for part in parts)
    first = {id(part): chip for chip, part in reversed(list(enumerate(parts)))}
    return [first[one] for one, _ in counts.most_common()]


def named(chips: Sequence[int], mesh: tuple[int, int]) -> str:
    """`chip 3`, `chips 1 and 3`; on a mesh of rows and columns `chip 3 (1, 1)`."""
    if not chips:
        return ""
    flat = min(mesh) == 1
    names = [str(n) if flat else f"{n} ({n // mesh[1]}, {n % mesh[1]})" for n in chips]
    *before, last = names
    listed = f"{', '.join(before)} and {last}" if before else last
    return f"chip{'s' if before else ''} {listed}"

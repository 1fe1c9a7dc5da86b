"""In which order the kernels of reduce_scatter add what comes from the chips of a line or ring.

A *piece* is what one chip contributes to the part that another one keeps, in whole tiles. Sources
are the kernels of TTNN 0.81.1, in operations/experimental/ccl.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.formats import TILE

if TYPE_CHECKING:
    from ttnn_emulator.arithmetic.interface import Arithmetic

LINE = paths.Fact("along a line")
RING = paths.Fact("around a ring")
DIRECT = paths.Fact("sent to each keeper")
LEADING_RING = paths.approximation("dimension 0 around a ring, as if by one worker")

# Tiles that Dst holds, of which a chunk of the ring consists: reduce_scatter_ring_interm_staging_
# params. Four packets hold as many in every format (fabric packets of 4,352 bytes).
CHUNK = {False: 8, True: 4}


Way = Literal["line", "ring", "direct"]


class Kernel(NamedTuple):
    """Which kernels add, and how.

    Attributes:
        way: "line", "ring", or "direct": every piece is sent straight to its keeper.
        dtype: the tensor's format.
        fp32_dest_acc: whether Dst has 32 bits.
    """

    way: Way
    dtype: str
    fp32_dest_acc: bool


def scattered(
    math: "Arithmetic", pieces: Sequence[Sequence[torch.Tensor]], dim: int, kernel: Kernel
) -> list[torch.Tensor]:
    """The sum that each chip keeps; `pieces[chip][keeper]` has whole tiles, split along `dim`."""
    to_keepers = [list(of_keeper) for of_keeper in zip(*pieces, strict=True)]
    if kernel.way == "line":
        paths.tell(LINE)
        return [_along_line(math, terms, i, kernel) for i, terms in enumerate(to_keepers)]
    if kernel.way == "direct":
        paths.tell(DIRECT)
        return [_sent_directly(math, terms, i, kernel) for i, terms in enumerate(to_keepers)]
    paths.tell(RING)
    leading = dim == 0 and to_keepers[0][0].dim() in (3, 4)
    around = _around_leading if leading else _around_ring
    return [around(math, terms, i, kernel) for i, terms in enumerate(to_keepers)]


def _sum(math: "Arithmetic", kernel: Kernel, *terms: torch.Tensor) -> torch.Tensor:
    return math.chip_sum(*terms, dtype=kernel.dtype, fp32_dest_acc=kernel.fp32_dest_acc)


def _passed_on(math: "Arithmetic", terms: Sequence[torch.Tensor], kernel: Kernel) -> torch.Tensor:
    """The partial sum that travels over chips in this order, packed by each."""
    total = terms[0]
    for term in terms[1:]:
        total = _sum(math, kernel, term, total)
    return total


def _along_line(
    math: "Arithmetic", terms: Sequence[torch.Tensor], keeper: int, kernel: Kernel
) -> torch.Tensor:
    """From each end of the line partial sums travel towards the keeper.

    It adds what comes from the start to its own, packs, and adds what comes from the end
    (line_reduce_scatter_minimal_async_reader.cpp). Recorded on lines of two and four chips.
    """
    total = terms[keeper]
    for side in (terms[:keeper], terms[:keeper:-1]):
        if side:
            total = _sum(math, kernel, total, _passed_on(math, side, kernel))
    return total


def _sent_directly(
    math: "Arithmetic", terms: Sequence[torch.Tensor], keeper: int, kernel: Kernel
) -> torch.Tensor:
    """The keeper's own, then all others in order (reduce_scatter_minimal_direct_reader.cpp)."""
    others = [term for chip, term in enumerate(terms) if chip != keeper]
    return _sum(math, kernel, terms[keeper], *others)


def _around_ring(
    math: "Arithmetic", terms: Sequence[torch.Tensor], keeper: int, kernel: Kernel
) -> torch.Tensor:
    """Partial sums travel both ways from the chip opposite.

    Chunks of tiles are numbered over the piece: the opposite chip sends its even ones upwards and
    its odd ones downwards (ring_reduce_scatter_minimal_async_reader.cpp, chunk_ring_parity of
    reduce_scatter_common/kernels/common.hpp). The keeper has the sum from above in Dst and adds to
    it the one from below and its own (ring_reduction.cpp).
    """
    half = len(terms) // 2
    below = [terms[keeper - distance] for distance in range(half, 0, -1)]
    above = [terms[(keeper + distance) % len(terms)] for distance in range(half, 0, -1)]

    def total(up: list[torch.Tensor], down: list[torch.Tensor]) -> torch.Tensor:
        from_below = _passed_on(math, up, kernel)
        return _sum(math, kernel, _passed_on(math, down, kernel), from_below, terms[keeper])

    even, odd = total(below, above[1:]), total(below[1:], above)
    return torch.where(_even_chunks(even, CHUNK[kernel.fp32_dest_acc]), even, odd)


def _even_chunks(piece: torch.Tensor, size: int) -> torch.Tensor:
    """[rows, columns] bool: whether the chunk of a tile has an even number in its matrix."""
    tiles_high, tiles_wide = (n // TILE for n in piece.shape[-2:])
    tiles = torch.arange(tiles_high * tiles_wide).reshape(tiles_high, tiles_wide)
    even = tiles // size % 2 == 0
    return even.repeat_interleave(TILE, 0).repeat_interleave(TILE, 1)


def _around_leading(
    math: "Arithmetic", terms: Sequence[torch.Tensor], keeper: int, kernel: Kernel
) -> torch.Tensor:
    """Each partial sum travels once around: upwards from the next chip, or downwards.

    dim_zero_ring_reduce_scatter_minimal_async_reader.cpp. Chunks go both ways in turn; each worker
    begins anew among its tiles, which is followed for one worker only.
    """
    paths.tell(LEADING_RING)
    count = len(terms)
    upwards = [terms[(keeper + step) % count] for step in range(1, count + 1)]
    downwards = [terms[(keeper - step) % count] for step in range(1, count + 1)]
    up, down = (_passed_on(math, way, kernel) for way in (upwards, downwards))
    return torch.where(_upward_chunks(up, CHUNK[kernel.fp32_dest_acc]), up, down)


def _upward_chunks(piece: torch.Tensor, size: int) -> torch.Tensor:
    """A bool for each element: whether its tile goes upwards, where tiles are numbered in all."""
    *leading, height, width = piece.shape
    matrices = torch.Size(leading[1:]).numel()  # of one entry of the first dimension
    tiles = matrices * (height // TILE) * (width // TILE)
    upward = torch.zeros(tiles, dtype=torch.bool)
    place = 0
    while place < tiles:
        up = min((tiles - place) // 2, size)
        upward[place : place + up] = True
        place += up + min(tiles - place - up, size)
    grid = upward.reshape(*leading[1:], height // TILE, width // TILE)
    return grid.repeat_interleave(TILE, -2).repeat_interleave(TILE, -1)

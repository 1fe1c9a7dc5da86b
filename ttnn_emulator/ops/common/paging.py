"""Where a token stands in a cache: positions of users, and pages of a paged cache."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from ttnn_emulator.arithmetic.formats import TILE, ceil_div
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds


class Geometry(NamedTuple):
    """How a page of a cache is read: K kv heads, positions in it, D columns."""

    heads: int
    block: int
    width: int


def own_geometry(cache: DeviceTensor) -> Geometry:
    """That of the cache [P, K, block, D] itself."""
    return Geometry(cache.shape[1], *cache.padded_shape[2:])


def retiled(pages: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Pages [..., K, block, D] as another geometry reads the same tiles: a copy.

    Tiles keep their order, which is row by row within a head, head by head (block_stride of
    writer_fill_cache_interleaved.cpp).
    """
    heads, block, width = geometry
    tiles = pages.unflatten(-1, (-1, TILE)).unflatten(-3, (-1, TILE)).transpose(-2, -3)
    tiles = tiles.flatten(-5, -3)  # [..., tiles, 32, 32]
    other = tiles.unflatten(-3, (heads, block // TILE, width // TILE)).transpose(-2, -3)
    return other.flatten(-2).flatten(-3, -2)


def positions_of(indices: Sequence[int], tensor: DeviceTensor | None, users: int) -> torch.Tensor:
    """Positions of the first `users` users: int64 [users], from a list or from a device tensor."""
    positions = tensor.logical.flatten() if tensor is not None else torch.tensor(list(indices))
    return positions[:users].long()


def check_pages(launch: Launch, pages: torch.Tensor, cache: DeviceTensor, operand: str) -> None:
    """Refuse pages [...] that the cache [P, K, block, D], the parameter `operand`, does not have.

    Raises:
        OutOfBounds
    """
    bounds.within(pages, cache.shape[0], op=launch.name, operand=operand, unit="page")


def gather_pages(
    cache: torch.Tensor, page_rows: torch.Tensor, rows: int, geometry: Geometry | None = None
) -> torch.Tensor:
    """The first rows of users' sequences out of a paged cache.

    Args:
        cache: [P, K, block, D], P pages.
        page_rows: [B, pages of a sequence], the physical page of each. What stands for pages that
            no kernel reads may be any number.
        rows: how many rows of each sequence.
        geometry: how pages are read, if not as the cache has them.

    Returns:
        [B, K, rows, D].
    """
    users, block = len(page_rows), cache.shape[2] if geometry is None else geometry.block
    pages = page_rows[:, : ceil_div(rows, block)].long().clamp(0, len(cache) - 1).flatten().tolist()
    neighbours = pages == list(range(pages[0], pages[0] + len(pages)))
    # a slice copies nothing
    blocks = cache[pages[0] : pages[0] + len(pages)] if neighbours else cache[pages]
    blocks = blocks if geometry is None else retiled(blocks, geometry)
    blocks = blocks.unflatten(0, (users, -1))  # [B, pages, K, block, D]
    return blocks.transpose(1, 2).flatten(2, 3)[:, :, :rows]

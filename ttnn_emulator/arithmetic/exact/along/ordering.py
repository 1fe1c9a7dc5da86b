"""Sorted rows and the largest of rows, with the places where their elements were.

Values only move, so that an order is exact but for equal values. Those come as the kernels leave
them: in order of place where a kernel is built stable, otherwise as its network of swaps does
(`swap_network`), through which only rows with equal values are sent. The programs are those that
TTNN 0.81.1 starts: sort_single_row_single_core.cpp and topk.cpp. Of rows that several cores share
(topk_local.cpp with topk_final.cpp) equal values come in order of place here.
"""

import numpy as np
import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.exact.along.swap_network import (
    PLACES,
    keep_greater_first,
    order_of,
    sort_places,
)
from ttnn_emulator.arithmetic.exact.packer import pack_bfloat16
from ttnn_emulator.arithmetic.formats import TILE, ceil_div

# Widest row that one core sorts. Wider ones are sorted by a program that is built stable.
WIDEST_SORTED = 2048

# Rows whose largest several cores find: widths that are powers of two in this range, of which at
# most so many are asked for. With many rows one core finds them all the same.
SHARED_WIDTHS = range(1024, 1 << 16)
MOST_OF_SHARED = 64

SHARED_TIES = paths.approximation("equal values of rows that cores share in order of place")


def sorted_rows(
    x: torch.Tensor, *, descending: bool = False, stable: bool = False, dtype: str = "bfloat16"
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `interface.Arithmetic`."""
    values = _in_buffers(x, dtype)
    width = x.shape[-1]
    chosen, places = _stably(values, width, descending)
    tied = tied_rows(values, chosen)
    if not (stable or width > WIDEST_SORTED) and tied.any():
        rows = _padded(values[tied], _power_of_two(width), -1.0 if descending else 1.0)
        keys, moved = _keys_and_places(rows)
        _sort(keys, moved, not descending)
        chosen[tied], places[tied] = _picked(rows, moved, width)
    return chosen, places


def _sort(keys: np.ndarray, places: np.ndarray, ascending: bool) -> None:
    """Pairs of tiles sorted in turns, then merged, each stage twice as wide as the one before."""
    width = keys.shape[1]
    tiles = width // TILE
    for begin in range(0, width, PLACES):
        _sort_pair(keys, places, begin // TILE, ascending ^ (begin // PLACES % 2 == 1))
    stages = tiles.bit_length() - 1
    for stage in range(2, stages + 1):
        for sub in range(stage, 0, -1):
            apart = 1 << (sub - 1)
            for left in (i for i in range(tiles) if not i & apart):
                ascends = ((left >> stage) % 2 == 0) == ascending
                if sub == 1:
                    _sort_pair(keys, places, left, ascends)
                else:
                    _merge_pair(keys, places, left, left + apart, ascends)


def _sort_pair(keys: np.ndarray, places: np.ndarray, tile: int, ascending: bool) -> None:
    both = slice(tile * TILE, tile * TILE + PLACES)
    sort_places(keys[:, both], places[:, both], ascending)


def _merge_pair(keys, places, left: int, right: int, ascending: bool) -> None:
    a, b = (slice(tile * TILE, (tile + 1) * TILE) for tile in (left, right))
    greater_first = [(x[:, a].copy(), x[:, b].copy()) for x in (keys, places)]
    keep_greater_first(*greater_first)
    for x, pair in zip((keys, places), greater_first, strict=True):
        x[:, a], x[:, b] = pair[::-1] if ascending else pair


def top_of_rows(
    x: torch.Tensor,
    count: int,
    *,
    largest: bool = True,
    stable: bool = False,
    dtype: str = "bfloat16",
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `interface.Arithmetic`."""
    values = _in_buffers(x, dtype)
    chosen, places = _stably(values, count, largest)
    tied = tied_rows(values, chosen)
    partial = x.shape[-1] % TILE != 0  # beside padding the kernel is built stable
    if stable or partial or not tied.any():
        return chosen, places
    if _is_shared(x.shape[-1], count):
        paths.tell(SHARED_TIES)
        return chosen, places
    rows = _padded(values[tied], max(x.shape[-1], PLACES), -1.0 if largest else 1.0)
    keys, moved = _keys_and_places(rows)
    kept = _insert(keys, moved, ceil_div(count, TILE), ascending=not largest)
    chosen[tied], places[tied] = _picked(rows, kept, count)
    return chosen, places


def _is_shared(width: int, count: int) -> bool:
    return count <= MOST_OF_SHARED and width in SHARED_WIDTHS and width.bit_count() == 1


def _insert(keys: np.ndarray, places: np.ndarray, tiles: int, *, ascending: bool) -> np.ndarray:
    """Places of the best `tiles` tiles: each new tile is sorted into the ones that are kept.

    What it displaces of one of them goes on to the next.
    """
    kept: list[list[np.ndarray]] = []  # tiles of (keys, places)
    for begin in range(0, keys.shape[1], TILE):
        new = [x[:, begin : begin + TILE] for x in (keys, places)]
        for level, old in enumerate(kept):
            both = [np.concatenate(pair, 1) for pair in zip(old, new, strict=True)]
            sort_places(both[0], both[1], ascending)
            kept[level] = [x[:, :TILE] for x in both]
            new = [x[:, TILE:] for x in both]
        if len(kept) < tiles:
            kept.append(new)
    return np.concatenate([x for _, x in kept], 1)


def _in_buffers(x: torch.Tensor, dtype: str) -> torch.Tensor:
    """Values as the packer leaves them between two steps: of 16 bits no NaN, -0 or denormal."""
    if not x.is_floating_point():
        return x.long()
    return x.float() if dtype == "float32" else pack_bfloat16(x.float(), fp32_dest_acc=False)


def _stably(
    values: torch.Tensor, count: int, descending: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The first of each row, equal ones in order of place."""
    _, places = torch.sort(values, dim=-1, descending=descending, stable=True)
    places = places[..., :count].clone()
    return values.gather(-1, places), places


def tied_rows(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """[...] bool: rows of which some chosen value is equal to another of the row's."""
    last = chosen[..., -1:]
    among_chosen = (chosen[..., 1:] == chosen[..., :-1]).any(-1)
    return among_chosen | ((values == last).sum(-1) > (chosen == last).sum(-1))


def _padded(rows: torch.Tensor, width: int, sign: float) -> torch.Tensor:
    """[R, width]: rows filled up with what no element is beyond."""
    floats = rows.is_floating_point()
    fill = sign * float("inf") if floats else int(sign) * 2**40
    return torch.nn.functional.pad(rows, (0, width - rows.shape[-1]), value=fill)


def _power_of_two(width: int) -> int:
    return max(PLACES, 1 << (width - 1).bit_length())


def _keys_and_places(rows: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    keys = order_of(rows) if rows.is_floating_point() else rows.numpy()
    places = np.broadcast_to(np.arange(rows.shape[1]), rows.shape)
    return np.array(keys), np.array(places)


def _picked(
    rows: torch.Tensor, places: np.ndarray, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The elements at the first places of each row, and the places."""
    first = torch.from_numpy(places[:, :count].copy())
    return rows.gather(1, first), first

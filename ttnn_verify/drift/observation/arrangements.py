"""Where the rows of a value may lie in a tensor on the device, as indices into it, flattened.

An arrangement says which elements of a tensor `[M rows, ...]` make a row of a value `[W]` or
`[N, D]`: heads split or merged, before or after the rows, padded at their end or at the end of each
half, repeated for the queries that share them, transposed. Which row of the tensor is which row of
the value is found afterwards, see `identification`.
"""

import dataclasses
import functools
from collections.abc import Iterator

import torch

from ttnn_verify.drift.observation import columns

Shape = tuple[int, ...]

GATHERED = "gathered"  # the arrangement of values that lie side by side in a row


@dataclasses.dataclass(frozen=True, eq=False)
class Arrangement:
    """Elements of a tensor, row by row.

    Attributes:
        name: of the arrangement, the same for all tensors of a kind.
        index: int64 `[M, W]` or `[M, N, D]`, into the flattened tensor.
        copies: (int64 `[M, C]` into the flattened tensor, int64 `[C]` into a row of the value,
            flattened) of what the tensor holds twice; None without.
    """

    name: str
    index: torch.Tensor
    copies: tuple[torch.Tensor, torch.Tensor] | None = None

    @functools.cached_property
    def flat(self) -> torch.Tensor:
        """The index `[M, elements of a row]`."""
        return self.index.flatten(1)


@functools.lru_cache(maxsize=512)
def of(
    shape: Shape, row_shape: Shape, orders: tuple[columns.ColumnOrder, ...] = ()
) -> tuple[Arrangement, ...]:
    """All arrangements of rows of `row_shape` in a tensor of `shape`, the likeliest first.

    Args:
        orders: of the columns of a head, where some were found.
    """
    if len(shape) < 2 or 0 in shape:
        return ()
    if len(row_shape) == 1:
        return tuple(_of_columns(_places(shape), row_shape[0]))
    return tuple(
        arrangement
        for name, heads in with_whole_heads(shape, row_shape[0])
        for arrangement in _of_heads(name, heads, row_shape, orders)
    )


def _places(shape: Shape) -> torch.Tensor:
    """The index of each element of a tensor in the flattened one."""
    return torch.arange(torch.Size(shape).numel()).reshape(shape)


def with_whole_heads(shape: Shape, count: int) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, `[M, count, P]`): heads with all the columns that they have in a tensor."""
    places, width = _places(shape), shape[-1]
    if len(shape) in (3, 4):
        yield from _with_heads_apart(places.reshape(-1, *shape[-3:]), count)
    if width % count == 0:
        yield "merged", places.reshape(-1, count, width // count)


def _with_heads_apart(places: torch.Tensor, count: int) -> Iterator[tuple[str, torch.Tensor]]:
    """`with_whole_heads` of a tensor of four dimensions, one of which is that of the heads."""
    first, second, third, width = places.shape
    if second == count:
        yield "heads first", places.transpose(1, 2).reshape(first * third, count, width)
    elif second > count and second % count == 0:  # each repeated for the queries it serves
        few = places[:, :: second // count]
        yield "heads repeated", few.transpose(1, 2).reshape(first * third, count, width)
    if third >= count:
        yield "rows first", places[:, :, :count].reshape(first * second, count, width)
    if first % count == 0 and first > 1 and second == 1:
        few = places.reshape(first // count, count, third, width)
        yield "heads as batch", few.transpose(1, 2).reshape(-1, count, width)
    if second == count and third != width:
        yield "transposed", places.permute(0, 3, 1, 2).reshape(first * width, count, third)


def _of_columns(places: torch.Tensor, width: int) -> Iterator[Arrangement]:
    whole = places.shape[-1]
    if whole >= width:
        yield Arrangement("columns", places.reshape(-1, whole)[:, :width])
    if places.ndim == 4 and places.shape[1] > 1 and whole * places.shape[1] == width:
        yield Arrangement("split", places.transpose(1, 2).reshape(-1, width))


def _of_heads(
    name: str, heads: torch.Tensor, row_shape: Shape, orders: tuple[columns.ColumnOrder, ...]
) -> Iterator[Arrangement]:
    _, width = row_shape
    whole = heads.shape[-1]
    for order in orders:
        if len(order.places) == width and int(order.places.max()) < whole:
            yield _in_order(name, heads, row_shape, order)
    if whole < width:
        return
    if whole == width:
        yield Arrangement(name, heads)
        return
    if width % 2 == whole % 2 == 0:
        half = width // 2
        by_halves = torch.cat((heads[..., :half], heads[..., whole // 2 : whole // 2 + half]), -1)
        yield Arrangement(f"{name}, halves padded", by_halves)
    yield Arrangement(f"{name}, padded", heads[..., :width])


def _in_order(
    name: str, heads: torch.Tensor, row_shape: Shape, order: columns.ColumnOrder
) -> Arrangement:
    count, width = row_shape
    known = torch.full((heads.shape[-1],), -1, dtype=torch.int64)
    known[: len(order.columns)] = order.columns[: len(known)]
    extra = torch.nonzero(known >= 0).flatten()
    sources = torch.arange(count)[:, None] * width + known[extra]
    copies = heads[..., extra].flatten(1), sources.flatten()
    return Arrangement(f"{name}, ordered", heads[..., order.places], copies)


@functools.lru_cache(maxsize=128)
def gathered(shape: Shape, row_shape: Shape, order: columns.ColumnOrder) -> Arrangement:
    """A value whose columns lie anywhere among a tensor's."""
    lines = _places(shape).reshape(-1, shape[-1])
    extra = torch.nonzero(order.columns >= 0).flatten()
    index = lines[:, order.places].reshape(-1, *row_shape)
    return Arrangement(GATHERED, index, (lines[:, extra], order.columns[extra]))

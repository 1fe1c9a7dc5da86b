"""Where the rows of a value lie in a tensor on the device: heads split or merged, padded, permuted.

A layout is the index of each element of a value `[R, W]` or `[R, heads, D]` in the flattened
tensor, to read the value or to replace it.

A prompt's heads are `[1, heads, S, D]`, a token's `[1, 1, heads, D]` or `[1, slots, heads, D]`, of
which the first slot counts. A head may be wider than D: padded at its end, or at the end of each
half (TTNN's rotary_embedding). The columns of queries and keys may be pairs (i, i + D / 2) side by
side, as the operations with `OpSpec.pairs` rotate them, or in another `columns.ColumnOrder`.
"""

import dataclasses
import math
from collections.abc import Sequence

import torch

from ttnn_verify.drift.observation import columns
from ttnn_verify.drift.observation.hf_values import HfValue
from ttnn_verify.numerics import metrics

Shape = tuple[int, ...]
# Number of heads whose columns are in pairs; (heads, D) for a merged row that begins with them.
Permuted = int | tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a value lies.

    Attributes:
        index: int64 of the value's shape.
        name: how its columns lie, "pairs", "found" or "".
        copies: (places in the flattened tensor, places in the flattened value) of what the tensor
            holds of the value beside that.
    """

    index: torch.Tensor
    name: str = ""
    copies: tuple[torch.Tensor, torch.Tensor] | None = None

    def read(self, tensor: torch.Tensor) -> torch.Tensor:
        """The value in a torch tensor."""
        return tensor.flatten()[self.index]

    def write(self, tensor: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """The tensor with the value in its place."""
        flat = tensor.flatten().clone()
        flat[self.index] = value.to(flat.dtype)
        if self.copies is not None:
            places, sources = self.copies
            flat[places] = value.flatten()[sources].to(flat.dtype)
        return flat.reshape(tensor.shape)


def candidates(shape: Shape, rows: int, row_shape: Shape, permuted: Permuted = 0) -> list[Layout]:
    """All layouts of a value `[rows, *row_shape]` in a tensor of `shape`; the likeliest first.

    Args:
        row_shape: (W,) or (heads, D).
        permuted: the heads that may have their columns in pairs.
    """
    places = _places(shape)
    if len(row_shape) == 1:
        indices = _rows_of_columns(places, rows, row_shape[0])
    else:
        heads, width = row_shape
        merged = _rows_of_columns(places, rows, heads * width)
        indices = _by_head(places, rows, heads, width)
        indices += [index.unflatten(-1, row_shape) for index in merged]
    return _also_in_pairs(indices, permuted)


def of_step(
    step: HfValue, shape: Shape, rows: int, heads: tuple[int, int] | None = None
) -> list[Layout]:
    """`candidates` of a step's value.

    Args:
        heads: (N + K, D) of a model that rotates queries and keys in pairs of columns, else None.
    """
    permuted: Permuted = 0
    if heads and step.short == "qkv":
        permuted = heads
    elif heads and step.short in ("q", "k", "q_unrotated", "k_unrotated"):
        permuted = step.shape[0]
    return candidates(shape, rows, step.shape, permuted)


ROTATED = ("q", "k", "q_unrotated", "k_unrotated")


def in_order(step: HfValue, shape: Shape, rows: int, order: columns.ColumnOrder) -> list[Layout]:
    """Layouts of queries, keys, or the product that has both, with their columns in an order."""
    if step.short == "qkv" and step.heads is not None:
        rotated, count = step.heads.rotated, step.heads.all
        indices = _merged_heads(_places(shape), rows, count)
        return [
            layout
            for index in indices
            if (layout := _ordered_product(index, rotated, step.heads.width, order))
        ]
    if step.short not in ROTATED:
        return []
    indices = heads_with_padding(shape, rows, step.shape[0])
    return [layout for index in indices if (layout := ordered(index, order))]


def find_order(
    step: HfValue, tensor: torch.Tensor, rows: int, expected: torch.Tensor
) -> columns.ColumnOrder | None:
    """The order of columns in which a tensor has the queries or keys, or the product of both."""
    if step.short == "qkv" and step.heads is not None:
        indices = _merged_heads(_places(tuple(tensor.shape)), rows, step.heads.all)
        indices = [index[:, : step.heads.rotated] for index in indices]
        expected = expected.unflatten(-1, (step.heads.all, -1))[:, : step.heads.rotated]
    elif step.short in ROTATED:
        indices = heads_with_padding(tuple(tensor.shape), rows, step.shape[0])
    else:
        return None
    flat = tensor.flatten()
    orders = (columns.find(flat[i].flatten(0, 1), expected.flatten(0, 1)) for i in indices)
    return next((order for order in orders if order), None)


def heads_with_padding(shape: Shape, rows: int, heads: int) -> list[torch.Tensor]:
    """Indices [rows, heads, W] of heads with all columns that they have in a tensor of `shape`."""
    places = _places(shape)
    indices = []
    if places.ndim == 4:
        _, second, third, _ = shape
        if rows == 1 and third >= heads:
            indices.append(places[0, 0, :heads][None])
        if second == heads and third >= rows:
            indices.append(places[0, :, :rows].transpose(0, 1))
    return indices + _merged_heads(places, rows, heads)


def ordered(index: torch.Tensor, order: columns.ColumnOrder) -> Layout | None:
    """The layout of [rows, heads, D] whose columns, [rows, heads, W], have that order."""
    width = index.shape[-1]
    if int(order.places.max()) >= width:
        return None
    head_dim = len(order.places)
    known = torch.zeros(width, dtype=torch.int64) - 1
    known[: len(order.columns)] = order.columns[:width]
    extra = torch.nonzero(known >= 0).flatten()
    values = torch.arange(index[..., 0].numel() * head_dim).reshape(*index.shape[:-1], head_dim)
    copies = index[..., extra].flatten(), values[..., known[extra]].flatten()
    return Layout(index[..., order.places], "found", copies)


def _ordered_product(
    index: torch.Tensor, rotated: int, head_dim: int, order: columns.ColumnOrder
) -> Layout | None:
    """The layout of a merged row [rows, heads * D] of which the first heads have that order."""
    first = ordered(index[:, :rotated], order)
    if first is None:
        return None
    whole = torch.cat((first.index.flatten(1), index[:, rotated:, :head_dim].flatten(1)), -1)
    assert first.copies is not None
    places, sources = first.copies
    per_row = rotated * head_dim
    return Layout(whole, "found", (places, sources // per_row * whole.shape[1] + sources % per_row))


def _merged_heads(places: torch.Tensor, rows: int, heads: int) -> list[torch.Tensor]:
    width = places.shape[-1]
    if width % heads:
        return []
    return [index.unflatten(-1, (heads, -1)) for index in _rows_of_columns(places, rows, width)]


def _places(shape: Shape) -> torch.Tensor:
    """The index of each element of a tensor of `shape` in the flattened one."""
    return torch.arange(torch.Size(shape).numel()).reshape(tuple(shape))


def in_cache(
    shape: Shape,
    rows: int,
    row_shape: Shape,
    permuted: int = 0,
    pages: torch.Tensor | None = None,
    order: columns.ColumnOrder | None = None,
) -> list[Layout]:
    """Layouts of the first rows of slot 0 of a cache `[slots, K, C, D]`.

    Args:
        order: of the columns, where one was found.
        pages: of a cache in pages `[P, K, block, D]`, the numbers of those that hold the rows.
    """
    places = _places(shape)
    heads, width = row_shape
    if pages is not None:
        if len(shape) != 4 or not 0 <= int(pages.min()) <= int(pages.max()) < shape[0]:
            return []
        places = places[pages].transpose(0, 1).flatten(1, 2)[None]
        shape = tuple(places.shape)
    if len(shape) != 4 or shape[1] != heads or shape[2] < rows or shape[3] < width:
        return []
    of_rows = places[0, :, :rows]
    indices = [head.transpose(0, 1) for head in _columns(of_rows, width)]
    found = None if order is None else ordered(of_rows.transpose(0, 1), order)
    return [found] if found else _also_in_pairs(indices, permuted)


def nearest(
    layouts: Sequence[Layout], tensor: torch.Tensor, expected: torch.Tensor
) -> tuple[Layout, float]:
    """(layout, relative L2 error) of the layout in which the tensor is nearest to `expected`."""
    errors = [metrics.relative_l2(expected, layout.read(tensor)) for layout in layouts]
    errors = [torch.inf if math.isnan(error) else error for error in errors]  # NaN is far away
    least = min(range(len(layouts)), key=errors.__getitem__)
    return layouts[least], errors[least]


def _also_in_pairs(indices: list[torch.Tensor], permuted: Permuted) -> list[Layout]:
    layouts = [Layout(index) for index in indices]
    if permuted:
        layouts += [Layout(_pairs(index, permuted), "pairs") for index in indices]
    return layouts


def _rows_of_columns(places: torch.Tensor, rows: int, width: int) -> list[torch.Tensor]:
    if places.ndim < 2 or places.shape[-1] < width:
        return []
    flat = places.reshape(-1, places.shape[-1])
    return [flat[:rows, :width]] if len(flat) >= rows else []


def _by_head(places: torch.Tensor, rows: int, heads: int, width: int) -> list[torch.Tensor]:
    """Indices [rows, heads, D] in a tensor of four dimensions."""
    if places.ndim != 4:
        return []
    return [
        *_heads_of_a_token(places, rows, heads, width),
        *_heads_of_a_prompt(places, rows, heads, width),
        *_transposed_keys(places, rows, heads, width),
    ]


def _heads_of_a_token(
    places: torch.Tensor, rows: int, heads: int, width: int
) -> list[torch.Tensor]:
    _, _, third, last = places.shape
    if rows != 1 or third < heads or last < width:
        return []
    return [head[None] for head in _columns(places[0, 0, :heads], width)]


def _heads_of_a_prompt(
    places: torch.Tensor, rows: int, heads: int, width: int
) -> list[torch.Tensor]:
    _, second, third, last = places.shape
    if second != heads or third < rows or last < width:
        return []
    return [head.transpose(0, 1) for head in _columns(places[0, :, :rows], width)]


def _transposed_keys(places: torch.Tensor, rows: int, heads: int, width: int) -> list[torch.Tensor]:
    _, second, third, last = places.shape
    if (second, third) != (heads, width) or last < rows or third == last:
        return []
    return [places[0, :, :, :rows].permute(2, 0, 1)]


def _columns(places: torch.Tensor, width: int) -> list[torch.Tensor]:
    """The D columns of a padded head, for each way to pad it: `[..., D]` each."""
    head_width = places.shape[-1]
    if head_width == width:
        return [places]
    half = width // 2
    by_halves = torch.cat(
        (places[..., :half], places[..., head_width // 2 : head_width // 2 + half]), -1
    )
    return [by_halves, places[..., :width]]


def _pairs(index: torch.Tensor, permuted: Permuted) -> torch.Tensor:
    """The index with heads taken from pairs: column i from 2 i, i + D / 2 from 2 i + 1."""
    if isinstance(permuted, tuple):  # heads of a merged row
        count, width = permuted
        heads = index[:, : count * width].unflatten(-1, (count, width))
        return torch.cat((_unpaired(heads).flatten(1), index[:, count * width :]), -1)
    return _unpaired(index)


def _unpaired(heads: torch.Tensor) -> torch.Tensor:
    return torch.cat((heads[..., 0::2], heads[..., 1::2]), -1)

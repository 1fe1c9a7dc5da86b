"""Rows of a batch that are not computed each by itself: those of idle users.

Nothing wrote them (`padding.undefined_rows`), or they are all equal to the last one, of which one
is enough. Users of a cache are alike in their keys and values, too.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from ttnn_emulator.memory import SAME_WIDTH
from ttnn_emulator.ops.common import padding

_FEWEST = 3  # rows of which some may be spared


class ComputedRows(NamedTuple):
    """The rows of matrices `[..., M, K]` that are computed.

    Attributes:
        values: [..., R, K], with zeros for rows that nothing wrote.
        chosen: int64 [R], where they are among the M; None for all of them.
        which: int64 [M], which of the R stands for each row, 0 for one that nothing wrote.
        marked: bool [..., M, 1], rows that nothing wrote, or None.
    """

    values: torch.Tensor
    chosen: torch.Tensor | None
    which: torch.Tensor | None
    marked: torch.Tensor | None

    def whole(self, results: torch.Tensor, dtype: str) -> torch.Tensor:
        """Of results [..., R, N] those of all rows [..., M, N], marked where nothing wrote.

        Args:
            results: of `values`.
            dtype: the device dtype in which they will be stored.
        """
        if self.which is None or self.chosen is None:
            return padding.mark_undefined_rows(results, self.marked, dtype)
        if self.marked is None or dtype not in padding.MARKED_DTYPES:
            return results[..., self.which, :]
        shape = (*results.shape[:-2], len(self.which), results.shape[-1])
        whole = padding.undefined(shape, dtype)
        whole[..., self.chosen, :] = results.to(whole.dtype)
        return padding.mark_undefined_rows(whole, _in_some(self.marked), dtype)


def needed_rows(values: torch.Tensor) -> ComputedRows:
    """The rows of a tensor that are to be computed."""
    marked = padding.undefined_rows(values)
    rows = values.shape[-2]
    needed = None
    if rows >= _FEWEST and values.numel() > 0:
        needed = _unlike_the_last(values) if marked is None else ~_in_all(marked)
    if needed is None or not needed.any():
        return ComputedRows(_without(values, marked), None, None, marked)
    chosen = torch.nonzero(needed).flatten()
    other = 0 if marked is not None else len(chosen) - 1
    partly = None if marked is None else _in_some(marked)
    few = values[..., chosen, :]
    few = few if partly is None else _without(few, partly[..., chosen, :])
    return ComputedRows(few, chosen, _numbered(needed, other), marked)


def all_rows(values: torch.Tensor) -> ComputedRows:
    """All rows of a tensor, to be computed with others beside them that may be different."""
    marked = padding.undefined_rows(values)
    return ComputedRows(_without(values, marked), None, None, marked)


def row_by_row(
    function: Callable[..., torch.Tensor], *operands: torch.Tensor, dtype: str
) -> torch.Tensor:
    """function(*operands), where rows of `[..., M, K]` are independent of each other.

    Args:
        function: of the operands, or of some rows of each.
        operands: may have a single row, or be numbers. Rows that nothing wrote in one of the
            result's shape are marked in the result.
        dtype: the device dtype in which the result will be stored.
    """
    shape = torch.broadcast_shapes(*(x.shape for x in operands))
    high = [x.dim() > 1 and x.shape[-2] > 1 for x in operands]
    marks = [padding.undefined_rows(x) for x in operands if x.shape == shape and x.numel() > 0]
    marked = _union(marks)
    needed = None
    if len(shape) > 1 and shape[-2] >= _FEWEST:
        tall = [x for x, is_high in zip(operands, high, strict=True) if is_high]
        needed = _unlike_in_any(tall) if marked is None else ~_in_all(marked)
    if needed is None or not needed.any():
        return padding.mark_undefined_rows(function(*operands), marked, dtype)
    chosen = torch.nonzero(needed).flatten()
    few = [x[..., chosen, :] if is_high else x for x, is_high in zip(operands, high, strict=True)]
    other = 0 if marked is not None else len(chosen) - 1
    rows = ComputedRows(few[0], chosen, _numbered(needed, other), marked)
    return rows.whole(function(*few), dtype)


def unlike_users(*operands: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Which users of operands [U, ...] to compute where those equal to the last need not be.

    Returns:
        (int64 [R], which ones are computed; int64 [U], the number of the one among them that
        stands for each). None for all of them: there are few, or the last two differ in an
        operand, and most are likely to.
    """
    if len(operands[0]) < _FEWEST:
        return None
    words = [_in_words(x) for x in operands]
    if not all(x[-2].equal(x[-1]) for x in words):
        return None
    needed = torch.stack([(x != x[-1:]).flatten(1).any(1) for x in words]).any(0)
    needed[-1] = True
    chosen = torch.nonzero(needed).flatten()
    return chosen, _numbered(needed, len(chosen) - 1)


def _in_words(values: torch.Tensor) -> torch.Tensor:
    """The bits of a tensor as integers of 8 bytes, or of its own width where it is not whole ones.

    They are compared in a quarter of the time.
    """
    each = 8 // values.element_size()
    starts = (values.shape[-1], values.storage_offset(), *values.stride()[:-1])
    whole = values.stride(-1) == 1 and not any(n % each for n in starts)
    return values.view(torch.int64 if whole else SAME_WIDTH[values.element_size()])


def _union(marks: list[torch.Tensor | None]) -> torch.Tensor | None:
    known = [marked for marked in marks if marked is not None]
    return torch.stack(known).any(0) if known else None


def _without(values: torch.Tensor, marked: torch.Tensor | None) -> torch.Tensor:
    """The values with zeros in marked rows: NaN takes the slowest way."""
    return values if marked is None else values.masked_fill(marked, 0.0)


def _in_all(marked: torch.Tensor) -> torch.Tensor:
    """[M] bool, which rows of `[..., M, 1]` are marked in all matrices."""
    return marked.reshape(-1, marked.shape[-2]).all(0)


def _in_some(marked: torch.Tensor) -> torch.Tensor | None:
    """The marks of rows `[..., M, 1]` that are marked in some of the matrices only, or None."""
    if marked.numel() == marked.shape[-2]:
        return None
    partly = marked & ~_in_all(marked)[:, None]
    return partly if partly.any() else None


def _unlike_in_any(operands: list[torch.Tensor]) -> torch.Tensor | None:
    """`_unlike_the_last` in any of several operands; None if it is in one of them."""
    needed: torch.Tensor | None = None
    for x in operands:
        unlike = _unlike_the_last(x)
        if unlike is None:
            return None
        needed = unlike if needed is None else needed | unlike
    return needed


def _unlike_the_last(values: torch.Tensor) -> torch.Tensor | None:
    """[M] bool, which rows of `[..., M, K]` to compute where those equal to the last need not be.

    The last one is to be computed. None if the last two differ: then most are likely to.
    """
    bits = values.view(SAME_WIDTH[values.element_size()])
    if not bits[..., -2, :].equal(bits[..., -1, :]):
        return None
    needed = (bits != bits[..., -1:, :]).any(-1).reshape(-1, bits.shape[-2]).any(0)
    needed[-1] = True
    return needed


def _numbered(needed: torch.Tensor, other: int) -> torch.Tensor:
    """int64 [M]: the number of each row among those needed, `other` for those that are not."""
    return torch.where(needed, needed.cumsum(0) - 1, other)

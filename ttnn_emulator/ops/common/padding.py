"""Tile padding beside a tensor's logical contents, and contents that were never written.

Kernels work on whole tiles. Padding rows of zeros have results that are known beforehand and are
not computed; all others are. A buffer that was allocated and not written holds `undefined` values,
which stay recognisable through the operations that work row by row.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch

from ttnn_emulator.arithmetic import formats
from ttnn_emulator.memory import DeviceTensor, Output, Shape, trimmed

# A NaN pattern that no operation computes: the contents of a float buffer that nothing wrote.
UNDEFINED_BFLOAT16 = 0x7FA5
UNDEFINED_FLOAT32 = 0x7FA5A5A5
UNDEFINED_INTEGERS = {"uint8": 0xA5, "uint16": 0xA5A5, "int32": 0x25A5A5A5, "uint32": 0x25A5A5A5}
UNDEFINED_BLOCK_FLOAT = 1e30

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def undefined(shape: Shape, dtype: str) -> torch.Tensor:
    """Contents of a buffer that was allocated and not written: recognisable, never zero."""
    if dtype in UNDEFINED_INTEGERS:
        return torch.full(shape, UNDEFINED_INTEGERS[dtype])
    if dtype == "bfloat16":
        return torch.full(shape, UNDEFINED_BFLOAT16, dtype=torch.int16).view(torch.bfloat16)
    if dtype == "float32":
        return torch.full(shape, UNDEFINED_FLOAT32, dtype=torch.int32).view(torch.float32)
    return torch.full(shape, UNDEFINED_BLOCK_FLOAT)


def undefined_rows(values: torch.Tensor) -> torch.Tensor | None:
    """[..., 1] bool: rows of float contents that start with the mark of `undefined`; or None."""
    one_row = values.is_floating_point() and values.numel() == values.shape[-1] > 0
    if one_row and not math.isnan(values.flatten()[0].item()):
        return None  # the quickest look, for a token being decoded
    if values.dtype == torch.bfloat16:
        marked = values[..., :1].view(torch.int16) == UNDEFINED_BFLOAT16
    elif values.dtype == torch.float32:
        marked = values[..., :1].view(torch.int32) == UNDEFINED_FLOAT32
    else:
        return None
    return marked if marked.any() else None


def without_undefined_rows(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The contents with zeros for rows that nothing wrote, and where they were (or None)."""
    marked = undefined_rows(values)
    return (values, None) if marked is None else (values.masked_fill(marked, 0.0), marked)


def mark_undefined_rows(
    values: torch.Tensor, marked: torch.Tensor | None, dtype: str
) -> torch.Tensor:
    """Mark again the results of unwritten rows; `marked` is the result of `undefined_rows`."""
    if marked is None or dtype not in ("bfloat16", "float32"):
        return values
    mark = undefined((1,), dtype)
    return torch.where(marked, mark, values.to(mark.dtype))


def distinct_rows(
    values: torch.Tensor, marked: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The rows of matrices `[..., M, K]` that need to be computed, where each is by itself.

    Of a batch some users may be idle: their rows are `marked` (of `without_undefined_rows`), or all
    equal to the last one, of which one is enough.

    Returns:
        The rows `[..., R, K]`, and int64 `[M]`: which of these stands for each of the M, 0 for a
        marked one. (values, None) where all are needed.
    """
    rows = values.shape[-2]
    if rows < 3 or values.numel() == 0:
        return values, None
    needed = _unlike_the_last(values) if marked is None else ~_in_all(marked)
    if needed is None or not needed.any():
        return values, None
    chosen = torch.nonzero(needed).flatten()
    other = 0 if marked is not None else len(chosen) - 1
    return values[..., chosen, :], _numbered(needed, other)


def _in_all(marked: torch.Tensor) -> torch.Tensor:
    """[M] bool, which rows of `[..., M, 1]` are marked in all matrices."""
    return marked.reshape(-1, marked.shape[-2]).all(0)


def _unlike_the_last(values: torch.Tensor) -> torch.Tensor | None:
    """[M] bool, which rows of `[..., M, K]` to compute where those equal to the last need not be.

    The last one is to be computed. None if the last two differ: then most are likely to.
    """
    bits = values.view(_INTEGERS[values.element_size()])
    if not bits[..., -2, :].equal(bits[..., -1, :]):
        return None
    needed = (bits != bits[..., -1:, :]).any(-1).reshape(-1, bits.shape[-2]).any(0)
    needed[-1] = True
    return needed


def _numbered(needed: torch.Tensor, other: int) -> torch.Tensor:
    """int64 [M]: the number of each row among those needed, `other` for those that are not."""
    return torch.where(needed, needed.cumsum(0) - 1, other)


def row_by_row(function: Callable[..., torch.Tensor], *operands: torch.Tensor) -> torch.Tensor:
    """function(*operands), where rows of `[..., M, K]` are independent of each other.

    Operands may have a single row, or be numbers. Rows that equal the last one in all operands, of
    idle users say, are computed once.
    """
    counts = {x.shape[-2] for x in operands if x.dim() > 1} - {1}
    rows = counts.pop() if len(counts) == 1 else 0
    if rows < 3:
        return function(*operands)
    needed = torch.zeros(rows, dtype=torch.bool)
    for x in operands:
        if x.dim() > 1 and x.shape[-2] == rows:
            unlike = _unlike_the_last(x)
            if unlike is None:
                return function(*operands)
            needed |= unlike
    chosen = torch.nonzero(needed).flatten()
    few = (x[..., chosen, :] if x.dim() > 1 and x.shape[-2] == rows else x for x in operands)
    return function(*few)[..., _numbered(needed, len(chosen) - 1), :]


def live_rows(operand: DeviceTensor) -> torch.Tensor:
    """Contents without padding columns, and without the padding rows if all of those are zero."""
    if operand.zero_padded:
        return operand.logical
    values = operand.data[..., : operand.shape[-1]]
    rows = operand.shape[-2]
    return values[..., :rows, :] if not values[..., rows:, :].any() else values


def cuts_a_block(output: Output) -> bool:
    """Whether padding shares a block's exponent with logical columns, which it may change."""
    return (
        output.dtype in formats.BLOCK_FORMAT_BITS
        and output.shape[-1:] != ()
        and (output.shape[-1] % formats.BLOCK != 0)
    )


def beside(values: torch.Tensor, output: Output, padding: float) -> torch.Tensor:
    """Logical `values` of an output whose padding holds the number `padding`."""
    if padding == 0 or output.shape == output.padded_shape:
        return values
    padded = torch.full(output.padded_shape, padding, dtype=values.dtype)
    trimmed(padded, output.shape).copy_(values)
    return padded


@functools.lru_cache(maxsize=256)
def of_zero(
    function: Callable[..., torch.Tensor], stored: str, /, *arguments: Any, **named: Any
) -> float:
    """The result, a number, of a function of the arithmetic on zeros stored as dtype `stored`."""
    zero = torch.zeros(formats.BLOCK, dtype=formats.STORAGE[stored])
    operands = [zero if argument is ZERO else argument for argument in arguments]
    return function(*operands, **named)[0].item()


ZERO = object()  # stands for a tensor of zeros among the arguments of `of_zero`

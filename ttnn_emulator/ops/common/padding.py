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
from ttnn_emulator.described_tensors import Shape
from ttnn_emulator.memory import DeviceTensor, Output, trimmed

# A NaN pattern that no operation computes: the contents of a float buffer that nothing wrote.
UNDEFINED_BFLOAT16 = 0x7FA5
UNDEFINED_FLOAT32 = 0x7FA5A5A5
UNDEFINED_INTEGERS = {"uint8": 0xA5, "uint16": 0xA5A5, "int32": 0x25A5A5A5, "uint32": 0x25A5A5A5}
UNDEFINED_BLOCK_FLOAT = 1e30

# Device dtypes whose unwritten rows stay recognisable.
MARKED_DTYPES = ("bfloat16", "float32")


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


def mark_undefined_rows(
    values: torch.Tensor, marked: torch.Tensor | None, dtype: str
) -> torch.Tensor:
    """Mark again the results of unwritten rows; `marked` is the result of `undefined_rows`."""
    if marked is None or dtype not in MARKED_DTYPES:
        return values
    mark = undefined((1,), dtype)
    return torch.where(marked, mark, values.to(mark.dtype))


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

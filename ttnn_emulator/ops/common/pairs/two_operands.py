"""The kernel of a binary operation, called for two tensors or for a tensor and a Python number."""

from collections.abc import Callable
from typing import Any

import torch

from ttnn_emulator.arithmetic import formats
from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import padding
from ttnn_emulator.ops.common.broadcasting import (
    Operand,
    broadcastable,
    is_bare,
    number,
    over_tiles,
    read_by,
    storage,
    tensors_of,
)
from ttnn_emulator.ops.common.idle_rows import row_by_row


def combined(
    launch: Launch, operation: str | FusedOp, first: Operand, second: Operand, **options: Any
) -> torch.Tensor:
    """The kernel of a binary operation on operands that may be Python numbers."""
    tensors = read_by(launch, first, second)
    dtypes = tuple(
        x.dtype if isinstance(x, DeviceTensor) else tensors[0].dtype for x in (first, second)
    )
    binary, options = launch.math.binary, {"dtypes": dtypes, "out": launch.output.dtype, **options}
    bare = is_bare(launch, tensors)
    if bare:
        a, b = (
            x.logical if isinstance(x, DeviceTensor) else number(x, storage(tensors[0]))
            for x in (first, second)
        )
    else:
        a, b = broadcastable(launch, first, second)
    values = row_by_row(
        lambda *rows: binary(operation, *rows, **options), a, b, dtype=launch.output.dtype
    )
    if not bare:
        return values
    zeros = (padding.ZERO if isinstance(x, DeviceTensor) else x for x in (first, second))
    return padding.beside(values, launch.output, _of_zeros(binary, operation, *zeros, **options))


def _of_zeros(
    binary: Callable[..., torch.Tensor],
    operation: str | FusedOp,
    first: Any,
    second: Any,
    **options: Any,
) -> float:
    """The operation's result in padding: on zeros, or on zeros and a Python number.

    `first` and `second` are numbers, or `padding.ZERO` in place of a tensor.
    """
    numbers = [x for x in (first, second) if x is not padding.ZERO]
    if numbers:
        first, second = (
            x if x is padding.ZERO else number(x, formats.STORAGE[options["dtypes"][0]]).item()
            for x in (first, second)
        )
        return padding.of_zero(
            _with_number, options["dtypes"][0], binary, operation, first, second, **options
        )
    return padding.of_zero(binary, options["dtypes"][0], operation, first, second, **options)


def _with_number(
    binary: Callable[..., torch.Tensor],
    operation: str | FusedOp,
    first: torch.Tensor | float,
    second: torch.Tensor | float,
    **options: Any,
) -> torch.Tensor:
    first, second = (torch.as_tensor(x) for x in (first, second))
    return binary(operation, first, second, **options)


def _promoted(launch: Launch, *operands: Operand) -> tuple[Operand, ...]:
    """A float beside integers: an integer where the result is one."""
    (first, *_) = tensors_of(*operands)
    if storage(first).is_floating_point or launch.output.dtype == "float32":
        return operands
    return tuple(int(x) if isinstance(x, float) and x.is_integer() else x for x in operands)


def of_two(
    launch: Launch, operation: str | FusedOp, first: Operand, second: Operand, **options: Any
) -> torch.Tensor:
    """`combined`, after the typecast to float32 of integers beside a fraction."""
    first, second = _promoted(launch, first, second)
    fraction = next((x for x in (first, second) if isinstance(x, float)), None)
    tensors = tensors_of(first, second)
    if fraction is None or storage(tensors[0]).is_floating_point:
        return combined(launch, operation, first, second, **options)

    def of_floats(*operands: torch.Tensor) -> torch.Tensor:
        a, b = (
            launch.math.typecast(x, tensors[0].dtype, "float32") if x.dim() else x.float()
            for x in operands
        )
        dtypes = ("float32", "float32")
        out = launch.output.dtype
        return launch.math.binary(operation, a, b, dtypes=dtypes, out=out, **options)

    return over_tiles(launch, of_floats, first, second)

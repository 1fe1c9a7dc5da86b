"""Operands of elementwise kernels: tensors that broadcast over tiles, and numbers in their place.

Shapes broadcast as logical shapes. The kernels run over whole tiles: a broadcast row or column is
the operand's first one, everything else combines tile by tile, padding with padding.
"""

import math
from collections.abc import Callable

import torch

from ttnn_emulator.arithmetic import formats
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor, Output
from ttnn_emulator.ops.common import bounds, padding

Operand = DeviceTensor | float  # a tensor, or a Python number in its place

OUTER = -5  # dimensions before the last five are one to the kernels' readers


def tensors_of(*operands: Operand | None) -> list[DeviceTensor]:
    """The device tensors among operands."""
    return [x for x in operands if isinstance(x, DeviceTensor)]


def read_by(launch: Launch, *operands: Operand | None) -> list[DeviceTensor]:
    """The device tensors among operands, as far as the kernel's reader stays within them.

    The readers count all dimensions before the last five as one. They step through an operand by
    the output's count (nD_stride in reader_interleaved_no_bcast.cpp and its like), so one that
    broadcasts in some of these dimensions and not in all is read beyond its end.

    Raises:
        OutOfBounds: such an operand.
    """
    tensors = tensors_of(*operands)
    parts = math.prod(launch.output.shape[:OUTER])
    for tensor in tensors:
        count = math.prod(tensor.shape[:OUTER])
        if count > 1:
            bounds.within(
                parts - 1,
                count,
                op=launch.name,
                operand=f"operand {list(tensor.shape)}",
                unit="part",
                because="that broadcasts in some of the dimensions before the last five",
            )
    return tensors


def number(value: float, dtype: torch.dtype) -> torch.Tensor:
    """A Python number as a tensor without dimensions, rounded to a tensor's storage dtype."""
    if isinstance(value, float) and not dtype.is_floating_point:
        return torch.tensor(value)
    return torch.tensor(value, dtype=dtype)


def storage(operand: DeviceTensor) -> torch.dtype:
    """The torch dtype of an operand's contents."""
    return formats.STORAGE[operand.dtype]


def is_bare(launch: Launch, tensors: list[DeviceTensor]) -> bool:
    """Whether results in padding need not be computed one by one: all padding is zero."""
    same = all(x.zero_padded and x.shape[-2:] == launch.output.shape[-2:] for x in tensors)
    return same and not padding.cuts_a_block(launch.output)


def broadcastable(launch: Launch, *operands: Operand) -> list[torch.Tensor]:
    """Operands as torch tensors that broadcast to the output's padded (else logical) shape.

    Args:
        launch: the `Launch`.
        operands: `DeviceTensor`s and Python numbers. A number is rounded to the storage dtype of
            the first tensor, as the kernels get it (a scalar 0.3 beside bf16 is bf16's 0.3).
    """
    tensors = tensors_of(*operands)
    whole_tiles = launch.output.tiled and all(x.tiled for x in tensors)
    take = _tiles if whole_tiles else lambda x, _: x.logical
    return [
        take(x, launch.output) if isinstance(x, DeviceTensor) else number(x, storage(tensors[0]))
        for x in operands
    ]


def _tiles(operand: DeviceTensor, output: Output) -> torch.Tensor:
    """Padded contents, cut to the first row (column, ...) where the operand broadcasts."""
    rank = len(output.padded_shape)
    data = operand.data.reshape((1,) * (rank - operand.data.dim()) + operand.data.shape)
    shape = (1,) * (rank - len(operand.shape)) + operand.shape
    target = (1,) * (rank - len(output.shape)) + output.shape
    for dim, (size, target_size) in enumerate(zip(shape, target, strict=True)):
        if size == 1 and target_size != 1:
            data = data.narrow(dim, 0, 1)
    return data


def marked_as_undefined(
    values: torch.Tensor, operands: list[torch.Tensor], dtype: str
) -> torch.Tensor:
    """Values of an output of `dtype` whose rows stay unwritten where an operand's are."""
    for operand in operands:
        if operand.shape == values.shape:
            values = padding.mark_undefined_rows(values, padding.undefined_rows(operand), dtype)
    return values


def over_tiles(
    launch: Launch, function: Callable[..., torch.Tensor], *operands: Operand
) -> torch.Tensor:
    """A function of elements on operands that broadcast, and its result in the padding.

    Args:
        launch: the `Launch`.
        function: of a tensor for each operand, without dimensions for a number. It returns values.
        operands: `DeviceTensor`s and Python numbers, which stay float32 or int64.
    """
    tensors = read_by(launch, *operands)
    numbers = {
        i: torch.tensor(x) for i, x in enumerate(operands) if not isinstance(x, DeviceTensor)
    }
    bare = is_bare(launch, tensors)
    contents = [x.logical for x in tensors] if bare else broadcastable(launch, *tensors)
    values = function(*_in_place_of(numbers, contents))
    values = marked_as_undefined(values, contents, launch.output.dtype)
    if not bare or launch.output.shape == launch.output.padded_shape:
        return values
    zeros = [torch.zeros(formats.BLOCK, dtype=storage(x)) for x in tensors]
    in_padding = function(*_in_place_of(numbers, zeros))[0].item()
    return padding.beside(values, launch.output, in_padding)


def _in_place_of(
    numbers: dict[int, torch.Tensor], tensors: list[torch.Tensor]
) -> list[torch.Tensor]:
    """The operands in their order, from the numbers by position and the tensors."""
    rest = iter(tensors)
    count = len(numbers) + len(tensors)
    return [numbers[i] if i in numbers else next(rest) for i in range(count)]

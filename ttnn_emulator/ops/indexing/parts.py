"""Parts of a tensor read to shards or written into another: slices, a slice of the height."""

import math
from collections.abc import Sequence

import torch
import ttnn

from ttnn_emulator.arithmetic.formats import TILE
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.moving import copied, through_dest


def interleaved_to_sharded_partial(
    launch: Launch,
    input_tensor: DeviceTensor,
    grid: object,
    shard_shape: object,
    num_slices: int,
    slice_index: int,
    shard_scheme: object,
    shard_orientation: object,
    *,
    output_dtype: ttnn.DataType | None = None,
) -> torch.Tensor:
    """One of `num_slices` equal parts of the rows of [.., H, W], seen as a matrix."""
    rows = input_tensor.logical.reshape(-1, input_tensor.shape[-1])
    part = _of_slices(launch, rows, num_slices, slice_index, "input_tensor")
    values = copied(part).reshape(launch.output.shape)
    if input_tensor.dtype == launch.output.dtype:
        return values
    return through_dest(launch, values, input_tensor, False)


def sharded_to_interleaved_partial(
    launch: Launch,
    input_tensor: DeviceTensor,
    cache_tensor: DeviceTensor,
    num_slices: int,
    slice_index: int,
    *,
    output_dtype: ttnn.DataType | None = None,
) -> torch.Tensor:
    """The cache, one of `num_slices` equal parts of its rows written."""
    result = copied(cache_tensor.logical)
    rows = result.view(-1, result.shape[-1])
    part = _of_slices(launch, rows, num_slices, slice_index, "cache_tensor")
    part.copy_(input_tensor.logical.reshape(part.shape))
    return result


def _of_slices(
    launch: Launch, rows: torch.Tensor, num_slices: int, slice_index: int, operand: str
) -> torch.Tensor:
    """A view of one of the equal slices of rows."""
    place = {"op": launch.name, "operand": operand, "unit": "slice"}
    bounds.within(slice_index, num_slices, **place)
    each = len(rows) // num_slices
    return rows[slice_index * each : (slice_index + 1) * each]


def slice_write(
    launch: Launch,
    input_tensor: DeviceTensor,
    output_tensor: DeviceTensor,
    start: Sequence[int],
    end: Sequence[int],
    step: Sequence[int],
) -> torch.Tensor:
    """The output tensor, its elements from `start` up to `end` by `step` written.

    Shards hold the part's rows one below the other, of tiles with the rows that fill its last
    tiles, and may be wider than the part.

    Raises:
        OutOfBounds: an end beyond the output tensor.
    """
    place = {"op": launch.name, "operand": "output_tensor"}
    sizes = [last - first for first, last in zip(start, end, strict=True)]
    bounds.region(start, sizes, output_tensor.shape, **place)
    result = copied(output_tensor.logical)
    picked = tuple(slice(*three) for three in zip(start, end, step, strict=True))
    part = result[picked]
    values = _unfolded(input_tensor, part.shape)
    if values is None:
        raise NotEmulated(
            f"{launch.name} of {input_tensor.shape}: these are no rows of {tuple(part.shape)}."
        )
    part.copy_(values)
    return result


def _unfolded(operand: DeviceTensor, shape: Sequence[int]) -> torch.Tensor | None:
    """A part of this shape, from a tensor of the shape or from its rows in shards; or None."""
    values = operand.logical
    if values.numel() == math.prod(shape):
        return values.reshape(shape)
    *outer, height, width = shape
    if operand.tiled:
        height = -(-height // TILE) * TILE
    rows = values.reshape(-1, values.shape[-1])[: math.prod(outer) * height, :width]
    if rows.numel() != math.prod(outer) * height * width:
        return None
    return rows.reshape(*outer, height, width)[..., : shape[-2], :]


def padded_slice(
    launch: Launch,
    input_tensor: DeviceTensor,
    padded_slice_start: Sequence[int],
    padded_slice_end: Sequence[int],
    padded_slice_step: Sequence[int] | None = None,
    *,
    output_tensor: DeviceTensor | None = None,
    pad_value: float | None = None,
) -> torch.Tensor:
    """Elements from the start up to the end by steps, as the rows of a matrix in shards."""
    steps = padded_slice_step or [1] * len(padded_slice_start)
    bounds_ = zip(padded_slice_start, padded_slice_end, steps, strict=True)
    part = copied(input_tensor.logical[tuple(slice(*three) for three in bounds_)])
    return through_dest(launch, _fitted(launch, part, pad_value), input_tensor)


def _fitted(launch: Launch, part: torch.Tensor, pad_value: float | None) -> torch.Tensor:
    """In the output's shape, whose rows may be wider: filled up with a number."""
    rows = part.reshape(-1, part.shape[-1])
    width = launch.output.shape[-1]
    rows = torch.nn.functional.pad(rows, (0, width - rows.shape[-1]), value=pad_value or 0.0)
    return rows.reshape(launch.output.shape)


BINDINGS = {
    "ttnn.experimental.padded_slice": padded_slice,
    "ttnn.experimental.slice_write": slice_write,
    "ttnn.interleaved_to_sharded_partial": interleaved_to_sharded_partial,
    "ttnn.sharded_to_interleaved_partial": sharded_to_interleaved_partial,
}

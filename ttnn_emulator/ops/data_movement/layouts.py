"""Operations that copy a tensor into another layout, dtype or memory configuration.

Where a result lies is the host side's to plan; the values are copied, or packed again where the
layout or the dtype changes.
"""

import math

import torch
import ttnn

from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor, trimmed
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.configs import compute_of
from ttnn_emulator.ops.common.moving import (
    beside_a_number,
    copied,
    moved,
    moved_into,
    through_dest,
    with_padding,
)

# --- layouts -------------------------------------------------------------------------------------


def to_layout(
    launch: Launch,
    tensor: DeviceTensor,
    layout: object,
    dtype: ttnn.DataType | None = None,
    memory_config: object = None,
    sub_core_grids: object = None,
    pad_value: float | None = 0.0,
) -> torch.Tensor | None:
    if launch.views_input:
        return None
    if not pad_value or not launch.output.tiled:
        return moved(launch, tensor)
    values = through_dest(launch, tensor.logical, tensor)
    return with_padding(launch, tensor, values, pad_value)


def tilize(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    dtype: ttnn.DataType | None = None,
    use_low_perf: bool = False,  # smaller buffers on the way
    tile: object = None,
) -> torch.Tensor | None:
    return moved(launch, input_tensor)


def tilize_with_zero_padding(
    launch: Launch, input_tensor: DeviceTensor, *, output_dtype: ttnn.DataType | None = None
) -> torch.Tensor | None:
    return moved(launch, input_tensor)


def tilize_with_val_padding(
    launch: Launch,
    input_tensor: DeviceTensor,
    output_tensor_shape: object,
    pad_value: float | None,
    *,
    dtype: ttnn.DataType | None = None,
) -> torch.Tensor | None:
    values = moved(launch, input_tensor)
    return None if values is None else with_padding(launch, input_tensor, values, pad_value)


def untilize(launch: Launch, input_tensor: DeviceTensor) -> torch.Tensor | None:
    return moved(launch, input_tensor)


def untilize_with_unpadding(
    launch: Launch, input_tensor: DeviceTensor, output_tensor_end: object
) -> torch.Tensor:
    """Rows and columns up to `output_tensor_end`, padding included where it reaches into it.

    Raises:
        OutOfBounds: an end beyond the padding.
    """
    planned, padded = launch.output.shape, input_tensor.padded_shape
    bounds.region((0,) * len(planned), planned, padded, op=launch.name, operand="input_tensor")
    values = copied(trimmed(input_tensor.data, launch.output.shape))
    return through_dest(launch, values, input_tensor)


def fill_implicit_tile_padding(
    launch: Launch, input_tensor: DeviceTensor, fill_value: float
) -> torch.Tensor | None:
    if launch.views_input and input_tensor.shape == input_tensor.padded_shape:
        return None
    if math.isnan(fill_value):  # the packer knows no NaN
        fill_value = math.inf
    padded = torch.full_like(input_tensor.data, fill_value)
    trimmed(padded, input_tensor.shape).copy_(input_tensor.logical)
    return beside_a_number(launch, input_tensor, padded)


# --- copies --------------------------------------------------------------------------------------


def to_memory_config(
    launch: Launch,
    tensor: DeviceTensor,
    memory_config: object,
    dtype: ttnn.DataType | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor | None:
    return moved(launch, tensor)


def interleaved_to_sharded(
    launch: Launch,
    input_tensor: DeviceTensor,
    *placement: object,
    grid: object = None,
    shard_shape: object = None,
    shard_scheme: object = None,
    shard_orientation: object = None,
    sharded_memory_config: object = None,
    output_dtype: ttnn.DataType | None = None,
    keep_l1_aligned: bool | None = False,
    preallocated_output: DeviceTensor | None = None,
) -> torch.Tensor | None:
    """Both forms: a memory configuration, or the grid and the shards in four arguments."""
    return moved(launch, input_tensor)


def sharded_to_interleaved(
    launch: Launch,
    input_tensor: DeviceTensor,
    memory_config: object = None,
    output_dtype: ttnn.DataType | None = None,
) -> torch.Tensor | None:
    return moved(launch, input_tensor)


def reshard(
    launch: Launch,
    input_tensor: DeviceTensor,
    output_memory_config: object,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor | None:
    return moved(launch, input_tensor)


def to_dtype(launch: Launch, tensor: DeviceTensor, dtype: ttnn.DataType) -> torch.Tensor | None:
    return moved(launch, tensor)


def move(launch: Launch, input_tensor: DeviceTensor) -> torch.Tensor | None:
    return moved(launch, input_tensor)


def reallocate(
    launch: Launch, tensor: DeviceTensor, memory_config: object = None
) -> torch.Tensor | None:
    return moved(launch, tensor)


def clone(
    launch: Launch,
    input: DeviceTensor,
    *,
    dtype: ttnn.DataType | None = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> torch.Tensor | None:
    compute = compute_of(compute_kernel_config)
    return moved(launch, input, compute is not None and compute.fp32_dest_acc)


def copy(launch: Launch, input_a: DeviceTensor, input_b: DeviceTensor) -> torch.Tensor:
    """Into the second tensor, which is also what the call returns."""
    return moved_into(launch, input_b, input_a)


def assign(
    launch: Launch,
    *operands: DeviceTensor,
    input_tensor: DeviceTensor | None = None,
    input_a: DeviceTensor | None = None,
    input_b: DeviceTensor | None = None,
    dtype: ttnn.DataType | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor | None:
    """A copy elsewhere; with a second operand, into that one, as with `output_tensor`."""
    named = [operand for operand in (input_tensor, input_a, input_b) if operand is not None]
    source, *into = (*operands, *named)
    target = into[0] if into else output_tensor
    return moved(launch, source) if target is None else moved_into(launch, target, source)


BINDINGS = {
    "ttnn.assign": assign,
    "ttnn.clone": clone,
    "ttnn.copy": copy,
    "ttnn.fill_implicit_tile_padding": fill_implicit_tile_padding,
    "ttnn.interleaved_to_sharded": interleaved_to_sharded,
    "ttnn.move": move,
    "ttnn.reallocate": reallocate,
    "ttnn.reshard": reshard,
    "ttnn.sharded_to_interleaved": sharded_to_interleaved,
    "ttnn.tilize": tilize,
    "ttnn.tilize_with_val_padding": tilize_with_val_padding,
    "ttnn.tilize_with_zero_padding": tilize_with_zero_padding,
    "ttnn.to_dtype": to_dtype,
    "ttnn.to_layout": to_layout,
    "ttnn.to_memory_config": to_memory_config,
    "ttnn.untilize": untilize,
    "ttnn.untilize_with_unpadding": untilize_with_unpadding,
}

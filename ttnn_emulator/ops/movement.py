"""Operations that move values without changing them: shapes, layouts, memory configurations.

Every result is a copy, because the output has a buffer of its own; where TTNN returns a view of the
same buffer, the contents stay as they are.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import ttnn

from ttnn_emulator.arithmetic import formats
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor, trimmed
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.configs import compute_of
from ttnn_emulator.ops.common.moving import (
    beside_a_number,
    copied,
    moved,
    moved_into,
    moved_values,
    through_dest,
    with_padding,
)

# --- shapes --------------------------------------------------------------------------------------


def reshape(
    launch: Launch,
    input_tensor: DeviceTensor,
    *shapes: object,
    shape: object = None,
    logical_shape: object = None,
    padded_shape: object = None,
    pad_value: float | None = None,
    skip_padding_fill: bool = False,  # leaves the padding undefined, so zeros will do
    reshape_tile_mode: object = None,
) -> torch.Tensor | None:
    """Logical elements in their order, whatever the padding of either shape."""
    if launch.views_input:
        return None
    values = copied(input_tensor.logical.reshape(launch.output.shape))
    return with_padding(launch, input_tensor, values, pad_value)


def view(
    launch: Launch, input_tensor: DeviceTensor, *shape: object, **named: object
) -> torch.Tensor | None:
    return reshape(launch, input_tensor)


def transpose(
    launch: Launch, input_tensor: DeviceTensor, dim1: int, dim2: int, pad_value: float | None = None
) -> torch.Tensor | None:
    if launch.views_input:
        return None
    values = copied(input_tensor.logical.transpose(dim1, dim2))
    rank = len(input_tensor.shape)
    if {dim1 % rank, dim2 % rank} == {rank - 1, rank - 2}:  # within tiles
        values = through_dest(launch, values, input_tensor)
    return with_padding(launch, input_tensor, values, pad_value)


def permute(
    launch: Launch, input_tensor: DeviceTensor, dims: Sequence[int], pad_value: float | None = None
) -> torch.Tensor | None:
    if launch.views_input:
        return None
    values = copied(input_tensor.logical.permute(tuple(dims)))
    return with_padding(launch, input_tensor, values, pad_value)


# --- joining and parting -------------------------------------------------------------------------


def concat(
    launch: Launch,
    tensors: Sequence[DeviceTensor],
    dim: int = 0,
    *,
    output_tensor: DeviceTensor | None = None,
    groups: int = 1,
) -> torch.Tensor:
    if groups != 1:
        raise NotEmulated(f"ttnn.concat: groups={groups} is not emulated, only 1.")
    return torch.cat([t.logical for t in tensors], dim)


def stack(launch: Launch, input_tensors: Sequence[DeviceTensor], dim: int) -> torch.Tensor:
    return torch.stack([t.logical for t in input_tensors], dim)


def slice_(
    launch: Launch,
    input_tensor: DeviceTensor,
    starts: Sequence[int] | DeviceTensor | None = None,
    ends: Sequence[int] | DeviceTensor | None = None,
    steps: Sequence[int] | None = None,
    *,
    slice_start: Sequence[int] | None = None,
    slice_end: Sequence[int] | None = None,
    slice_step: Sequence[int] | None = None,
    output_tensor: DeviceTensor | None = None,
    pad_value: float | None = None,
    slice_dim: int | None = None,
    num_devices: int | None = None,
) -> torch.Tensor | None:
    """Elements from starts up to ends, by steps; starts and ends are lists or device tensors.

    TTNN plans the output of tensors beforehand, and the kernel reads as much as that from the
    starts on (reader_unary_unpad_dims_interleaved_start_id_tensor_args.cpp).

    Raises:
        OutOfBounds: starts in a tensor from which on the input has less than was planned.
    """
    if launch.views_input:
        return None
    starts = slice_start if starts is None else starts
    if isinstance(starts, DeviceTensor):
        return copied(_from_starts(launch, input_tensor, starts.logical.flatten().tolist()))
    ends = slice_end if ends is None else ends
    # the host side wants both, and both tensors or neither
    assert starts is not None
    assert ends is not None
    assert not isinstance(ends, DeviceTensor)
    steps = (slice_step if steps is None else steps) or [1] * len(starts)
    picked = input_tensor.logical
    for dim, (start, end, step) in enumerate(zip(starts, ends, steps, strict=True)):
        picked = picked[(slice(None),) * dim + (slice(start, end, step),)]
    values = copied(picked.reshape(launch.output.shape))
    return with_padding(launch, input_tensor, values, pad_value)


def _from_starts(launch: Launch, input_tensor: DeviceTensor, starts: Sequence[int]) -> torch.Tensor:
    planned = launch.output.shape
    bounds.region(
        starts, planned, input_tensor.padded_shape, op=launch.name, operand="input_tensor"
    )
    picked = tuple(slice(start, start + size) for start, size in zip(starts, planned, strict=True))
    return input_tensor.data[picked]


def split(
    launch: Launch, input_tensor: DeviceTensor, split_size: int | Sequence[int], dim: int = 0
) -> list[torch.Tensor]:
    sizes = split_size if isinstance(split_size, int) else list(split_size)
    return [copied(part) for part in input_tensor.logical.split(sizes, dim)]


def chunk(
    launch: Launch, input_tensor: DeviceTensor, chunks: int, dim: int = 0
) -> list[torch.Tensor]:
    sizes = [output.shape[dim] for output in launch.outputs]
    return [copied(part) for part in input_tensor.logical.split(sizes, dim)]


def narrow(
    launch: Launch, input_tensor: DeviceTensor, dim: int, start: int, length: int
) -> torch.Tensor | None:
    return moved_values(launch, input_tensor.logical.narrow(dim, start, length))


# --- growing -------------------------------------------------------------------------------------


def pad(
    launch: Launch,
    input_tensor: DeviceTensor,
    padding: Sequence[Any] | None = None,
    *start_and_value: Any,
    value: float = 0.0,
    output_padded_shape: Sequence[Any] | None = None,
    input_tensor_start: Sequence[int] | None = None,
) -> torch.Tensor | None:
    """Both forms: pairs (before, after) for each dimension and a value; or the padded shape, where
    the input starts in it, and a value. Fewer pairs than dimensions are for the last ones. A result
    that fits the input's tiles shares its buffer: TTNN fills the padding in place.
    """
    shape = launch.output.shape
    if launch.views_input and shape == input_tensor.shape:
        return None
    padding = output_padded_shape if padding is None else padding
    if not padding or isinstance(padding[0], int):
        named_start: list[Any] = [] if input_tensor_start is None else [input_tensor_start]
        start, *rest = [*named_start, *start_and_value]
    else:
        start, rest = [before for before, _ in padding], list(start_and_value)
    (value,) = rest or (value,)
    start = (0,) * (len(shape) - len(start)) + tuple(start)
    padded = torch.full(shape, value, dtype=formats.STORAGE[input_tensor.dtype])
    region = tuple(slice(at, at + size) for at, size in zip(start, input_tensor.shape, strict=True))
    padded[region] = input_tensor.logical
    return beside_a_number(launch, input_tensor, padded)


def repeat(
    launch: Launch,
    input_tensor: DeviceTensor,
    repeat_dims: Sequence[int],
    *,
    optional_output_tensor: DeviceTensor | None = None,
) -> torch.Tensor | None:
    return moved_values(launch, input_tensor.logical.repeat(tuple(repeat_dims)))


def repeat_interleave(
    launch: Launch, input_tensor: DeviceTensor, repeats: int, dim: int | None = None
) -> torch.Tensor:
    return torch.repeat_interleave(input_tensor.logical, repeats, dim)


def expand(
    launch: Launch,
    input_tensor: DeviceTensor,
    output_shape: object,
    *,
    output: DeviceTensor | None = None,
) -> torch.Tensor | None:
    return moved_values(launch, input_tensor.logical.expand(launch.output.shape))


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
    input_tensor: DeviceTensor,
    input_b: DeviceTensor | None = None,
    *,
    dtype: ttnn.DataType | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor | None:
    target = input_b if input_b is not None else output_tensor
    if target is None:
        return moved(launch, input_tensor)
    return moved_into(launch, target, input_tensor)


def _copy_elsewhere(name: str) -> Callable[..., torch.Tensor | None]:
    """A binding for a copy whose arguments only say where it is placed."""

    def binding(
        launch: Launch, input_tensor: DeviceTensor, *placement: object, **named_placement: object
    ) -> torch.Tensor | None:
        return moved(launch, input_tensor)

    binding.__name__ = name
    return binding


BINDINGS = {
    "ttnn.assign": assign,
    "ttnn.chunk": chunk,
    "ttnn.clone": clone,
    "ttnn.concat": concat,
    "ttnn.copy": copy,
    "ttnn.expand": expand,
    "ttnn.experimental.broadcast_to": expand,
    "ttnn.experimental.view": view,
    "ttnn.fill_implicit_tile_padding": fill_implicit_tile_padding,
    "ttnn.interleaved_to_sharded": _copy_elsewhere("interleaved_to_sharded"),
    "ttnn.move": _copy_elsewhere("move"),
    "ttnn.narrow": narrow,
    "ttnn.pad": pad,
    "ttnn.permute": permute,
    "ttnn.reallocate": _copy_elsewhere("reallocate"),
    "ttnn.repeat": repeat,
    "ttnn.repeat_interleave": repeat_interleave,
    "ttnn.reshape": reshape,
    "ttnn.reshape_on_device": view,
    "ttnn.reshard": _copy_elsewhere("reshard"),
    "ttnn.sharded_to_interleaved": _copy_elsewhere("sharded_to_interleaved"),
    "ttnn.slice": slice_,
    "ttnn.split": split,
    "ttnn.squeeze": view,
    "ttnn.stack": stack,
    "ttnn.tilize": _copy_elsewhere("tilize"),
    "ttnn.tilize_with_val_padding": tilize_with_val_padding,
    "ttnn.tilize_with_zero_padding": _copy_elsewhere("tilize_with_zero_padding"),
    "ttnn.to_dtype": _copy_elsewhere("to_dtype"),
    "ttnn.to_layout": to_layout,
    "ttnn.to_memory_config": to_memory_config,
    "ttnn.transpose": transpose,
    "ttnn.unsqueeze": view,
    "ttnn.untilize": _copy_elsewhere("untilize"),
    "ttnn.untilize_with_unpadding": untilize_with_unpadding,
    "ttnn.view": view,
}

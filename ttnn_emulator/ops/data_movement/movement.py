"""Operations that move values without changing them: their shapes, joining, parting and growing.

Every result is a copy, because the output has a buffer of its own; where TTNN returns a view of the
same buffer, the contents stay as they are.
"""

from collections.abc import Sequence
from typing import Any

import torch

from ttnn_emulator.arithmetic import formats
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.moving import (
    beside_a_number,
    copied,
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


def view(launch: Launch, input_tensor: DeviceTensor, shape: object) -> torch.Tensor | None:
    return reshape(launch, input_tensor)


def view_of_sizes(
    launch: Launch,
    input_tensor: DeviceTensor,
    *sizes: object,
    N: int = 1,
    C: int = 1,
    H: int = 1,
    W: int = 1,
    shape: object = None,
) -> torch.Tensor | None:
    return reshape(launch, input_tensor)


def reshape_on_device(
    launch: Launch, input_tensor: DeviceTensor, W: int, Z: int, Y: int, X: int
) -> torch.Tensor | None:
    return reshape(launch, input_tensor)


def squeeze(
    launch: Launch, input_tensor: DeviceTensor, dim: int | Sequence[int] | None = None
) -> torch.Tensor | None:
    return reshape(launch, input_tensor)


def unsqueeze(launch: Launch, input_tensor: DeviceTensor, dim: int) -> torch.Tensor | None:
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
    """One after the other or, with `groups`, the first part of each, then the second of each.

    Grouped tiles are made rows and tiles again (program factory of grouped concat), which packs a
    block format anew.
    """
    if groups == 1:
        return torch.cat([t.logical for t in tensors], dim)
    parts = [t.logical.chunk(groups, dim) for t in tensors]
    values = torch.cat([part for of_group in zip(*parts, strict=True) for part in of_group], dim)
    return beside_a_number(launch, tensors[0], values)


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


def expand(launch: Launch, input_tensor: DeviceTensor, output_shape: object) -> torch.Tensor | None:
    return moved_values(launch, input_tensor.logical.expand(launch.output.shape))


def broadcast_to(
    launch: Launch,
    input: DeviceTensor,
    output_shape: object,
    *,
    output: DeviceTensor | None = None,
) -> torch.Tensor | None:
    return expand(launch, input, output_shape)


BINDINGS = {
    "ttnn.chunk": chunk,
    "ttnn.concat": concat,
    "ttnn.expand": expand,
    "ttnn.experimental.broadcast_to": broadcast_to,
    "ttnn.experimental.view": view_of_sizes,
    "ttnn.narrow": narrow,
    "ttnn.pad": pad,
    "ttnn.permute": permute,
    "ttnn.repeat": repeat,
    "ttnn.repeat_interleave": repeat_interleave,
    "ttnn.reshape": reshape,
    "ttnn.reshape_on_device": reshape_on_device,
    "ttnn.slice": slice_,
    "ttnn.split": split,
    "ttnn.squeeze": squeeze,
    "ttnn.stack": stack,
    "ttnn.transpose": transpose,
    "ttnn.unsqueeze": unsqueeze,
    "ttnn.view": view,
}

"""Operations that move values without changing them: shapes, layouts, memory configurations.

Every result is a copy of its own, since an output's buffer is another than its input's; where TTNN
returns a view of the same buffer the contents stay as they are.
"""

import math

import torch

from ttnn_emulator.arithmetic import formats
from ttnn_emulator.dispatch import NotEmulated
from ttnn_emulator.memory import DeviceTensor, trimmed
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.configs import compute_of
from ttnn_emulator.ops.common.padding import mark_undefined_rows, undefined_rows


def moved(launch, operand, *args, **kwargs):
    """The same logical contents elsewhere: another layout, dtype or memory configuration.

    A copy in the operand's own layout and dtype is one of bits.
    """
    return _moved(launch, operand)


def _moved(launch, operand, wide=False):
    """`moved`; a change of dtype has a destination of 32 bits if `wide`."""
    if launch.views_input:
        return None
    if operand.zero_padded and operand.shape == launch.output.shape:
        values = operand.logical.clone()
    elif operand.padded_shape == launch.output.padded_shape:
        values = operand.data.clone()
    else:
        values = _copy(operand.logical.reshape(launch.output.shape))
    if operand.tiled != launch.output.tiled:
        return through_dest(launch, values, operand)
    if operand.dtype == launch.output.dtype:
        return values
    return through_dest(launch, values, operand, wide)


def through_dest(launch, values, operand, wide=None):
    """Values that a compute kernel moves: what its packer makes of them.

    `wide` is as for the arithmetic's `moved`: None where float32 is unpacked to Dst.
    """
    marked, out = undefined_rows(values), launch.output.dtype
    values = launch.math.moved(values, operand.dtype, out, fp32_dest_acc=wide)
    return mark_undefined_rows(values, marked, out)


def _copy(values):
    """Values of their own: views of an operand's contents must not share its memory."""
    return values.clone(memory_format=torch.contiguous_format)


def _with_padding(launch, operand, values, pad_value):
    """Padded contents whose padding holds `pad_value`, None for zero."""
    if not pad_value or launch.output.shape == launch.output.padded_shape:
        return values
    padded = torch.full(launch.output.padded_shape, pad_value, dtype=values.dtype)
    trimmed(padded, launch.output.shape).copy_(values)
    return _beside_a_number(launch, operand, padded)


def _beside_a_number(launch, operand, values):
    """Values of a block format among which a number was put: as bfloat16, which is cast back."""
    if operand.dtype not in formats.BLOCK_FORMAT_BITS:
        return values
    return launch.math.typecast(values, "bfloat16", launch.output.dtype)


# --- shapes --------------------------------------------------------------------------------------


def reshape(
    launch,
    input_tensor,
    *shapes,
    shape=None,
    logical_shape=None,
    padded_shape=None,
    pad_value=None,
    skip_padding_fill=False,  # leaves the padding undefined, so zeros will do
    reshape_tile_mode=None,
):
    """Logical elements in their order, whatever the padding of either shape."""
    if launch.views_input:
        return None
    values = _copy(input_tensor.logical.reshape(launch.output.shape))
    return _with_padding(launch, input_tensor, values, pad_value)


def view(launch, input_tensor, *shape, **named):
    return reshape(launch, input_tensor)


def transpose(launch, input_tensor, dim1, dim2, pad_value=None):
    if launch.views_input:
        return None
    values = _copy(input_tensor.logical.transpose(dim1, dim2))
    rank = len(input_tensor.shape)
    if {dim1 % rank, dim2 % rank} == {rank - 1, rank - 2}:  # within tiles
        values = through_dest(launch, values, input_tensor)
    return _with_padding(launch, input_tensor, values, pad_value)


def permute(launch, input_tensor, dims, pad_value=None):
    if launch.views_input:
        return None
    values = _copy(input_tensor.logical.permute(tuple(dims)))
    return _with_padding(launch, input_tensor, values, pad_value)


# --- joining and parting -------------------------------------------------------------------------


def concat(launch, tensors, dim=0, *, output_tensor=None, groups=1):
    if groups != 1:
        raise NotEmulated(f"ttnn.concat: groups={groups} is not emulated, only 1.")
    return torch.cat([t.logical for t in tensors], dim)


def stack(launch, input_tensors, dim):
    return torch.stack([t.logical for t in input_tensors], dim)


def slice_(
    launch,
    input_tensor,
    starts=None,
    ends=None,
    steps=None,
    *,
    slice_start=None,
    slice_end=None,
    slice_step=None,
    output_tensor=None,
    pad_value=None,
    slice_dim=None,
    num_devices=None,
):
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
        return _copy(_from_starts(launch, input_tensor, starts.logical.flatten().tolist()))
    starts, ends = list(starts), list(slice_end if ends is None else ends)
    steps = (slice_step if steps is None else steps) or [1] * len(starts)
    picked = input_tensor.logical
    for dim, (start, end, step) in enumerate(zip(starts, ends, steps, strict=True)):
        picked = picked[(slice(None),) * dim + (slice(start, end, step),)]
    values = _copy(picked.reshape(launch.output.shape))
    return _with_padding(launch, input_tensor, values, pad_value)


def _from_starts(launch, input_tensor, starts):
    planned = launch.output.shape
    bounds.region(
        starts, planned, input_tensor.padded_shape, op=launch.name, operand="input_tensor"
    )
    picked = tuple(slice(start, start + size) for start, size in zip(starts, planned, strict=True))
    return input_tensor.data[picked]


def split(launch, input_tensor, split_size, dim=0):
    sizes = split_size if isinstance(split_size, int) else list(split_size)
    return [_copy(part) for part in input_tensor.logical.split(sizes, dim)]


def chunk(launch, input_tensor, chunks, dim=0):
    sizes = [output.shape[dim] for output in launch.outputs]
    return [_copy(part) for part in input_tensor.logical.split(sizes, dim)]


def narrow(launch, input_tensor, dim, start, length):
    return moved_values(launch, input_tensor.logical.narrow(dim, start, length))


def moved_values(launch, values):
    """A copy of `values` in the output's shape, nothing for a view."""
    return None if launch.views_input else _copy(values.reshape(launch.output.shape))


# --- growing -------------------------------------------------------------------------------------


def pad(
    launch,
    input_tensor,
    padding=None,
    *start_and_value,
    value=0.0,
    output_padded_shape=None,
    input_tensor_start=None,
):
    """Both forms: pairs (before, after) for each dimension and a value; or the padded shape, where
    the input starts in it, and a value. Fewer pairs than dimensions are for the last ones. A result
    that fits the input's tiles shares its buffer: TTNN fills the padding in place.
    """
    shape = launch.output.shape
    if launch.views_input and shape == input_tensor.shape:
        return None
    padding = list(output_padded_shape if padding is None else padding)
    if not padding or isinstance(padding[0], int):
        start, *rest = (
            *(() if input_tensor_start is None else (input_tensor_start,)),
            *start_and_value,
        )
    else:
        start, rest = [before for before, _ in padding], start_and_value
    (value,) = rest or (value,)
    start = (0,) * (len(shape) - len(start)) + tuple(start)
    padded = torch.full(shape, value, dtype=formats.STORAGE[input_tensor.dtype])
    region = tuple(slice(at, at + size) for at, size in zip(start, input_tensor.shape, strict=True))
    padded[region] = input_tensor.logical
    return _beside_a_number(launch, input_tensor, padded)


def repeat(launch, input_tensor, repeat_dims, *, optional_output_tensor=None):
    return moved_values(launch, input_tensor.logical.repeat(tuple(repeat_dims)))


def repeat_interleave(launch, input_tensor, repeats, dim=None):
    return torch.repeat_interleave(input_tensor.logical, repeats, dim)


def expand(launch, input_tensor, output_shape, *, output=None):
    return moved_values(launch, input_tensor.logical.expand(launch.output.shape))


# --- layouts -------------------------------------------------------------------------------------


def to_layout(
    launch, tensor, layout, dtype=None, memory_config=None, sub_core_grids=None, pad_value=0.0
):
    if launch.views_input:
        return None
    if not pad_value or not launch.output.tiled:
        return moved(launch, tensor)
    values = through_dest(launch, tensor.logical, tensor)
    return _with_padding(launch, tensor, values, pad_value)


def tilize_with_val_padding(launch, input_tensor, output_tensor_shape, pad_value, *, dtype=None):
    return _with_padding(launch, input_tensor, moved(launch, input_tensor), pad_value)


def untilize_with_unpadding(launch, input_tensor, output_tensor_end):
    """Rows and columns up to `output_tensor_end`, padding included where it reaches into it.

    Raises:
        OutOfBounds: an end beyond the padding.
    """
    planned, held = launch.output.shape, input_tensor.padded_shape
    bounds.region((0,) * len(planned), planned, held, op=launch.name, operand="input_tensor")
    values = _copy(trimmed(input_tensor.data, launch.output.shape))
    return through_dest(launch, values, input_tensor)


def fill_implicit_tile_padding(launch, input_tensor, fill_value):
    if launch.views_input and input_tensor.shape == input_tensor.padded_shape:
        return None
    if math.isnan(fill_value):  # the packer knows no NaN
        fill_value = math.inf
    padded = torch.full_like(input_tensor.data, fill_value)
    trimmed(padded, input_tensor.shape).copy_(input_tensor.logical)
    return _beside_a_number(launch, input_tensor, padded)


# --- copies --------------------------------------------------------------------------------------


def to_memory_config(launch, tensor, memory_config, dtype=None, output_tensor=None):
    return moved(launch, tensor)


def clone(launch, input, *, dtype=None, compute_kernel_config=None):
    compute = compute_of(compute_kernel_config)
    return _moved(launch, input, wide=compute is not None and compute.fp32_dest_acc)


def copy(launch, input_a, input_b):
    """Into the second tensor, which is also what the call returns."""
    return moved_into(launch, input_b, input_a)


def assign(launch, input_tensor, input_b=None, *, dtype=None, output_tensor=None):
    target = input_b if input_b is not None else output_tensor
    if target is None:
        return moved(launch, input_tensor)
    return moved_into(launch, target, input_tensor)


def moved_into(launch, target, source):
    """Contents for the output that `target` is."""
    if source.padded_shape == target.padded_shape and not source.zero_padded:
        values = source.data.clone()
    else:
        values = _copy(source.logical)
    return values if source.dtype == target.dtype else through_dest(launch, values, source, False)


def _placed(name):
    """A kernel whose arguments only say where the copy goes."""

    def kernel(launch, input_tensor, *placement, **named_placement):
        return moved(launch, input_tensor)

    kernel.__name__ = name
    return kernel


KERNELS = {
    "ttnn.assign": assign,
    "ttnn.chunk": chunk,
    "ttnn.clone": clone,
    "ttnn.concat": concat,
    "ttnn.copy": copy,
    "ttnn.expand": expand,
    "ttnn.experimental.broadcast_to": expand,
    "ttnn.experimental.view": view,
    "ttnn.fill_implicit_tile_padding": fill_implicit_tile_padding,
    "ttnn.interleaved_to_sharded": _placed("interleaved_to_sharded"),
    "ttnn.move": _placed("move"),
    "ttnn.narrow": narrow,
    "ttnn.pad": pad,
    "ttnn.permute": permute,
    "ttnn.reallocate": _placed("reallocate"),
    "ttnn.repeat": repeat,
    "ttnn.repeat_interleave": repeat_interleave,
    "ttnn.reshape": reshape,
    "ttnn.reshape_on_device": view,
    "ttnn.reshard": _placed("reshard"),
    "ttnn.sharded_to_interleaved": _placed("sharded_to_interleaved"),
    "ttnn.slice": slice_,
    "ttnn.split": split,
    "ttnn.squeeze": view,
    "ttnn.stack": stack,
    "ttnn.tilize": _placed("tilize"),
    "ttnn.tilize_with_val_padding": tilize_with_val_padding,
    "ttnn.tilize_with_zero_padding": _placed("tilize_with_zero_padding"),
    "ttnn.to_dtype": _placed("to_dtype"),
    "ttnn.to_layout": to_layout,
    "ttnn.to_memory_config": to_memory_config,
    "ttnn.transpose": transpose,
    "ttnn.unsqueeze": view,
    "ttnn.untilize": _placed("untilize"),
    "ttnn.untilize_with_unpadding": untilize_with_unpadding,
    "ttnn.view": view,
}

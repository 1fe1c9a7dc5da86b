"""Common to operations that move values: copies, padding with a number, packing."""

import torch

from ttnn_emulator.arithmetic import formats
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor, trimmed
from ttnn_emulator.ops.common.padding import mark_undefined_rows, undefined_rows


def moved(
    launch: Launch, operand: DeviceTensor, fp32_dest_acc: bool = False
) -> torch.Tensor | None:
    """The same logical contents elsewhere: another layout, dtype or memory configuration.

    A copy in the operand's own layout and dtype keeps every bit. A change of dtype goes through a
    32-bit destination if `fp32_dest_acc`.
    """
    if launch.views_input:
        return None
    if operand.zero_padded and operand.shape == launch.output.shape:
        values = operand.logical.clone()
    elif operand.padded_shape == launch.output.padded_shape:
        values = operand.data.clone()
    else:
        values = copied(operand.logical.reshape(launch.output.shape))
    if operand.tiled != launch.output.tiled:
        return through_dest(launch, values, operand)
    if operand.dtype == launch.output.dtype:
        return values
    return through_dest(launch, values, operand, fp32_dest_acc)


def moved_into(launch: Launch, target: DeviceTensor, source: DeviceTensor) -> torch.Tensor:
    """The same values for an output that is the tensor `target`."""
    if source.padded_shape == target.padded_shape and not source.zero_padded:
        values = source.data.clone()
    else:
        values = copied(source.logical)
    return values if source.dtype == target.dtype else through_dest(launch, values, source, False)


def through_dest(
    launch: Launch, values: torch.Tensor, operand: DeviceTensor, fp32_dest_acc: bool | None = None
) -> torch.Tensor:
    """Values moved by a compute kernel, as its packer leaves them.

    `fp32_dest_acc` is as for the arithmetic's `moved`: None where float32 is unpacked to Dst.
    """
    marked, out = undefined_rows(values), launch.output.dtype
    values = launch.math.moved(values, operand.dtype, out, fp32_dest_acc=fp32_dest_acc)
    return mark_undefined_rows(values, marked, out)


def copied(values: torch.Tensor) -> torch.Tensor:
    """A contiguous copy: results must not share memory with an operand's contents."""
    return values.clone(memory_format=torch.contiguous_format)


def with_padding(
    launch: Launch, operand: DeviceTensor, values: torch.Tensor, pad_value: float | None
) -> torch.Tensor:
    """Padded contents whose padding holds `pad_value`, None for zero."""
    if not pad_value or launch.output.shape == launch.output.padded_shape:
        return values
    padded = torch.full(launch.output.padded_shape, pad_value, dtype=values.dtype)
    trimmed(padded, launch.output.shape).copy_(values)
    return beside_a_number(launch, operand, padded)


def beside_a_number(launch: Launch, operand: DeviceTensor, values: torch.Tensor) -> torch.Tensor:
    """Block format values with a number inserted; TTNN computes in bfloat16 and casts back."""
    if operand.dtype not in formats.BLOCK_FORMAT_BITS:
        return values
    return launch.math.typecast(values, "bfloat16", launch.output.dtype)


def moved_values(launch: Launch, values: torch.Tensor) -> torch.Tensor | None:
    """A copy of `values` in the output's shape, nothing for a view."""
    return None if launch.views_input else copied(values.reshape(launch.output.shape))

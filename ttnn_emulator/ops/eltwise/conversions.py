"""Conversions between dtypes, and the counter that adds one to integers in place."""

import torch
import ttnn

from ttnn_emulator.arithmetic.formats import STORAGE
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import padding


def typecast(
    launch: Launch,
    input_tensor: DeviceTensor,
    *dtypes: object,
    dtype: ttnn.DataType | None = None,
    input_dtype: ttnn.DataType | None = None,
    output_dtype: ttnn.DataType | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """Every pair of dtypes; the target is the planned output's."""
    bare = input_tensor.zero_padded and input_tensor.shape == launch.output.shape
    values = input_tensor.logical if bare else input_tensor.data
    result = launch.math.typecast(values, input_tensor.dtype, launch.output.dtype)
    return padding.mark_undefined_rows(result, padding.undefined_rows(values), launch.output.dtype)


def plus_one(
    launch: Launch, input_tensor: DeviceTensor, *, skip_negative_entries: bool = False
) -> None:
    """Add 1 to integers in place; with `skip_negative_entries` only to those from 0 on."""
    counts = input_tensor.data.long()  # torch adds no uint32
    input_tensor.data.copy_(counts + ((counts >= 0) if skip_negative_entries else 1))


def bitcast(
    launch: Launch,
    input_tensor: DeviceTensor,
    dtype: ttnn.DataType,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """The same bits as another dtype of their width, in the padding too."""
    return input_tensor.data.clone().view(STORAGE[launch.output.dtype])


BINDINGS = {
    "ttnn.bitcast": bitcast,
    "ttnn.experimental.typecast": typecast,
    "ttnn.plus_one": plus_one,
    "ttnn.typecast": typecast,
}

WRITES = {"ttnn.plus_one": ("input_tensor",)}

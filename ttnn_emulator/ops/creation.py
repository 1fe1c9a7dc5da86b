"""Operations that make a tensor from its shape."""

import math

import numpy as np
import torch

from ttnn_emulator.arithmetic import formats, paths
from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.ops.common.padding import undefined
from ttnn_emulator.ops.eltwise_unary import apply

# Dtypes of which `ttnn.full_like` fills tiles on the device (seen in the programs of TTNN 0.81.1).
FILLED = ("bfloat16", "float32", "bfloat8_b")
RANDOM = paths.approximation("random numbers of torch, not the device's")


def zeros(launch, *type_and_place, **named):
    """Fresh zeros whose memory the host gives page by page as they are written.

    numpy asks the system for zeroed pages; torch writes the zeros itself and touches all of them.
    """
    dtype, shape = formats.STORAGE[launch.output.dtype], launch.output.padded_shape
    size = math.prod(shape) * dtype.itemsize
    return torch.from_numpy(np.zeros(size, np.uint8)).view(dtype).reshape(shape)


def ones(launch, *type_and_place, **named):
    return _filled(launch, 1)


def full(launch, shape, fill_value, *type_and_place, **named):
    return zeros(launch) if fill_value == 0 else _filled(launch, fill_value)


def full_like(launch, tensor, fill_value, *type_and_place, **named):
    """A number in a tensor like another: whole tiles of the dtypes in `FILLED` are filled on the
    device, padding included; the others come from the host.
    """
    out = launch.output
    if tensor.tiled and out.tiled and tensor.dtype == out.dtype in FILLED:
        return apply(launch, tensor, FusedOp("fill", (fill_value,)))
    return full(launch, out.shape, fill_value)


def zeros_like(launch, tensor, *type_and_place, **named):
    return zeros(launch)


def ones_like(launch, tensor, *type_and_place, **named):
    return full_like(launch, tensor, 1)


def empty(launch, *type_and_place, **named):
    return undefined(launch.output.padded_shape, launch.output.dtype)


def arange(launch, *bounds, start=0, end=None, step=1, dtype=None, device=None, layout=None):
    if len(bounds) == 1 and end is None:
        end = bounds[0]
    else:
        start, end, step = (*bounds, *(start, end, step)[len(bounds) :])
    return torch.arange(start, end, step).reshape(launch.output.shape)


def rand(
    launch, shape, device, *, dtype=None, layout=None, low=0.0, high=1.0, seed=0, mesh_mapper=None
):
    """Uniform numbers of torch's generator, not of the device's; seed 0 goes on from the last."""
    paths.tell(RANDOM)
    numbers = low + (high - low) * torch.rand(launch.output.shape, generator=_generator(seed))
    if launch.output.dtype in formats.BLOCK_FORMAT_BITS:  # made in float32
        return launch.math.typecast(numbers, "float32", launch.output.dtype)
    return numbers


def randn(launch, shape, device, *, dtype=None, layout=None, compute_kernel_config=None, seed=None):
    """Normal numbers of torch's generator, not of the device's."""
    paths.tell(RANDOM)
    return torch.randn(launch.output.shape, generator=_generator(seed))


def _generator(seed):
    return torch.Generator().manual_seed(seed) if seed else None


def _filled(launch, value):
    """A number as the host writes it: it encodes block formats, of which no packer knows."""
    dtype = formats.STORAGE[launch.output.dtype]
    if launch.output.dtype in formats.BLOCK_FORMAT_BITS:
        block = torch.full((formats.BLOCK,), float(value))
        value = formats.encode(block, launch.output.dtype)[0].item()
    if not dtype.is_floating_point:
        value = int(value)
    return torch.full(launch.output.shape, value, dtype=dtype)


KERNELS = {
    "ttnn.arange": arange,
    "ttnn.empty": empty,
    "ttnn.empty_like": empty,
    "ttnn.full": full,
    "ttnn.full_like": full_like,
    "ttnn.ones": ones,
    "ttnn.ones_like": ones_like,
    "ttnn.rand": rand,
    "ttnn.randn": randn,
    "ttnn.zeros": zeros,
    "ttnn.zeros_like": zeros_like,
}

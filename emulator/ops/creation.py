"""Operations that make a tensor from its shape."""

import math

import numpy as np
import torch

from emulator.arithmetic import formats, paths
from emulator.ops.padding import undefined

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
    return full(launch, launch.output.shape, fill_value)


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
    numbers = torch.rand(launch.output.shape, generator=_generator(seed))
    return low + (high - low) * numbers


def randn(launch, shape, device, *, dtype=None, layout=None, compute_kernel_config=None, seed=None):
    """Normal numbers of torch's generator, not of the device's."""
    paths.tell(RANDOM)
    return torch.randn(launch.output.shape, generator=_generator(seed))


def _generator(seed):
    return torch.Generator().manual_seed(seed) if seed else None


def _filled(launch, value):
    dtype = formats.STORAGE[launch.output.dtype]
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
    "ttnn.ones_like": ones,
    "ttnn.rand": rand,
    "ttnn.randn": randn,
    "ttnn.zeros": zeros,
    "ttnn.zeros_like": zeros,
}

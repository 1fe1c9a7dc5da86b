"""Operations that make a tensor from its shape."""

import math
from typing import Any

import torch
import ttnn

from ttnn_emulator.arithmetic import formats, paths
from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor, untouched_zeros
from ttnn_emulator.ops.common.padding import undefined
from ttnn_emulator.ops.eltwise.eltwise_unary import apply

# Dtypes of which `ttnn.full_like` fills tiles on the device (seen in the programs of TTNN 0.81.1).
FILLED = ("bfloat16", "float32", "bfloat8_b")
# Dtypes of which writer_full.cpp writes a number that is not 0.
WRITTEN = ("bfloat16", "float32", "int32")
RANDOM = paths.approximation("random numbers of torch, not the device's")


def zeros(
    launch: Launch,
    shape: object,
    dtype: ttnn.DataType | None = None,
    layout: object = None,
    device: object = None,
    memory_config: object = None,
) -> torch.Tensor:
    return _zeros(launch)


def ones(
    launch: Launch,
    shape: object,
    dtype: ttnn.DataType | None = None,
    layout: object = None,
    device: object = None,
    memory_config: object = None,
) -> torch.Tensor:
    return _filled(launch, 1)


def full(
    launch: Launch,
    shape: object,
    fill_value: float,
    dtype: ttnn.DataType | None = None,
    layout: object = None,
    device: object = None,
    memory_config: object = None,
    optional_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return _full(launch, fill_value)


def full_like(
    launch: Launch,
    tensor: DeviceTensor,
    fill_value: float,
    dtype: ttnn.DataType | None = None,
    layout: object = None,
    device: object = None,
    memory_config: object = None,
    optional_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """A number in a tensor like another: whole tiles of the dtypes in `FILLED` are filled on the
    device, padding included; the others come from the host.
    """
    out = launch.output
    if tensor.tiled and out.tiled and tensor.dtype == out.dtype in FILLED:
        return apply(launch, tensor, FusedOp("fill", (fill_value,)))
    return _full(launch, fill_value)


def moreh_full(
    launch: Launch,
    shape: object,
    fill_value: float,
    device: object,
    *,
    dtype: ttnn.DataType = ttnn.bfloat16,
    layout: object = None,
    memory_config: object = None,
) -> torch.Tensor:
    return _pages(launch, fill_value)


def moreh_full_like(
    launch: Launch,
    input: DeviceTensor,
    fill_value: float,
    dtype: ttnn.DataType | None = None,
    layout: object = None,
    memory_config: object = None,
) -> torch.Tensor:
    return _pages(launch, fill_value)


def zeros_like(
    launch: Launch,
    tensor: DeviceTensor,
    dtype: ttnn.DataType | None = None,
    layout: object = None,
    device: object = None,
    memory_config: object = None,
    optional_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return _zeros(launch)


def ones_like(
    launch: Launch,
    tensor: DeviceTensor,
    dtype: ttnn.DataType | None = None,
    layout: object = None,
    device: object = None,
    memory_config: object = None,
    optional_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return full_like(launch, tensor, 1)


def empty(
    launch: Launch,
    shape: object,
    dtype: ttnn.DataType | None = None,
    layout: object = None,
    device: object = None,
    memory_config: object = None,
) -> torch.Tensor:
    return undefined(launch.output.padded_shape, launch.output.dtype)


def empty_like(
    launch: Launch,
    tensor: DeviceTensor,
    *,
    dtype: ttnn.DataType | None = None,
    layout: object = None,
    device: object = None,
    memory_config: object = None,
) -> torch.Tensor:
    return undefined(launch.output.padded_shape, launch.output.dtype)


def arange(
    launch: Launch,
    *bounds: float,
    start: float = 0,
    end: float | None = None,
    step: float = 1,
    dtype: ttnn.DataType | None = None,
    device: object = None,
    layout: object = None,
) -> torch.Tensor:
    if len(bounds) == 1 and end is None:
        bounds = (start, *bounds)
    # what is not passed by position is passed by name, or has a default
    span: list[Any] = [*bounds, *(start, end, step)[len(bounds) :]]
    return torch.arange(*span).reshape(launch.output.shape)


def rand(
    launch: Launch,
    shape: object,
    device: object,
    *,
    dtype: ttnn.DataType | None = None,
    layout: object = None,
    low: float = 0.0,
    high: float = 1.0,
    seed: int | None = 0,
    mesh_mapper: object = None,
) -> torch.Tensor:
    """Uniform numbers from torch's generator, not the device's; seed 0 continues its sequence."""
    paths.tell(RANDOM)
    chances = torch.rand(launch.output.shape, generator=_generator(seed))
    numbers = between(low, high, chances, launch.output.dtype)
    if launch.output.dtype in formats.BLOCK_FORMAT_BITS:  # made in float32
        return launch.math.typecast(numbers, "float32", launch.output.dtype)
    return numbers


def randn(
    launch: Launch,
    shape: object,
    device: object,
    *,
    dtype: ttnn.DataType | None = None,
    layout: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    seed: int | None = None,
) -> torch.Tensor:
    """Normal numbers from torch's generator, not the device's."""
    paths.tell(RANDOM)
    return torch.randn(launch.output.shape, generator=_generator(seed))


def between(low: float, high: float, chances: torch.Tensor, dtype: str) -> torch.Tensor:
    """Numbers of [low, high) that stay there when they are rounded to the format.

    The host gives compute_uniform.cpp the format's least number not below `low` and its greatest
    below `high`, as a graph capture of the operation shows; other formats are made in float32.
    """
    kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    ends = torch.tensor((low, high), dtype=torch.float32)
    least, greatest = ends.to(kind)
    if least.float() < ends[0]:
        least = _neighbour(least, math.inf)
    if greatest.float() >= ends[1]:
        greatest = _neighbour(greatest, -math.inf)
    return torch.lerp(least.float(), greatest.float(), chances)


def _neighbour(number: torch.Tensor, towards: float) -> torch.Tensor:
    """The next number of the format, where zero's are the least normal ones."""
    smallest = torch.finfo(number.dtype).tiny
    if number == 0:
        return torch.full_like(number, math.copysign(smallest, towards))
    return torch.nextafter(number, torch.full_like(number, towards))


def _generator(seed: int | None) -> torch.Generator | None:
    return torch.Generator().manual_seed(seed) if seed else None


def _zeros(launch: Launch) -> torch.Tensor:
    return untouched_zeros(launch.output.padded_shape, formats.STORAGE[launch.output.dtype])


def _full(launch: Launch, value: float) -> torch.Tensor:
    return _zeros(launch) if value == 0 else _filled(launch, value)


def _filled(launch: Launch, value: float) -> torch.Tensor:
    """A number as the host stores it; in block formats the host rounds, not a packer."""
    dtype = formats.STORAGE[launch.output.dtype]
    if launch.output.dtype in formats.BLOCK_FORMAT_BITS:
        block = torch.full((formats.BLOCK,), float(value))
        value = formats.encode(block, launch.output.dtype)[0].item()
    if not dtype.is_floating_point:
        value = int(value)
    return torch.full(launch.output.shape, value, dtype=dtype)


def _pages(launch: Launch, value: float) -> torch.Tensor:
    """A number in whole pages, padding included, as writer_full.cpp writes them.

    It gets 32 bits: an integer's own, or a float's, which for bfloat16 are rounded and have their
    value in the upper half. It looks at the tensor's dtype alone, so 3 in place of 3.0 is no 3.
    """
    out = launch.output
    if out.dtype not in WRITTEN and value != 0:
        raise NotEmulated(f"{launch.name} of {out.dtype}: its kernel writes nothing but zeros.")
    number = torch.tensor(value, dtype=torch.float32 if isinstance(value, float) else torch.int32)
    if out.dtype == "bfloat16" and isinstance(value, float):
        number = number.bfloat16().float()
    words = number.view(torch.int32).expand(out.padded_shape)
    if out.dtype == "bfloat16":
        return (words >> 16).to(torch.int16).view(torch.bfloat16)
    if out.dtype in WRITTEN:
        return words.clone().view(formats.STORAGE[out.dtype])
    return _zeros(launch)


BINDINGS = {
    "ttnn.arange": arange,
    "ttnn.empty": empty,
    "ttnn.empty_like": empty_like,
    "ttnn.full": full,
    "ttnn.full_like": full_like,
    "ttnn.moreh_full": moreh_full,
    "ttnn.moreh_full_like": moreh_full_like,
    "ttnn.ones": ones,
    "ttnn.ones_like": ones_like,
    "ttnn.rand": rand,
    "ttnn.randn": randn,
    "ttnn.zeros": zeros,
    "ttnn.zeros_like": zeros_like,
}

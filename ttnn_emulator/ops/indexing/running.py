"""Scans and products along a dimension, and sums over leading ones."""

import functools
from collections.abc import Callable, Sequence

import torch
import ttnn

from ttnn_emulator.arithmetic import formats
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor, trimmed
from ttnn_emulator.ops.common.configs import compute_of


def _scan(name: str) -> Callable[..., torch.Tensor]:
    def binding(
        launch: Launch,
        input: DeviceTensor,
        dim: int,
        *,
        dtype: ttnn.DataType | None = None,
        reverse_order: bool = False,
        out: DeviceTensor | None = None,
        disable_compensated_sum: bool = False,
    ) -> torch.Tensor:
        return _scanned(launch, name, input, dim, reverse_order, not disable_compensated_sum)

    binding.__name__ = name
    return binding


def cumprod(
    launch: Launch,
    input_tensor: DeviceTensor,
    dim: int,
    *,
    dtype: ttnn.DataType | None = None,
    reverse_order: bool = False,
    out: DeviceTensor | None = None,
) -> torch.Tensor:
    return _scanned(launch, "product", input_tensor, dim, reverse_order, False)


def _scanned(
    launch: Launch,
    operation: str,
    operand: DeviceTensor,
    dim: int,
    reverse: bool,
    compensated: bool,
) -> torch.Tensor:
    """Cast to the result's dtype first, then scanned; a float32 sum carries its error along.

    A block format is scanned along a leading dimension as it lies; along one of the last three it
    is turned to the first one and back, by way of bfloat16, and its blocks are cut anew there.
    """
    out = launch.output.dtype
    values = operand.logical
    if not values.numel() or not values.dim():
        return values.clone()
    if operand.dtype != out:
        values = launch.math.typecast(values, operand.dtype, out)
        values = values if values.is_floating_point() else formats.encode(values, out)
    dim %= values.dim()
    scan = functools.partial(
        launch.math.cumulative,
        operation,
        reverse=reverse,
        compensated=compensated and out == "float32",
        out=out,
    )
    if out not in formats.BLOCK_FORMAT_BITS or values.dim() - dim > 3:
        return scan(values, dim)
    lacking = max(0, 4 - values.dim())
    axis = dim + lacking
    turned = values.reshape((1,) * lacking + tuple(values.shape)).transpose(0, axis)
    running = scan(_in_blocks(launch, turned, out), 0).transpose(0, axis)
    return _in_blocks(launch, running.reshape(launch.output.shape), out)


def _in_blocks(launch: Launch, values: torch.Tensor, dtype: str) -> torch.Tensor:
    """Values typecast to a block format, rows filled up with zeros for it."""
    width = values.shape[-1]
    padded = torch.nn.functional.pad(values.float(), (0, -width % formats.BLOCK))
    return launch.math.typecast(padded, "bfloat16", dtype)[..., :width]


def prod(
    launch: Launch,
    input_tensor: DeviceTensor,
    *dim_or_output: int | DeviceTensor | None,
    dim: int | None = None,
    keepdim: bool = False,
    output_tensor: DeviceTensor | None = None,
    dims: Sequence[int] = (),
) -> torch.Tensor:
    """The product over a dimension, over all of them, or over `dims` into an output tensor.

    Of several dimensions the last comes first, each result rounded.
    """
    dtype, out = input_tensor.dtype, launch.output.dtype
    values, rank = input_tensor.logical, len(input_tensor.shape)
    given, *_ = [*dim_or_output, dim]
    dim = given if isinstance(given, int) else None
    if dims:
        over: list[int] = sorted(d % rank for d in dims)[::-1]
    elif dim is None or rank < 2:
        return _of_all(launch, input_tensor)
    else:
        over = [dim % rank]
    for axis in over:
        values = launch.math.product(values, axis, dtype=dtype, out=out)
    return values.reshape(launch.output.shape)


def _of_all(launch: Launch, operand: DeviceTensor) -> torch.Tensor:
    """All elements; padding takes part as ones, which it is filled with."""
    if not operand.shape:
        return operand.logical.clone()
    shape = operand.shape if len(operand.shape) > 1 else (1, *operand.shape)
    padded = (*shape[:-2], *(-(-size // formats.TILE) * formats.TILE for size in shape[-2:]))
    filled = torch.ones(padded, dtype=operand.logical.dtype)
    trimmed(filled, shape).copy_(operand.logical.reshape(shape))
    total = launch.math.product(filled, None, dtype=operand.dtype, out=launch.output.dtype)
    return total.reshape(launch.output.shape)


def ema(
    launch: Launch,
    input_tensor: DeviceTensor,
    alpha: float,
    *,
    out: DeviceTensor | None = None,
    core_grid: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> torch.Tensor:
    """The exponential moving average along the last dimension."""
    return launch.math.moving_average(
        input_tensor.logical,
        alpha,
        compute=compute_of(compute_kernel_config),
        out=launch.output.dtype,
    )


def fast_reduce_nc(
    launch: Launch,
    input: DeviceTensor,
    *,
    dims: Sequence[int] = (),
    output: DeviceTensor | None = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> torch.Tensor:
    """Sums over leading dimensions, the last of them first, each result rounded."""
    rank = len(input.shape)
    over = sorted(d % rank for d in dims)[::-1] or range(rank - 2)[::-1]
    sums = functools.reduce(
        lambda values, dim: launch.math.tile_sum(
            values, dim, compute=compute_of(compute_kernel_config), out=launch.output.dtype
        ),
        over,
        input.logical,
    )
    return sums.reshape(launch.output.shape)


def deepseek_moe_fast_reduce_nc(
    launch: Launch,
    input_tensor: DeviceTensor,
    dim: int,
    *,
    split_size: int,
    output_memory_config: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> list[torch.Tensor]:
    """The sum over a leading dimension, cut along the last one; by default in a 32-bit Dst."""
    compute = compute_of(
        compute_kernel_config
        or ttnn.WormholeComputeKernelConfig(
            math_fidelity=ttnn.MathFidelity.HiFi4, fp32_dest_acc_en=True
        )
    )
    total = launch.math.tile_sum(
        input_tensor.logical, dim, compute=compute, out=launch.outputs[0].dtype
    )
    parts = total.split(split_size, -1)
    return [part.reshape(output.shape) for part, output in zip(parts, launch.outputs, strict=True)]


BINDINGS = {
    "ttnn.cumprod": cumprod,
    "ttnn.cumsum": _scan("sum"),
    "ttnn.ema": ema,
    "ttnn.experimental.deepseek_moe_fast_reduce_nc": deepseek_moe_fast_reduce_nc,
    "ttnn.experimental.fast_reduce_nc": fast_reduce_nc,
    "ttnn.prod": prod,
}

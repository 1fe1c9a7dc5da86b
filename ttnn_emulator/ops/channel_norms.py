"""Norms of channels: over the groups of an image's channels, and over a batch.

N images, C channels, G groups, S = H * W places.
"""

import torch
import ttnn

from ttnn_emulator.arithmetic.compute import Compute, Formats
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.configs import compute_of
from ttnn_emulator.ops.common.pairs.stages import Stages


def group_norm(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    num_groups: int,
    epsilon: float = 1e-12,
    input_mask: DeviceTensor | None = None,
    weight: DeviceTensor | None = None,
    bias: DeviceTensor | None = None,
    core_grid: ttnn.CoreGrid | None = None,
    inplace: bool | None = True,  # whose buffer the output has
    output_layout: object = None,
    num_out_blocks: int | None = None,  # how much of it lies in L1 at once
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    negative_mask: DeviceTensor | None = None,
    use_welford: bool = False,
) -> torch.Tensor:
    """Normalise [N, 1, S, C] over the S places and C / G channels of each group.

    Weight and bias are those of ttnn.create_group_norm_weight_bias_rm: channels of a core, filled
    up to a whole tile.

    Raises:
        NotEmulated: a mask that has not one column for each channel of a group.
    """
    channels = input_tensor.shape[-1]
    for mask, outside in ((input_mask, False), (negative_mask, True)):
        _check_mask(launch, mask, channels // num_groups, outside)
    cores = _cores_across(input_tensor, core_grid, num_groups)
    wide = use_welford or input_tensor.dtype == "float32"
    default = Compute("HiFi4", approximate=True, fp32_dest_acc=wide)
    result = launch.math.group_norm(
        input_tensor.logical,
        num_groups,
        _per_channel(weight, channels, cores),
        _per_channel(bias, channels, cores),
        epsilon=epsilon,
        compute=compute_of(compute_kernel_config) or default,
        formats=Formats(input_tensor.dtype, launch.output.dtype),
    )
    return result.reshape(launch.output.shape)


def _check_mask(launch: Launch, mask: DeviceTensor | None, size: int, outside: bool) -> None:
    """Whether each group's row of ones, or of zeros `outside` it, is `size` long."""
    if mask is None:
        return
    marked = (mask.logical[..., 0, :] == 0) if outside else (mask.logical[..., 0, :] != 0)
    if (marked.sum(-1) != size).any():
        raise NotEmulated(
            f"{launch.name} with a mask whose groups have not {size} columns each is not "
            "emulated; make it by ttnn.create_group_norm_input_mask."
        )


def _cores_across(operand: DeviceTensor, grid: ttnn.CoreGrid | None, groups: int) -> int:
    """How many cores share the channels; each has whole groups."""
    channels = operand.shape[-1]
    if operand.shards is not None:
        return channels // operand.shards[1]
    if grid is None:
        return 1
    return ttnn.operations.normalization.dram_group_norm_virtual_columns(grid, channels, groups)


def _per_channel(values: DeviceTensor | None, channels: int, cores: int) -> torch.Tensor | None:
    """[C] of row-major [1, 1, T, 32], in which each core's channels fill whole tiles."""
    if values is None:
        return None
    flat = values.logical.flatten()
    if flat.numel() % cores:
        cores = 1
    return flat.unflatten(0, (cores, -1))[:, : channels // cores].flatten()


def batch_norm(
    launch: Launch,
    input: DeviceTensor,
    *,
    running_mean: DeviceTensor | None = None,
    running_var: DeviceTensor | None = None,
    training: bool = False,
    eps: float = 1e-5,
    momentum: float = 0.1,
    weight: DeviceTensor | None = None,
    bias: DeviceTensor | None = None,
    output: DeviceTensor | None = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> torch.Tensor:
    """Normalise [N, C, H, W] by each channel's mean and variance, in training the batch's own.

    Of a batch they are means of means and of squares, each rounded to the input's dtype, and the
    running ones are moved towards them (batch_norm.cpp). The last step is float32 in the vector
    unit's lanes (batch_norm_sfpu_kernel.cpp), which TTNN runs unless a compute config has a
    16-bit destination.

    Raises:
        NotEmulated: such a compute config.
    """
    if compute_kernel_config is not None and not compute_kernel_config.fp32_dest_acc_en:
        raise NotEmulated(f"{launch.name} with a 16-bit destination is not emulated.")
    if training:
        mean, variance = _statistics(launch, input, compute_of(compute_kernel_config))
        for running, now in ((running_mean, mean), (running_var, variance)):
            _move_towards(launch, running, now, momentum)
    else:
        assert running_mean is not None  # the host side sees to both
        assert running_var is not None
        mean, variance = running_mean.logical, running_var.logical
    lanes = Stages(launch, "float32")
    shifted = lanes.binary("add", variance.float(), eps)
    factor = lanes.unary("rsqrt", shifted)
    y = lanes.binary("subtract", input.logical.float(), mean.float())
    y = lanes.binary("multiply", y, factor)
    if weight is not None:
        y = lanes.binary("multiply", y, weight.logical.float())
    if bias is not None:
        y = lanes.binary("add", y, bias.logical.float())
    return launch.math.typecast(y, "float32", launch.output.dtype)


def _statistics(
    launch: Launch, operand: DeviceTensor, compute: Compute | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of each channel, [1, C, 1, 1] in the operand's dtype."""
    stages = Stages(launch, operand.dtype)

    def mean(x: torch.Tensor) -> torch.Tensor:
        for dims in ((2, 3), (0,)):
            total = launch.math.reduce(
                "mean", x, dims, compute=compute, dtype=operand.dtype, out=operand.dtype
            )
            x = launch.math.stored(total, operand.dtype)
        return x

    average = mean(operand.logical)
    squares = mean(stages.unary("square", operand.logical))
    return average, stages.binary("subtract", squares, stages.unary("square", average))


def _move_towards(
    launch: Launch, running: DeviceTensor | None, now: torch.Tensor, momentum: float
) -> None:
    """running = (1 - momentum) * running + momentum * now, in place (running_statistics kernel)."""
    if running is None:
        return
    lanes = Stages(launch, "float32")
    kept = lanes.binary("multiply", running.logical.float(), 1 - momentum)
    moved = lanes.binary("add", kept, lanes.binary("multiply", now.float(), momentum))
    values = launch.math.typecast(moved, "float32", running.dtype)
    rows = running.data[..., : running.shape[-2], : running.shape[-1]]
    rows.copy_(launch.math.stored(values, running.dtype))


BINDINGS = {"ttnn.batch_norm": batch_norm, "ttnn.group_norm": group_norm}

WRITES = {"ttnn.batch_norm": ("running_mean", "running_var")}

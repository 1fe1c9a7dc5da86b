"""Norms of rows that are spread over chips: statistics before a gather, the norm after it.

A chip computes both from what it holds; they also run on one chip.
"""

from collections.abc import Callable
from typing import Any

import torch
import ttnn

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import Formats
from ttnn_emulator.dispatch import Binding, Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.configs import compute_of
from ttnn_emulator.ops.common.idle_rows import all_rows
from ttnn_emulator.ops.normalization import split_of

SPLIT_ROWS = paths.approximation("rows split among cores in two dimensions, as if on one")


def _before(name: str, centred: bool) -> Callable[..., torch.Tensor]:
    def binding(
        launch: Launch,
        input_tensor: DeviceTensor,
        *,
        residual_input_tensor: DeviceTensor | None = None,
        dtype: object = None,
        compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
        program_config: object = None,
        recip_tensor: DeviceTensor | None = None,
        use_2d_core_grid: bool | None = None,
        fast_and_approximate_mode: bool = False,
    ) -> torch.Tensor:
        _refuse_welford(launch, program_config, recip_tensor)
        if use_2d_core_grid:
            paths.tell(SPLIT_ROWS)
        residual = residual_input_tensor
        formats = Formats(input_tensor.dtype, launch.output.dtype)
        compute = compute_of(compute_kernel_config)
        if split := split_of(input_tensor, launch.cores):
            result, added = launch.math.split_statistics(
                input_tensor.data,
                None if residual is None else residual.data,
                split=split,
                centred=centred,
                compute=compute,
                formats=formats,
            )
            if residual is not None:
                input_tensor.data.copy_(added)
            return result
        rows = all_rows(_without_padding(input_tensor))
        result = launch.math.norm_statistics(
            rows.values,
            None if residual is None else _without_padding(residual),
            centred=centred,
            compute=compute,
            fast=fast_and_approximate_mode,
            formats=formats,
        )
        return rows.whole(result, launch.output.dtype)

    binding.__name__ = name
    return binding


def _after(name: str, centred: bool) -> Callable[..., torch.Tensor]:
    def binding(
        launch: Launch,
        input_tensor: DeviceTensor,
        stats: DeviceTensor,
        *,
        epsilon: float = 1e-12,
        weight: DeviceTensor | None = None,
        bias: DeviceTensor | None = None,
        dtype: object = None,
        compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
        program_config: object = None,
        use_2d_core_grid: bool | None = None,
    ) -> torch.Tensor:
        _refuse_welford(launch, program_config, None)
        rows = all_rows(input_tensor.data)
        width = rows.values.shape[-1]
        options: dict[str, Any] = {
            "centred": centred,
            "epsilon": epsilon,
            "compute": compute_of(compute_kernel_config),
            "formats": Formats(input_tensor.dtype, launch.output.dtype),
        }
        parameters = (_row(weight, width), _row(bias, width))
        if split_of(input_tensor, launch.cores):
            result = launch.math.split_norm_from_statistics(
                rows.values, stats.data, parameters, **options
            )
        else:
            result = launch.math.norm_from_statistics(
                rows.values, stats.data, *parameters, **options
            )
        return rows.whole(result, launch.output.dtype)

    binding.__name__ = name
    return binding


def _without_padding(operand: DeviceTensor) -> torch.Tensor:
    """Contents with zeros as padding, which TTNN's host side fills in before the kernel."""
    missing = zip(operand.padded_shape, operand.shape, strict=True)
    ends = [n for whole, own in reversed(list(missing)) for n in (0, whole - own)]
    return torch.nn.functional.pad(operand.logical, ends)


def _refuse_welford(launch: Launch, program_config: object, recip: DeviceTensor | None) -> None:
    if recip is not None or getattr(program_config, "use_welford", False):
        raise NotEmulated(f"{launch.name} by Welford's method, which has other statistics.")


def _row(weight: DeviceTensor | None, width: int) -> torch.Tensor | None:
    """[W] contents of a weight given as [H], [..., 1, H], or row-major [..., H/32, 32]."""
    if weight is None:
        return None
    row = weight.logical.reshape(-1)
    return torch.nn.functional.pad(row, (0, width - row.numel()))


BINDINGS: dict[str, Binding] = {
    "ttnn.layer_norm_post_all_gather": _after("layer_norm_post_all_gather", True),
    "ttnn.layer_norm_pre_all_gather": _before("layer_norm_pre_all_gather", True),
    "ttnn.rms_norm_post_all_gather": _after("rms_norm_post_all_gather", False),
    "ttnn.rms_norm_pre_all_gather": _before("rms_norm_pre_all_gather", False),
}

# Where the input is sharded, its sum with a residual takes its place.
WRITES = {
    "ttnn.layer_norm_pre_all_gather": ("input_tensor",),
    "ttnn.rms_norm_pre_all_gather": ("input_tensor",),
}

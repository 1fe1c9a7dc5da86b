"""Norms of rows that are spread over chips: statistics before a gather, the norm after it.

A chip computes both from what it holds; they also run on one chip.
"""

from collections.abc import Callable

import torch
import ttnn

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import Formats
from ttnn_emulator.dispatch import Binding, Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.configs import compute_of
from ttnn_emulator.ops.common.idle_rows import all_rows
from ttnn_emulator.ops.normalization import SHARDED

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
        if input_tensor.sharded:
            paths.tell(SHARDED)
        if use_2d_core_grid:
            paths.tell(SPLIT_ROWS)
        rows = all_rows(input_tensor.data)
        result = launch.math.norm_statistics(
            rows.values,
            None if residual_input_tensor is None else residual_input_tensor.data,
            centred=centred,
            compute=compute_of(compute_kernel_config),
            fast=fast_and_approximate_mode,
            formats=Formats(input_tensor.dtype, launch.output.dtype),
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
        if input_tensor.sharded:
            paths.tell(SHARDED)
        rows = all_rows(input_tensor.data)
        result = launch.math.norm_from_statistics(
            rows.values,
            stats.data,
            _row(weight, rows.values.shape[-1]),
            _row(bias, rows.values.shape[-1]),
            centred=centred,
            epsilon=epsilon,
            compute=compute_of(compute_kernel_config),
            formats=Formats(input_tensor.dtype, launch.output.dtype),
        )
        return rows.whole(result, launch.output.dtype)

    binding.__name__ = name
    return binding


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

"""Reductions: sums, extremes, their positions, and the k largest."""

import math
from collections.abc import Callable, Sequence

import torch
import ttnn

from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.configs import compute_of


def _reduction(name: str) -> Callable[..., torch.Tensor]:
    def binding(
        launch: Launch,
        input_tensor: DeviceTensor,
        dim: int | Sequence[int] | None = None,
        keepdim: bool = False,
        *,
        scalar: float = 1.0,
        compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
        correction: object = None,  # of std and var; the others take and ignore it
        fast_and_approximate_mode: bool | None = None,
        output_layout: object = None,
    ) -> torch.Tensor:
        values = launch.math.reduce(
            name,
            input_tensor.logical,
            _dims(dim, input_tensor),
            scalar=scalar,
            compute=compute_of(compute_kernel_config),
            fast=fast_and_approximate_mode,
            dtype=input_tensor.dtype,
            out=launch.output.dtype,
        )
        values = values.reshape(launch.output.shape)
        along_rows = _dims(dim, input_tensor) == (len(input_tensor.shape) - 1,)
        if name in EXTREMES and keepdim and along_rows and launch.output.tiled:
            return _with_extreme_rows(launch, values, EXTREMES[name])
        return values

    binding.__name__ = name
    return binding


# The neutral value that padding is filled with first.
EXTREMES = {"max": -math.inf, "min": math.inf}


def _with_extreme_rows(launch: Launch, values: torch.Tensor, extreme: float) -> torch.Tensor:
    """Rows of padding are reduced too: of values that were filled in beforehand."""
    rows = values.shape[-2]
    padded = torch.zeros(launch.output.padded_shape, dtype=values.dtype)
    padded[..., :rows, :1] = values
    padded[..., rows:, :1] = extreme
    return padded


def _statistic(name: str) -> Callable[..., torch.Tensor]:
    def binding(
        launch: Launch,
        input_tensor: DeviceTensor,
        dim: int | Sequence[int] | None = None,
        keepdim: bool = False,
        *,
        scalar: float = 1.0,
        correction: bool = True,
        compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    ) -> torch.Tensor:
        values = getattr(launch.math, name)(
            input_tensor.logical,
            _dims(dim, input_tensor),
            correction,
            scalar=scalar,
            compute=compute_of(compute_kernel_config),
            out=launch.output.dtype,
        )
        return values.reshape(launch.output.shape)

    binding.__name__ = name
    return binding


def _dims(dim: int | Sequence[int] | None, operand: DeviceTensor) -> tuple[int, ...]:
    """Reduced dimensions, counted from 0."""
    rank = len(operand.shape)
    if dim is None:
        return tuple(range(rank))
    return tuple(sorted(d % rank for d in ([dim] if isinstance(dim, int) else dim)))


def argmax(
    launch: Launch,
    input_tensor: DeviceTensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    output_tensor: DeviceTensor | None = None,
    enable_secondary_dm: object = None,
) -> torch.Tensor:
    """Position of the first largest value, in the flattened tensor where `dim` is None."""
    return torch.argmax(input_tensor.logical, dim).reshape(launch.output.shape)


def topk(
    launch: Launch,
    input_tensor: DeviceTensor,
    k: int = 32,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,
    *,
    indices_tensor: DeviceTensor | None = None,
    output_tensor: DeviceTensor | None = None,
    stable: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and positions. Equal values come in order of position (the kernel's order is open)."""
    if indices_tensor is not None:
        raise NotEmulated(
            "ttnn.topk: indices_tensor is not emulated; positions are those of the input."
        )
    values, positions = torch.sort(input_tensor.logical, dim=dim, descending=largest, stable=True)
    return values.narrow(dim, 0, k), positions.narrow(dim, 0, k)


BINDINGS = {
    "ttnn.argmax": argmax,
    "ttnn.max": _reduction("max"),
    "ttnn.mean": _reduction("mean"),
    "ttnn.min": _reduction("min"),
    "ttnn.std": _statistic("standard_deviation"),
    "ttnn.sum": _reduction("sum"),
    "ttnn.topk": topk,
    "ttnn.var": _statistic("variance"),
}

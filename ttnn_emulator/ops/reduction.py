"""Reductions: sums, means, extremes, variances, and what TTNN composes of them."""

import functools
import math
from collections.abc import Callable, Sequence

import torch
import ttnn

from ttnn_emulator.arithmetic import formats
from ttnn_emulator.arithmetic.compute import FusedOp, FusedOps
from ttnn_emulator.dispatch import Launch
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
    """Rows of padding are reduced too: of values that were filled in beforehand.

    Of integers the smallest or largest that the format holds.
    """
    rows = values.shape[-2]
    stored = formats.STORAGE[launch.output.dtype]
    if not stored.is_floating_point:
        limits = torch.iinfo(stored)
        extreme = limits.min if extreme < 0 else limits.max
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
    """Reduced dimensions, counted from 0; none named are all of them."""
    rank = len(operand.shape)
    if dim is None or (not isinstance(dim, int) and not len(dim)):
        return tuple(range(rank))
    return tuple(sorted(d % rank for d in ([dim] if isinstance(dim, int) else dim)))


# --- composites of TTNN's host, each step a program that rounds ---------------------------------


def _centred(launch: Launch, x: torch.Tensor, dtype: str) -> tuple[torch.Tensor, torch.Tensor]:
    """x - mean(x) and its mean square over the last two dimensions.

    The differences are made by the matrix unit (bcast), as are those of `ttnn.subtract`.
    """
    dims = (x.dim() - 2, x.dim() - 1)
    average = functools.partial(launch.math.reduce, "mean", dims=dims, dtype=dtype, out=dtype)
    away = launch.math.binary("subtract", x, average(x=x), dtypes=(dtype, dtype), out=dtype)
    away = launch.math.stored(away, dtype)
    square = launch.math.unary(away, FusedOp("square"), dtype=dtype, out=dtype)
    return away, launch.math.stored(average(x=launch.math.stored(square, dtype)), dtype)


def var_hw(launch: Launch, input_tensor: DeviceTensor) -> torch.Tensor:
    """The variance of each matrix, divided by the count."""
    return _centred(launch, input_tensor.logical, input_tensor.dtype)[1]


def std_hw(launch: Launch, input_tensor: DeviceTensor) -> torch.Tensor:
    """The root of `var_hw`."""
    dtype = input_tensor.dtype
    variance = _centred(launch, input_tensor.logical, dtype)[1]
    return launch.math.unary(variance, FusedOp("sqrt"), dtype=dtype, out=dtype)


def _normalised(launch: Launch, x: torch.Tensor, dtype: str) -> torch.Tensor:
    """(x - mean) * rsqrt(variance), the root fused to the product."""
    away, variance = _centred(launch, x, dtype)
    return launch.math.binary(
        "multiply",
        away,
        variance,
        dtypes=(dtype, dtype),
        out=dtype,
        fused=FusedOps(b=(FusedOp("rsqrt"),)),
    )


def normalize_hw(launch: Launch, input_tensor: DeviceTensor) -> torch.Tensor:
    """Each matrix less its mean, over its standard deviation."""
    return _normalised(launch, input_tensor.logical, input_tensor.dtype)


def normalize_global(launch: Launch, input_tensor: DeviceTensor) -> torch.Tensor:
    """As `normalize_hw`, of the whole tensor as one matrix, in which padding takes part."""
    x = input_tensor.data
    flat = x.reshape(1, 1, x.shape[-2], -1)
    normalised = _normalised(launch, flat, input_tensor.dtype)
    return normalised.reshape(launch.output.padded_shape)


BINDINGS = {
    "ttnn.max": _reduction("max"),
    "ttnn.mean": _reduction("mean"),
    "ttnn.min": _reduction("min"),
    "ttnn.normalize_global": normalize_global,
    "ttnn.normalize_hw": normalize_hw,
    "ttnn.std": _statistic("standard_deviation"),
    "ttnn.std_hw": std_hw,
    "ttnn.sum": _reduction("sum"),
    "ttnn.var": _statistic("variance"),
    "ttnn.var_hw": var_hw,
}

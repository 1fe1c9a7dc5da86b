"""Reductions: sums, extremes, their positions, and the k largest."""

import math

import torch

from ttnn_emulator.dispatch import NotEmulated
from ttnn_emulator.ops.common.configs import compute_of


def _reduction(name):
    def kernel(
        launch,
        input_tensor,
        dim=None,
        keepdim=False,
        *,
        scalar=1.0,
        compute_kernel_config=None,
        correction=None,  # of std and var; the others take and ignore it
        fast_and_approximate_mode=None,
        output_layout=None,
    ):
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

    kernel.__name__ = name
    return kernel


# What padding is filled with first, so that it is no row's result.
EXTREMES = {"max": -math.inf, "min": math.inf}


def _with_extreme_rows(launch, values, extreme):
    """Rows of padding are reduced too: of values that were filled in beforehand."""
    rows = values.shape[-2]
    padded = torch.zeros(launch.output.padded_shape, dtype=values.dtype)
    padded[..., :rows, :1] = values
    padded[..., rows:, :1] = extreme
    return padded


def _statistic(name):
    def kernel(
        launch,
        input_tensor,
        dim=None,
        keepdim=False,
        *,
        scalar=1.0,
        correction=True,
        compute_kernel_config=None,
    ):
        values = getattr(launch.math, name)(
            input_tensor.logical,
            _dims(dim, input_tensor),
            correction,
            scalar=scalar,
            compute=compute_of(compute_kernel_config),
            out=launch.output.dtype,
        )
        return values.reshape(launch.output.shape)

    kernel.__name__ = name
    return kernel


def _dims(dim, operand):
    """Reduced dimensions, counted from 0."""
    rank = len(operand.shape)
    if dim is None:
        return tuple(range(rank))
    return tuple(sorted(d % rank for d in ([dim] if isinstance(dim, int) else dim)))


def argmax(
    launch, input_tensor, dim=None, keepdim=False, *, output_tensor=None, enable_secondary_dm=None
):
    """Position of the first largest value, in the flattened tensor where `dim` is None."""
    return torch.argmax(input_tensor.logical, dim).reshape(launch.output.shape)


def topk(
    launch,
    input_tensor,
    k=32,
    dim=-1,
    largest=True,
    sorted=True,
    *,
    indices_tensor=None,
    output_tensor=None,
    stable=False,
):
    """Values and positions. Equal values come in order of position; the kernel promises no order."""
    if indices_tensor is not None:
        raise NotEmulated(
            "ttnn.topk: indices_tensor is not emulated; positions are those of the input."
        )
    values, positions = torch.sort(input_tensor.logical, dim=dim, descending=largest, stable=True)
    return values.narrow(dim, 0, k), positions.narrow(dim, 0, k)


KERNELS = {
    "ttnn.argmax": argmax,
    "ttnn.max": _reduction("max"),
    "ttnn.mean": _reduction("mean"),
    "ttnn.min": _reduction("min"),
    "ttnn.std": _statistic("standard_deviation"),
    "ttnn.sum": _reduction("sum"),
    "ttnn.topk": topk,
    "ttnn.var": _statistic("variance"),
}

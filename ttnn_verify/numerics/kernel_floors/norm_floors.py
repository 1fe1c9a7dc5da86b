"""The noise floors of norms; see `op_floors`, of which they are a part."""

import dataclasses
from collections.abc import Callable, Sequence

import torch

from ttnn_verify.numerics.compute_config import ComputeConfig, of_steps
from ttnn_verify.numerics.destination import as_read, packed, stored
from ttnn_verify.numerics.floors import Floor, orders
from ttnn_verify.numerics.rounding import (
    BF16_BITS,
    add,
    distinct_rows,
    independent_rows,
    multiply,
    nearest,
    row_sum,
)

# TTNN's own for layer_norm.
LAYER_NORM = ComputeConfig("HiFi4", fp32_dest_acc=True)


def rms_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    epsilon: float,
    *,
    compute: ComputeConfig | None = None,
    out: str = "bfloat16",
) -> Floor:
    """Root-mean-square norm over the last dimension, x `[..., W]`, weight `[W]` or None.

    The steps are those of layernorm.cpp: squares, their sum, the mean (truncated), the inverse of
    its square root, two products. `compute` is None for TTNN's own config, in HiFi4.
    """
    x, weight = x.float(), torch.ones(x.shape[-1]) if weight is None else weight.float()
    exact = x.double() * (x.double().square().mean(-1, keepdim=True) + epsilon).rsqrt()
    exact = exact * weight.double()

    def rounded(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return rounded_rms_norm(rows, weight, epsilon, compute)

    return _measured(x, (weight,), exact, rounded, of_steps(compute)[1], out)


def layer_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    epsilon: float,
    *,
    compute: ComputeConfig | None = None,
    out: str = "bfloat16",
) -> Floor:
    """Norm of x minus its mean over the last dimension, x `[..., W]`, weight, bias `[W]` or None.

    The steps are those of layernorm.cpp: the sum, the mean, the differences, their squares and so
    on as in `rms_norm`. `compute` is None for TTNN's own config, in HiFi4 with 32-bit sums.
    """
    x, width = x.float(), x.shape[-1]
    weight = torch.ones(width) if weight is None else weight.float()
    shift = torch.zeros(width) if bias is None else bias.float()
    operands = (weight.double(), shift.double())
    exact = torch.nn.functional.layer_norm(x.double(), (width,), *operands, epsilon)

    def rounded(rows: torch.Tensor, weight: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        y = _rounded_layer_norm(rows, weight, epsilon, compute)
        return y if bias is None else add(as_read(y, fp32_dest_acc), shift, fp32_dest_acc)

    fp32_dest_acc = of_steps(compute, LAYER_NORM)[1]
    return _measured(x, (weight, shift), exact, rounded, fp32_dest_acc, out)


def _measured(
    x: torch.Tensor,
    operands: Sequence[torch.Tensor],
    exact: torch.Tensor,
    rounded: Callable[..., torch.Tensor],
    fp32_dest_acc: bool,
    out: str,
) -> Floor:
    """The floor of a norm.

    Args:
        operands: beside x, `[W]` each.
        rounded: makes the norm with its kernel's roundings, but for the last.
    """
    few, which = distinct_rows(x)
    rows = few.numel() // x.shape[-1]  # all values of a row share the error of its statistics
    several = orders(x.shape[-1], rows)  # of the columns, where rows are few
    exact = torch.stack([exact[..., order] for order in several])
    stacked = torch.stack([few[..., order] for order in several])
    result = rounded(
        stacked,
        *(torch.stack([one[order].expand(few.shape) for order in several]) for one in operands),
    )
    result = result if which is None else result[..., which, :]
    floor = packed(exact, result, out, fp32_dest_acc, rows)
    whole = packed(exact, result, out, fp32_dest_acc, independent_rows(x)).relative_l2
    return dataclasses.replace(floor, relative_l2=max(floor.relative_l2, whole))


def rounded_rms_norm(
    x: torch.Tensor, weight: torch.Tensor, epsilon: float, compute: ComputeConfig | None = None
) -> torch.Tensor:
    """The norm of `rms_norm` with the roundings of its kernel, but for the last: float32."""
    fidelity, fp32_dest_acc = of_steps(compute)
    squares = multiply(x, x, fidelity, fp32_dest_acc)
    return _normalized(x, squares, weight, epsilon, fidelity, fp32_dest_acc)


def _rounded_layer_norm(
    x: torch.Tensor, weight: torch.Tensor, epsilon: float, compute: ComputeConfig | None
) -> torch.Tensor:
    """The norm of `layer_norm`, before its bias, with the roundings of its kernel."""
    fidelity, fp32_dest_acc = of_steps(compute, LAYER_NORM)
    mean = stored(row_sum(x, fidelity, fp32_dest_acc) / x.shape[-1], fp32_dest_acc)
    centred = as_read(add(x, -as_read(mean, fp32_dest_acc), fp32_dest_acc), fp32_dest_acc)
    squares = multiply(centred, centred, fidelity, fp32_dest_acc)
    return _normalized(centred, squares, weight, epsilon, fidelity, fp32_dest_acc)


def _normalized(
    x: torch.Tensor,
    squares: torch.Tensor,
    weight: torch.Tensor,
    epsilon: float,
    fidelity: str,
    fp32_dest_acc: bool,
) -> torch.Tensor:
    """x over the root of the mean of its squares, times a weight."""
    mean = stored(row_sum(squares, fidelity, fp32_dest_acc) / x.shape[-1], fp32_dest_acc)
    shifted = add(mean, torch.tensor(float(epsilon)), fp32_dest_acc)
    factor = shifted.rsqrt() if fp32_dest_acc else nearest(shifted.rsqrt(), BF16_BITS)
    y = multiply(x, as_read(factor, fp32_dest_acc), fidelity, fp32_dest_acc)
    return multiply(as_read(y, fp32_dest_acc), weight, fidelity, fp32_dest_acc)

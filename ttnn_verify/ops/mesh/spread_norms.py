"""Norms of rows that are spread over chips: statistics of a chip's part, and the norm by all."""

import dataclasses
import math
from typing import NamedTuple

import torch

from ttnn_verify.numerics import metrics, op_floors
from ttnn_verify.numerics.compute_config import HIFI4
from ttnn_verify.numerics.formats import TILE
from ttnn_verify.numerics.rounding import BF16_BITS, cut
from ttnn_verify.ops.expected import CallContext, Expected, NoGolden
from ttnn_verify.ops.spec import OpSpec


def _refuse_parts(context: CallContext) -> None:
    """Raise `NoGolden` for rows that lie on several cores: their statistics are means, not sums."""
    if hasattr(context.program_config, "block_w"):
        raise NoGolden(
            "Statistics of rows on several cores are means, for which there is no golden."
        )


def rms_norm_pre_all_gather(
    context: CallContext,
    input_tensor: torch.Tensor,
    *,
    residual_input_tensor: torch.Tensor | None = None,
) -> Expected:
    """The sum of squares of x [..., W], in the first column of a tile [..., 32]."""
    _refuse_parts(context)
    x = input_tensor if residual_input_tensor is None else input_tensor + residual_input_tensor
    squares = x.double().square()
    value = squares.sum(-1, keepdim=True)
    return Expected(value, lambda: _of_squares(context, squares), (..., slice(0, 1)))


def _of_squares(context: CallContext, squares: torch.Tensor) -> op_floors.Floor:
    """The floor of the sums [..., 1] of squares [..., W] in float64."""
    rounded = op_floors.output(squares, "bfloat16")
    return op_floors.chain(_of_sums(context, squares.bfloat16().float()), rounded)


def _of_sums(context: CallContext, x: torch.Tensor) -> op_floors.Floor:
    """The floor of the sums [..., 1] of x [..., W]: as of a product with ones.

    The kernels, unlike a product's, compute in HiFi4 without a config, and add in Dst alone.
    """
    ones = torch.ones(x.shape[-1], 1)
    compute = dataclasses.replace(context.compute or HIFI4, packer_l1_acc=False)
    summed = op_floors.matmul(x, ones, out=context.out, compute=compute)
    value = x.double().sum(-1, keepdim=True)
    return op_floors.chain(summed, op_floors.output(value, context.out))


def layer_norm_pre_all_gather(
    context: CallContext,
    input_tensor: torch.Tensor,
    *,
    residual_input_tensor: torch.Tensor | None = None,
) -> Expected:
    """The sums of squares and of values of x [..., S, W], in the first columns of two tiles.

    Of [..., S, 64]. They are compared as [..., 2, S]: a row is one of the two sums.
    """
    _refuse_parts(context)
    x = input_tensor if residual_input_tensor is None else input_tensor + residual_input_tensor
    squares, rows = x.double().square(), torch.arange(x.shape[-2])
    sums = [terms.sum(-1) for terms in (squares, x.double())]

    def floor() -> op_floors.Floor:
        floors = _of_squares(context, squares), _of_sums(context, x.float())
        sizes = [float(total.nan_to_num(0.0).norm()) for total in sums]
        errors = (one.relative_l2 * size for one, size in zip(floors, sizes, strict=True))
        return op_floors.Floor(
            math.hypot(*errors) / (math.hypot(*sizes) or 1.0),
            max(one.worst_row for one in floors),
            any(one.erratum for one in floors),
        )

    where = (..., rows[None, :], torch.tensor([[0], [TILE]]))
    return Expected(torch.stack(sums, -2), floor, where)


def rms_norm_post_all_gather(
    context: CallContext,
    input_tensor: torch.Tensor,
    stats: torch.Tensor,
    *,
    epsilon: float = 1e-12,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> Expected:
    """x / sqrt(mean + epsilon) * weight + bias, the mean by the statistics [..., 32 chips]."""
    _refuse_parts(context)
    x = input_tensor.double()
    chips = stats.shape[-1] // TILE
    mean = stats.double()[..., ::TILE].sum(-1, keepdim=True) / (chips * x.shape[-1])
    value = x * (mean + epsilon).rsqrt()
    row = None if weight is None else weight.reshape(-1)
    value = value if row is None else value * row.double()
    shifted = value if bias is None else value + bias.double().reshape(-1)

    def floor() -> op_floors.Floor:
        norm = op_floors.rms_norm(
            input_tensor, row, epsilon, out=context.out, compute=context.compute
        )
        norm = op_floors.chain(norm, op_floors.output(mean, context.out))
        return op_floors.shifted(norm, value, shifted, context.out)

    return Expected(shifted, floor)


def layer_norm_post_all_gather(
    context: CallContext,
    input_tensor: torch.Tensor,
    stats: torch.Tensor,
    *,
    epsilon: float = 1e-12,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> Expected:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias, by the statistics [..., 64 chips].

    The variance is the mean of the squares without the square of the mean.
    """
    _refuse_parts(context)
    x, sums = input_tensor.double(), stats.double()[..., ::TILE]
    count = x.shape[-1] * (sums.shape[-1] // 2)
    squares, mean = (sums[..., kind::2].sum(-1, keepdim=True) / count for kind in range(2))
    variance = squares - mean.square() + epsilon
    row = torch.ones(x.shape[-1]) if weight is None else weight.reshape(-1)
    value = (x - mean) * variance.rsqrt() * row.double()
    shifted = value if bias is None else value + bias.double().reshape(-1)

    def floor() -> op_floors.Floor:
        norm = op_floors.rms_norm(
            (x - mean).float(), row, epsilon, out=context.out, compute=context.compute
        )
        compute = context.compute
        steps = _Steps(compute is not None and compute.fp32_dest_acc, count)
        of_mean, of_variance = steps.errors(squares, mean)
        centred = torch.hypot(of_mean, steps.error(x - mean)) * variance.rsqrt() * row.double()
        scaled = value * of_variance / (2 * variance)
        by_statistics = op_floors.of_errors(value, torch.hypot(centred, scaled))
        norm = op_floors.chain(norm, by_statistics)
        return op_floors.shifted(norm, value, shifted, context.out)

    return Expected(shifted, floor)


class _Steps(NamedTuple):
    """How exact the steps from sums over `width` values to a mean and a variance are."""

    fp32_dest_acc: bool
    width: int

    def error(self, value: torch.Tensor) -> torch.Tensor:
        """The error of a result between steps, which is truncated to bfloat16 or to a TF32."""
        unit = metrics.unit(value, "bfloat16") / 3**0.5
        return unit / 8 if self.fp32_dest_acc else unit

    def errors(
        self, squares: torch.Tensor, mean: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The errors of the mean and of the variance, by the mean of squares and the mean."""
        share = torch.tensor(1.0 / self.width)  # by which sums are multiplied, in bfloat16
        off = float(1.0 - cut(share, BF16_BITS) / share)
        of_mean = torch.hypot(self.error(mean), off * mean)
        of_square = torch.hypot(self.error(mean.square()), 2 * mean * of_mean)
        of_squares = torch.hypot(self.error(squares), off * squares)
        of_variance = torch.hypot(self.error(squares - mean.square()), of_square)
        return of_mean, torch.hypot(of_variance, of_squares)


NOT_COMPUTED = frozenset({"use_2d_core_grid", "fast_and_approximate_mode"})

SPECS = (
    *(
        OpSpec(
            (golden.__name__,),
            golden,
            family="norms",
            ignored=NOT_COMPUTED,
            neutral={"recip_tensor": ()},
        )
        for golden in (rms_norm_pre_all_gather, layer_norm_pre_all_gather)
    ),
    *(
        OpSpec(
            (golden.__name__,),
            golden,
            kind="norm",
            constant="epsilon",
            family="norms",
            ignored=NOT_COMPUTED,
        )
        for golden in (rms_norm_post_all_gather, layer_norm_post_all_gather)
    ),
)

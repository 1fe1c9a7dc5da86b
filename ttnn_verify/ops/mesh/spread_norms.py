"""Norms of rows that are spread over chips: statistics of a chip's part, and the norm by all."""

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.numerics.formats import TILE
from ttnn_verify.ops.expected import CallContext, Expected
from ttnn_verify.ops.spec import OpSpec


def rms_norm_pre_all_gather(
    context: CallContext,
    input_tensor: torch.Tensor,
    *,
    residual_input_tensor: torch.Tensor | None = None,
) -> Expected:
    """The sum of squares of x [..., W], in the first column of a tile [..., 32]."""
    x = input_tensor if residual_input_tensor is None else input_tensor + residual_input_tensor
    squares = x.double().square()
    value = squares.sum(-1, keepdim=True)

    def floor() -> op_floors.Floor:
        # as of a product with ones
        ones = torch.ones(x.shape[-1], 1)
        summed = op_floors.matmul(
            squares.bfloat16().float(), ones, out=context.out, compute=context.compute
        )
        rounded = op_floors.output(squares, "bfloat16")
        return op_floors.chain(summed, rounded, op_floors.output(value, context.out))

    return Expected(value, floor, (..., slice(0, 1)))


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


NOT_COMPUTED = frozenset({"use_2d_core_grid", "fast_and_approximate_mode"})

SPECS = (
    OpSpec(
        ("rms_norm_pre_all_gather",),
        rms_norm_pre_all_gather,
        family="norms",
        ignored=NOT_COMPUTED,
        neutral={"recip_tensor": ()},
    ),
    OpSpec(
        ("rms_norm_post_all_gather",),
        rms_norm_post_all_gather,
        kind="norm",
        constant="epsilon",
        family="norms",
        ignored=NOT_COMPUTED,
    ),
)

"""Sums, means, extremes and deviations over dimensions, and how experts are weighed."""

from collections.abc import Callable, Sequence

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.ops.expected import CallContext, Expected
from ttnn_verify.ops.spec import Golden, OpSpec


def _dims(x: torch.Tensor, dim: int | Sequence[int] | None) -> tuple[int, ...]:
    if dim is None:
        return tuple(range(x.dim()))
    return (dim,) if isinstance(dim, int) else tuple(dim)


def reduced(name: str, function: Callable[..., torch.Tensor]) -> Golden:
    """The golden of `function(x, dims)`, times a number; of all dimensions without `dim`."""

    def golden(
        context: CallContext,
        input_tensor: torch.Tensor,
        dim: int | Sequence[int] | None = None,
        keepdim: bool = False,
        *,
        scalar: float = 1.0,
    ) -> Expected:
        dims = _dims(input_tensor, dim)
        value = function(input_tensor.double(), dims).reshape(context.shapes[0]) * scalar

        def floor() -> op_floors.Floor:
            own = op_floors.reduce(name, input_tensor, dim=dims, out=context.out)
            return own if scalar == 1 else op_floors.chain(own, op_floors.output(value))

        return Expected(value, floor)

    return golden


def deviation(function: Callable[..., torch.Tensor]) -> Golden:
    """The golden of `torch.std` or `torch.var`: sums in float32, two roundings of the result."""

    def golden(
        context: CallContext,
        input_tensor: torch.Tensor,
        dim: int | Sequence[int] | None = None,
        keepdim: bool = False,
        *,
        scalar: float = 1.0,
        correction: bool = True,
    ) -> Expected:
        x, dims = input_tensor.double(), _dims(input_tensor, dim)
        value = function(x, dims, correction=int(correction)).reshape(context.shapes[0]) * scalar
        return Expected(value, lambda: op_floors.chain(*[op_floors.output(value, context.out)] * 2))

    return golden


def share_of_first(
    context: CallContext,
    input_tensor: torch.Tensor,
    expert_mask_tensor: torch.Tensor,
    topk_mask_tensor: torch.Tensor,
    k: int = 32,
) -> Expected:
    """What expert 0 weighs among the chosen of [1, 1, S, E] scores; 0 where it is not chosen."""
    masked = input_tensor.double() + expert_mask_tensor.double()
    values, places = masked.topk(k, -1)
    scores = values + topk_mask_tensor.double()[..., :k]
    shares = scores.softmax(-1)
    value = torch.where(places == 0, shares, 0.0).sum(-1, keepdim=True)
    off = op_floors.VECTOR_RELATIVE["exp_approximate"]  # one exponential of a row stands alone

    def floor() -> op_floors.Floor:
        parts = op_floors.softmax(scores), op_floors.Floor(off, off)
        return op_floors.chain(*parts, op_floors.output(value, context.out))

    return Expected(value.reshape(context.shapes[0]), floor)


FAST = {"fast_and_approximate_mode": (False,)}
# Of deviations alone; the shape is TTNN's to plan.
WITHOUT = frozenset({"correction", "output_layout"})

SPECS = (
    OpSpec(("sum",), reduced("sum", torch.sum), ignored=WITHOUT, neutral=FAST),
    OpSpec(("mean",), reduced("mean", torch.mean), ignored=WITHOUT, neutral=FAST),
    OpSpec(("max",), reduced("max", torch.amax), ignored=WITHOUT, neutral=FAST),
    OpSpec(("min",), reduced("min", torch.amin), ignored=WITHOUT, neutral=FAST),
    OpSpec(("std",), deviation(torch.std)),
    OpSpec(("var",), deviation(torch.var)),
    OpSpec(("moe",), share_of_first),
)

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


def of_matrices(name: str, whole: bool = False) -> Golden:
    """The golden of what the host composes of reductions over the last two dimensions.

    Its kernels store the mean, the differences, their squares and the mean of these in the format
    of the result; the inverse root is fused to the last product. A matrix's mean and variance have
    one error each, which all of its results share.

    Args:
        name: "variance", "deviation" or "normalised".
        whole: the tensor as one matrix.
    """

    def composed(x: torch.Tensor, stored: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        away = stored(x - stored(x.mean((-2, -1), keepdim=True)))
        variance = stored(stored(away.square()).mean((-2, -1), keepdim=True))
        if name == "normalised":
            return away * variance.rsqrt()
        return variance if name == "variance" else variance.sqrt()

    def golden(context: CallContext, input_tensor: torch.Tensor) -> Expected:
        x = input_tensor.double()
        if whole:
            x = x.reshape(1, x.shape[-2], -1)
        value = composed(x, lambda y: y)
        shape = value.shape if not whole else input_tensor.shape

        def floor() -> op_floors.Floor:
            width = torch.float32 if context.out == "float32" else torch.bfloat16
            rounded = composed(x, lambda y: y.to(width).double())
            matrices = value[..., 0, 0].numel()
            return op_floors.chain(
                op_floors.between(value, rounded, matrices),
                *[op_floors.output(value, context.out)] * 2,  # the root's own, and the result's
            )

        return Expected(value.reshape(shape), floor)

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
    OpSpec(("var_hw",), of_matrices("variance")),
    OpSpec(("std_hw",), of_matrices("deviation")),
    OpSpec(("normalize_hw",), of_matrices("normalised")),
    OpSpec(("normalize_global",), of_matrices("normalised", whole=True)),
    OpSpec(("moe",), share_of_first),
)

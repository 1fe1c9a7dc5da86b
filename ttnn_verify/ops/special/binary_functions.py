"""Quotients, powers, losses and the forms of comparisons and sums that write in place."""

from collections.abc import Callable

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.ops.eltwise import APPROXIMATE, binary
from ttnn_verify.ops.expected import CallContext, Expected
from ttnn_verify.ops.spec import Golden, OpSpec
from ttnn_verify.ops.special.eltwise_pairs import Value, expected, of_integers, of_two


def _wide(x: Value) -> torch.Tensor:
    return torch.as_tensor(x).double()


def divided(
    context: CallContext,
    input_tensor_a: Value,
    input_tensor_b: Value | None = None,
    *,
    value: float | None = None,
    rounding_mode: str | None = None,
) -> Expected:
    """a / b, rounded down ("floor"), towards zero ("trunc") or not at all."""
    second = value if input_tensor_b is None else input_tensor_b
    assert second is not None
    quotient = torch.div(_wide(input_tensor_a), _wide(second), rounding_mode=rounding_mode)
    return expected(context, quotient, steps=2)


def divided_by(
    context: CallContext,
    input_tensor: torch.Tensor,
    value: float,
    *,
    rounding_mode: str | None = None,
) -> Expected:
    """A number over each element."""
    quotient = torch.div(_wide(value), _wide(input_tensor), rounding_mode=rounding_mode)
    return expected(context, quotient, steps=2)


def divided_or_zero(
    context: CallContext,
    input_tensor_a: torch.Tensor,
    input_tensor_b: Value | None = None,
    *,
    value: float | None = None,
) -> Expected:
    """a / b, zero where b is."""
    b = _wide(0.0 if input_tensor_b is None else input_tensor_b)
    b = b if value is None else _wide(value)
    quotient = torch.where(b == 0, 0.0, _wide(input_tensor_a) / torch.where(b == 0, 1.0, b))
    return expected(context, quotient, steps=2)


def floored(
    context: CallContext,
    input_tensor_a: torch.Tensor,
    input_tensor_b: Value | None = None,
    *,
    value: float | None = None,
) -> Expected:
    """a / b rounded down."""
    return divided(context, input_tensor_a, input_tensor_b, value=value, rounding_mode="floor")


# Relative errors of powers in a 16-bit destination and a 32-bit one: twice the largest that was
# measured (November 2026).
POWER = (2.0**-6, 2.0**-20)


def power(context: CallContext, input_tensor: Value, exponent: Value) -> Expected:
    """x ** exponent; either may be a number."""
    value = torch.pow(_wide(input_tensor), _wide(exponent))
    off = POWER[context.out == "float32"] / 12**0.5
    return Expected(
        value,
        lambda: op_floors.chain(op_floors.output(value, context.out), op_floors.Floor(off, off)),
    )


def close(
    context: CallContext,
    input_tensor_a: torch.Tensor,
    input_tensor_b: torch.Tensor,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> Expected:
    """1 where |a - b| is at most atol + rtol * |b|, else 0."""
    a, b = _wide(input_tensor_a), _wide(input_tensor_b)
    return expected(context, torch.isclose(a, b, rtol, atol, equal_nan).double())


def prelu(context: CallContext, input_tensor_a: torch.Tensor, weight: Value) -> Expected:
    """x, below zero times the weight, or that of its channel (dimension 1)."""
    x, factor = _wide(input_tensor_a), _wide(weight)
    if factor.numel() > 1:
        factor = factor.reshape((1, -1) + (1,) * (x.dim() - 2))
    return expected(context, torch.where(x < 0, factor * x, x), steps=2)


def snake_beta(
    context: CallContext, input_tensor: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor
) -> Expected:
    """x + sin(alpha * x)**2 / beta."""
    x = _wide(input_tensor)
    return expected(context, x + (_wide(alpha) * x).sin().square() / _wide(beta), steps=2)


def _biased_gelu(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.gelu(a + b)


def _squared_difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).square()


def loss(function: Callable[..., torch.Tensor]) -> Golden:
    """The golden of an error of each element; its sum or mean has none here."""

    def golden(
        context: CallContext, input_reference: torch.Tensor, input_prediction: torch.Tensor
    ) -> Expected:
        return expected(context, function(_wide(input_reference), _wide(input_prediction)), steps=2)

    return golden


# Operation -> (function, roundings of its steps). xlogy's logarithm has twelve bits.
FUNCTIONS_OF_TWO: dict[str, tuple[Callable[..., torch.Tensor], int]] = {
    "bias_gelu": (_biased_gelu, 4),
    "bias_gelu_": (_biased_gelu, 4),
    "fmod": (torch.fmod, 0),
    "ldexp": (lambda a, b: a * torch.exp2(b), 2),
    "ldexp_": (lambda a, b: a * torch.exp2(b), 2),
    "logaddexp_": (torch.logaddexp, 2),
    "logaddexp2_": (torch.logaddexp2, 2),
    "remainder": (torch.remainder, 0),
    "squared_difference": (_squared_difference, 2),
    "squared_difference_": (_squared_difference, 2),
}

SPECS = (
    *(
        OpSpec((name,), of_two(function, steps), neutral=APPROXIMATE)
        for name, (function, steps) in FUNCTIONS_OF_TWO.items()
    ),
    OpSpec(("div", "divide", "divide_"), divided, neutral=APPROXIMATE),
    OpSpec(("rdiv",), divided_by),
    OpSpec(("div_no_nan",), divided_or_zero),
    OpSpec(("floor_div",), floored),
    OpSpec(("pow",), power),
    OpSpec(("isclose",), close),
    OpSpec(("prelu",), prelu),
    OpSpec(("snake_beta",), snake_beta),
    OpSpec(("rsub_",), binary(lambda a, b: b - a), neutral=APPROXIMATE),
    OpSpec(("l1_loss",), loss(lambda a, b: (a - b).abs()), neutral={"reduction": ("NONE",)}),
    OpSpec(("mse_loss",), loss(_squared_difference), neutral={"reduction": ("NONE",)}),
    OpSpec(("logical_right_shift",), of_integers(lambda a, b: (a & 0xFFFFFFFF) >> b)),
)

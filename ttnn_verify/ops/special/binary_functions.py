"""Quotients, powers, losses and the forms of comparisons and sums that write in place."""

import math
from collections.abc import Callable
from typing import Any

import torch

from ttnn_verify.numerics import destination, op_floors, rounding
from ttnn_verify.numerics.kernel_floors.vector_floors import LN_OF_POWER, LN_OF_XLOGY
from ttnn_verify.ops.eltwise import APPROXIMATE, binary
from ttnn_verify.ops.expected import CallContext, Expected, NoGolden
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


def power(context: CallContext, input_tensor: Value, exponent: Value) -> Expected:
    """x ** exponent as 2**(exponent * log2(x)); either may be a number.

    The logarithm's error grows by the exponent. In 32 bits it is that of three float32 steps to its
    fraction, which is at most a half, beside those of the exponential.
    """
    base, by = _wide(input_tensor), _wide(exponent)
    value = torch.pow(base, by)

    def floor() -> op_floors.Floor:
        own = op_floors.output(value, context.out)
        grown = (value * by).abs() / math.sqrt(3)
        if context.out == "float32":
            steps = [own, own, op_floors.of_errors(value, grown * 1.5 * 2.0**-24)]
        else:
            steps = [op_floors.PARABOLA, op_floors.of_errors(value, grown * LN_OF_POWER)]
        return op_floors.chain(own, *steps)

    return Expected(value, floor)


def scaled_by_power(
    context: CallContext, input_tensor_a: torch.Tensor, input_tensor_b: Value
) -> Expected:
    """a * 2**b: the power is stored, and the matrix unit multiplies.

    In a 16-bit destination it rounds the product in each of four phases.
    """
    value = _wide(input_tensor_a) * torch.exp2(_wide(input_tensor_b))

    def floor() -> op_floors.Floor:
        stored = op_floors.vector(value, context.out, "exp2")
        width, phases = ("float32", 1) if context.out == "float32" else ("bfloat16", 3)
        parts = [op_floors.output(value, width)] * phases
        return op_floors.chain(op_floors.output(value, context.out), stored, *parts)

    return Expected(value, floor)


def rpow(context: CallContext, input_tensor: torch.Tensor, exponent: float) -> Expected:
    """A number to the power of each element, by the kernel of `power`."""
    return power(context, exponent, input_tensor)


def xlogy(context: CallContext, input_tensor_a: torch.Tensor, input_tensor_b: Value) -> Expected:
    """a * ln(b), the logarithm by a cubic in either width.

    A 16-bit destination cuts it and then the product (ckernel_sfpu_binary.h), of which each counts
    as four roundings.
    """
    a, b = _wide(input_tensor_a), _wide(input_tensor_b)
    value = torch.xlogy(a, b)

    def floor() -> op_floors.Floor:
        series = op_floors.of_errors(value, a.abs().expand(value.shape) * LN_OF_XLOGY / 3**0.5)
        short = context.out != "float32"
        width, steps = ("bfloat16", 7) if short else ("float32", 2)
        parts = [op_floors.output(value, width)] * steps
        return op_floors.chain(op_floors.output(value, context.out), series, *parts)

    return Expected(value, floor)


def nextafter(
    context: CallContext, input_tensor_a: torch.Tensor, input_tensor_b: torch.Tensor
) -> Expected:
    """The number after a towards b in the format of both; a denormal is zero to the destination.

    Raises:
        NoGolden: a block format, whose steps are its blocks'.
    """
    if context.out not in ("bfloat16", "float32"):
        raise NoGolden(f"nextafter has no golden for {context.out}.")
    dtype = getattr(torch, context.out)
    after = torch.nextafter(input_tensor_a.to(dtype), input_tensor_b.to(dtype))
    return Expected(torch.where(after.abs() < torch.finfo(dtype).tiny, 0.0, after).float())


BCAST: dict[str, Callable[..., torch.Tensor]] = {
    "ADD": torch.add,
    "SUB": torch.sub,
    "MUL": torch.mul,
}


def bcast(
    context: CallContext, input_a: torch.Tensor, input_b: torch.Tensor, math_op: Any, dim: Any
) -> Expected:
    """a and b's first row ("H"), column ("W") or element ("HW"), by the matrix unit.

    Its destination has 16 bits, to which each phase of a product in HiFi4 is rounded.
    """
    rows, columns = ("H" in dim.name, "W" in dim.name)
    b = input_b[..., : 1 if rows else None, : 1 if columns else None]
    value = BCAST[math_op.name](_wide(input_a), _wide(b))

    def floor() -> op_floors.Floor:
        first, second = input_a.float(), b.float()
        if math_op.name == "MUL":
            result = rounding.multiply(first, second, "HiFi4", fp32_dest_acc=False)
        else:
            sign = -1 if math_op.name == "SUB" else 1
            result = rounding.add(first, sign * second.expand(first.shape), fp32_dest_acc=False)
        return destination.packed(value, result.double(), context.out)

    return Expected(value, floor)


def outer(
    context: CallContext, input_tensor_a: torch.Tensor, input_tensor_b: torch.Tensor
) -> Expected:
    """a[..., N, 1] * b[..., 1, M]: of two vectors a product of matrices, else elementwise."""
    a, b = input_tensor_a[..., None], input_tensor_b[..., None, :]
    value = _wide(a) * _wide(b)

    def floor() -> op_floors.Floor:
        if value.numel() == value.shape[-2] * value.shape[-1]:
            return op_floors.matmul(a, b, out=context.out)
        return op_floors.output(value, context.out)

    return Expected(value.reshape(context.shapes[0]), floor)


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


# Operation -> (function, roundings of its steps).
FUNCTIONS_OF_TWO: dict[str, tuple[Callable[..., torch.Tensor], int]] = {
    "bias_gelu": (_biased_gelu, 4),
    "bias_gelu_": (_biased_gelu, 4),
    "fmod": (torch.fmod, 0),
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
    OpSpec(("ldexp", "ldexp_"), scaled_by_power, neutral=APPROXIMATE),
    OpSpec(("div", "divide", "divide_"), divided, neutral=APPROXIMATE),
    OpSpec(("rdiv",), divided_by),
    OpSpec(("div_no_nan",), divided_or_zero),
    OpSpec(("floor_div",), floored),
    OpSpec(("pow",), power),
    OpSpec(("rpow",), rpow, family="elementwise"),
    OpSpec(("xlogy",), xlogy, neutral=APPROXIMATE),
    OpSpec(("nextafter",), nextafter),
    OpSpec(("bcast",), bcast),
    OpSpec(("outer",), outer),
    OpSpec(("isclose",), close),
    OpSpec(("prelu",), prelu),
    OpSpec(("snake_beta",), snake_beta),
    OpSpec(("rsub_",), binary(lambda a, b: b - a), neutral=APPROXIMATE),
    OpSpec(("l1_loss",), loss(lambda a, b: (a - b).abs()), neutral={"reduction": ("NONE",)}),
    OpSpec(("mse_loss",), loss(_squared_difference), neutral={"reduction": ("NONE",)}),
    OpSpec(("logical_right_shift",), of_integers(lambda a, b: (a & 0xFFFFFFFF) >> b)),
)

"""Elementwise operations of two and three operands beside sums and products."""

from collections.abc import Callable, Iterable

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.ops.eltwise import APPROXIMATE, binary
from ttnn_verify.ops.expected import CallContext, Expected
from ttnn_verify.ops.spec import Golden, OpSpec

Value = torch.Tensor | float


def _wide(x: Value) -> torch.Tensor:
    return x.double() if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64)


def expected(context: CallContext, value: torch.Tensor, steps: int = 0) -> Expected:
    """A value that the kernel rounds to the output, after `steps` roundings of the same width.

    Only float32 results have float32 steps; beside others a kernel's series is as short as
    bfloat16 allows. Integers are exact.
    """
    if "int" in context.out:
        return Expected(value)
    width = "float32" if context.out == "float32" else "bfloat16"

    def floor() -> op_floors.Floor:
        parts = [op_floors.output(value, width)] * steps
        return op_floors.chain(op_floors.output(value, context.out), *parts)

    return Expected(value.double(), floor)


def of_two(function: Callable[..., torch.Tensor], steps: int = 0) -> Golden:
    """The golden of `function(a, b)` of tensors, for operations without options."""

    def golden(
        context: CallContext, input_tensor_a: torch.Tensor, input_tensor_b: Value
    ) -> Expected:
        value = function(_wide(input_tensor_a), _wide(input_tensor_b))
        return expected(context, value, steps)

    return golden


def of_integers(function: Callable[..., torch.Tensor]) -> Golden:
    """The golden of `function(a, b)` of integers; they are exact and wrap at 32 bits."""

    def golden(
        context: CallContext, input_tensor_a: torch.Tensor, input_tensor_b: torch.Tensor | int
    ) -> Expected:
        second = torch.as_tensor(input_tensor_b).long()
        value = function(input_tensor_a.long(), second)
        wrapped = (value + (1 << 31)) % (1 << 32) - (1 << 31)
        return expected(context, wrapped if context.out == "int32" else value)

    return golden


def _scaled_sum(sign: int) -> Golden:
    """a + alpha*b, or a - alpha*b."""

    def golden(
        context: CallContext,
        input_tensor_a: torch.Tensor,
        input_tensor_b: torch.Tensor,
        alpha: float,
    ) -> Expected:
        value = _wide(input_tensor_a) + sign * alpha * _wide(input_tensor_b)
        scale = _wide(input_tensor_a).abs() + abs(alpha) * _wide(input_tensor_b).abs()
        parts = op_floors.between(value, value + scale * 2.0**-9)
        return Expected(value, lambda: op_floors.chain(op_floors.output(value, context.out), parts))

    return golden


def addcmul(
    context: CallContext,
    input_a: torch.Tensor,
    input_b: torch.Tensor,
    input_c: torch.Tensor,
    *,
    value: float = 1.0,
) -> Expected:
    return expected(context, _wide(input_a) + value * _wide(input_b) * _wide(input_c))


def addcdiv(
    context: CallContext,
    input_a: torch.Tensor,
    input_b: torch.Tensor,
    input_c: torch.Tensor,
    *,
    value: float = 1.0,
) -> Expected:
    return expected(context, _wide(input_a) + value * _wide(input_b) / _wide(input_c), steps=1)


def lerp(context: CallContext, input: torch.Tensor, end: torch.Tensor, weight: Value) -> Expected:
    start = _wide(input)
    return expected(context, start + _wide(weight) * (_wide(end) - start), steps=1)


def mac(
    context: CallContext,
    input_tensor_a: torch.Tensor,
    input_tensor_b: Value,
    input_tensor_c: Value,
) -> Expected:
    value = _wide(input_tensor_a) * _wide(input_tensor_b) + _wide(input_tensor_c)
    return expected(context, value, steps=1)


def where(
    context: CallContext, predicate: torch.Tensor, true_value: Value, false_value: Value
) -> Expected:
    """A choice; a number is rounded to the output's format, which nothing else changes."""
    chosen = torch.where(predicate != 0, _wide(true_value), _wide(false_value))
    return expected(context, chosen, steps=1)


def polyval(
    context: CallContext, input_tensor_a: torch.Tensor, coeffs: Iterable[float]
) -> Expected:
    """Horner's scheme, whose sums and products are rounded each; the sizes of terms add up."""
    x, numbers = _wide(input_tensor_a), list(coeffs)
    value, size = torch.zeros_like(x), torch.zeros_like(x)
    for number in numbers:
        value, size = value * x + number, size * x.abs() + abs(number)
    width = 2.0**-9 if context.out != "float32" else 2.0**-22
    off = op_floors.between(value, value + size * width * len(numbers))
    return Expected(value, lambda: op_floors.chain(op_floors.output(value, context.out), off))


COMPARISONS = {
    "eq": torch.eq,
    "ne": torch.ne,
    "lt": torch.lt,
    "le": torch.le,
    "gt": torch.gt,
    "ge": torch.ge,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
}

BITWISE = {
    "bitwise_and": torch.bitwise_and,
    "bitwise_or": torch.bitwise_or,
    "bitwise_xor": torch.bitwise_xor,
    "bitwise_left_shift": torch.bitwise_left_shift,
    "bitwise_right_shift": torch.bitwise_right_shift,
    "logical_left_shift": torch.bitwise_left_shift,
    "gcd": torch.gcd,
    "lcm": torch.lcm,
}

# Operation -> (function, roundings of its steps).
FUNCTIONS_OF_TWO = {
    "atan2": (torch.atan2, 4),  # a reciprocal without a step beside a 16-bit destination
    "hypot": (torch.hypot, 3),
    "logaddexp": (torch.logaddexp, 2),
    "logaddexp2": (torch.logaddexp2, 2),
    "maximum": (torch.maximum, 1),
    "minimum": (torch.minimum, 1),
}

SPECS = (
    *(
        OpSpec((name, f"{name}_"), of_two(lambda a, b, f=function: f(a, b).double()))
        for name, function in COMPARISONS.items()
    ),
    *(OpSpec((name,), of_integers(function)) for name, function in BITWISE.items()),
    *(
        OpSpec((name,), of_two(function, steps))
        for name, (function, steps) in FUNCTIONS_OF_TWO.items()
    ),
    OpSpec(("addalpha",), _scaled_sum(1)),
    OpSpec(("subalpha",), _scaled_sum(-1)),
    OpSpec(("addcdiv",), addcdiv),
    OpSpec(("addcmul",), addcmul),
    OpSpec(("lerp",), lerp),
    OpSpec(("mac",), mac),
    OpSpec(("polyval",), polyval),
    OpSpec(("rsub",), binary(lambda a, b: b - a), neutral=APPROXIMATE),
    OpSpec(("where",), where),
)

"""Elementwise operations of one and of two operands, with fused activations."""

from collections.abc import Callable, Iterable

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.ops.expected import FUNCTIONS, CallContext, Expected, applied, functions_of
from ttnn_verify.ops.spec import Golden, OpSpec


def binary(function: Callable[..., torch.Tensor]) -> Golden:
    """The golden of `function(a, b)`; b is a tensor or a number."""

    def golden(
        context: CallContext,
        input_tensor_a: torch.Tensor,
        input_tensor_b: torch.Tensor | float,
        *,
        activations: Iterable[object] = (),
        input_tensor_a_activations: Iterable[object] = (),
        input_tensor_b_activations: Iterable[object] = (),
    ) -> Expected:
        lists = (input_tensor_a_activations, input_tensor_b_activations, activations)
        first, second, after = map(functions_of, lists)
        a, b = map(_wide, (input_tensor_a, input_tensor_b))
        names = [*first, *second, *after]

        def computed(b: torch.Tensor) -> torch.Tensor:
            return applied(function(applied(a, first), applied(b, second)), after)

        value = computed(b)

        def floor() -> op_floors.Floor:
            parts = [op_floors.vector(value, context.out, name) for name in names]
            if b.dim() == 0:  # a number is rounded as the first operand is
                parts.append(op_floors.between(value, computed(b.bfloat16().double())))
            return op_floors.chain(op_floors.output(value, context.out), *parts)

        return Expected(value, floor)

    return golden


def _wide(x: torch.Tensor | float) -> torch.Tensor:
    """float64; of a number a scalar, which gives the same products and sums as the number."""
    return x.double() if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64)


def unary(name: str) -> Golden:
    """The golden of a function of `FUNCTIONS`."""

    def golden(context: CallContext, input_tensor: torch.Tensor) -> Expected:
        value = FUNCTIONS[name](input_tensor.double())
        return Expected(value, lambda: op_floors.vector(value, context.out, name))

    return golden


def elu(context: CallContext, input_tensor: torch.Tensor, *, alpha: float = 1.0) -> Expected:
    """x, below zero alpha * (e**x - 1)."""
    value = torch.nn.functional.elu(input_tensor.double(), alpha)
    return Expected(value, lambda: op_floors.vector(value, context.out, "elu"))


def selu(
    context: CallContext,
    input_tensor: torch.Tensor,
    *,
    scale: float = 1.0506999492645264,
    alpha: float = 1.673259973526001,
) -> Expected:
    """scale * x, below zero scale * alpha * (e**x - 1)."""
    value = scale * torch.nn.functional.elu(input_tensor.double(), alpha)
    return Expected(value, lambda: op_floors.vector(value, context.out, "selu"))


def leaky_relu(context: CallContext, input_tensor: torch.Tensor, negative_slope: float) -> Expected:
    """x, below zero times negative_slope."""
    value = torch.nn.functional.leaky_relu(input_tensor.double(), negative_slope)
    return Expected(value, lambda: op_floors.vector(value, context.out, "leaky_relu"))


def gated(name: str) -> Golden:
    """The golden of x[first half of dim] * function(x[second half])."""

    def golden(context: CallContext, input_tensor: torch.Tensor, dim: int = -1) -> Expected:
        first, gate = input_tensor.double().chunk(2, dim)
        value = first * FUNCTIONS[name](gate)
        return Expected(
            value, lambda: op_floors.chain(*[op_floors.vector(value, context.out, name)] * 2)
        )

    return golden


# Gated unit -> its activation.
GATES = {"geglu": "gelu", "glu": "sigmoid", "reglu": "relu", "swiglu": "silu"}

APPROXIMATE: dict[str, tuple] = {"fast_and_approximate_mode": (False,)}

# Functions of one value, whose approximate variants (where they have one) are no golden's.
OF_ONE_VALUE = (
    *("erf", "hardsigmoid", "hardswish", "log", "mish", "neg", "relu", "relu6", "rsqrt"),
    *("softsign", "sqrt", "square", "tanh"),
)

SPECS = (
    *(
        OpSpec((name,), unary(name), family="elementwise", neutral=APPROXIMATE)
        for name in OF_ONE_VALUE
    ),
    OpSpec(
        ("sigmoid",),
        unary("sigmoid"),
        family="elementwise",
        neutral={"mode": ("Accurate",), "vector_mode": (4,)},
    ),
    OpSpec(("elu",), elu, family="elementwise"),
    OpSpec(("leaky_relu",), leaky_relu, family="elementwise"),
    OpSpec(("selu",), selu, family="elementwise"),
    OpSpec(
        ("add", "add_"),
        binary(torch.add),
        kind="add",
        family="elementwise",
        neutral=APPROXIMATE,
    ),
    OpSpec(("subtract", "subtract_"), binary(torch.sub), neutral=APPROXIMATE),
    OpSpec(
        ("multiply", "mul", "multiply_"),
        binary(torch.mul),
        kind="multiply",
        family="elementwise",
        neutral=APPROXIMATE,
    ),
    *(
        OpSpec(
            (name,),
            gated(activation),
            kind="multiply",
            family="elementwise",
            neutral={"variant": ("Accurate",)} if name == "geglu" else {},
        )
        for name, activation in GATES.items()
    ),
    OpSpec(("silu",), unary("silu"), family="elementwise", neutral=APPROXIMATE),
    OpSpec(
        ("gelu",),
        unary("gelu"),
        family="elementwise",
        neutral=APPROXIMATE | {"variant": ("Accurate",)},
    ),
)

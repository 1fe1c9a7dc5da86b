"""Functions of one value that no activation of `eltwise` is, and those with numbers."""

import math
from collections.abc import Callable, Iterable

import torch
from torch.nn import functional

from ttnn_verify.numerics import metrics, op_floors
from ttnn_verify.ops.eltwise import APPROXIMATE, unary
from ttnn_verify.ops.expected import CallContext, Expected, applied, functions_of
from ttnn_verify.ops.spec import Golden, OpSpec
from ttnn_verify.ops.special.eltwise_pairs import expected

# Functions of `FUNCTIONS` whose kernels have a stated error (`op_floors.vector`).
OF_A_BOUND = (
    *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "cos", "cosh", "digamma", "erfc"),
    *("erfinv", "exp", "exp2", "expm1", "hardmish", "i1", "log10", "log1p", "log2"),
    *("log_sigmoid", "sin", "sinh", "tan", "tanhshrink"),
)

# Values that bfloat16 and float32 have: one rounding, if the output is of another format.
EXACT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "alt_complex_rotate90": lambda x: torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2),
    "bitwise_not": lambda x: torch.bitwise_not(x.long()),
    "ceil": torch.ceil,
    "eqz": lambda x: x == 0,
    "floor": torch.floor,
    "frac": torch.frac,
    "gez": lambda x: x >= 0,
    "gtz": lambda x: x > 0,
    "identity": torch.clone,
    "isfinite": torch.isfinite,
    "isinf": torch.isinf,
    "isnan": torch.isnan,
    "isneginf": torch.isneginf,
    "isposinf": torch.isposinf,
    "lez": lambda x: x <= 0,
    "logical_not": torch.logical_not,
    "logical_not_": torch.logical_not,
    "ltz": lambda x: x < 0,
    "nez": lambda x: x != 0,
    "sign": torch.sign,
    "signbit": torch.signbit,
    "trunc": torch.trunc,
}


def exactly(function: Callable[..., torch.Tensor]) -> Golden:
    """The golden of `function(x, *numbers)`, whose values are x's own or numbers."""

    def golden(context: CallContext, input_tensor: torch.Tensor, *numbers: float) -> Expected:
        return expected(context, function(input_tensor.double(), *numbers).double())

    return golden


def _limited(context: CallContext, x: torch.Tensor, value: torch.Tensor) -> Expected:
    """Values of x and limits; a 16-bit destination cuts a limit, by less than a unit."""
    lower = value if context.out == "float32" else torch.where(value == x, value, value * (1 - CUT))
    return Expected(
        value,
        lambda: op_floors.chain(
            op_floors.output(value, context.out), op_floors.between(value, lower)
        ),
    )


CUT = 2.0**-7  # of bfloat16's eight bits


def clamp(
    context: CallContext,
    input_tensor: torch.Tensor,
    min: torch.Tensor | float | None = None,
    max: torch.Tensor | float | None = None,
) -> Expected:
    """x between two numbers, or two tensors that broadcast; one may be missing."""
    x = value = input_tensor.double()
    if min is not None:
        value = torch.maximum(value, torch.as_tensor(min, dtype=torch.float64))
    if max is not None:
        value = torch.minimum(value, torch.as_tensor(max, dtype=torch.float64))
    return _limited(context, x, value)


def hardtanh(
    context: CallContext,
    input_tensor: torch.Tensor,
    *,
    min_val: float = -1.0,
    max_val: float = 1.0,
) -> Expected:
    """x between two numbers."""
    return clamp(context, input_tensor, min_val, max_val)


def relu_max(context: CallContext, input_tensor: torch.Tensor, upper_limit: float) -> Expected:
    """x between 0 and a number."""
    return clamp(context, input_tensor, 0.0, upper_limit)


def relu_min(context: CallContext, input_tensor: torch.Tensor, lower_limit: float) -> Expected:
    """x, at least a number."""
    return clamp(context, input_tensor, lower_limit)


def threshold(
    context: CallContext, input_tensor: torch.Tensor, threshold: float, value: float
) -> Expected:
    """x above a threshold, else a number."""
    x = input_tensor.double()
    return _limited(context, x, functional.threshold(x, threshold, value))


def rounded(
    context: CallContext, input_tensor: torch.Tensor, *, decimals: int | None = 0
) -> Expected:
    """x with so many decimals, ties to even."""
    value = torch.round(input_tensor.double(), decimals=decimals or 0)
    return expected(context, value, steps=1 if decimals else 0)


def celu(context: CallContext, input_tensor: torch.Tensor, *, alpha: float = 1.0) -> Expected:
    """x, below zero alpha * (e**(x/alpha) - 1)."""
    value = functional.celu(input_tensor.double(), alpha)
    return Expected(value, lambda: op_floors.vector(value, context.out, "celu"))


def softplus(
    context: CallContext,
    input_tensor: torch.Tensor,
    *,
    beta: float = 1.0,
    threshold: float = 20.0,
) -> Expected:
    """log(1 + e**(beta*x)) / beta; x where beta*x is above the threshold."""
    value = functional.softplus(input_tensor.double(), beta, threshold)
    return Expected(value, lambda: op_floors.vector(value, context.out, "softplus"))


def hardshrink(context: CallContext, input_tensor: torch.Tensor, *, lambd: float = 0.5) -> Expected:
    """x, zero between -lambd and lambd."""
    return expected(context, functional.hardshrink(input_tensor.double(), lambd))


def softshrink(context: CallContext, input_tensor: torch.Tensor, *, lambd: float = 0.5) -> Expected:
    """x brought nearer to zero by lambd, at most to zero."""
    value = functional.softshrink(input_tensor.double(), lambd)
    return Expected(value, lambda: op_floors.vector(value, context.out, "softshrink"))


def xielu(
    context: CallContext,
    input_tensor: torch.Tensor,
    *,
    alpha_p: float = 0.8,
    alpha_n: float = 0.8,
) -> Expected:
    """x/2 + alpha_p*x**2, below zero x/2 + alpha_n*(e**x - 1 - x); Huang and Schlag (2024)."""
    x = input_tensor.double()
    value = x / 2 + torch.where(x > 0, alpha_p * x * x, alpha_n * (torch.expm1(x) - x))
    return Expected(value, lambda: op_floors.vector(value, context.out, "xielu"))


def logit(
    context: CallContext, input_tensor: torch.Tensor, *, eps: float | None = None
) -> Expected:
    """log(x / (1 - x)) of x between eps and 1 - eps."""
    value = torch.logit(input_tensor.double(), eps)
    return Expected(value, lambda: op_floors.vector(value, context.out, "logit"))


def heaviside(context: CallContext, input_tensor: torch.Tensor, value: float) -> Expected:
    """0 below zero, 1 above it, and at zero a number, which a 16-bit destination cuts."""
    x = input_tensor.double()
    steps = torch.where(x == 0, value, (x > 0).double())
    lower = torch.where((x == 0) & (context.out != "float32"), steps * (1 - CUT), steps)
    return Expected(
        steps,
        lambda: op_floors.chain(
            op_floors.output(steps, context.out), op_floors.between(steps, lower)
        ),
    )


def times(number: float) -> Golden:
    """The golden of a product with a number that the host rounds to float32.

    A 16-bit destination cuts it (ckernel_sfpu_binop_with_unary.h), which counts as four roundings.
    """

    def golden(context: CallContext, input_tensor: torch.Tensor) -> Expected:
        steps = 1 if context.out == "float32" else 3
        return expected(context, input_tensor.double() * number, steps)

    return golden


def chained(context: CallContext, input_tensor: torch.Tensor, ops_chain: Iterable) -> Expected:
    """Functions one after the other, whose results a destination of the operand's width keeps.

    A function makes of what the one before it has rounded what it makes of any such error.
    """
    names = functions_of(ops_chain)
    value = applied(input_tensor.double(), names)

    def floor() -> op_floors.Floor:
        kept = torch.float32 if context.out == "float32" else torch.bfloat16
        rounded = input_tensor.double()
        for name in names:
            rounded = applied(rounded, [name]).to(kept).double()
        own = [op_floors.vector(value, context.out, name) for name in names]
        return op_floors.chain(op_floors.between(value, rounded), *own)

    return Expected(value, floor)


def polygamma(context: CallContext, input_tensor: torch.Tensor, k: int) -> Expected:
    """The k-th derivative of digamma, from six terms and a tail (ckernel_sfpu_polygamma.h).

    A term is an inverse to the power of k + 1, which has its error as many times over, and k + 1
    products; four of the sums matter. In 16 bits the inverse has one step of Newton's. Of the
    tail's series, Euler's and Maclaurin's, the first term that is left out bounds the rest, as its
    signs alternate.
    """
    x = input_tensor.double()
    value = torch.polygamma(k, x)
    short = context.out != "float32"

    def floor() -> op_floors.Floor:
        rest = B_8 * math.factorial(k + 7) / (x + 6) ** (k + 8)
        rest = rest + (k + 1) * NEWTON_ONCE * value.abs() if short else rest
        steps = 0 if short else (k + 1) ** 2 + (k + 1) + 4
        roundings = [op_floors.output(value, "float32")] * steps
        series = op_floors.of_errors(value, rest / math.sqrt(3))
        return op_floors.chain(op_floors.output(value, context.out), series, *roundings)

    return Expected(value, floor)


B_8 = 1 / 30 / math.factorial(8)  # the eighth Bernoulli number over 8!, but for its sign
# The best parabola for 1/x on [1, 2] errs by 1/T3(3) = 1/99 of it; a step of Newton's squares that.
NEWTON_ONCE = 1 / 99**2


def lgamma(context: CallContext, input_tensor: torch.Tensor) -> Expected:
    """log |gamma(x)|."""
    value = torch.lgamma(input_tensor.double())

    def floor() -> op_floors.Floor:
        own = op_floors.of_errors(value, op_floors.gamma_errors(input_tensor, context.out))
        return op_floors.chain(op_floors.output(value, context.out), own)

    return Expected(value, floor)


def multigammaln(context: CallContext, input_tensor: torch.Tensor) -> Expected:
    """log of the multivariate gamma function of order 4: lgamma of x, x - 1/2, x - 1, x - 3/2.

    Each is stored, and so are their sums: errors add up as they are, whatever the terms cancel.
    """
    arguments = [input_tensor.double() - less for less in (0.0, 0.5, 1.0, 1.5)]
    value = torch.special.multigammaln(input_tensor.double(), 4)

    def floor() -> op_floors.Floor:
        terms = torch.stack([torch.lgamma(x) for x in arguments])
        stored = [*terms, *terms.cumsum(0)[1:]]
        errors = [metrics.unit(one, context.out) / math.sqrt(12) for one in stored]
        errors += [op_floors.gamma_errors(x, context.out) for x in arguments]
        own = op_floors.of_errors(value, torch.stack(errors).square().sum(0).sqrt())
        return op_floors.chain(op_floors.output(value, context.out), own)

    return Expected(value, floor)


def i0(context: CallContext, input_tensor: torch.Tensor) -> Expected:
    """The modified Bessel function of order 0; a 16-bit destination cuts it."""
    value = torch.special.i0(input_tensor.double())

    def floor() -> op_floors.Floor:
        short = context.out != "float32"
        width, steps = ("bfloat16", 3) if short else ("float32", 2)
        series = op_floors.of_errors(value, op_floors.bessel_errors(input_tensor))
        parts = [op_floors.output(value, width)] * steps
        return op_floors.chain(op_floors.output(value, context.out), series, *parts)

    return Expected(value, floor)


NUMBERS: dict[str, Golden] = {
    "celu": celu,
    "clamp": clamp,
    "fill": exactly(torch.full_like),
    "hardshrink": hardshrink,
    "deg2rad": times(math.pi / 180),
    "hardtanh": hardtanh,
    "heaviside": heaviside,
    "i0": i0,
    "lgamma": lgamma,
    "logit": logit,
    "multigammaln": multigammaln,
    "polygamma": polygamma,
    "rad2deg": times(180 / math.pi),
    "relu_max": relu_max,
    "relu_min": relu_min,
    "round": rounded,
    "softplus": softplus,
    "softshrink": softshrink,
    "threshold": threshold,
    "unary_chain": chained,
    "xielu": xielu,
}

SAME = {"clamp": ("clamp", "clip")}

SPECS = (
    *(
        OpSpec((name,), unary(name), family="elementwise", neutral=APPROXIMATE)
        for name in OF_A_BOUND
    ),
    OpSpec(("swish",), unary("silu"), family="elementwise", neutral=APPROXIMATE),
    OpSpec(("sigmoid_accurate",), unary("sigmoid"), family="elementwise", neutral=APPROXIMATE),
    *(OpSpec((name,), exactly(f), neutral=APPROXIMATE) for name, f in EXACT.items()),
    *(
        OpSpec(SAME.get(name, (name,)), golden, family="elementwise", neutral=APPROXIMATE)
        for name, golden in NUMBERS.items()
    ),
)

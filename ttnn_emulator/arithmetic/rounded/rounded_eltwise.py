"""Elementwise operations in float32 (integers in int64), for `rounded`."""

from collections.abc import Callable

import torch
from torch.nn import functional

from ttnn_emulator.arithmetic.compute import NOTHING_FUSED, FusedOp, FusedOps
from ttnn_emulator.arithmetic.formats import encode
from ttnn_emulator.arithmetic.rounded.rounded_binary import BINARY, TERNARY, WITH_NUMBERS

Function = Callable[..., torch.Tensor]


def promoted(values: torch.Tensor) -> torch.Tensor:
    """Values in the type that arithmetic happens in: float32 for floats, int64 for integers."""
    return values.float() if values.dtype.is_floating_point else values.long()


def _fill(x: torch.Tensor, value: float) -> torch.Tensor:
    return torch.full_like(x, value)


def _threshold(x: torch.Tensor, threshold: float, value: float) -> torch.Tensor:
    return torch.where(x <= threshold, value, x)


def _softplus(x: torch.Tensor, beta: float = 1.0, threshold: float = 20.0) -> torch.Tensor:
    return functional.softplus(x, beta, threshold)


def _round(x: torch.Tensor, decimals: int = 0) -> torch.Tensor:
    return torch.round(x, decimals=int(decimals))


def _selu(
    x: torch.Tensor, scale: float = 1.0506999492645264, alpha: float = 1.673259973526001
) -> torch.Tensor:
    return scale * torch.where(x >= 0, x, alpha * torch.expm1(x))


def _heaviside(x: torch.Tensor, value: float) -> torch.Tensor:
    return torch.heaviside(x, torch.tensor(value, dtype=x.dtype))


def _xielu(x: torch.Tensor, alpha_p: float = 0.8, alpha_n: float = 0.8) -> torch.Tensor:
    """Huang and Schlag 2024, with beta of 1/2."""
    return x / 2 + torch.where(x > 0, alpha_p * x * x, alpha_n * (torch.expm1(x) - x))


def _polygamma(x: torch.Tensor, n: float, scale: float) -> torch.Tensor:
    return torch.special.polygamma(int(n), x)


class _Functions(dict[str, Function]):
    """Name -> function; one that is missing is told in a sentence."""

    def __missing__(self, name: str) -> Function:
        raise LookupError(
            f"the arithmetic has no function {name!r}: enter it in UNARY of "
            "ttnn_emulator/arithmetic/rounded/rounded_eltwise.py, and in FOLLOWED of a module of "
            "ttnn_emulator/arithmetic/exact/vector/ if the kernel's steps are known "
            "(docs/adding-an-op.md, step 1)."
        )


# Operation -> function of promoted values and the operation's own numbers.
UNARY = _Functions(WITH_NUMBERS)
UNARY |= {
    "abs": torch.abs,
    "acos": torch.acos,
    "acosh": torch.acosh,
    "add_number": torch.add,
    "asin": torch.asin,
    "asinh": torch.asinh,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "bitwise_not": torch.bitwise_not,
    "cbrt": lambda x: x.sign() * x.abs().pow(1 / 3),
    "ceil": torch.ceil,
    "celu": functional.celu,
    "clamp": torch.clamp,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "digamma": torch.digamma,
    "elu": functional.elu,
    "eqz": lambda x: x == 0,
    "erf": torch.erf,
    "erfc": torch.erfc,
    "erfinv": torch.erfinv,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "fill": _fill,
    "floor": torch.floor,
    "frac": torch.frac,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "gez": lambda x: x >= 0,
    "gtz": lambda x: x > 0,
    "hardmish": lambda x: x * (x / 2 + 1).clamp(0, 1),
    "hardshrink": functional.hardshrink,
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
    "heaviside": _heaviside,
    "i0": torch.special.i0,
    "i1": torch.special.i1,
    "identity": torch.clone,
    "isfinite": torch.isfinite,
    "isinf": torch.isinf,
    "isnan": torch.isnan,
    "isneginf": torch.isneginf,
    "isposinf": torch.isposinf,
    "leaky_relu": functional.leaky_relu,
    "lez": lambda x: x <= 0,
    "lgamma": torch.lgamma,
    "log": torch.log,
    "log10": torch.log10,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "log_sigmoid": functional.logsigmoid,
    "logical_not": torch.logical_not,
    "logit": torch.logit,
    "ltz": lambda x: x < 0,
    "mish": functional.mish,
    "multiply_by": torch.multiply,
    "neg": torch.neg,
    "nez": lambda x: x != 0,
    "polygamma": _polygamma,
    "pow": torch.pow,
    "power": torch.pow,
    "power_iterative": torch.pow,
    "reciprocal": torch.reciprocal,
    "relu": torch.relu,
    "relu6": lambda x: x.clamp(0, 6),
    "relu_max": lambda x, upper: torch.relu(x.clamp(max=upper)),
    "relu_min": lambda x, lower: x.clamp(min=lower),
    "round": _round,
    "rsqrt": torch.rsqrt,
    "selu": _selu,
    "sigmoid": torch.sigmoid,
    "sigmoid_chain": torch.sigmoid,
    "sigmoid_linear": torch.sigmoid,
    "sign": torch.sign,
    "signbit": torch.signbit,
    "silu": functional.silu,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "softplus": _softplus,
    "softshrink": functional.softshrink,
    "softsign": functional.softsign,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
    "tanhshrink": functional.tanhshrink,
    "threshold": _threshold,
    "trunc": torch.trunc,
    "xielu": _xielu,
}


def unary(
    x: torch.Tensor, *ops: FusedOp, dtype: str = "bfloat16", out: str = "bfloat16"
) -> torch.Tensor:
    """See `interface.Arithmetic`; the error of a fast variant is not modelled."""
    x = promoted(x)
    for op in ops:
        x = UNARY[op.name](x, *op.numbers)
    return x


def chip_sum(*terms: torch.Tensor, dtype: str, fp32_dest_acc: bool) -> torch.Tensor:
    """See `interface.Arithmetic`; the sum of two is rounded once, whatever Dst is like."""
    total = terms[0].float()
    for term in terms[1:]:
        total = total + term.float()
    return stored(total, dtype)


def binary(
    operation: str | FusedOp,
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    dtypes: tuple[str, str] = ("bfloat16", "bfloat16"),
    out: str = "bfloat16",
    fused: FusedOps = NOTHING_FUSED,
    fast: bool | None = None,
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    op = FusedOp(operation) if isinstance(operation, str) else operation
    a, b = unary(a, *fused.a), unary(b, *fused.b)
    if not a.is_floating_point() or not b.is_floating_point():
        a, b = torch.broadcast_tensors(a, b)
    return unary(BINARY[op.name](a, b, *op.numbers), *fused.result)


def ternary(
    op: FusedOp,
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    *,
    dtypes: tuple[str, ...],
    out: str,
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    return TERNARY[op.name](*map(promoted, (a, b, c)), *op.numbers)


def typecast(x: torch.Tensor, from_dtype: str, to_dtype: str) -> torch.Tensor:
    """See `interface.Arithmetic`; writing the values to the output rounds them."""
    return x


def moved(
    x: torch.Tensor,
    dtype: str,
    out: str | None = None,
    *,
    fp32_dest_acc: bool | None = None,
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    return x


def stored(values: torch.Tensor, dtype: str) -> torch.Tensor:
    """See `interface.Arithmetic`; rounds once, to block formats as the host encodes them."""
    return encode(values, dtype)

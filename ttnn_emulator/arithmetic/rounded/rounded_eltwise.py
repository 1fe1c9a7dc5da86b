"""Elementwise operations in float32 (integers in int64), for `rounded`."""

from collections.abc import Callable

import torch
from torch.nn import functional

from ttnn_emulator.arithmetic.compute import NOTHING_FUSED, FusedOp, FusedOps
from ttnn_emulator.arithmetic.formats import encode

Function = Callable[..., torch.Tensor]


def promoted(values: torch.Tensor) -> torch.Tensor:
    """Values in the type that arithmetic happens in: float32 for floats, int64 for integers."""
    return values.float() if values.dtype.is_floating_point else values.long()


def _fill(x: torch.Tensor, value: float) -> torch.Tensor:
    return torch.full_like(x, value)


def _threshold(x: torch.Tensor, threshold: float, value: float) -> torch.Tensor:
    return torch.where(x > threshold, x, value)


def _softplus(x: torch.Tensor, beta: float = 1.0, threshold: float = 20.0) -> torch.Tensor:
    return functional.softplus(x, beta, threshold)


def _round(x: torch.Tensor, decimals: int = 0) -> torch.Tensor:
    return torch.round(x, decimals=decimals)


class _Functions(dict[str, Function]):
    """Name -> function; one that is missing is told in a sentence."""

    def __missing__(self, name: str) -> Function:
        raise LookupError(
            f"the arithmetic has no function {name!r}: enter it in UNARY of "
            "ttnn_emulator/arithmetic/rounded/rounded_eltwise.py, and in FOLLOWED of "
            "ttnn_emulator/arithmetic/exact/elementwise.py if the kernel's steps are known "
            "(docs/adding-an-op.md, step 1)."
        )


# Operation -> function of promoted values and the operation's own numbers.
UNARY = _Functions()
UNARY |= {
    "abs": torch.abs,
    "cbrt": lambda x: x.sign() * x.abs().pow(1 / 3),
    "ceil": torch.ceil,
    "clamp": torch.clamp,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "elu": functional.elu,
    "eqz": lambda x: x == 0,
    "erf": torch.erf,
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
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
    "identity": torch.clone,
    "isfinite": torch.isfinite,
    "isinf": torch.isinf,
    "isnan": torch.isnan,
    "leaky_relu": functional.leaky_relu,
    "lez": lambda x: x <= 0,
    "log": torch.log,
    "log10": torch.log10,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "log_sigmoid": functional.logsigmoid,
    "logical_not": torch.logical_not,
    "ltz": lambda x: x < 0,
    "mish": functional.mish,
    "neg": torch.neg,
    "nez": lambda x: x != 0,
    "pow": torch.pow,
    "reciprocal": torch.reciprocal,
    "relu": torch.relu,
    "relu6": lambda x: x.clamp(0, 6),
    "relu_max": lambda x, upper: x.clamp(0, upper),
    "relu_min": lambda x, lower: torch.relu(x.clamp(min=lower)),
    "round": _round,
    "rsqrt": torch.rsqrt,
    "selu": functional.selu,
    "sigmoid": torch.sigmoid,
    "sign": torch.sign,
    "silu": functional.silu,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "softplus": _softplus,
    "softsign": functional.softsign,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
    "threshold": _threshold,
    "trunc": torch.trunc,
}

BINARY: dict[str, Function] = {
    "add": torch.add,
    "subtract": torch.subtract,
    "multiply": torch.multiply,
    "divide": torch.divide,
    "rsub": torch.rsub,
    "pow": torch.pow,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "eq": torch.eq,
    "ne": torch.ne,
    "lt": torch.lt,
    "le": torch.le,
    "gt": torch.gt,
    "ge": torch.ge,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "squared_difference": lambda a, b: torch.square(a - b),
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
    operation: str,
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    dtypes: tuple[str, str] = ("bfloat16", "bfloat16"),
    out: str = "bfloat16",
    fused: FusedOps = NOTHING_FUSED,
    fast: bool | None = None,
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    return unary(BINARY[operation](unary(a, *fused.a), unary(b, *fused.b)), *fused.result)


def where(
    condition: torch.Tensor,
    if_true: torch.Tensor,
    if_false: torch.Tensor,
    *,
    out: str = "bfloat16",
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    return torch.where(condition != 0, promoted(if_true), promoted(if_false))


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

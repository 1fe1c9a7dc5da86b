"""Elementwise operations of one tensor, and the activations that other operations fuse.

The kernels run over whole tiles, so padding holds their result on padding: exp leaves ones.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import torch
import ttnn

from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import padding

# What TTNN takes for an activation that is fused to another operation.
Fusable: TypeAlias = ttnn.UnaryWithParam | ttnn.UnaryOpType | str

# Operations without arguments of their own: TTNN's name after "ttnn." is the arithmetic's name.
PLAIN = [
    "abs",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "eqz",
    "erf",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "frac",
    "gez",
    "gtz",
    "hardsigmoid",
    "hardswish",
    "identity",
    "isfinite",
    "isinf",
    "isnan",
    "lez",
    "log",
    "log10",
    "log1p",
    "log2",
    "log_sigmoid",
    "logical_not",
    "ltz",
    "mish",
    "neg",
    "nez",
    "reciprocal",
    "relu",
    "relu6",
    "rsqrt",
    "selu",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "sinh",
    "softsign",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
]

# UnaryOpType -> name in the arithmetic, of those whose parameters are numbers.
FUSED = {
    "ABS": "abs",
    "COS": "cos",
    "ELU": "elu",
    "EQZ": "eqz",
    "EXP2": "exp2",
    "EXPM1": "expm1",
    "FILL": "fill",
    "FLOOR": "floor",
    "GELU_TANH": "gelu_tanh",
    "GEZ": "gez",
    "GTZ": "gtz",
    "HARDSIGMOID": "hardsigmoid",
    "HARDSWISH": "hardswish",
    "IDENTITY": "identity",
    "LEAKY_RELU": "leaky_relu",
    "LEZ": "lez",
    "LOGICAL_NOT_UNARY": "logical_not",
    "LTZ": "ltz",
    "MISH": "mish",
    "NEG": "neg",
    "NEZ": "nez",
    "POWER": "pow",
    "RECIP": "reciprocal",
    "RELU": "relu",
    "RELU6": "relu6",
    "RELU_MAX": "relu_max",
    "RELU_MIN": "relu_min",
    "SELU": "selu",
    "SIGN": "sign",
    "SILU": "silu",
    "SIN": "sin",
    "SQUARE": "square",
    "THRESHOLD": "threshold",
}

# UnaryOpType -> name, of those whose last parameter says whether to approximate.
FUSED_APPROXIMABLE = {
    "EXP": "exp",
    "GELU": "gelu",
    "LOG": "log",
    "LOG10": "log10",
    "LOG1P": "log1p",
    "LOG2": "log2",
    "RSQRT": "rsqrt",
    "SIGMOID": "sigmoid",
    "SQRT": "sqrt",
    "TANH": "tanh",
}

# Strings that matmul and linear take for their activation (unary_op_utils.cpp), where the
# UnaryOpType is not the same word in capitals.
ACTIVATION_STRINGS = {
    "gelu_approx": ("gelu", True),
    "sigmoid_approx": ("sigmoid", True),
    "recip": ("reciprocal", False),
    "exp": ("exp", True),
}


def steps_of(activations: Iterable[Fusable] | None) -> tuple[FusedOp, ...]:
    """A list of fused activations as steps of the arithmetic.

    Args:
        activations: `ttnn.UnaryWithParam`, `ttnn.UnaryOpType` or strings; or None.
    """
    return tuple(_step(activation) for activation in activations or ())


def _step(activation: Fusable) -> FusedOp:
    if isinstance(activation, str):
        name, approximate = ACTIVATION_STRINGS.get(activation, (activation, False))
        kind, parameters = name.upper().replace("RECIPROCAL", "RECIP"), [approximate]
        if kind in FUSED or kind == "SOFTPLUS":
            parameters = []
    else:
        kind = getattr(activation, "op_type", activation).name
        parameters = list(getattr(activation, "params", ()))
    if kind in FUSED_APPROXIMABLE:
        return FusedOp(FUSED_APPROXIMABLE[kind], approximate=bool(parameters and parameters[-1]))
    if kind == "SOFTPLUS":
        return FusedOp("softplus", tuple(parameters[:2]))
    if kind in FUSED:
        return FusedOp(FUSED[kind], tuple(parameters))
    raise NotEmulated(
        f"The fused activation {activation} has no arithmetic in the emulation. Add it to FUSED in "
        "ttnn_emulator/ops/eltwise/eltwise_unary.py."
    )


def apply(launch: Launch, operand: DeviceTensor, *steps: FusedOp) -> torch.Tensor:
    """Steps of one unary kernel on the whole contents of an operand."""
    unary, options = launch.math.unary, {"dtype": operand.dtype, "out": launch.output.dtype}
    bare = operand.zero_padded and operand.shape == launch.output.shape
    bare = bare and not padding.cuts_a_block(launch.output)
    values = operand.logical if bare else operand.data
    result = padding.mark_undefined_rows(
        unary(values, *steps, **options), padding.undefined_rows(values), launch.output.dtype
    )
    if not bare:
        return result
    of_zero = padding.of_zero(unary, operand.dtype, padding.ZERO, *steps, **options)
    return padding.beside(result, launch.output, of_zero)


def _plain(name: str) -> Callable[..., torch.Tensor]:
    def binding(
        launch: Launch,
        input_tensor: DeviceTensor,
        *,
        output_tensor: DeviceTensor | None = None,
        fast_and_approximate_mode: bool = False,
    ) -> torch.Tensor:
        return apply(launch, input_tensor, FusedOp(name, approximate=fast_and_approximate_mode))

    binding.__name__ = name
    return binding


def gelu(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    fast_and_approximate_mode: bool = False,
    variant: Any = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    name = "gelu_tanh" if variant is not None and variant.name == "Tanh" else "gelu"
    return apply(launch, input_tensor, FusedOp(name, approximate=fast_and_approximate_mode))


def sigmoid(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    vector_mode: int = 4,
    mode: Any = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    if vector_mode != 4:
        raise NotEmulated(
            f"ttnn.sigmoid: vector_mode {vector_mode} writes part of each tile; 4 is all."
        )
    approximate = mode is not None and "APPROX" in mode.name.upper()
    return apply(launch, input_tensor, FusedOp("sigmoid", approximate=approximate))


def softplus(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    beta: float = 1.0,
    threshold: float = 20.0,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("softplus", (beta, threshold)))


def leaky_relu(
    launch: Launch,
    input_tensor: DeviceTensor,
    negative_slope: float,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("leaky_relu", (negative_slope,)))


def elu(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    alpha: float = 1.0,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("elu", (alpha,)))


def relu_max(
    launch: Launch,
    input_tensor: DeviceTensor,
    upper_limit: float,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("relu_max", (upper_limit,)))


def relu_min(
    launch: Launch,
    input_tensor: DeviceTensor,
    lower_limit: float,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("relu_min", (lower_limit,)))


def threshold(
    launch: Launch,
    input_tensor: DeviceTensor,
    threshold: float,
    value: float,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("threshold", (threshold, value)))


def hardtanh(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    min_val: float = -1.0,
    max_val: float = 1.0,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("clamp", (min_val, max_val)))


def round_(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    decimals: int | None = 0,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("round", (decimals or 0,)))


def fill(
    launch: Launch,
    input_tensor: DeviceTensor,
    fill_value: float,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, FusedOp("fill", (fill_value,)))


def unary_chain(
    launch: Launch,
    input_tensor: DeviceTensor,
    ops_chain: Sequence[Fusable],
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, *steps_of(ops_chain))


def typecast(
    launch: Launch,
    input_tensor: DeviceTensor,
    *dtypes: object,
    dtype: ttnn.DataType | None = None,
    input_dtype: ttnn.DataType | None = None,
    output_dtype: ttnn.DataType | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """Every pair of dtypes; the target is the planned output's."""
    bare = input_tensor.zero_padded and input_tensor.shape == launch.output.shape
    values = input_tensor.logical if bare else input_tensor.data
    result = launch.math.typecast(values, input_tensor.dtype, launch.output.dtype)
    return padding.mark_undefined_rows(result, padding.undefined_rows(values), launch.output.dtype)


def plus_one(
    launch: Launch, input_tensor: DeviceTensor, *, skip_negative_entries: bool = False
) -> None:
    """Add 1 to integers in place; with `skip_negative_entries` only to those from 0 on."""
    counts = input_tensor.data.long()  # torch adds no uint32
    input_tensor.data.copy_(counts + ((counts >= 0) if skip_negative_entries else 1))


BINDINGS = {f"ttnn.{name}": _plain(name) for name in PLAIN} | {
    "ttnn.elu": elu,
    "ttnn.experimental.typecast": typecast,
    "ttnn.fill": fill,
    "ttnn.gelu": gelu,
    "ttnn.hardtanh": hardtanh,
    "ttnn.leaky_relu": leaky_relu,
    "ttnn.plus_one": plus_one,
    "ttnn.relu_max": relu_max,
    "ttnn.relu_min": relu_min,
    "ttnn.round": round_,
    "ttnn.sigmoid": sigmoid,
    "ttnn.sigmoid_accurate": _plain("sigmoid"),
    "ttnn.softplus": softplus,
    "ttnn.swish": _plain("silu"),
    "ttnn.threshold": threshold,
    "ttnn.typecast": typecast,
    "ttnn.unary_chain": unary_chain,
}

WRITES = {"ttnn.plus_one": ("input_tensor",)}

BY_BATCH = frozenset(f"ttnn.{name}" for name in PLAIN)

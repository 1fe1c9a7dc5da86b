"""The activations that operations fuse, as steps of the arithmetic."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import torch
import ttnn

from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.dispatch import NotEmulated

# What TTNN takes for an activation that is fused to another operation.
Fusable: TypeAlias = (
    ttnn.UnaryWithParam | ttnn.UnaryOpType | str | tuple[ttnn.UnaryOpType, float | Sequence[float]]
)

# UnaryOpType -> name in the arithmetic, of those that are not the same word in small letters.
NAMED_OTHERWISE = {
    "ADD_UNARY_SFPU": "add_number",
    "DIV_UNARY_SFPU": "multiply_by",
    "HARDTANH": "clamp",
    "CLAMP_TSS": "clamp",
    "LOGICAL_NOT_UNARY": "logical_not",
    "LOGSIGMOID": "log_sigmoid",
    "MUL_UNARY_SFPU": "multiply_by",
    "PRELU_SFPU": "leaky_relu",
    "RECIP": "reciprocal",
    "SUB_UNARY_SFPU": "add_number",
}

# UnaryOpTypes whose parameters, if any, are numbers.
FUSED = {
    name: NAMED_OTHERWISE.get(name, name.lower())
    for name in (
        *("ADD_UNARY_SFPU", "DIV_UNARY_SFPU", "SUB_UNARY_SFPU"),
        *("ABS", "ACOS", "ACOSH", "ASIN", "ASINH", "ATAN", "ATANH", "BITWISE_NOT", "CBRT", "CEIL"),
        *("CELU", "CLAMP_TSS", "COS", "COSH", "DIGAMMA", "ELU", "EQZ", "ERFC", "ERFINV", "EXP2"),
        *("EXPM1", "FILL", "FLOOR", "FRAC", "GELU_TANH", "GEZ", "GTZ", "HARDMISH", "HARDSHRINK"),
        *("HARDSIGMOID", "HARDTANH", "HEAVISIDE", "I0", "I1", "IDENTITY", "ISFINITE", "ISINF"),
        *("ISNAN", "ISNEGINF", "ISPOSINF", "LEAKY_RELU", "LEZ", "LOGICAL_NOT_UNARY", "LTZ"),
        *("MUL_UNARY_SFPU", "NEG", "NEZ", "POWER", "POWER_ITERATIVE", "PRELU_SFPU"),
        *("RECIP", "RELU", "RELU6", "RELU_MAX", "RELU_MIN", "ROUND", "SELU", "SIGN", "SIGNBIT"),
        *("SILU", "SIN", "SINH", "SOFTPLUS", "SOFTSHRINK", "SOFTSIGN", "SQUARE", "TAN"),
        *("TANHSHRINK", "THRESHOLD", "TRUNC", "XIELU"),
    )
}

# Kernels of their own. In another operation's kernel TTNN 0.81.1 leaves them out without a word
# (their PROCESS_POST_ACTIVATIONS is empty), and a longer chain it refuses.
ALONE = {"HARDSWISH": "hardswish", "LGAMMA": "lgamma", "LOGSIGMOID": "log_sigmoid"}

# UnaryOpTypes whose last parameter says whether to approximate.
FUSED_APPROXIMABLE = {
    name: name.lower()
    for name in (
        *("ERF", "EXP", "GELU", "LOG", "LOG10", "LOG1P", "LOG2", "MISH", "RSQRT", "SIGMOID"),
        *("SQRT", "TANH"),
    )
}

# Strings that matmul and linear take for their activation (unary_op_utils.cpp), where the
# UnaryOpType is not the same word in capitals.
ACTIVATION_STRINGS = {
    "gelu_approx": ("gelu", True),
    "sigmoid_approx": ("sigmoid", True),
    "recip": ("reciprocal", False),
    "exp": ("exp", True),
}


# Those whose kernels approximate where the activation has no parameter (gelu.h, erf_erfc.h).
APPROXIMATE_BY_DEFAULT = {"ERF", "GELU"}


def steps_of(activations: Iterable[Fusable] | None, *, alone: bool = False) -> tuple[FusedOp, ...]:
    """A list of fused activations as steps of the arithmetic.

    Args:
        activations: `ttnn.UnaryWithParam`, `ttnn.UnaryOpType`, strings or pairs (UnaryOpType,
            parameters); or None.
        alone: whether they are a kernel of their own rather than part of another.
    """
    return tuple(_step(activation, alone) for activation in activations or ())


def _step(activation: Fusable, alone: bool) -> FusedOp:
    if isinstance(activation, str):
        name, approximate = ACTIVATION_STRINGS.get(activation, (activation, False))
        kind = name.upper().replace("RECIPROCAL", "RECIP")
        parameters = [float(approximate)] if kind in FUSED_APPROXIMABLE else []
    elif isinstance(activation, tuple):
        op_type, given = activation
        kind, parameters = op_type.name, list(given if isinstance(given, Sequence) else (given,))
    else:
        kind = getattr(activation, "op_type", activation).name
        parameters = list(getattr(activation, "params", ()))
    if kind in FUSED_APPROXIMABLE:
        return _approximable(kind, parameters)
    if kind in ALONE and not alone:
        raise NotEmulated(
            f"The activation {kind} has a kernel of its own. Fused to another one TTNN 0.81.1 "
            f"leaves it out without a word: call ttnn.{ALONE[kind]} instead."
        )
    if kind in FUSED | ALONE:
        return FusedOp((FUSED | ALONE)[kind], _numbers(kind, parameters))
    raise NotEmulated(
        f"The fused activation {activation} has no arithmetic in the emulation. Add it to FUSED in "
        "ttnn_emulator/ops/common/activations.py."
    )


def _approximable(kind: str, parameters: list[float]) -> FusedOp:
    approximate = bool(parameters[-1]) if parameters else kind in APPROXIMATE_BY_DEFAULT
    if kind == "SIGMOID" and approximate:
        return FusedOp("sigmoid_linear")
    return FusedOp(FUSED_APPROXIMABLE[kind], approximate=approximate)


def _numbers(kind: str, parameters: list[float]) -> tuple[float, ...]:
    """Parameters of the kernel as the arithmetic's numbers: some are derived from others."""
    if kind == "SUB_UNARY_SFPU":
        return (-parameters[0],)
    if kind == "DIV_UNARY_SFPU":  # by the reciprocal, which the host takes in float32
        return ((1.0 / torch.tensor(parameters[0], dtype=torch.float32)).item(),)
    derived_from = {"SOFTPLUS": 2, "CELU": 1}
    return tuple(parameters[: derived_from.get(kind, len(parameters))])

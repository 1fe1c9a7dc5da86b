"""Elementwise operations of one tensor that have no numbers of their own.

The kernels run over whole tiles, so padding holds their result on padding: exp leaves ones.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.arithmetic.formats import FACE, TILE
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import padding
from ttnn_emulator.ops.common.activations import Fusable, steps_of
from ttnn_emulator.ops.common.idle_rows import row_by_row

# Operations without arguments of their own: TTNN's name after "ttnn." is the arithmetic's name.
PLAIN = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "bitwise_not",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "digamma",
    "eqz",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "frac",
    "gez",
    "gtz",
    "hardmish",
    "hardsigmoid",
    "hardswish",
    "i0",
    "i1",
    "identity",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "lez",
    "lgamma",
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
    "relu",
    "relu6",
    "rsqrt",
    "sigmoid",
    "sign",
    "signbit",
    "silu",
    "sin",
    "sinh",
    "softsign",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "tanhshrink",
    "trunc",
]


def apply(launch: Launch, operand: DeviceTensor, *steps: FusedOp) -> torch.Tensor:
    """Steps of one unary kernel on the whole contents of an operand."""
    unary, options = launch.math.unary, {"dtype": operand.dtype, "out": launch.output.dtype}
    bare = operand.zero_padded and operand.shape == launch.output.shape
    bare = bare and not padding.cuts_a_block(launch.output)
    values = operand.logical if bare else operand.data
    result = row_by_row(
        lambda rows: unary(rows, *steps, **options), values, dtype=launch.output.dtype
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
    return apply(launch, input_tensor, gelu_of(variant, fast_and_approximate_mode))


def gelu_of(variant: Any, approximate: bool = False) -> FusedOp:
    """The function of a `ttnn.GeluVariant`, or of None."""
    name = "Accurate" if variant is None else variant.name
    if name == "Tanh":
        return FusedOp("gelu_tanh")
    return FusedOp("gelu", approximate=approximate or name == "FastLut")


# SigmoidMode -> name in the arithmetic.
SIGMOIDS = {
    "Accurate": "sigmoid",
    "AccurateWithFastExp": "sigmoid_chain",
    "FastApproximate": "sigmoid_linear",
}
ALL_FACES, LEFT_FACES = 4, 2  # vector modes RC and C


def sigmoid(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    vector_mode: int = ALL_FACES,
    mode: Any = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """`vector_mode` 2 computes the left half of each tile and copies the right one."""
    op = FusedOp(SIGMOIDS["Accurate" if mode is None else mode.name])
    if vector_mode == ALL_FACES or op.name == "sigmoid_chain":
        return apply(launch, input_tensor, op)
    if vector_mode != LEFT_FACES:
        raise NotEmulated(
            f"ttnn.sigmoid: vector_mode {vector_mode} is none of 2 (the left faces of each tile) "
            "and 4 (all of them)."
        )
    values, dtypes = input_tensor.data, {"dtype": input_tensor.dtype, "out": launch.output.dtype}
    left = torch.arange(values.shape[-1]) % TILE < FACE
    copied = launch.math.unary(values, FusedOp("identity"), **dtypes)
    return torch.where(left, launch.math.unary(values, op, **dtypes), copied)


def sigmoid_accurate(
    launch: Launch,
    input_tensor: DeviceTensor,
    fast_and_approximate_mode: bool = False,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    name = "sigmoid_chain" if fast_and_approximate_mode else "sigmoid"
    return apply(launch, input_tensor, FusedOp(name))


def alt_complex_rotate90(
    launch: Launch, input_tensor: DeviceTensor, *, output_tensor: DeviceTensor | None = None
) -> torch.Tensor:
    """i times the complex number that each even column and the odd one after it are."""
    dtypes = {"dtype": input_tensor.dtype, "out": launch.output.dtype}
    swapped = input_tensor.data.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    # Of whole rows: a block format's 16 numbers share their exponent.
    negative = launch.math.unary(swapped, FusedOp("neg"), **dtypes)
    positive = launch.math.unary(swapped, FusedOp("identity"), **dtypes)
    even = torch.arange(swapped.shape[-1]) % 2 == 0
    return torch.where(even, negative, positive)


def unary_chain(
    launch: Launch,
    input_tensor: DeviceTensor,
    ops_chain: Sequence[Fusable],
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return apply(launch, input_tensor, *steps_of(ops_chain, alone=True))


# Of a real tensor; `complex_numbers` binds these operations, which complex tensors have, too.
PARTLY_COMPLEX = {name: _plain(name) for name in ("abs", "reciprocal")}

BINDINGS = {f"ttnn.{name}": _plain(name) for name in PLAIN} | {
    "ttnn.alt_complex_rotate90": alt_complex_rotate90,
    "ttnn.gelu": gelu,
    "ttnn.logical_not_": _plain("logical_not"),
    "ttnn.sigmoid": sigmoid,
    "ttnn.sigmoid_accurate": sigmoid_accurate,
    "ttnn.swish": _plain("silu"),
    "ttnn.unary_chain": unary_chain,
}

BY_BATCH = frozenset(f"ttnn.{name}" for name in [*PLAIN, *PARTLY_COMPLEX])

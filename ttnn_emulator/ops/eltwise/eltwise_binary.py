"""Elementwise operations of two or three tensors that broadcast, with fused activations.

Shapes broadcast as logical shapes. The kernels run over whole tiles: a broadcast row or column is
the operand's first one, everything else combines tile by tile, padding with padding.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import ttnn

from ttnn_emulator.arithmetic import formats
from ttnn_emulator.arithmetic.compute import FusedOp, FusedOps
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor, Output
from ttnn_emulator.ops.common import padding
from ttnn_emulator.ops.eltwise.eltwise_unary import Fusable, apply, steps_of

Operand = DeviceTensor | float  # a tensor, or a Python number in its place

PLAIN = [
    "add",
    "subtract",
    "multiply",
    "rsub",
    "maximum",
    "minimum",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "logical_and",
    "logical_or",
    "logical_xor",
    "squared_difference",
]
IN_PLACE = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "rsub",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "logical_and",
    "logical_or",
    "logical_xor",
    "squared_difference",
]


def broadcastable(launch: Launch, *operands: Operand) -> list[torch.Tensor]:
    """Operands as torch tensors that broadcast to the output's padded (else logical) shape.

    Args:
        launch: the `Launch`.
        operands: `DeviceTensor`s and Python numbers. A number is rounded to the storage dtype of
            the first tensor, as the kernels get it (a scalar 0.3 beside bf16 is bf16's 0.3).
    """
    tensors = [x for x in operands if isinstance(x, DeviceTensor)]
    whole_tiles = launch.output.tiled and all(x.tiled for x in tensors)
    take = _tiles if whole_tiles else lambda x, _: x.logical
    return [
        take(x, launch.output) if isinstance(x, DeviceTensor) else _number(x, _storage(tensors[0]))
        for x in operands
    ]


def _tiles(operand: DeviceTensor, output: Output) -> torch.Tensor:
    """Padded contents, cut to the first row (column, ...) where the operand broadcasts."""
    rank = len(output.padded_shape)
    data = operand.data.reshape((1,) * (rank - operand.data.dim()) + operand.data.shape)
    shape = (1,) * (rank - len(operand.shape)) + operand.shape
    target = (1,) * (rank - len(output.shape)) + output.shape
    for dim, (size, target_size) in enumerate(zip(shape, target, strict=True)):
        if size == 1 and target_size != 1:
            data = data.narrow(dim, 0, 1)
    return data


def _number(value: float, dtype: torch.dtype) -> torch.Tensor:
    if isinstance(value, float) and not dtype.is_floating_point:
        return torch.tensor(value)
    return torch.tensor(value, dtype=dtype)


def combined(
    launch: Launch, name: str, first: Operand, second: Operand, **options: Any
) -> torch.Tensor:
    """The kernel of a binary operation on operands that may be Python numbers."""
    tensors = [x for x in (first, second) if isinstance(x, DeviceTensor)]
    dtypes = tuple(
        x.dtype if isinstance(x, DeviceTensor) else tensors[0].dtype for x in (first, second)
    )
    binary, options = launch.math.binary, {"dtypes": dtypes, "out": launch.output.dtype, **options}
    bare = all(x.zero_padded and x.shape[-2:] == launch.output.shape[-2:] for x in tensors)
    bare = bare and not padding.cuts_a_block(launch.output)
    if bare:
        a, b = (
            x.logical if isinstance(x, DeviceTensor) else _number(x, _storage(tensors[0]))
            for x in (first, second)
        )
    else:
        a, b = broadcastable(launch, first, second)
    values = padding.row_by_row(lambda *rows: binary(name, *rows, **options), a, b)
    for operand in (a, b):
        if operand.shape == values.shape:
            marked = padding.undefined_rows(operand)
            values = padding.mark_undefined_rows(values, marked, launch.output.dtype)
    if not bare:
        return values
    zeros = (padding.ZERO if isinstance(x, DeviceTensor) else x for x in (first, second))
    return padding.beside(values, launch.output, _of_zeros(binary, name, *zeros, **options))


def _of_zeros(
    binary: Callable[..., torch.Tensor], name: str, first: Any, second: Any, **options: Any
) -> float:
    """The operation's result in padding: on zeros, or on zeros and a Python number.

    `first` and `second` are numbers, or `padding.ZERO` in place of a tensor.
    """
    numbers = [x for x in (first, second) if x is not padding.ZERO]
    if numbers:
        first, second = (
            x if x is padding.ZERO else _number(x, formats.STORAGE[options["dtypes"][0]]).item()
            for x in (first, second)
        )
        return padding.of_zero(
            _with_number, options["dtypes"][0], binary, name, first, second, **options
        )
    return padding.of_zero(binary, options["dtypes"][0], name, first, second, **options)


def _with_number(
    binary: Callable[..., torch.Tensor],
    name: str,
    first: torch.Tensor | float,
    second: torch.Tensor | float,
    **options: Any,
) -> torch.Tensor:
    first, second = (torch.as_tensor(x) for x in (first, second))
    return binary(name, first, second, **options)


def _storage(operand: DeviceTensor) -> torch.dtype:
    return formats.STORAGE[operand.dtype]


def _binary(name: str) -> Callable[..., torch.Tensor]:
    def binding(
        launch: Launch,
        input_tensor_a: Operand,
        input_tensor_b: Operand,
        *,
        dtype: ttnn.DataType | None = None,
        output_tensor: DeviceTensor | None = None,
        activations: Sequence[Fusable] = (),
        input_tensor_a_activations: Sequence[Fusable] = (),
        input_tensor_b_activations: Sequence[Fusable] = (),
        fast_and_approximate_mode: bool | None = None,
        sub_device_id: object = None,
    ) -> torch.Tensor:
        return combined(
            launch,
            name,
            input_tensor_a,
            input_tensor_b,
            fused=FusedOps(
                a=steps_of(input_tensor_a_activations),
                b=steps_of(input_tensor_b_activations),
                result=steps_of(activations),
            ),
            fast=fast_and_approximate_mode,
        )

    binding.__name__ = name
    return binding


divide_floats = _binary("divide")


def divide(
    launch: Launch,
    input_tensor_a: Operand,
    input_tensor_b: Operand,
    *,
    rounding_mode: str | None = None,
    **kwargs: Any,
) -> torch.Tensor:
    quotient = divide_floats(launch, input_tensor_a, input_tensor_b, **kwargs)
    if rounding_mode is None:
        return quotient
    if rounding_mode not in ("floor", "trunc"):
        raise NotEmulated(f"ttnn.div: rounding_mode {rounding_mode!r}; known are floor and trunc.")
    out = launch.output.dtype
    return launch.math.unary(quotient, FusedOp(rounding_mode), dtype=out, out=out)


def rdiv(
    launch: Launch,
    input_tensor: DeviceTensor,
    value: float,
    *,
    rounding_mode: str | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return divide(launch, value, input_tensor, rounding_mode=rounding_mode)


def pow_(
    launch: Launch,
    input_tensor: Operand,
    exponent: Operand,
    *,
    output_tensor: DeviceTensor | None = None,
    **fused: Any,
) -> torch.Tensor:
    """A Python exponent stays float32; a tensor or a Python base broadcasts as in any binary op."""
    if isinstance(exponent, DeviceTensor) or not isinstance(input_tensor, DeviceTensor):
        return _binary("pow")(launch, input_tensor, exponent, **fused)
    return apply(launch, input_tensor, FusedOp("pow", (exponent,)))


def clamp(
    launch: Launch,
    input_tensor: DeviceTensor,
    min: Operand | None = None,
    max: Operand | None = None,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    if not any(isinstance(bound, DeviceTensor) for bound in (min, max)):
        return apply(launch, input_tensor, FusedOp("clamp", (min, max)))
    (values,) = broadcastable(launch, input_tensor)
    dtypes = (input_tensor.dtype,) * 2
    for name, bound in (("maximum", min), ("minimum", max)):
        if bound is not None:
            (limit,) = broadcastable(launch, bound)
            values = launch.math.binary(name, values, limit, dtypes=dtypes, out=launch.output.dtype)
    return values


def where(
    launch: Launch,
    predicate: DeviceTensor,
    true_value: Operand,
    false_value: Operand,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    predicate_, first, second = broadcastable(
        launch, predicate, *(_float(v) for v in (true_value, false_value))
    )
    return launch.math.where(predicate_, first, second, out=launch.output.dtype)


def _float(value: Operand) -> Operand:
    return value if isinstance(value, DeviceTensor) else float(value)


BINDINGS = (
    {f"ttnn.{name}": _binary(name) for name in PLAIN}
    | {f"ttnn.{name}_": _binary(name) for name in IN_PLACE}
    | {
        "ttnn.clamp": clamp,
        "ttnn.clip": clamp,
        "ttnn.div": divide,
        "ttnn.divide": divide,
        "ttnn.pow": pow_,
        "ttnn.rdiv": rdiv,
        "ttnn.where": where,
    }
)

BY_BATCH = frozenset(f"ttnn.{name}" for name in PLAIN)

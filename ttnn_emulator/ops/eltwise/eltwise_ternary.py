"""Elementwise operations of three operands that broadcast."""

import math
from collections.abc import Callable

import torch

from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.broadcasting import (
    Operand,
    broadcastable,
    over_tiles,
    storage,
    tensors_of,
)
from ttnn_emulator.ops.common.pairs.stages import Stages
from ttnn_emulator.ops.eltwise.eltwise_unary import apply


def _of_three(launch: Launch, op: FusedOp, *operands: Operand) -> torch.Tensor:
    dtypes = tuple(x.dtype for x in tensors_of(*operands))

    def kernel(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return launch.math.ternary(op, a, b, c, dtypes=dtypes, out=launch.output.dtype)

    return over_tiles(launch, kernel, *operands)


def where(
    launch: Launch,
    predicate: DeviceTensor,
    true_value: Operand,
    false_value: Operand,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return _of_three(launch, FusedOp("where"), predicate, true_value, false_value)


def addcmul(
    launch: Launch,
    input_a: DeviceTensor,
    input_b: DeviceTensor,
    input_c: DeviceTensor,
    *,
    value: float = 1.0,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """a + value*b*c; of bfloat8_b that broadcasts within a tile it is three kernels."""
    operands = (input_a, input_b, input_c)
    if _is_composed(*operands):
        return over_tiles(launch, _sum_of_product(launch, operands, value), *operands)
    return _of_three(launch, FusedOp("addcmul", (value,)), *operands)


def _is_composed(*operands: DeviceTensor) -> bool:
    heights = {x.shape[-2] if len(x.shape) > 1 else 1 for x in operands}
    widths = {x.shape[-1] for x in operands}
    return len(heights) + len(widths) > 2 and operands[0].dtype == "bfloat8_b"


def _sum_of_product(
    launch: Launch, operands: tuple[DeviceTensor, ...], value: float
) -> Callable[..., torch.Tensor]:
    binary = Stages(launch, operands[0].dtype).binary

    def function(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return binary("add", a, binary("multiply", binary("multiply", b, c), value))

    return function


def addcdiv(
    launch: Launch,
    input_a: DeviceTensor,
    input_b: DeviceTensor,
    input_c: DeviceTensor,
    *,
    value: float = 1.0,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """a + value*b/c; of block formats it is nine kernels."""
    operands = (input_a, input_b, input_c)
    if input_a.dtype != "bfloat8_b":
        return _of_three(launch, FusedOp("addcdiv", (value,)), *operands)
    stages = Stages(launch, input_a.dtype)
    binary, unary = stages.binary, stages.unary

    def function(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        total = binary("add", a, binary("multiply", binary("divide", b, c), value))
        infinite = binary("multiply", unary("sign", b), math.inf)
        by_zero = stages.where(unary("eqz", b), math.nan, infinite)
        return stages.where(unary("eqz", c), by_zero, total)

    return over_tiles(launch, function, *operands)


def lerp(
    launch: Launch,
    input: DeviceTensor,
    end: DeviceTensor,
    weight: Operand,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return _of_three(launch, FusedOp("lerp"), input, end, weight)


def mac(
    launch: Launch,
    input_tensor_a: DeviceTensor,
    input_tensor_b: Operand | None = None,
    input_tensor_c: Operand | None = None,
    *,
    value: float | None = None,
    value1: float | None = None,
    value2: float | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """a*b + c; `value` is the one that is not a tensor, of two `value1` is b and `value2` c."""
    b, c = input_tensor_b, input_tensor_c
    b = next(x for x in (b, value1, value) if x is not None)
    c = next(x for x in (c, value2, value) if x is not None)
    if not tensors_of(b, c):
        return apply(launch, input_tensor_a, FusedOp("mac", (b, c)))
    return _of_three(launch, FusedOp("mac"), input_tensor_a, b, c)


def snake_beta(
    launch: Launch,
    input_tensor: DeviceTensor,
    alpha: DeviceTensor,
    beta: DeviceTensor,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    return _of_three(launch, FusedOp("snake_beta"), input_tensor, alpha, beta)


def clamp(
    launch: Launch,
    input_tensor: DeviceTensor,
    min: Operand | None = None,
    max: Operand | None = None,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    if not tensors_of(min, max):
        return apply(launch, input_tensor, FusedOp("clamp", (min, max)))
    (values,) = broadcastable(launch, input_tensor)
    dtypes = (input_tensor.dtype,) * 2
    for name, bound in (("maximum", min), ("minimum", max)):
        if bound is not None:
            (limit,) = broadcastable(launch, bound)
            values = launch.math.binary(name, values, limit, dtypes=dtypes, out=launch.output.dtype)
    return values


def prelu(
    launch: Launch,
    input_tensor_a: DeviceTensor,
    weight: Operand | list[float],
) -> torch.Tensor:
    """x, times the weight of its channel (dimension 1) where it is negative."""
    if not isinstance(weight, DeviceTensor):
        number = weight[0] if isinstance(weight, (list, tuple)) else weight
        return apply(launch, input_tensor_a, FusedOp("prelu", (float(number),)))
    stages = Stages(launch, launch.output.dtype)
    x = input_tensor_a.logical
    factors = weight.logical.reshape((1, -1) + (1,) * (x.dim() - 2)).to(storage(input_tensor_a))
    return stages.where(stages.unary("ltz", x), stages.binary("multiply", x, factors), x)


BINDINGS = {
    "ttnn.addcdiv": addcdiv,
    "ttnn.addcmul": addcmul,
    "ttnn.clamp": clamp,
    "ttnn.clip": clamp,
    "ttnn.lerp": lerp,
    "ttnn.mac": mac,
    "ttnn.prelu": prelu,
    "ttnn.snake_beta": snake_beta,
    "ttnn.where": where,
}

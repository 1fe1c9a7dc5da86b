"""Bitwise operations, shifts and quantization of integer tensors."""

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import torch
import ttnn

from ttnn_emulator.arithmetic.compute import FusedOp, FusedOps
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.activations import Fusable, steps_of
from ttnn_emulator.ops.common.broadcasting import Operand, over_tiles
from ttnn_emulator.ops.common.pairs.two_operands import combined
from ttnn_emulator.ops.eltwise.eltwise_unary import apply

# Operation -> its name in the arithmetic.
BITWISE = {
    "bitwise_and": "bitwise_and",
    "bitwise_or": "bitwise_or",
    "bitwise_xor": "bitwise_xor",
    "bitwise_left_shift": "left_shift",
    "bitwise_right_shift": "right_shift",
    "logical_left_shift": "left_shift",
    "logical_right_shift": "logical_right_shift",
}

LARGEST_SHIFT = 31


def _bitwise(operation: str, name: str) -> Callable[..., torch.Tensor]:
    def binding(
        launch: Launch,
        input_tensor_a: DeviceTensor,
        input_tensor_b: Operand | None = None,
        *,
        input_b: int | None = None,
        output_tensor: DeviceTensor | None = None,
        activations: Sequence[Fusable] = (),
        input_tensor_a_activations: Sequence[Fusable] = (),
        input_tensor_b_activations: Sequence[Fusable] = (),
        sub_device_id: object = None,
    ) -> torch.Tensor:
        """A number that shifts to the right by more than 31 shifts by 31, a tensor's clears."""
        second: Any = input_b if input_tensor_b is None else input_tensor_b
        if operation == "bitwise_right_shift" and not isinstance(second, DeviceTensor):
            second = min(second, LARGEST_SHIFT)
        fused = FusedOps(
            a=steps_of(input_tensor_a_activations),
            b=steps_of(input_tensor_b_activations),
            result=steps_of(activations),
        )
        return combined(launch, name, input_tensor_a, second, fused=fused)

    binding.__name__ = operation
    return binding


def _per_element(value: Operand, axis: int | None, rank: int) -> Operand | torch.Tensor:
    """A scale or zero point: a number, or a tensor that broadcasts along all but `axis`."""
    if not isinstance(value, DeviceTensor):
        return value
    if axis is None:
        return value.logical.reshape((1,) * rank)
    shape = [1] * rank
    shape[axis] = -1
    return value.logical.reshape(shape)


def _are_numbers(values: tuple[Operand, ...]) -> TypeGuard[tuple[float, ...]]:
    return not any(isinstance(value, DeviceTensor) for value in values)


def quantize(
    launch: Launch,
    input_tensor: DeviceTensor,
    scale: Operand,
    zero_point: Operand,
    *,
    axis: int | None = None,
    dtype: ttnn.DataType | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """x/scale + zero_point: of numbers one kernel that rounds, of tensors four; the last cuts."""
    if _are_numbers(given := (scale, zero_point)):
        name = "quantize_uint8" if launch.output.dtype == "uint8" else "quantize"
        factor = (1.0 / torch.tensor(given[0], dtype=torch.float32)).item()
        return apply(launch, input_tensor, FusedOp(name, (factor, float(given[1]))))
    rank, own = len(input_tensor.shape), input_tensor.dtype
    scales, zeros = (_per_element(x, axis, rank) for x in (scale, zero_point))
    math = launch.math
    divisor = torch.as_tensor(scales, dtype=torch.float32)
    quotient = math.binary(
        "divide", input_tensor.logical, divisor, dtypes=(own, "float32"), out="float32"
    )
    offset = math.typecast(torch.as_tensor(zeros).to(torch.int32), "int32", "float32")
    total = math.binary("add", quotient, offset, dtypes=("float32", "float32"), out="float32")
    return math.typecast(total, "float32", launch.output.dtype)


def dequantize(
    launch: Launch,
    input_tensor: DeviceTensor,
    scale: Operand,
    zero_point: Operand,
    *,
    axis: int | None = None,
    dtype: ttnn.DataType | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """(x - zero_point)*scale, of tensors in three kernels."""
    math, out = launch.math, launch.output.dtype
    if _are_numbers(given := (scale, zero_point)):
        op = FusedOp("dequantize", (given[0], -float(given[1])))
        return over_tiles(launch, _of_integers(launch, op, input_tensor.dtype), input_tensor)
    rank = len(input_tensor.shape)
    scales, zeros = (_per_element(x, axis, rank) for x in (scale, zero_point))
    integers = ("int32", "int32")
    difference = math.binary(
        "subtract",
        input_tensor.logical,
        torch.as_tensor(zeros).to(torch.int32),
        dtypes=integers,
        out="int32",
    )
    values = math.typecast(math.stored(difference, "int32"), "int32", "float32")
    factor = torch.as_tensor(scales, dtype=torch.float32)
    return math.binary("multiply", values, factor, dtypes=("float32", "float32"), out=out)


def _of_integers(launch: Launch, op: FusedOp, dtype: str) -> Callable[..., torch.Tensor]:
    """A function of integers that the kernel first casts to float32 in Dst."""

    def kernel(x: torch.Tensor) -> torch.Tensor:
        values = launch.math.typecast(x, dtype, "float32")
        return launch.math.unary(values, op, dtype="float32", out=launch.output.dtype)

    return kernel


def requantize(
    launch: Launch,
    input_tensor: DeviceTensor,
    in_scale: Operand,
    in_zero_point: Operand,
    out_scale: Operand,
    out_zero_point: Operand,
    *,
    axis: int | None = None,
    dtype: ttnn.DataType | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """(x - in_zero_point)*in_scale/out_scale + out_zero_point of numbers: one kernel, rounding."""
    given = (in_scale, in_zero_point, out_scale, out_zero_point)
    if not _are_numbers(given):
        raise NotEmulated(
            "ttnn.requantize with a scale or zero point that is a tensor has no arithmetic; "
            "ttnn.dequantize and ttnn.quantize have."
        )
    scales = (torch.tensor(x, dtype=torch.float32) for x in given[::2])
    factor = torch.div(*scales)
    offset = (given[3] - given[1] * factor).item()
    name = "quantize_uint8" if launch.output.dtype == "uint8" else "quantize"
    op = FusedOp(name, (factor.item(), offset))
    return over_tiles(launch, _of_integers(launch, op, input_tensor.dtype), input_tensor)


BINDINGS = {f"ttnn.{key}": _bitwise(key, name) for key, name in BITWISE.items()} | {
    "ttnn.dequantize": dequantize,
    "ttnn.quantize": quantize,
    "ttnn.requantize": requantize,
}

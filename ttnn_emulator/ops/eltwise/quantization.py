"""Quantization: integers for numbers by a scale and a zero point, each a number or a tensor.

One kernel where the zero point is a number (ckernel_sfpu_quant.h), by a scale that is a tensor as
by one that is a number; several elementwise kernels where it is a tensor. The sequences and their
dtypes were observed in the operations that TTNN 0.81.1 starts.
"""

from collections.abc import Callable
from typing import Any, TypeGuard

import torch
import ttnn

from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.broadcasting import Operand, over_tiles
from ttnn_emulator.ops.common.pairs.stages import Stages

BETWEEN = "bfloat16"  # what ttnn.requantize stores between dequantizing and quantizing

Scale = torch.Tensor | float  # broadcasts to the input's shape


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
    """x/scale + zero_point: of a zero point that is a number rounded, of a tensor cut."""
    return _by_scale(launch, _quantized, input_tensor, (scale, zero_point), axis)


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
    """(x - zero_point)*scale: one kernel, of a zero point that is a tensor three."""
    return _by_scale(launch, _dequantized, input_tensor, (scale, zero_point), axis)


def _by_scale(
    launch: Launch,
    function: Callable[..., torch.Tensor],
    operand: DeviceTensor,
    given: tuple[Operand, Operand],
    axis: int | None,
) -> torch.Tensor:
    """`_quantized` or `_dequantized` by a scale and a zero point, as they are given.

    Of two numbers whole tiles are computed, else the logical values.
    """
    own, out = operand.dtype, launch.output.dtype
    if _are_numbers(given):
        return over_tiles(launch, lambda x: function(launch, x, own, *given, out), operand)
    along = _along(axis, len(operand.shape), *given)
    return function(launch, operand.logical, own, *along, out)


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
    """(x - in_zero_point)*in_scale/out_scale + out_zero_point.

    One kernel of four numbers, seven of four tensors along an axis. Otherwise it is dequantized to
    bfloat16, which keeps 8 bits, and quantized.
    """
    own, out = input_tensor.dtype, launch.output.dtype
    given = (in_scale, in_zero_point, out_scale, out_zero_point)
    if _are_numbers(given):
        scales = (torch.tensor(x, dtype=torch.float32) for x in given[::2])
        factor = torch.div(*scales)
        offset = (given[3] - given[1] * factor).item()

        def kernel(x: torch.Tensor) -> torch.Tensor:
            values = launch.math.typecast(x, own, "float32")
            return _rounded(launch, values, "float32", factor.item(), offset, out)

        return over_tiles(launch, kernel, input_tensor)
    along = _along(axis, len(input_tensor.shape), *given)
    x = input_tensor.logical
    if axis is not None and all(isinstance(value, torch.Tensor) for value in along):
        return _requantized(launch, x, own, along, out)
    values = _dequantized(launch, x, own, along[0], along[1], BETWEEN)
    values = launch.math.stored(values, BETWEEN)
    return _quantized(launch, values, BETWEEN, along[2], along[3], out)


def _are_numbers(values: tuple[Operand, ...]) -> TypeGuard[tuple[float, ...]]:
    return not any(isinstance(value, DeviceTensor) for value in values)


def _along(axis: int | None, rank: int, *values: Operand) -> list[Any]:
    """Scales and zero points: numbers, and tensors that broadcast along all but `axis`."""
    shape = [1] * rank
    if axis is not None:
        shape[axis] = -1
    return [x.logical.reshape(shape) if isinstance(x, DeviceTensor) else x for x in values]


def _rounded(
    launch: Launch, x: torch.Tensor, dtype: str, factor: Scale, zero_point: float, out: str
) -> torch.Tensor:
    """x*factor + zero_point to the nearest integer, one kernel."""
    name = "quantize_uint8" if out == "uint8" else "quantize"
    if isinstance(factor, torch.Tensor):
        op = FusedOp(name, (float(zero_point),))
        return launch.math.binary(op, x, factor, dtypes=(dtype, "float32"), out=out)
    return launch.math.unary(x, FusedOp(name, (factor, float(zero_point))), dtype=dtype, out=out)


def _quantized(
    launch: Launch, x: torch.Tensor, dtype: str, scale: Scale, zero_point: Scale, out: str
) -> torch.Tensor:
    """x/scale + zero_point; with a zero point that is a tensor all is stored as x is."""
    math = launch.math
    if not isinstance(zero_point, torch.Tensor):
        inverse = (
            Stages(launch, "float32").unary("reciprocal", scale)
            if isinstance(scale, torch.Tensor)
            else (1.0 / torch.tensor(scale, dtype=torch.float32)).item()
        )
        return _rounded(launch, x, dtype, inverse, zero_point, out)
    stages = Stages(launch, dtype)
    if isinstance(scale, torch.Tensor) and dtype != "float32":
        scale = math.stored(math.typecast(scale, "float32", dtype), dtype)
    offset = math.stored(math.typecast(zero_point, "int32", dtype), dtype)
    total = stages.binary("add", stages.binary("divide", x, scale), offset)
    return math.typecast(total, dtype, out)


def _dequantized(
    launch: Launch, x: torch.Tensor, dtype: str, scale: Scale, zero_point: Scale, out: str
) -> torch.Tensor:
    """(x - zero_point)*scale in float32; a tensor is subtracted from integers."""
    math = launch.math
    both = ("float32", "float32")
    if not isinstance(zero_point, torch.Tensor):
        values = math.typecast(x, dtype, "float32")
        if isinstance(scale, torch.Tensor):
            op = FusedOp("dequantize", (-float(zero_point),))
            return math.binary(op, values, scale, dtypes=both, out=out)
        op = FusedOp("dequantize", (scale, -float(zero_point)))
        return math.unary(values, op, dtype="float32", out=out)
    whole = x if dtype == "int32" else math.stored(math.typecast(x, dtype, "int32"), "int32")
    difference = Stages(launch, "int32").binary("subtract", whole, zero_point)
    values = math.typecast(difference, "int32", "float32")
    factor = scale if isinstance(scale, torch.Tensor) else torch.tensor(scale)
    return math.binary("multiply", values, factor.float(), dtypes=both, out=out)


def _requantized(
    launch: Launch, x: torch.Tensor, dtype: str, along: list[torch.Tensor], out: str
) -> torch.Tensor:
    """x*factor + offset, cut, where factor and offset of each channel are kernels of their own."""
    math, stages = launch.math, Stages(launch, "float32")
    in_zeros, out_zeros = (math.typecast(zeros, "int32", "float32") for zeros in along[1::2])
    factor = stages.binary("divide", along[0], along[2])
    offset = stages.binary("subtract", out_zeros, stages.binary("multiply", in_zeros, factor))
    scaled = stages.binary("multiply", math.typecast(x, dtype, "float32"), factor)
    return math.typecast(stages.binary("add", scaled, offset), "float32", out)


BINDINGS = {
    "ttnn.dequantize": dequantize,
    "ttnn.quantize": quantize,
    "ttnn.requantize": requantize,
}

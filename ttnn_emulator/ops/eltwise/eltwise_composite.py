"""Operations that TTNN's host composes of several elementwise kernels, each storing its result.

The sequences were observed in the kernels that TTNN 0.81.1 starts.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import ttnn

from ttnn_emulator.arithmetic.compute import FusedOp, Product
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.broadcasting import Operand, over_tiles, storage
from ttnn_emulator.ops.common.pairs.stages import Stages
from ttnn_emulator.ops.common.pairs.two_operands import combined


def _inverse(value: float) -> float:
    """1/value in float32, as the host computes it."""
    return (1.0 / torch.tensor(value, dtype=torch.float32)).item()


def floor_div(
    launch: Launch,
    input_tensor_a: DeviceTensor,
    input_tensor_b: Operand | None = None,
    *,
    value: float | None = None,
) -> torch.Tensor:
    """floor(a/b), by a number floor(a * (1/b)); infinite quotients stay as they are.

    Integers are typecast to float32 if they are divided by a number.
    """
    divisor: Any = value if input_tensor_b is None else input_tensor_b
    integers = not storage(input_tensor_a).is_floating_point
    if integers and isinstance(divisor, DeviceTensor):
        raise NotEmulated(
            "ttnn.floor_div of integers by a tensor: its last kernel chooses between float32 and "
            "int32 values by their bits. ttnn.div with rounding_mode='floor' divides integers."
        )
    stages = Stages(launch, launch.output.dtype)

    def of_tensors(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        quotient = stages.binary("divide", a, b)
        floored = stages.unary("floor", quotient)
        return stages.where(stages.unary("isinf", quotient), quotient, floored)

    def by_zero(a: torch.Tensor) -> torch.Tensor:
        infinite = stages.binary("multiply", stages.unary("sign", a), math.inf)
        return stages.where(stages.unary("eqz", a), math.nan, infinite)

    def by_number(a: torch.Tensor) -> torch.Tensor:
        if integers:
            a = launch.math.typecast(a, input_tensor_a.dtype, "float32").float()
        return stages.unary("floor", stages.binary("multiply", a, _inverse(divisor)))

    if isinstance(divisor, DeviceTensor):
        return over_tiles(launch, of_tensors, input_tensor_a, divisor)
    return over_tiles(launch, by_number if divisor else by_zero, input_tensor_a)


def div_no_nan(
    launch: Launch,
    input_tensor_a: DeviceTensor,
    input_tensor_b: Operand | None = None,
    *,
    value: float | None = None,
) -> torch.Tensor:
    """a/b, and 0 where b is 0; by a number a * (1/b)."""
    divisor: Any = value if input_tensor_b is None else input_tensor_b
    out = launch.output.dtype
    stages = Stages(launch, out)
    if not isinstance(divisor, DeviceTensor):
        if divisor == 0:
            return over_tiles(launch, torch.zeros_like, input_tensor_a)
        return combined(launch, "multiply", input_tensor_a, _inverse(divisor))
    dtypes = (input_tensor_a.dtype, divisor.dtype)

    def of_tensors(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        values = launch.math.binary("divide", a, b, dtypes=dtypes, out=out)
        zeros = launch.math.unary(b, FusedOp("eqz"), dtype=dtypes[1], out=dtypes[1])
        return stages.where(zeros, 0.0, launch.math.stored(values, out))

    return over_tiles(launch, of_tensors, input_tensor_a, divisor)


def polyval(launch: Launch, input_tensor_a: DeviceTensor, coeffs: Sequence[float]) -> torch.Tensor:
    """Horner's scheme, highest power first; a product and a sum are a kernel each."""
    stages = Stages(launch, launch.output.dtype)

    def polynomial(x: torch.Tensor) -> torch.Tensor:
        if len(coeffs) == 1:
            return stages.unary("fill", x, coeffs[0])
        result = stages.binary("multiply", x, coeffs[0])
        for coefficient in coeffs[1:-1]:
            result = stages.binary("multiply", x, stages.binary("add", result, coefficient))
        return stages.binary("add", result, coeffs[-1])

    return over_tiles(launch, polynomial, input_tensor_a)


def outer(
    launch: Launch, input_tensor_a: DeviceTensor, input_tensor_b: DeviceTensor
) -> torch.Tensor:
    """a[..., N, 1] * b[..., 1, M]; of two vectors of 16 bits or less a matrix product."""
    a, b = input_tensor_a.logical.unsqueeze(-1), input_tensor_b.logical.unsqueeze(-2)
    dtype, out = input_tensor_a.dtype, launch.output.dtype
    one = all(math.prod(x.shape[:-1]) == 1 for x in (input_tensor_a, input_tensor_b))
    if one and dtype in ("bfloat16", "bfloat8_b"):
        product = Product(
            rows=a.shape[-2],
            depth=1,
            columns=b.shape[-1],
            activation=dtype,
            weight=dtype,
            out=out,
            dram=launch.output.in_dram and input_tensor_a.in_dram and input_tensor_b.in_dram,
        )
        return launch.math.matmul(a, b, product=product).reshape(launch.output.shape)
    return launch.math.binary("multiply", a, b, dtypes=(dtype, dtype), out=out)


def _loss(name: str) -> Callable[..., torch.Tensor]:
    """mse_loss, l1_loss: the error of each element, or its sum or mean over all."""

    def binding(
        launch: Launch,
        input_reference: DeviceTensor,
        input_prediction: DeviceTensor,
        *,
        reduction: Any = None,
    ) -> torch.Tensor:
        kind = "NONE" if reduction is None else reduction.name
        if kind == "NONE":
            return combined(launch, name, input_reference, input_prediction)
        if kind not in ("SUM", "MEAN"):
            raise NotEmulated(f"{launch.name}: reduction {kind}; known are NONE, SUM and MEAN.")
        stages = Stages(launch, input_reference.dtype)
        errors = stages.binary(name, input_reference.logical, input_prediction.logical)
        dims = tuple(range(errors.dim()))
        out = launch.output.dtype
        values = launch.math.reduce(kind.lower(), errors, dims, dtype=stages.dtype, out=out)
        return values.reshape(launch.output.shape)

    return binding


BCAST = {"ADD": "bcast_add", "SUB": "bcast_subtract", "MUL": "bcast_multiply"}


def bcast(
    launch: Launch,
    input_a: DeviceTensor,
    input_b: DeviceTensor,
    math_op: ttnn.BcastOpMath,
    dim: ttnn.BcastOpDim,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """b's first row, column or element with all of a, on the matrix unit and a 16-bit Dst."""
    rows, columns = dim.name in ("H", "HW"), dim.name in ("W", "HW")
    b = input_b.data[..., : 1 if rows else None, : 1 if columns else None]
    dtypes, out = (input_a.dtype, input_b.dtype), launch.output.dtype
    return launch.math.binary(BCAST[math_op.name], input_a.data, b, dtypes=dtypes, out=out)


BINDINGS = {
    "ttnn.bcast": bcast,
    "ttnn.div_no_nan": div_no_nan,
    "ttnn.floor_div": floor_div,
    "ttnn.l1_loss": _loss("absolute_difference"),
    "ttnn.mse_loss": _loss("squared_difference"),
    "ttnn.outer": outer,
    "ttnn.polyval": polyval,
}

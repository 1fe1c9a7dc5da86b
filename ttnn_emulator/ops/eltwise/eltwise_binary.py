"""Elementwise operations of two tensors that broadcast, with fused activations."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import ttnn

from ttnn_emulator.arithmetic.compute import FusedOp, FusedOps
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.activations import Fusable, steps_of
from ttnn_emulator.ops.common.broadcasting import Operand, over_tiles, storage, tensors_of
from ttnn_emulator.ops.common.pairs.two_operands import combined, of_two
from ttnn_emulator.ops.eltwise.eltwise_unary import apply

PLAIN = [
    "add",
    "subtract",
    "multiply",
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
    "hypot",
    "ldexp",
    "logaddexp",
    "logaddexp2",
    "xlogy",
]
# With other names of their arguments, or none of the activations.
NAMED_OTHERWISE = ["atan2", "gcd", "lcm", "nextafter"]
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
    "ldexp",
    "logaddexp",
    "logaddexp2",
    "logical_and",
    "logical_or",
    "logical_xor",
    "squared_difference",
]


def _given(*candidates: Operand | None) -> Operand:
    """The one of several names that the caller used; TTNN has checked that it is one of its own."""
    return next(x for x in candidates if x is not None)


def _binary(name: str) -> Callable[..., torch.Tensor]:
    """The binding of an operation whose operands TTNN calls by different names."""

    def binding(
        launch: Launch,
        input_tensor_a: Operand | None = None,
        input_tensor_b: Operand | None = None,
        *,
        input_a: Operand | None = None,
        input_b: Operand | None = None,
        dtype: ttnn.DataType | None = None,
        output_tensor: DeviceTensor | None = None,
        activations: Sequence[Fusable] = (),
        input_tensor_a_activations: Sequence[Fusable] = (),
        input_tensor_b_activations: Sequence[Fusable] = (),
        fast_and_approximate_mode: bool | None = None,
        sub_device_id: object = None,
    ) -> torch.Tensor:
        return of_two(
            launch,
            name,
            _given(input_tensor_a, input_a),
            _given(input_tensor_b, input_b),
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
add_gelu = _binary("bias_gelu")


def divide(
    launch: Launch,
    input_tensor_a: Operand,
    input_tensor_b: Operand | None = None,
    *,
    value: float | None = None,
    rounding_mode: str | None = None,
    **kwargs: Any,
) -> torch.Tensor:
    """Of integers with a rounding one kernel; of floats the rounding is a kernel of its own."""
    second = _given(input_tensor_b, value)
    if rounding_mode not in (None, "floor", "trunc"):
        raise NotEmulated(f"ttnn.div: rounding_mode {rounding_mode!r}; known are floor and trunc.")
    (first, *_) = tensors_of(input_tensor_a, second)
    if rounding_mode is None:
        return divide_floats(launch, input_tensor_a, second, **kwargs)
    if not storage(first).is_floating_point:
        return of_two(launch, FusedOp("divide", (rounding_mode,)), input_tensor_a, second)
    quotient = divide_floats(launch, input_tensor_a, second, **kwargs)
    out = launch.output.dtype
    rounded = launch.math.stored(quotient, out)
    return launch.math.unary(rounded, FusedOp(rounding_mode), dtype=out, out=out)


def rdiv(
    launch: Launch,
    input_tensor: DeviceTensor,
    value: float,
    *,
    rounding_mode: str | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    if rounding_mode not in (None, "floor", "trunc"):
        raise NotEmulated(f"ttnn.rdiv: rounding_mode {rounding_mode!r}; known are floor and trunc.")
    return apply(launch, input_tensor, FusedOp("rdiv", (value, rounding_mode)))


def pow_(
    launch: Launch,
    input_tensor: Any,
    exponent: Operand,
    *,
    output_tensor: DeviceTensor | None = None,
    **fused: Any,
) -> torch.Tensor:
    """A Python exponent stays float32; a Python base fills a tensor of the exponent's dtype."""
    if not isinstance(exponent, DeviceTensor):
        return apply(launch, input_tensor, FusedOp("pow", (exponent,)))
    if isinstance(input_tensor, DeviceTensor):
        return _binary("pow")(launch, input_tensor, exponent, **fused)
    dtype, fill = exponent.dtype, FusedOp("fill", (float(input_tensor),))

    def of_number(powers: torch.Tensor) -> torch.Tensor:
        base = launch.math.stored(launch.math.unary(powers, fill, dtype=dtype, out=dtype), dtype)
        return launch.math.binary(
            "pow", base, powers, dtypes=(dtype, dtype), out=launch.output.dtype
        )

    return over_tiles(launch, of_number, exponent)


def rpow(
    launch: Launch,
    input_tensor: DeviceTensor,
    exponent: float,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """The number to the power of each element."""
    return apply(launch, input_tensor, FusedOp("rpow", (exponent,)))


def _extreme(name: str) -> Callable[..., torch.Tensor]:
    """maximum, minimum: of a tensor and a number a unary kernel, without activations."""
    of_tensors = _binary(name)

    def binding(
        launch: Launch,
        input_tensor_a: Any,
        input_tensor_b: Operand | None = None,
        *,
        input_b: Operand | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        second = _given(input_tensor_b, input_b)
        if isinstance(second, DeviceTensor):
            return of_tensors(launch, input_tensor_a, second, **kwargs)
        whole = not storage(input_tensor_a).is_floating_point
        return apply(launch, input_tensor_a, FusedOp(name, (int(second) if whole else second,)))

    binding.__name__ = name
    return binding


def _remainder(name: str) -> Callable[..., torch.Tensor]:
    """fmod, remainder: of floats and a number a unary kernel, which takes it as float32."""
    of_tensors = _binary(name)

    def binding(
        launch: Launch,
        input_tensor_a: DeviceTensor,
        input_tensor_b: Operand | None = None,
        *,
        scalar: float | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        second = _given(input_tensor_b, scalar)
        if isinstance(second, DeviceTensor):
            return of_tensors(launch, input_tensor_a, second, **kwargs)
        op = FusedOp(name, (float(second),))
        if storage(input_tensor_a).is_floating_point:
            if "dtype" in kwargs or any("activations" in key for key in kwargs):
                return of_tensors(launch, input_tensor_a, second, **kwargs)
            return apply(launch, input_tensor_a, op)
        if isinstance(second, int):
            return of_tensors(launch, input_tensor_a, second, **kwargs)

        def of_floats(x: torch.Tensor) -> torch.Tensor:
            values = launch.math.typecast(x, input_tensor_a.dtype, "float32")
            return launch.math.unary(values, op, dtype="float32", out=launch.output.dtype)

        return over_tiles(launch, of_floats, input_tensor_a)

    binding.__name__ = name
    return binding


def bias_gelu(
    launch: Launch,
    input_tensor_a: Operand | None = None,
    input_tensor_b: Operand | None = None,
    *,
    input_a: Operand | None = None,
    input_b: Operand | None = None,
    **kwargs: Any,
) -> torch.Tensor:
    """gelu(a + b); with a number the sum and gelu are two kernels."""
    first, second = _given(input_tensor_a, input_a), _given(input_tensor_b, input_b)
    if isinstance(second, DeviceTensor):
        return add_gelu(launch, first, second, **kwargs)
    out, approximate = launch.output.dtype, bool(kwargs.get("fast_and_approximate_mode"))
    total = launch.math.stored(_binary("add")(launch, first, second), out)
    return launch.math.unary(total, FusedOp("gelu", approximate=approximate), dtype=out, out=out)


def _scaled(name: str) -> Callable[..., torch.Tensor]:
    """a + alpha*b, a - alpha*b: the factor is fused to the second operand."""

    def binding(
        launch: Launch,
        input_tensor_a: DeviceTensor,
        input_tensor_b: DeviceTensor,
        alpha: float,
        *,
        output_tensor: DeviceTensor | None = None,
    ) -> torch.Tensor:
        factor = FusedOps(b=(FusedOp("multiply_by", (alpha,)),))
        return combined(launch, name, input_tensor_a, input_tensor_b, fused=factor)

    return binding


def isclose(
    launch: Launch,
    input_tensor_a: DeviceTensor,
    input_tensor_b: DeviceTensor,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> torch.Tensor:
    """1 or 0; integers are cast to float32 first."""
    op, out = FusedOp("isclose", (rtol, atol, equal_nan)), launch.output.dtype
    dtypes = _as_float(input_tensor_a), _as_float(input_tensor_b)

    def close(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a, b = (
            x if x.is_floating_point() else launch.math.typecast(x, "int32", "float32")
            for x in (a, b)
        )
        return launch.math.binary(op, a, b, dtypes=dtypes, out=out)

    return over_tiles(launch, close, input_tensor_a, input_tensor_b)


def _as_float(operand: DeviceTensor) -> str:
    return operand.dtype if storage(operand).is_floating_point else "float32"


BINDINGS = (
    {f"ttnn.{name}": _binary(name) for name in [*PLAIN, *NAMED_OTHERWISE]}
    | {f"ttnn.{name}_": _binary(name) for name in IN_PLACE}
    | {f"ttnn.{name}": _extreme(name) for name in ("maximum", "minimum")}
    | {f"ttnn.{name}": _remainder(name) for name in ("fmod", "remainder")}
    | {
        "ttnn.addalpha": _scaled("add"),
        "ttnn.bias_gelu": bias_gelu,
        "ttnn.bias_gelu_": bias_gelu,
        "ttnn.div": divide,
        "ttnn.divide": divide,
        "ttnn.isclose": isclose,
        "ttnn.pow": pow_,
        "ttnn.rdiv": rdiv,
        "ttnn.rpow": rpow,
        "ttnn.subalpha": _scaled("subtract"),
    }
)

BY_BATCH = frozenset(f"ttnn.{name}" for name in PLAIN)

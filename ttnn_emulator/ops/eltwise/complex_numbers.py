"""Complex tensors: a real and an imaginary device tensor, which bindings get as a pair.

The host composes elementwise kernels on the parts; the sequences were observed in the operations
that TTNN 0.81.1 starts. Making a complex tensor of two, and taking a part of it, start no kernel:
the result has the buffer of its part.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.broadcasting import over_tiles
from ttnn_emulator.ops.common.pairs.stages import Stages
from ttnn_emulator.ops.common.pairs.two_operands import combined
from ttnn_emulator.ops.eltwise import eltwise_unary
from ttnn_emulator.ops.eltwise.eltwise_unary import apply

Pair = tuple[DeviceTensor, DeviceTensor]  # real part, imaginary part


def complex_tensor(launch: Launch, real: DeviceTensor, imag: DeviceTensor) -> None:
    """The two tensors as they are."""


def part(launch: Launch, input_tensor: Pair) -> None:
    """The real or the imaginary part as it is."""


def angle(launch: Launch, input_tensor: Pair) -> torch.Tensor:
    """atan2 of the imaginary and the real part."""
    real, imag = input_tensor
    return combined(launch, "atan2", imag, real)


def is_real(launch: Launch, input_tensor: Pair) -> torch.Tensor:
    """1 where the imaginary part is zero."""
    return apply(launch, input_tensor[1], FusedOp("eqz"))


def is_imag(launch: Launch, input_tensor: Pair) -> torch.Tensor:
    """1 where the real part is zero."""
    return apply(launch, input_tensor[0], FusedOp("eqz"))


def conj(launch: Launch, input_tensor: Pair) -> tuple[torch.Tensor | None, torch.Tensor]:
    """The real part as it is, the imaginary part negated."""
    return None, apply(_of_output(launch, 1), input_tensor[1], FusedOp("neg"))


def _of_output(launch: Launch, number: int) -> Launch:
    """The launch as of the kernels that make the real (0) or the imaginary (1) part."""
    return dataclasses.replace(launch, outputs=launch.outputs[number : number + 1])


def polar(launch: Launch, input_tensor: Pair) -> tuple[torch.Tensor, torch.Tensor]:
    """r cos(theta) and r sin(theta) of a real part r and an imaginary part theta."""

    def times(name: str, number: int) -> torch.Tensor:
        of_part = _of_output(launch, number)
        stages = Stages(of_part, of_part.output.dtype)

        def scaled(radius: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
            return stages.binary("multiply", radius, stages.unary(name, theta))

        return over_tiles(of_part, scaled, *input_tensor)

    return times("cos", 0), times("sin", 1)


def modulus(launch: Launch, input_tensor: Pair) -> torch.Tensor:
    """The root of the sum of squares, one kernel."""
    return combined(launch, "hypot", *input_tensor)


def inverse(launch: Launch, input_tensor: Pair) -> tuple[torch.Tensor, torch.Tensor]:
    """The conjugate times the inverse of the sum of squares."""
    of_real, of_imaginary = _of_output(launch, 0), _of_output(launch, 1)
    stages = Stages(of_real, of_real.output.dtype)

    def over_squares(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        squares = stages.binary("add", stages.unary("square", a), stages.unary("square", b))
        return stages.unary("reciprocal", squares)

    def real(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return stages.binary("multiply", a, over_squares(a, b))

    def imaginary(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return stages.binary("multiply", stages.unary("neg", b), over_squares(a, b))

    return (
        over_tiles(of_real, real, *input_tensor),
        over_tiles(of_imaginary, imaginary, *input_tensor),
    )


def _of_either(name: str, of_complex: Callable[..., Any]) -> Callable[..., Any]:
    """The binding of an operation that real and complex tensors have."""
    of_real = eltwise_unary.PARTLY_COMPLEX[name]

    def binding(
        launch: Launch,
        input_tensor: DeviceTensor | Pair,
        *,
        output_tensor: DeviceTensor | None = None,
        fast_and_approximate_mode: bool = False,
    ) -> Any:
        if isinstance(input_tensor, tuple):
            return of_complex(launch, input_tensor)
        return of_real(launch, input_tensor, fast_and_approximate_mode=fast_and_approximate_mode)

    binding.__name__ = name
    return binding


BINDINGS = {
    "ttnn.abs": _of_either("abs", modulus),
    "ttnn.angle": angle,
    "ttnn.complex_tensor": complex_tensor,
    "ttnn.conj": conj,
    "ttnn.imag": part,
    "ttnn.is_imag": is_imag,
    "ttnn.is_real": is_real,
    "ttnn.polar": polar,
    "ttnn.real": part,
    "ttnn.reciprocal": _of_either("reciprocal", inverse),
}

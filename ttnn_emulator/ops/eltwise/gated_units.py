"""Gated linear units: one half of a tensor times an activation of the other."""

from collections.abc import Callable
from typing import Any

import torch

from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.eltwise.eltwise_unary import gelu_of


def _gated(launch: Launch, operand: DeviceTensor, dim: int, activation: FusedOp) -> torch.Tensor:
    """x[first half of dim] * activation(x[second half]): two slices, a unary and a multiplication.

    TTNN plans the padded rows as logical.
    """
    value, gate = operand.data.chunk(2, dim)
    dtype = operand.dtype
    gate = launch.math.stored(launch.math.unary(gate, activation, dtype=dtype, out=dtype), dtype)
    out = launch.output.dtype
    return launch.math.binary("multiply", value, gate, dtypes=(dtype, dtype), out=out)


def _unit(activation: str) -> Callable[..., torch.Tensor]:
    def binding(launch: Launch, input_tensor: DeviceTensor, dim: int = -1) -> torch.Tensor:
        return _gated(launch, input_tensor, dim, FusedOp(activation))

    return binding


def geglu(
    launch: Launch, input_tensor: DeviceTensor, dim: int = -1, *, variant: Any = None
) -> torch.Tensor:
    return _gated(launch, input_tensor, dim, gelu_of(variant))


BINDINGS = {
    "ttnn.geglu": geglu,
    "ttnn.glu": _unit("sigmoid"),
    "ttnn.reglu": _unit("relu"),
    "ttnn.swiglu": _unit("silu"),
}

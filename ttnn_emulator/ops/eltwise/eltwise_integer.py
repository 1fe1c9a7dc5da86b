"""Bitwise operations and shifts of integer tensors."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ttnn_emulator.arithmetic.compute import FusedOps
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.activations import Fusable, steps_of
from ttnn_emulator.ops.common.broadcasting import Operand
from ttnn_emulator.ops.common.pairs.two_operands import combined

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


BINDINGS = {f"ttnn.{key}": _bitwise(key, name) for key, name in BITWISE.items()}

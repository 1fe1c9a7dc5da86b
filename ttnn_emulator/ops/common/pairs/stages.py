"""The kernels of an operation that TTNN's host composes, each of which stores its result."""

import torch

from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.dispatch import Launch


class Stages:
    """Kernels on torch tensors of one dtype, each of which stores its result in it."""

    def __init__(self, launch: Launch, dtype: str) -> None:
        self.math, self.dtype = launch.math, dtype

    def binary(self, name: str, a: torch.Tensor, b: torch.Tensor | float) -> torch.Tensor:
        """An operation of two tensors, or of one and a number as the kernels round it."""
        b = b if isinstance(b, torch.Tensor) else torch.tensor(b, dtype=a.dtype)
        dtypes = (self.dtype, self.dtype)
        return self._stored(self.math.binary(name, a, b, dtypes=dtypes, out=self.dtype))

    def unary(self, name: str, x: torch.Tensor, *numbers: float) -> torch.Tensor:
        """A function of one tensor."""
        op = FusedOp(name, numbers)
        return self._stored(self.math.unary(x, op, dtype=self.dtype, out=self.dtype))

    def where(
        self, condition: torch.Tensor, a: torch.Tensor | float, b: torch.Tensor | float
    ) -> torch.Tensor:
        """A choice between tensors and numbers."""
        a, b = (x if isinstance(x, torch.Tensor) else torch.tensor(x) for x in (a, b))
        dtypes = (self.dtype,) * 3
        op = FusedOp("where")
        return self._stored(self.math.ternary(op, condition, a, b, dtypes=dtypes, out=self.dtype))

    def _stored(self, values: torch.Tensor) -> torch.Tensor:
        return self.math.stored(values, self.dtype)

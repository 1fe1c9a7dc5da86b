"""The expected result of an operation: its value, its allowed error, the context of the call."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from types import EllipsisType
from typing import Any

import torch

from ttnn_verify.numerics import op_floors

# How the compared part of a result is indexed: all of it, slices, or a mask.
Region = EllipsisType | tuple | torch.Tensor


class NoGolden(NotImplementedError):
    """Nothing is known of an operation, of an argument of one, or of an argument's value."""


@dataclasses.dataclass(frozen=True)
class CallContext:
    """What a golden is told beside the operation's own arguments.

    Attributes:
        dtypes, shapes: of the results; dtypes by their names in `ttnn_verify.numerics.metrics`.
        accurate: judge norms and products as if they had asked for the most accurate arithmetic.
        compute_kernel_config, program_config: as the call was given them, None without one.
            Floors read them; no expected value depends on them (but a fused activation).
    """

    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    accurate: bool = False
    compute_kernel_config: Any = None  # TTNN's own types, a class per operation and architecture
    program_config: Any = None

    @property
    def out(self) -> str:
        """The dtype of the first result."""
        return self.dtypes[0]

    @property
    def precision(self) -> dict[str, Any]:
        """fidelity and fp32_dest_acc by which the call is judged; empty for TTNN's defaults."""
        return ACCURATE if self.accurate else compute_of(self.compute_kernel_config)


@dataclasses.dataclass(frozen=True)
class Expected:
    """The expected value of a result.

    Attributes:
        value: float64; data that only moves keeps the dtype of its operand.
        floor: makes the noise floor; None for data that only moves, which must be equal.
        region: index of the part of the result that is compared; the rest may hold anything.
    """

    value: torch.Tensor
    floor: Callable[[], op_floors.Floor] | None = None
    region: Region = Ellipsis


ACCURATE = {"fidelity": "HiFi4", "fp32_dest_acc": True}


def compute_of(config: Any) -> dict[str, Any]:
    """fidelity and fp32_dest_acc of a compute kernel config, empty if there is none."""
    if config is None:
        return {}
    fidelity = config.math_fidelity.name
    known = ("LoFi", "HiFi2", "HiFi3", "HiFi4")
    return {
        "fidelity": fidelity if fidelity in known else "LoFi",
        "fp32_dest_acc": config.fp32_dest_acc_en,
    }


FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
}


def functions_of(activations: Iterable[Any] | None) -> list[str]:
    """Names in `FUNCTIONS` of fused activations: UnaryOpType, UnaryWithParam or strings.

    Raises:
        NoGolden: an activation that `FUNCTIONS` does not have.
    """
    names = []
    for one in activations or ():
        name = one if isinstance(one, str) else getattr(one, "op_type", one).name
        if name.lower() not in FUNCTIONS:
            raise NoGolden(f"the fused activation {name} has no golden.")
        names.append(name.lower())
    return names


def applied(x: torch.Tensor, names: Sequence[str]) -> torch.Tensor:
    """The functions of these names applied to x, one after the other."""
    for name in names:
        x = FUNCTIONS[name](x)
    return x

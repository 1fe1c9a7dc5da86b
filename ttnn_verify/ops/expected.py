"""The expected result of an operation: its value, its allowed error, the context of the call."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from types import EllipsisType
from typing import Any

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.numerics.compute_config import ComputeConfig

# How the compared part of a result is indexed: all of it, slices, or a mask.
Region = EllipsisType | tuple | torch.Tensor


class NoGolden(NotImplementedError):
    """Nothing is known of an operation, of an argument of one, or of an argument's value."""


class OnChips(tuple[torch.Tensor, ...]):
    """What each chip of a mesh has of a tensor: the same object where bits are equal."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True)
class CallContext:
    """What a golden is told beside the operation's own arguments.

    Attributes:
        dtypes, shapes: of the results; dtypes by their names in `ttnn_verify.numerics.metrics`.
        accurate: judge norms and products as if they had asked for the most accurate arithmetic.
        compute_kernel_config, program_config: as the call was given them, None without one.
            Floors read them; no expected value depends on them (but a fused activation).
        mesh: (rows, columns) of the chips that the call runs on.
        chip: the one whose results are expected.
    """

    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    accurate: bool = False
    compute_kernel_config: Any = None  # TTNN's own types, a class per operation and architecture
    program_config: Any = None
    mesh: tuple[int, int] = (1, 1)
    chip: int = 0

    @property
    def out(self) -> str:
        """The dtype of the first result."""
        return self.dtypes[0]

    @property
    def compute(self) -> ComputeConfig | None:
        """The config by which the call is judged; None for TTNN's own."""
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


ACCURATE = ComputeConfig("HiFi4", fp32_dest_acc=True)


def compute_of(config: Any) -> ComputeConfig | None:
    """What a floor depends on of a compute kernel config of TTNN's, None if there is none."""
    if config is None:
        return None
    fidelity = config.math_fidelity.name
    known = ("LoFi", "HiFi2", "HiFi3", "HiFi4")
    return ComputeConfig(
        fidelity if fidelity in known else "LoFi", config.fp32_dest_acc_en, config.packer_l1_acc
    )


def _cubes(x: torch.Tensor) -> torch.Tensor:
    """x - tanh(x) of small numbers, which are each other's difference to the last bit."""
    return x**3 / 3 - 2 * x**5 / 15


FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "abs": torch.abs,
    "acos": torch.acos,
    "acosh": torch.acosh,
    "asin": torch.asin,
    "asinh": torch.asinh,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "cbrt": lambda x: x.sign() * x.abs().pow(1 / 3),
    "cos": torch.cos,
    "cosh": torch.cosh,
    "digamma": torch.digamma,
    "erf": torch.erf,
    "erfc": torch.erfc,
    "erfinv": torch.erfinv,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "gelu": torch.nn.functional.gelu,
    "hardmish": lambda x: x * (x / 2 + 1).clamp(0, 1),
    "hardsigmoid": torch.nn.functional.hardsigmoid,
    "hardswish": torch.nn.functional.hardswish,
    "i0": torch.special.i0,
    "i1": torch.special.i1,
    "lgamma": torch.lgamma,
    "log": torch.log,
    "log10": torch.log10,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "log_sigmoid": torch.nn.functional.logsigmoid,
    "mish": torch.nn.functional.mish,
    "neg": torch.neg,
    "reciprocal": torch.reciprocal,
    "relu": torch.relu,
    "relu6": torch.nn.functional.relu6,
    "rsqrt": torch.rsqrt,
    "sigmoid": torch.sigmoid,
    "silu": torch.nn.functional.silu,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "softsign": torch.nn.functional.softsign,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
    "tanhshrink": lambda x: torch.where(x.abs() < 0.01, _cubes(x), x - torch.tanh(x)),
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

"""What is due of an operation's result: the value, how far off it may be, and how a call computes."""

import dataclasses
from collections.abc import Callable

import torch

WHOLE = Ellipsis


class NoGolden(NotImplementedError):
    """Nothing says what an operation, or an argument of one, makes of its operands."""


@dataclasses.dataclass(frozen=True)
class Made:
    """How a call's results are kept, and how strictly it is judged.

    Attributes:
        dtypes, shapes: of the results, by their names in `ttnn_verify.numerics.metrics`.
        accurate: judge norms and products as if they had asked for the most accurate arithmetic.
    """

    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    accurate: bool = False

    @property
    def out(self):
        return self.dtypes[0]


@dataclasses.dataclass(frozen=True)
class Due:
    """A result that is due.

    Attributes:
        value: float64; of data that only moves as it was.
        floor: makes the noise floor; None for data that only moves.
        region: an index of the part of the result that is compared, all else may be anything.
    """

    value: torch.Tensor
    floor: Callable | None = None
    region: object = WHOLE


def compute_of(config):
    """fidelity and fp32_dest_acc of a compute kernel config, nothing if there is none."""
    if config is None:
        return {}
    fidelity = config.math_fidelity.name
    known = ("LoFi", "HiFi2", "HiFi3", "HiFi4")
    return {
        "fidelity": fidelity if fidelity in known else "LoFi",
        "fp32_dest_acc": config.fp32_dest_acc_en,
    }


ACCURATE = {"fidelity": "HiFi4", "fp32_dest_acc": True}

FUNCTIONS = {
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
}


def functions_of(activations):
    """Names in `FUNCTIONS` of fused activations: UnaryOpType, UnaryWithParam or strings."""
    names = []
    for one in activations or ():
        name = one if isinstance(one, str) else getattr(one, "op_type", one).name
        if name.lower() not in FUNCTIONS:
            raise NoGolden(f"the fused activation {name} has no golden.")
        names.append(name.lower())
    return names


def applied(x, names):
    for name in names:
        x = FUNCTIONS[name](x)
    return x

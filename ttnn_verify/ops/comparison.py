"""What golden functions for TTNN's comparison mode are made of.

In comparison mode TTNN computes each operation once more in torch, from the tensors that the
operation was given ("locally"), and, when a report is asked for, from the goldens of the operations
before ("globally"). An operation without a golden function ends the second: its results, and
everything made of them, have no golden. TTNN 0.81.1 has none for ten operations on the way of a
Llama-like model, and for three its own does not work. The rows of these have one in `comparison`;
`comparison_mode.attached` gives them to TTNN. Each takes the operation's own arguments.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from ttnn.decorators import set_golden_comparison_config

from ttnn_verify.numerics.formats import TILE
from ttnn_verify.ops.expected import CallContext, Expected
from ttnn_verify.ops.spec import Golden, called


def of_golden(golden: Golden) -> Callable[..., Any]:
    """A golden's expected values in float32, where they do not depend on the context."""

    @functools.wraps(golden)
    def values(*args: Any, **kwargs: Any) -> torch.Tensor | tuple[torch.Tensor, ...]:
        operands = [
            one.float() if torch.is_tensor(one) and one.is_floating_point() else one for one in args
        ]
        found = called(golden.__name__, golden, CallContext((), ()), *operands, **kwargs)
        if isinstance(found, Expected):
            return found.value.float()
        return tuple(one.value.float() for one in found)

    return values


def in_whole_tiles(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The same with `whole_tiles` of its result, for an operation that returns the padding too."""

    @functools.wraps(function)
    def padded(*args: Any, **kwargs: Any) -> torch.Tensor:
        return whole_tiles(function(*args, **kwargs))

    return padded


def whole_tiles(rows: torch.Tensor) -> torch.Tensor:
    """`rows` [..., S, D] with zero rows up to a whole tile, which TTNN does not compare."""
    count = rows.shape[-2]
    padded = torch.nn.functional.pad(rows, (0, 0, 0, -count % TILE))
    compared = (torch.arange(padded.shape[-2]) < count)[:, None].expand(padded.shape)
    # the method is for constants alone, everything else is compared by PCC
    return set_golden_comparison_config(padded, method="allclose", mask=compared)

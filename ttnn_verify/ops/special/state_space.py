"""Mamba's state space: its recurrence, the product by latents and the sum over them.

L positions, H channels, 32 latents of a channel side by side in W = 32 H columns.
"""

from collections.abc import Callable
from typing import Any

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.numerics.destination import packed
from ttnn_verify.numerics.rounding import BF16_BITS, add, cut, dot, multiply
from ttnn_verify.ops.expected import CallContext, Expected
from ttnn_verify.ops.spec import OpSpec

LATENTS = 32


def prefix_scan(
    context: CallContext,
    a: torch.Tensor,
    bx: torch.Tensor,
    h_prev: torch.Tensor,
    *,
    math_fidelity: Any = None,
) -> Expected:
    """h[l] = a[l] * h[l - 1] + bx[l] of [1, 1, L, W], from the row h_prev on."""
    value = _scanned(a.double(), bx.double(), h_prev.double(), torch.mul, torch.add)
    fidelity = _fidelity(math_fidelity)

    def floor() -> op_floors.Floor:
        rounded = _scanned(
            cut(a.float(), BF16_BITS),
            cut(bx.float(), BF16_BITS),
            h_prev.float(),
            lambda factor, state: multiply(state, factor, fidelity, False),
            lambda kept, term: add(kept, term, False),
        )
        return packed(value, rounded.double(), context.out)

    return Expected(value, floor)


Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _scanned(
    a: torch.Tensor, bx: torch.Tensor, state: torch.Tensor, times: Step, plus: Step
) -> torch.Tensor:
    state = state.reshape(1, 1, -1)
    states = []
    for factor, term in zip(a.unbind(2), bx.unbind(2), strict=True):
        state = plus(times(factor, state), term)
        states.append(state)
    return torch.stack(states, 2)


def product_by_latents(
    context: CallContext, a: torch.Tensor, b: torch.Tensor, *, math_fidelity: Any = None
) -> Expected:
    """a, whose columns repeat for each channel, times b, whose columns repeat for each latent.

    One that has all W columns already is taken as it is.
    """
    width = context.shapes[0][-1]
    first = a.tile(width // a.shape[-1])
    second = b.repeat_interleave(width // b.shape[-1], -1)
    value = first.double() * second.double()

    def floor() -> op_floors.Floor:
        rounded = multiply(second.float(), first.float(), _fidelity(math_fidelity), False)
        return packed(value, rounded.double(), context.out)

    return _of_rows(value, floor)


def sum_over_latents(
    context: CallContext, input: torch.Tensor, *, math_fidelity: Any = None
) -> Expected:
    """[1, 1, L, W] to [1, 1, L, H]: the sum over each channel's latents."""
    latents = input.unflatten(-1, (-1, LATENTS))
    value = latents.double().sum(-1)

    def floor() -> op_floors.Floor:
        columns = latents.float().reshape(-1, LATENTS).mT  # SrcA; the ones are SrcB
        rounded = dot(torch.ones(1, LATENTS), columns, _fidelity(math_fidelity))
        return packed(value, rounded.double().reshape(value.shape), context.out)

    return _of_rows(value, floor)


def _of_rows(value: torch.Tensor, floor: Callable[[], op_floors.Floor]) -> Expected:
    """Expected of the operands' rows alone: a result has those of whole tiles."""
    return Expected(value, floor, (slice(None), slice(None), slice(value.shape[-2])))


def _fidelity(math_fidelity: Any) -> str:
    return "HiFi4" if math_fidelity is None else math_fidelity.name


SPECS = (
    OpSpec(("prefix_scan",), prefix_scan),
    OpSpec(("repeat_and_interleave_eltwise_mul",), product_by_latents),
    OpSpec(("hc_sum_reduce",), sum_over_latents),
)

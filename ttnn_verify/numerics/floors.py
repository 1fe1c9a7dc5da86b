"""A noise floor: how far an honest result may be off, and how it is made of what is known of errors."""

import dataclasses
import math

import torch

from ttnn_verify.numerics import metrics

# The few errors of a kernel may be unlucky, too. Their root mean square lies this many standard
# deviations above the expected one in one case of 10,000.
UNLUCKY = 3.72


@dataclasses.dataclass(frozen=True)
class Floor:
    """The error that the arithmetic explains: relative L2 of the whole and of the worst row.

    `erratum`: sums are kept in 32 bits, so `ttnn_verify.numerics.erratum` may have struck a few elements.
    """

    relative_l2: float
    worst_row: float
    erratum: bool = False


# Nothing is rounded: equal bits are expected.
EXACT = Floor(0.0, 0.0)


def output(exact, dtype="bfloat16"):
    """One rounding of the result to its format: the floor of an elementwise operation.

    The error is taken as uniform within half a unit in the last place. The packer rounds to seven
    significant bits before it rounds to bfloat8_b; and bfloat4_b it cuts off, with an error that is
    uniform within a whole unit.

    Args:
        exact: the result in float64, any shape.
        dtype: "bfloat16", "float32", "bfloat8_b", "bfloat4_b".
    """
    uniform = metrics.unit(exact, dtype) / math.sqrt(12)
    if dtype == "bfloat4_b":
        return of_errors(exact, 2 * uniform)
    if dtype == "bfloat8_b":
        before = metrics.unit(exact, "bfloat16") * 2 / math.sqrt(12)
        return chain(of_errors(exact, uniform), of_errors(exact, before))
    return of_errors(exact, uniform)


def chain(*floors):
    """One operation after another: independent errors add as squares."""
    return Floor(
        math.hypot(*(floor.relative_l2 for floor in floors)),
        math.hypot(*(floor.worst_row for floor in floors)),
        any(floor.erratum for floor in floors),
    )


def between(exact, rounded, count=None):
    """The floor that an example of the roundings shows.

    Args:
        count: how many errors are independent of each other; None for as many as there are values
            that make up the whole.
    """
    if not exact.numel() or not exact.any():
        return Floor(0.0, 0.0)
    factor = _luck(_count(exact.flatten()) if count is None else torch.tensor(float(count)))
    return Floor(
        float(factor) * metrics.relative_l2(exact, rounded),
        float(factor) * metrics.worst_row(exact, rounded).value,
    )


def of_errors(exact, error):
    """The floor of independent errors of the size given, elementwise; a zero has none."""
    if not exact.numel() or not exact.any():
        return Floor(0.0, 0.0)
    x, error = metrics.rows(exact), metrics.rows(torch.where(exact == 0, 0.0, error))
    share = error.norm(dim=-1) / x.norm(dim=-1)
    return Floor(
        float(_luck(_count(x.flatten())) * error.norm() / x.norm()),
        float((_luck(_count(x)) * share).nan_to_num(0).max()),
    )


def _count(x):
    """How many values make up a row `[..., W]`: the participation ratio. `[...]`, NaN for zeros."""
    shares = (x.double() / x.double().norm(dim=-1, keepdim=True)).square()
    return 1 / shares.square().sum(-1)


def _luck(count):
    """How much larger the floor of a few errors is, so that twice as much is hardly ever exceeded.

    The quantile of chi square over its mean, by Wilson and Hilferty (1931).
    """
    spread = 2 / (9 * count)
    return ((1 - spread + UNLUCKY * spread.sqrt()) ** 1.5 / 2).clamp(min=1)

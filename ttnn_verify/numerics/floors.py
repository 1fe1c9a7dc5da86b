"""Noise floors: the error a correct implementation may show, and how floors combine."""

import dataclasses
import math

import torch

from ttnn_verify.numerics import metrics

# A few sums may happen to have small errors: with fewer results than this they are computed again
# with their terms in other orders.
LEAST_RESULTS = 256
MOST_ORDERS = 16

# The root mean square of few independent errors varies from case to case. In one of 10,000 it lies
# this many standard deviations above the expected one (the normal quantile); a run of all tests
# makes some thousand comparisons. November 2026.
UNLUCKY = 3.72


@dataclasses.dataclass(frozen=True)
class Floor:
    """The error that the arithmetic explains, in relative L2.

    Attributes:
        relative_l2: of the whole tensor.
        worst_row: of its worst row.
        erratum: sums are kept in 32 bits, so `ttnn_verify.numerics.erratum` may have hit elements.
    """

    relative_l2: float
    worst_row: float
    erratum: bool = False


# Data that only moves: nothing is rounded, so equal bits are expected.
EXACT = Floor(0.0, 0.0)


def output(exact: torch.Tensor, dtype: str = "bfloat16") -> Floor:
    """One rounding of the result to its format: the floor of an elementwise operation.

    The error is taken as uniform within half a unit in the last place. The packer rounds to seven
    significant bits before it rounds to bfloat8_b. To bfloat4_b it truncates, with an error that is
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


def chain(*floors: Floor) -> Floor:
    """The floor of operations one after the other: independent errors add as squares."""
    return Floor(
        math.hypot(*(floor.relative_l2 for floor in floors)),
        math.hypot(*(floor.worst_row for floor in floors)),
        any(floor.erratum for floor in floors),
    )


def shifted(floor: Floor, before: torch.Tensor, after: torch.Tensor, dtype: str) -> Floor:
    """The floor of a result to which something is added, and which is rounded once more.

    Args:
        floor: of what it is added to.
        before, after: in float64, of the same shape.
    """
    if before is after or not after.any():
        return floor
    rows = before.norm(dim=-1) / after.norm(dim=-1)
    share, worst = float(before.norm() / after.norm()), float(rows.nan_to_num(0.0).max())
    scaled = Floor(floor.relative_l2 * share, floor.worst_row * worst, floor.erratum)
    return chain(scaled, output(after, dtype))


def between(exact: torch.Tensor, rounded: torch.Tensor, count: float | None = None) -> Floor:
    """The floor measured on an example: the distance between a result with and without roundings.

    Args:
        exact, rounded: the result in float64 and the one with the roundings, of the same shape.
        count: how many of the errors are independent; None for the number of values that make up
            the norm, see `_count`.
    """
    exact, rounded = _known_rows(exact, rounded)
    if not exact.numel() or not exact.any():
        return Floor(0.0, 0.0)
    factor = _luck(_count(exact.flatten()) if count is None else torch.tensor(float(count)))
    return Floor(
        float(factor) * metrics.relative_l2(exact, rounded),
        float(factor) * metrics.worst_row(exact, rounded).value,
    )


def larger(*floors: Floor) -> Floor:
    """The largest of several floors, separately for the whole and for the worst row."""
    return Floor(max(f.relative_l2 for f in floors), max(f.worst_row for f in floors))


def of_errors(exact: torch.Tensor, error: torch.Tensor) -> Floor:
    """The floor of independent errors with the given standard deviations, of the shape of `exact`.

    An element that is exactly zero has no error.
    """
    exact, error = _known_rows(exact, error)
    if not exact.numel() or not exact.any():
        return Floor(0.0, 0.0)
    x, error = metrics.rows(exact), metrics.rows(torch.where(exact == 0, 0.0, error))
    share = error.norm(dim=-1) / x.norm(dim=-1)
    return Floor(
        float(_luck(_count(x.flatten())) * error.norm() / x.norm()),
        float((_luck(_count(x)) * share).nan_to_num(0).max()),
    )


def orders(length: int, count: int) -> list[torch.Tensor]:
    """Permutations of `length` terms, the first the identity; only that if `count` is large."""
    generator = torch.Generator().manual_seed(0)
    several = [torch.arange(length)]
    while len(several) * count < LEAST_RESULTS and len(several) < MOST_ORDERS:
        several.append(torch.randperm(length, generator=generator))
    return several


def _known_rows(exact: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both without the rows in which either is not finite, of idle users say."""
    if not exact.dim() or bool(exact.isfinite().all() and other.isfinite().all()):
        return exact, other
    other = other.expand(exact.shape)
    known = (exact.isfinite() & other.isfinite()).all(-1)
    return exact[known], other[known]


def _count(x: torch.Tensor) -> torch.Tensor:
    """How many values make up the norm of each row: the participation ratio.

    `[..., W]` -> `[...]`; NaN for a row of zeros.
    """
    shares = (x.double() / x.double().norm(dim=-1, keepdim=True)).square()
    return 1 / shares.square().sum(-1)


def _luck(count: torch.Tensor) -> torch.Tensor:
    """The factor on the floor of few errors, so that twice the floor is hardly ever exceeded.

    The quantile of chi square over its mean, by Wilson and Hilferty (1931).
    """
    spread = 2 / (9 * count)
    return ((1 - spread + UNLUCKY * spread.sqrt()) ** 1.5 / 2).clamp(min=1)

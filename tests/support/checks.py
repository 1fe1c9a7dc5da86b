"""Comparisons for tests: bit for bit, up to one rounding, up to the noise floor of a model."""

import operator
from collections.abc import Callable

import torch
import ttnn

from ttnn_verify.huggingface import module_floors
from ttnn_verify.numerics import tolerance
from ttnn_verify.numerics.floors import EXACT, Floor, larger
from ttnn_verify.suite import figures

Record = Callable[[str, object], None]  # pytest's record_property

# A failed comparison is shown at the line of the test, an error of these helpers where it is.
__tracebackhide__ = operator.methodcaller("errisinstance", AssertionError)

# --- bits ----------------------------------------------------------------------------------------


def bits(values: torch.Tensor) -> torch.Tensor:
    """The bits of a torch tensor as integers, which compare equal where NaN does not."""
    as_integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return values.contiguous().view(as_integers[values.element_size()])


def assert_same_bits(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Two torch tensors of one shape and dtype; NaN, infinities and the sign of zero count."""
    if actual.dtype != expected.dtype:
        raise tolerance.ComparisonFailed(f"dtype {actual.dtype}, expected {expected.dtype}")
    _assert_shape(actual, expected)
    _assert_nowhere(bits(actual) != bits(expected), actual, expected)


def assert_same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Two torch tensors of one shape whose elements are equal numbers, or both NaN."""
    _assert_shape(actual, expected)
    actual, expected = actual.double(), expected.double()
    differ = (actual != expected) & ~(actual.isnan() & expected.isnan())
    _assert_nowhere(differ, actual, expected)


def _assert_shape(actual, expected):
    shapes = tuple(actual.shape), tuple(expected.shape)
    if shapes[0] != shapes[1]:
        raise tolerance.ComparisonFailed("shape {}, expected {}".format(*shapes))


def _assert_nowhere(differ, actual, expected):
    if differ.any():
        first = tuple(torch.nonzero(differ)[0].tolist())
        raise tolerance.ComparisonFailed(
            f"{int(differ.sum())} of {differ.numel()} elements differ, the first at {first}: "
            f"{actual[first].item()!r}, expected {expected[first].item()!r}"
        )


# --- one rounding --------------------------------------------------------------------------------

HALF_ULP = {ttnn.bfloat16: 2.0**-8, ttnn.float32: 2.0**-24}  # relative to the value
FLOAT32_STEPS = 2.0**-20  # roundings of earlier float32 steps, relative to the terms of a sum


def assert_rounded_once(
    actual: ttnn.Tensor, expected: torch.Tensor, terms: torch.Tensor | None = None
) -> None:
    """A ttnn tensor is float64 `expected`, rounded once to the tensor's dtype.

    Args:
        terms: magnitude of the summed terms, where they may exceed the sum; default `expected`.
    """
    _assert_shape(actual, expected)
    error = (ttnn.to_torch(actual).double() - expected).abs()
    terms = expected.abs() if terms is None else terms
    allowed = expected.abs() * HALF_ULP[actual.dtype] + terms * FLOAT32_STEPS
    worst = (error - allowed).argmax()
    if not (error <= allowed).all():
        off, limit = error.flatten()[worst], allowed.flatten()[worst]
        raise tolerance.ComparisonFailed(
            f"element {worst}: {expected.flatten()[worst]:.9g} is off by {off:.3g}, one rounding "
            f"allows {limit:.3g}, {tolerance.times(float(off / limit))}"
        )


# --- a model's parts -----------------------------------------------------------------------------


def check(
    part: str,
    case: str,
    expected: torch.Tensor,
    rounded: torch.Tensor,
    actual: torch.Tensor,
    record: Record | None = None,
) -> None:
    """Fail, in one line, unless `actual` is `expected` up to `tolerance.K` times the noise floor.

    Args:
        part: tier and part of the model, its line in the run's table: "layers.attention".
        case: which model, layer, length: with the part's name the comparison's own name.
        expected, rounded: Hugging Face's result `[..., S, W]`, in float32 and with a device's
            roundings; their distance is the floor.
        record: pytest's record_property, which passes the figures to the run's summary.
    """
    judge(part, case, expected, actual, module_floors.measured(expected, rounded), record)


def check_row(
    part: str,
    case: str,
    expected: torch.Tensor,
    rounded: torch.Tensor,
    row: int,
    actual: torch.Tensor,
    record: Record | None = None,
) -> None:
    """`check` of one row, dimension -2, of what is expected.

    A row's noise has few sources, such as the query's rounding, and can be small by chance. So its
    floor is at least that of all rows together.
    """
    expected_row, rounded_row = (x[..., row : row + 1, :] for x in (expected, rounded))
    usual = module_floors.measured(expected, rounded).relative_l2
    floor = larger(module_floors.measured(expected_row, rounded_row), Floor(usual, usual))
    judge(part, case, expected_row, actual, floor, record)


def check_equal(
    part: str,
    case: str,
    expected: torch.Tensor,
    actual: torch.Tensor,
    record: Record | None = None,
) -> None:
    """Fail unless the values are equal bit for bit: the operation only moves them."""
    judge(part, case, expected, actual, EXACT, record)


def judge(
    part: str,
    case: str,
    expected: torch.Tensor,
    actual: torch.Tensor,
    floor: Floor,
    record: Record | None = None,
) -> None:
    """Fail, in one line, unless `actual` is `expected` up to `tolerance.K` times a floor."""
    name = f"{part}-{case}"
    verdict, figures_of_it = figures.judged(part, name, expected, actual, floor, floor == EXACT)
    if record:
        record(*figures_of_it)
    if not verdict.passed:
        raise tolerance.ComparisonFailed(verdict.message(name))

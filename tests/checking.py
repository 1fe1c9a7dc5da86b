"""A result of the model, compared with Hugging Face's and judged by the noise of its roundings."""

from ttnn_verify.huggingface import module_floors
from ttnn_verify.numerics import metrics, tolerance
from ttnn_verify.numerics.floors import EXACT, Floor
from ttnn_verify.pytest_plugins import comparisons


def check(part, case, expected, noisy, actual, record=None):
    """Fail, in one line, unless `actual` is `expected` up to `tolerance.K` times the noise between.

    Args:
        part: tier and part of the model, its line in the run's table: "layers.attention".
        case: which model, layer, length: with the part's name the comparison's own name.
        expected, noisy: Hugging Face's result, exactly and with a device's roundings, `[..., S, W]`.
        record: pytest's record_property.
    """
    _check(part, case, expected, actual, module_floors.measured(expected, noisy), record)


def check_row(part, case, expected, noisy, row, actual, record=None):
    """`check` of one row, dimension -2, of what is expected.

    A row's noise has few causes, the query's rounding say, and may by luck be small. So it counts as
    no smaller than that of all rows together.
    """
    due, noise = (x[..., row : row + 1, :] for x in (expected, noisy))
    usual = module_floors.measured(expected, noisy).relative_l2
    floor = module_floors.larger(module_floors.measured(due, noise), Floor(usual, usual))
    _check(part, case, due, actual, floor, record)


def check_equal(part, case, expected, actual, record=None):
    """Fail unless nothing but the place of the numbers has changed."""
    _check(part, case, expected, actual, EXACT, record)


def _check(part, case, expected, actual, floor, record):
    comparison = metrics.compare(expected, actual)
    verdict = tolerance.judge(comparison, floor)
    if record:
        moved = floor == EXACT
        record(*comparisons.entry(part, f"{part}-{case}", comparison, verdict, moved))
    assert verdict.passed, f"{part}-{case}: {verdict.line}; {comparison}"

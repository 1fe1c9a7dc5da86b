"""The figures of a verdict as pytest's properties, for the summary, baselines, reports, junit.

Of values that are equal, as data that moves must be, no share of a tolerance is stated.
"""

from collections.abc import Iterable

import pytest
import torch

from ttnn_verify.numerics import metrics, tolerance
from ttnn_verify.numerics.floors import Floor
from ttnn_verify.pytest_plugins import comparisons


def judged(
    op: str,
    case: str,
    expected: torch.Tensor,
    actual: torch.Tensor,
    floor: Floor,
    movement: bool | None = None,
) -> tuple[tolerance.Verdict, tuple[str, comparisons.ComparisonEntry]]:
    """The verdict on a result of the model, and the property that has its figures.

    Args:
        movement: whether data only moves; by default, whether the values are equal.
    """
    verdict = tolerance.judge_values(expected, actual, floor)
    comparison = verdict.comparison
    moved = comparison.equal if movement is None else movement
    return verdict, comparisons.entry(op, case, comparison, verdict, moved)


def worst(verdicts: Iterable[tolerance.Verdict]) -> tolerance.Verdict | None:
    """The verdict that used most of its tolerance, one that failed first; None of none."""
    return max(verdicts, key=lambda one: (not one.passed, one.used), default=None)


SHOWN = 4  # failures of one test that are shown in full


def fail(wrong: Iterable[tuple[str, tolerance.Verdict | None, str]]) -> None:
    """Fail the test that calls it, if anything is wrong, without its stack.

    Args:
        wrong: (headline, verdict, all that is known) of each failure. The message begins with the
            worst one's headline, and says how many there are.
    """
    failures = list(wrong)
    if not failures:
        return
    headline, _, _ = max(failures, key=lambda one: one[1].used if one[1] else 0.0)
    count = f", the worst of {len(failures)} calls" if len(failures) > 1 else ""
    details = [line for _, _, line in failures[:SHOWN]]
    if len(failures) > SHOWN:
        details.append(f"and {len(failures) - SHOWN} more")
    pytest.fail(tolerance.failure(headline + count, *details), pytrace=False)


def brief(
    op: str, case: str, verdict: tolerance.Verdict
) -> tuple[str, comparisons.ComparisonEntry]:
    """The property of a verdict of drift's, of which a passed one may have but two figures."""
    if isinstance(verdict.comparison, metrics.Comparison):
        return comparisons.entry(op, case, verdict.comparison, verdict, movement=False)
    return comparisons.PROPERTY, {
        "op": op,
        "case": case,
        "passed": verdict.passed,
        "status": verdict.status,
        "pcc": verdict.comparison.pcc,
        "pcc_floor": verdict.pcc_floor,
        "relative_l2": verdict.comparison.relative_l2,
        "allowed": None,
        "worst_row": None,
        "ulp": None,
        "used": None if verdict.line == "equal" else verdict.used,
        "histogram": None,
    }

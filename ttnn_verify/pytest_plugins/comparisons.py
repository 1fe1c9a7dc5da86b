"""The pytest plugin of comparisons: a line per op, and every case at an end of its tolerance.

A test hands its verdicts to pytest's `record_property`, as `entry` makes them; they travel with its
report, from xdist's workers too, and stand in junit.xml by readable names. At the end of the run
`pytest_terminal_summary` prints the table.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypedDict, cast

import pytest

if TYPE_CHECKING:  # torch, which they import, is slow
    from ttnn_verify.numerics import metrics, tolerance

PROPERTY = "comparison"  # the name under which pytest's reports carry an entry

# A case that uses less of its tolerance than SLACK shows that the tolerance is too wide; one that
# uses more than TIGHT is about to fail.
SLACK, TIGHT = 0.02, 0.90


class ComparisonEntry(TypedDict):
    """One comparison, as plain values that xdist hands on; None for figures that there are not.

    Keys:
        op: what the line of the table stands for.
        case: the test's own name for it.
        passed, status: the verdict.
        pcc, relative_l2, worst_row, ulp: its figures; `worst_row` is a relative L2.
        pcc_floor, allowed: the least PCC and the greatest relative L2 of its tolerance.
        used: the share of the tolerance, None where equal bits are asked for.
        histogram: `metrics.histogram` of the errors.
    """

    op: str
    case: str
    passed: bool
    status: str
    pcc: float | None
    pcc_floor: float | None
    relative_l2: float | None
    allowed: float | None
    worst_row: float | None
    ulp: float | None
    used: float | None
    histogram: list[int] | None


@dataclasses.dataclass(frozen=True)
class OpSummary:
    """An op's cases: how many, how many failed, and the worst figures among them.

    pcc and ulp are None where no case has one; used is None where all were movement.
    """

    op: str
    cases: int
    failed: int
    pcc: float | None
    ulp: float | None
    used: float | None

    def __str__(self) -> str:
        pcc = "-" if self.pcc is None else f"{self.pcc:.6f}"
        ulp = (
            "-" if self.ulp is None else f"{self.ulp:.0f}" if self.ulp < 1e6 else f"{self.ulp:.0e}"
        )
        used = "exact" if self.used is None else f"{self.used:.0%}"
        failed = self.failed or ""
        figures = f"{self.cases:5} {failed!s:>6} {pcc:>9} {ulp:>9} {used:>6}"
        if len(self.op) > NAME_WIDTH:  # below the name: all lines fit into 80 columns
            return f"{self.op}\n{'':{NAME_WIDTH}} {figures}"
        return f"{self.op:{NAME_WIDTH}} {figures}"


NAME_WIDTH = 38
HEADER = (
    f"{'op':{NAME_WIDTH}} {'cases':>5} {'failed':>6} {'worst PCC':>9} {'worst ULP':>9} {'used':>6}"
)


def entry(
    op: str,
    case: str,
    comparison: "metrics.Comparison",
    verdict: "tolerance.Verdict",
    movement: bool,
) -> tuple[str, ComparisonEntry]:
    """The property of one comparison: (name, value) for pytest's `record_property`.

    Args:
        op, case: as in `ComparisonEntry`.
        movement: whether equal bits were asked for, so that no share of a tolerance was used.
    """
    equal = comparison.equal
    value: ComparisonEntry = {
        "op": op,
        "case": case,
        "passed": verdict.passed,
        "status": verdict.status,
        "pcc": comparison.pcc,
        "pcc_floor": verdict.pcc_floor,
        "relative_l2": 0.0 if equal else _finite(comparison.relative_l2),
        "allowed": _allowed(comparison, verdict),
        "worst_row": 0.0
        if equal
        else _finite(comparison.worst_row.value)
        if comparison.worst_row
        else None,
        "ulp": comparison.ulps.max if comparison.ulps else None,
        "used": None if movement else verdict.used,
        "histogram": list(comparison.histogram) if comparison.histogram else None,
    }
    return PROPERTY, value


def _finite(value: float) -> float | None:
    """The value, None for NaN and infinity."""
    return value if math.isfinite(value) else None


def _allowed(comparison: "metrics.Comparison", verdict: "tolerance.Verdict") -> float | None:
    """The relative L2 that was allowed: the one that leaves the least PCC of the verdict."""
    if verdict.pcc_floor is None:
        return None
    return comparison.spread * math.sqrt(1 - verdict.pcc_floor**2)


# Names and formats of an entry's figures in junit.xml.
READABLE = {
    "op": ("op", "{}"),
    "status": ("verdict", "{}"),
    "pcc": ("PCC", "{:.9f}"),
    "pcc_floor": ("PCC expected at least", "{:.9f}"),
    "relative_l2": ("relative L2", "{:.6g}"),
    "allowed": ("relative L2 allowed", "{:.6g}"),
    "worst_row": ("relative L2 of the worst row", "{:.6g}"),
    "ulp": ("greatest ULP", "{:.6g}"),
    "used": ("tolerance used", "{:.2%}"),
}


def readable(entry: ComparisonEntry, prefix: str = "") -> list[tuple[str, str]]:
    """(name, text) for each figure that an entry has, as reports for people name them."""
    return [
        (prefix + name, form.format(value))
        for key, (name, form) in READABLE.items()
        if (value := entry.get(key)) is not None
    ]


def comparisons(report: pytest.TestReport) -> list[ComparisonEntry]:
    """The entries that a test's report carries."""
    return entries(report.user_properties)


def entries(properties: Iterable[tuple[str, object]]) -> list[ComparisonEntry]:
    """The entries among a test's properties."""
    return [cast(ComparisonEntry, value) for name, value in properties if name == PROPERTY]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # junit.xml takes its properties from a test's last report, everything here from the second
    if report.when != "teardown":
        return
    several = len(comparisons(report)) > 1
    properties: list[tuple[str, object]] = []
    for name, value in report.user_properties:
        if name == PROPERTY and isinstance(value, dict):
            own = cast(ComparisonEntry, value)
            properties += readable(own, f"{own['case']}: " if several else "")
        else:
            properties.append((name, value))
    report.user_properties[:] = properties


def summaries(entries: Iterable[ComparisonEntry]) -> list[OpSummary]:
    """One for each op, in the order in which the ops came first."""
    by_op: dict[str, list[ComparisonEntry]] = {}
    for case in entries:
        by_op.setdefault(case["op"], []).append(case)
    return [
        OpSummary(
            op,
            len(cases),
            sum(not case["passed"] for case in cases),
            worst(min, cases, "pcc"),
            worst(max, cases, "ulp"),
            worst(max, cases, "used"),
        )
        for op, cases in by_op.items()
    ]


def worst(
    of: Callable[[list[float]], float],
    cases: Sequence[ComparisonEntry],
    figure: Literal["pcc", "ulp", "used"],
) -> float | None:
    """The least or the greatest of a figure, by `of`; None where no case has one."""
    values = [value for case in cases if (value := case[figure]) is not None]
    return of(values) if values else None


def at_an_end(entries: Iterable[ComparisonEntry]) -> list[ComparisonEntry]:
    """The passed cases that used less than `SLACK` or more than `TIGHT` of their tolerance."""
    return [
        case
        for case in entries
        if case["passed"] and case["used"] is not None and not SLACK <= case["used"] <= TIGHT
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    cases = [
        entry
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for entry in comparisons(report)
    ]
    if not cases:
        return
    terminalreporter.section("comparisons")
    terminalreporter.line(HEADER)
    for line in sorted(summaries(cases), key=lambda line: line.op):
        terminalreporter.line(str(line))
    extremes = sorted(at_an_end(cases), key=lambda case: (case["used"] or 0, case["case"]))
    if extremes:
        terminalreporter.line("")
        terminalreporter.line(f"used under {SLACK:.0%} or over {TIGHT:.0%} of the tolerance:")
    for case in extremes:
        terminalreporter.line(f"  {case['used']:7.1%}  {case['case']}")

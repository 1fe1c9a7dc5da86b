"""What a run's comparisons came to: a line per op, and every case at an end of its tolerance.

A test hands its verdicts to pytest's `record_property`, as `entry` makes them; they travel with its
report, from xdist's workers too, and stand in junit.xml by readable names. At the end of the run
`pytest_terminal_summary` prints the table.
"""

import dataclasses
import math

import pytest

PROPERTY = "comparison"  # the name under which pytest's reports carry an entry

# A tolerance of which a case uses less than this says nothing, one of which it uses more than that
# is about to fail.
SLACK, TIGHT = 0.02, 0.90


@dataclasses.dataclass(frozen=True)
class Line:
    """An op's cases: how many, how many failed, and the worst figures among them.

    pcc and ulp are None where no case has one; used is None where all were movement.
    """

    op: str
    cases: int
    failed: int
    pcc: float | None
    ulp: float | None
    used: float | None

    def __str__(self):
        pcc = "-" if self.pcc is None else f"{self.pcc:.6f}"
        ulp = (
            "-" if self.ulp is None else f"{self.ulp:.0f}" if self.ulp < 1e6 else f"{self.ulp:.0e}"
        )
        used = "exact" if self.used is None else f"{self.used:.0%}"
        failed = self.failed or ""
        return f"{self.op:42} {self.cases:5} {failed!s:>6} {pcc:>9} {ulp:>9} {used:>6}"


HEADER = f"{'op':42} {'cases':>5} {'failed':>6} {'worst PCC':>9} {'worst ULP':>9} {'used':>6}"


def entry(op, case, comparison, verdict, movement):
    """The property of one comparison: (name, value) for pytest's `record_property`.

    Args:
        op: what the line of the table stands for.
        case: the test's own name for it.
        comparison: a `metrics.Comparison`, and its `tolerance.Verdict`.
        movement: whether equal bits were asked for, so that no share of a tolerance was used.
    """
    equal = comparison.equal
    value = {
        "op": op,
        "case": case,
        "passed": verdict.passed,
        "status": verdict.status,
        "pcc": comparison.pcc,
        "pcc_floor": verdict.pcc_floor,
        "relative_l2": 0.0 if equal else _finite(comparison.relative_l2),
        "allowed": _allowed(comparison, verdict),
        "worst_row": 0.0 if equal else comparison.worst_row and _finite(comparison.worst_row.value),
        "ulp": comparison.ulps and comparison.ulps.max,
        "used": None if movement else verdict.used,
        "histogram": comparison.histogram and list(comparison.histogram),
    }
    return PROPERTY, value


def _finite(value):
    """The value, None for NaN and infinity."""
    return value if math.isfinite(value) else None


def _allowed(comparison, verdict):
    """The relative L2 that was allowed: the one that leaves the least PCC of the verdict."""
    if verdict.pcc_floor is None:
        return None
    return comparison.spread * math.sqrt(1 - verdict.pcc_floor**2)


# What junit.xml calls the figures of an entry, and how it writes them.
READABLE = {
    "op": ("op", "{}"),
    "status": ("verdict", "{}"),
    "pcc": ("PCC", "{:.9f}"),
    "pcc_floor": ("PCC due at least", "{:.9f}"),
    "relative_l2": ("relative L2", "{:.6g}"),
    "allowed": ("relative L2 allowed", "{:.6g}"),
    "worst_row": ("relative L2 of the worst row", "{:.6g}"),
    "ulp": ("greatest ULP", "{:.6g}"),
    "used": ("tolerance used", "{:.2%}"),
}


def readable(entry, prefix=""):
    """(name, text) for each figure that an entry has, as reports for people name them."""
    return [
        (prefix + name, form.format(entry[key]))
        for key, (name, form) in READABLE.items()
        if entry.get(key) is not None
    ]


def comparisons(report):
    """The entries that a test's report carries."""
    return [value for name, value in report.user_properties if name == PROPERTY]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report):
    # junit.xml takes its properties from a test's last report, everything here from the second
    if report.when != "teardown":
        return
    several = len(comparisons(report)) > 1
    properties = []
    for name, value in report.user_properties:
        if name == PROPERTY and isinstance(value, dict):
            properties += readable(value, f"{value['case']}: " if several else "")
        else:
            properties.append((name, value))
    report.user_properties[:] = properties


def lines(entries):
    """A `Line` for each op, in the order in which the ops came first."""
    by_op = {}
    for one in entries:
        by_op.setdefault(one["op"], []).append(one)
    return [
        Line(
            op,
            len(cases),
            sum(not case["passed"] for case in cases),
            worst(min, cases, "pcc"),
            worst(max, cases, "ulp"),
            worst(max, cases, "used"),
        )
        for op, cases in by_op.items()
    ]


def worst(of, cases, figure):
    values = [case[figure] for case in cases if case[figure] is not None]
    return of(values) if values else None


def at_an_end(entries):
    """The passed cases that used less than `SLACK` or more than `TIGHT` of their tolerance."""
    return [
        one
        for one in entries
        if one["passed"] and one["used"] is not None and not SLACK <= one["used"] <= TIGHT
    ]


def pytest_terminal_summary(terminalreporter):
    entries = [
        entry
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for entry in comparisons(report)
    ]
    if not entries:
        return
    terminalreporter.section("comparisons")
    terminalreporter.line(HEADER)
    for line in sorted(lines(entries), key=lambda line: line.op):
        terminalreporter.line(str(line))
    extremes = sorted(at_an_end(entries), key=lambda one: (one["used"], one["case"]))
    if extremes:
        terminalreporter.line("")
        terminalreporter.line(f"used under {SLACK:.0%} or over {TIGHT:.0%} of the tolerance:")
    for one in extremes:
        terminalreporter.line(f"  {one['used']:7.1%}  {one['case']}")

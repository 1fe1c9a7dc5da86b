"""What a run's comparisons came to: a line per op, and every case at an end of its tolerance.

A test hands its verdicts to pytest's `record_property`, as `entry` makes them; they travel with its
report, from xdist's workers too. At the end of the run `pytest_terminal_summary` prints the table.
"""

import dataclasses

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
    value = {
        "op": op,
        "case": case,
        "passed": verdict.passed,
        "pcc": comparison.pcc,
        "ulp": comparison.ulps and comparison.ulps.max,
        "used": None if movement else verdict.used,
    }
    return PROPERTY, value


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
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == PROPERTY
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

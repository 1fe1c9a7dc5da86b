"""The table at the end of the run: each fault, and what each tier says of it."""

from .inject import TIERS

PROPERTY = "fault"  # the name under which a test's report carries its row


def row(fault, stage, caught):
    """The property of one fault: (name, value) for pytest's `record_property`.

    Args:
        stage: of the bring-up, in which it was looked for.
        caught: tier -> the check that caught it, None where all passed; tiers that were not run
            are missing.
    """
    of = "" if fault.stage or fault.tier == "ops" else f" ({stage})"
    return PROPERTY, {"name": fault.name + of, "tier": fault.tier, "caught": caught}


def lines(rows):
    """The table: x for a tier that caught the fault, - for one that did not, blank if not run."""
    yield f"{'fault':52}{''.join(f'{tier:>8}' for tier in TIERS)}  caught by"
    for one in sorted(rows, key=lambda one: TIERS.index(one["tier"])):
        caught = one["caught"]
        marks = ("" if tier not in caught else "x" if caught[tier] else "-" for tier in TIERS)
        first = next((check for check in caught.values() if check), "NOTHING")
        yield f"{one['name']:52}{''.join(f'{mark:>8}' for mark in marks)}  {first}"


def totals(rows):
    """One line: how many faults there are, how many each tier sees, how many escaped."""
    seen = ", ".join(
        f"{tier} {sum(bool(one['caught'].get(tier)) for one in rows)}" for tier in TIERS
    )
    escaped = sum(not any(one["caught"].values()) for one in rows)
    return f"{len(rows)} faults; seen by {seen}; escaped: {escaped}"


def pytest_terminal_summary(terminalreporter):
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if not rows:
        return
    terminalreporter.section("faults")
    for line in (*lines(rows), totals(rows)):
        terminalreporter.line(line)

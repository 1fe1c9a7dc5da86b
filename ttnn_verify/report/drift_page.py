"""A drift report as one self-contained HTML page: verdict, picture, tables."""

import math

from ttnn_verify.report import plots, templating
from ttnn_verify.report.drift_record import DriftRecord, FindingRecord

# The errors over depth: attribute of a `DepthRecord` -> what the picture calls it.
ERRORS = {
    "prompt": "own results, prompt",
    "tokens": "own results, tokens",
    "update": "update (output - input)",
    "isolated": "isolated (fed with HF's)",
}

# The table over depth: attribute of a `DepthRecord` -> the column's heading.
COLUMNS = {
    "prompt": "prompt",
    "tokens": "tokens",
    "pcc": "PCC",
    "update": "update",
    "gain": "gain",
    "isolated": "isolated",
}

# By the command's exit status.
SAYS = ("no drift", "drift", "could not tell")

# Statuses of calls that are not bad.
NOT_BAD = ("ok", "no-golden", "tool-error")

SHOWN_GOOD = 20  # operations that are not bad


def render(record: DriftRecord) -> str:
    """The page."""
    return templating.fill(
        "drift.html.jinja",
        drift=record,
        says=SAYS[record.status],
        drift_picture=picture(record),
        columns=COLUMNS,
        findings=shown(record.findings),
        bad_statuses=[status for status in record.counts if status not in NOT_BAD],
    )


def picture(record: DriftRecord) -> str | None:
    """The errors over depth as an <svg> element, a line for each of `ERRORS`; None without any."""
    series = {}
    for attribute, name in ERRORS.items():
        points = [(at, getattr(row, attribute)) for at, row in enumerate(record.depth)]
        # the scale is logarithmic: an error of 0 has no place on it
        points = [(at, error) for at, error in points if error and math.isfinite(error)]
        if points:
            series[name] = points
    if not series:
        return None
    return plots.over_depth(series, [row.name.removeprefix("layer ") for row in record.depth])


def shown(findings: tuple[FindingRecord, ...]) -> list[FindingRecord]:
    """The bad ones, then those that used most of their tolerance."""
    bad = [op_finding for op_finding in findings if op_finding.status not in NOT_BAD]
    used = [
        (op_finding.used, op_finding)
        for op_finding in findings
        if op_finding not in bad and op_finding.used is not None
    ]
    used.sort(key=lambda pair: -pair[0])
    return [*bad, *(op_finding for _, op_finding in used[:SHOWN_GOOD])]

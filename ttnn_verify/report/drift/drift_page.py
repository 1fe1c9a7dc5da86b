"""A drift report as one self-contained HTML page: verdict, picture, tables."""

import math

from ttnn_verify import cli
from ttnn_verify.report import plots, templating
from ttnn_verify.report.drift.drift_record import (
    BAD,
    SCOPES,
    UNJUDGED,
    DriftRecord,
    FindingRecord,
    calls_of_rows,
)

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

# By the command's exit status, and how the page shows it.
SAYS = {cli.FINE: ("no drift", "good"), cli.SO: ("drift", "bad")}
UNKNOWN = ("could not tell", "unknown")


def render(record: DriftRecord) -> str:
    """The page."""
    says, colour = SAYS.get(record.status, UNKNOWN)
    known = ("ok", *BAD, *UNJUDGED)
    statuses = dict.fromkeys((*known, *record.counts), 0) | dict(record.counts)
    return templating.fill(
        "drift.html.jinja",
        drift=record,
        says=says,
        colour=colour,
        scope=SCOPES.get(record.scope, record.scope),
        statuses=statuses,
        drift_picture=picture(record),
        columns=COLUMNS,
        calls=calls_of_rows([row.name for row in record.depth], record.findings),
        findings=shown(record.findings),
        bad_statuses=[status for status in statuses if status not in ("ok", *UNJUDGED)],
        unjudged_statuses=UNJUDGED,
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
    """All of them: the bad ones first, then those that used most of their tolerance."""

    def badness(one: FindingRecord) -> tuple[bool, float]:
        return one.status not in ("ok", *UNJUDGED), -1.0 if one.used is None else one.used

    return sorted(findings, key=badness, reverse=True)

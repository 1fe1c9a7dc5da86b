"""What was found of a model as lines of text and as JSON."""

import dataclasses
import math

from ttnn_verify.drift import finding

HEADER = (
    f"{'':12}{'prompt':>10}{'tokens':>10}{'PCC':>10}{'update':>10}{'gain':>7}{'isolated':>10}"
    f"{'ops':>5}{'bad':>5}  worst op of the layer (share of its tolerance)"
)


def lines(drift):
    """The table over depth, the bad operations, the verdicts counted."""
    yield "relative L2 error of each output: on the model's own results, and isolated (fed with HF's)"
    yield HEADER
    for row in drift.table:
        yield _row(row, [one for one in drift.findings if place(one) == row.name])
    bad = [one for one in drift.findings if one.bad]
    for one in bad[:MOST]:
        yield f"{one.status:10}{one.line}"
    if len(bad) > MOST:
        yield f"... and {len(bad) - MOST} more"
    for status in (finding.NO_GOLDEN, finding.TOOL_ERROR):
        for text in sorted(
            {f"{o.operation}: {o.note}" for o in drift.findings if o.status == status}
        ):
            yield f"{status:10}{text}"
    counts = drift.counts
    yield "verdicts: " + ", ".join(
        f"{status} {counts.get(status, 0)}"
        for status in (finding.OK, *finding.BAD, finding.NO_GOLDEN, finding.TOOL_ERROR)
    )


MOST = 12  # bad operations that are shown


def place(one):
    """The row of the table that a finding belongs to."""
    if one.layer is not None:
        return f"layer {one.layer}"
    return one.value if one.value in ("norm", "logits") else "embedding"


def _row(row, findings):
    judged = [one for one in findings if one.step is not None]
    worst = max(judged, key=lambda one: one.step.used, default=None)
    said = "" if worst is None else f"{worst.operation} ({worst.value}) {worst.step.used:.0%}"
    bad = sum(one.bad for one in findings)
    figures = "".join(
        f"{_number(value, spec):>{width}}"
        for value, spec, width in (
            (row.prompt, ".2e", 10),
            (row.tokens, ".2e", 10),
            (row.pcc, ".6f", 10),
            (row.update, ".2e", 10),
            (row.gain, ".2f", 7),
            (row.isolated, ".2e", 10),
        )
    )
    return f"{row.name:12}{figures}{len(findings):5}{bad or '':>5}  {said}"


def _number(value, spec):
    return "-" if math.isnan(value) else format(value, spec)


def shares(found):
    """The families' shares of the logits' error, if they were asked for."""
    if found:
        yield "relative L2 error of the logits with one family of operations made exact, and its share"
    for one in found:
        yield f"  {one.family:12}{one.error:10.2e}{one.share:8.0%}"


def record(drift, shares=(), **about):
    """The same as JSON: plain dicts, NaN as null."""
    return {
        **about,
        "status": drift.status,
        "verdict": drift.line,
        "counts": drift.counts,
        "allowed_logits": drift.allowed,
        "depth": [_plain(dataclasses.asdict(row)) for row in drift.table],
        "attribution": [dataclasses.asdict(one) for one in shares],
        "findings": [_finding(one) for one in drift.findings if one.bad or one.step is not None],
    }


def _finding(one):
    verdict = one.verdict
    return _plain(
        {
            "status": one.status,
            "piece": str(one.model_call),
            "call": one.index,
            "operation": one.operation,
            "layer": one.layer,
            "part": one.part,
            "value": one.value,
            "relative_l2": verdict and verdict.comparison.relative_l2,
            "pcc": verdict and verdict.comparison.pcc,
            "used": verdict and verdict.used,
            "inputs_pcc": one.inputs,
            "note": one.note,
        }
    )


def _plain(values):
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }

"""A drift report as lines of text, and as the record for JSON and pages."""

import dataclasses
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from ttnn_verify import cli
from ttnn_verify.drift import DriftResult, OpFinding, cumulative, finding
from ttnn_verify.drift.attribution import Share
from ttnn_verify.drift.search import SearchResult
from ttnn_verify.report.drift.drift_record import (
    DepthRecord,
    DriftRecord,
    FindingRecord,
    RowCalls,
    ShareRecord,
    calls_of_rows,
    finite,
)

# Columns of the table over depth: heading, width, attribute of a row, format.
COLUMNS = (
    ("prompt", 10, "prompt", ".2e"),
    ("tokens", 10, "tokens", ".2e"),
    ("PCC", 10, "pcc", ".6f"),
    ("update", 10, "update", ".2e"),
    ("gain", 7, "gain", ".2f"),
    ("isolated", 10, "isolated", ".2e"),
)

WIDTH = 80  # of a terminal, which no line of a table exceeds

SHOWN_BAD = 12  # bad operations that are shown one by one


def lines(drift: DriftResult) -> Iterator[str]:
    """The table over depth, the bad operations, the verdicts counted."""
    yield from table(drift.table, drift.findings)
    bad = [op_finding for op_finding in drift.findings if op_finding.bad]
    for op_finding in bad[:SHOWN_BAD]:
        yield f"{op_finding.status:10}{op_finding.line}"
    if len(bad) > SHOWN_BAD:
        yield f"... and {len(bad) - SHOWN_BAD} more"
    for status in (finding.NO_GOLDEN, finding.TOOL_ERROR):
        for text in sorted(
            {f"{o.operation}: {o.note}" for o in drift.findings if o.status == status}
        ):
            yield f"{status:10}{text}"
    for op_finding in drift.findings:
        if op_finding.own is not None and op_finding.own.errata:
            yield f"erratum   {op_finding.headline} [{op_finding.model_call}]"
    for low in drift.low_precision:
        yield f"declared  {low.line}"
    for sequence, reason in drift.left_out.items():
        yield f"left out  {sequence}: {reason}"
    counts = drift.counts
    yield "verdicts: " + ", ".join(
        f"{status} {counts.get(status, 0)}"
        for status in (finding.OK, *finding.BAD, finding.NO_GOLDEN, finding.TOOL_ERROR)
    )


def table(rows: Sequence[cumulative.DepthRow], findings: Sequence[OpFinding]) -> Iterator[str]:
    """The errors over depth, and below them the calls of each row; no line is over `WIDTH`."""
    names = [row.name for row in rows]
    wide = max([9, *map(len, names)])  # of "embedding"
    yield "relative L2 error of each output: on the model's own results; isolated: given"
    yield "Hugging Face's input"
    yield f"{'':{wide}}" + "".join(f"{heading:>{width}}" for heading, width, _, _ in COLUMNS)
    for row in rows:
        yield f"{row.name:{wide}}" + "".join(
            f"{_number(getattr(row, attribute), spec):>{width}}"
            for _, width, attribute, spec in COLUMNS
        )
    yield ""
    yield f"{'':{wide}}{'ops':>5}{'bad':>5}  worst op, and the share of its tolerance"
    for name, calls in calls_of_rows(names, map(_finding, findings)).items():
        yield from _calls(name, calls, wide)


def _calls(name: str, calls: RowCalls, wide: int) -> Iterator[str]:
    """A row of the second table; what is too long for a line goes on below."""
    begin = f"{name:{wide}}{calls.ops:5}{calls.bad or '':>5}  "
    worst = "" if calls.worst is None else calls.worst.short
    first, *others = textwrap.wrap(worst, WIDTH - len(begin)) or [""]
    yield f"{begin}{first}".rstrip()
    yield from (f"{'':{len(begin)}}{more}" for more in others)


def _number(value: float, spec: str) -> str:
    return "-" if math.isnan(value) else format(value, spec)


def shares(families: Sequence[Share]) -> Iterator[str]:
    """The families' shares of the logits' error, if they were asked for."""
    if families:
        yield (
            "relative L2 error of the logits with one family of operations made exact, "
            "and its share"
        )
    for share in families:
        yield f"  {share.family:12}{share.error:10.2e}{share.share:8.0%}"


@dataclasses.dataclass(frozen=True)
class DriftRun:
    """What ran, as reports state it; see `DriftRecord`, which has the same fields."""

    checkpoint: str
    backend: str
    tokens: int
    decoded: int
    model_file: str
    prompt: str
    made: str
    versions: Mapping[str, str]
    basis: str = ""


def record(run: DriftRun, drift: DriftResult, families: Sequence[Share]) -> DriftRecord:
    """A whole run as plain values."""
    return DriftRecord(
        **dataclasses.asdict(run),
        status=drift.status,
        verdict=drift.line,
        counts=drift.counts,
        allowed_logits=drift.allowed if math.isfinite(drift.allowed) else None,
        depth=tuple(DepthRecord(**finite(dataclasses.asdict(row))) for row in drift.table),
        low_precision=tuple(low.line for low in drift.low_precision),
        attribution=tuple(ShareRecord(**finite(dataclasses.asdict(entry))) for entry in families),
        findings=tuple(_finding(entry) for entry in drift.findings),
        left_out=drift.left_out,
    )


def record_of_first(run: DriftRun, verdict: str, bad: OpFinding | None) -> DriftRecord:
    """What `--first` knows: the first bad operation, if there is one."""
    return _of_one(run, verdict, "first", _finding(bad) if bad else None)


def record_of_search(run: DriftRun, found: SearchResult) -> DriftRecord:
    """What `--frugal` knows: the step that is off, if one is, and what it was compared by."""
    one = None
    if found.step is not None:
        one = FindingRecord(
            status=finding.WRONG,
            piece="found by halving",
            call=0,
            operation=found.operation or "",
            layer=found.step.layer,
            part=found.step.part,
            value=found.step.short,
            note=f"{found.evaluations} runs of the model",
            **finite(
                {
                    "relative_l2": found.error,
                    "used": found.error / found.allowed if found.allowed else math.inf,
                }
            ),
        )
    return _of_one(run, found.line, "frugal", one)


def _of_one(run: DriftRun, verdict: str, scope: str, one: FindingRecord | None) -> DriftRecord:
    return DriftRecord(
        **dataclasses.asdict(run),
        status=cli.SO if one else cli.FINE,
        verdict=verdict,
        counts={one.status: 1} if one else {},
        allowed_logits=None,
        depth=(),
        low_precision=(),
        attribution=(),
        findings=(one,) if one else (),
        scope=scope,
    )


def _finding(op_finding: OpFinding) -> FindingRecord:
    verdict = op_finding.verdict
    figures = {
        "relative_l2": verdict and verdict.comparison.relative_l2,
        "pcc": verdict and verdict.comparison.pcc,
        "used": verdict and verdict.used,
        "inputs_pcc": op_finding.inputs,
    }
    return FindingRecord(
        status=op_finding.status,
        piece=str(op_finding.model_call),
        call=op_finding.index,
        operation=op_finding.operation,
        layer=op_finding.layer,
        part=op_finding.part,
        value=op_finding.value,
        note=op_finding.note,
        chip=op_finding.chip,
        **finite(figures),
    )

"""Tier ops: each operation that the model calls, against its golden.

A test judges every call of an operation in a phase, each on its own operands, in a walk on which
earlier results were replaced by Hugging Face's values. A call without a golden is not known to be
right: the test is then skipped, with the reason.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from ttnn_verify.drift import finding
from ttnn_verify.drift.finding import OpFinding, described
from ttnn_verify.ops import table
from ttnn_verify.suite import figures
from ttnn_verify.suite.phases import Phase
from ttnn_verify.suite.plugin import proceed, subject_of
from ttnn_verify.suite.subject import Subject

UNKNOWN = (finding.NO_GOLDEN, finding.TOOL_ERROR)


@dataclasses.dataclass(frozen=True)
class OperationCase:
    """An operation of a phase; "" where nothing is known of the phase."""

    operation: str
    phase: Phase

    def __str__(self) -> str:
        return "-".join(filter(None, (self.operation, self.phase.name)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    phases = subject_of(metafunc.config).first_run.phases
    cases = [
        OperationCase(operation, phase)
        for phase in phases
        for operation in (phase.operations if phase.ran else ("",))
    ]
    metafunc.parametrize("case", cases, ids=str)


def test_operation(case: OperationCase, subject: Subject, record_property: Any) -> None:
    proceed(case.phase)
    findings = [
        one
        for one in subject.findings(case.phase)
        if table.short_name(one.operation) == case.operation
    ]
    own = [one.own for one in findings if one.own is not None]
    shown = figures.worst(own)
    if shown is not None:
        record_property(*figures.brief(f"ops.{case.operation}", str(case), shown))
    figures.fail(
        (f"{case.operation}, {one.where}: {one.own.headline}", one.own, _line(one))
        for one in findings
        if one.own is not None and not one.own.passed
    )
    reason = unjudged(findings)
    if reason:
        pytest.skip(reason)


def _line(one: OpFinding) -> str:
    """What is wrong with a call, given its own operands."""
    assert one.own is not None
    return f"{one.where}, {one.operation}: {described(one.own)} [{one.model_call}]"


def unjudged(findings: Sequence[OpFinding]) -> str:
    """Why not all calls were judged, "" if they were."""
    calls = {one.place: one for one in findings if one.own is None}
    for judged in (one for one in findings if one.own is not None):
        calls.pop(judged.place, None)
    if not calls:
        return "" if findings else "no call of it was seen in the walk."
    first = next(iter(calls.values()))
    reason = first.note if first.status in UNKNOWN else "it has no result to compare."
    total = len({one.place for one in findings})
    return f"{len(calls)} of {total} calls not judged: {first.status}: {reason}"

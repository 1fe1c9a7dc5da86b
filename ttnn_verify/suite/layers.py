"""Tier layers: each value of Hugging Face's layers that the model computes.

Each layer gets Hugging Face's values: a result that holds one is compared with what Hugging Face's
step makes of Hugging Face's inputs, and then replaced by Hugging Face's value.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from ttnn_verify import jobs
from ttnn_verify.drift.finding import OpFinding
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.suite import figures
from ttnn_verify.suite.phases import Phase
from ttnn_verify.suite.plugin import proceed, subject_of
from ttnn_verify.suite.subject import Subject

FUSED = (
    "no tensor of the model holds it: it stays within another operation, or is not needed there."
)
AFTER_BAD = "no tensor of the model holds it; what it is computed from may be wrong: {} is."
UNCOMPARED = "it is found, and not compared"


@dataclasses.dataclass(frozen=True)
class ValueCase:
    """A value of Hugging Face's in a phase; None where nothing is known of the phase."""

    value: HfValue | None
    phase: Phase

    @property
    def place(self) -> str:
        """`layer2-attention-o_proj`, `embedding`, `head-logits`."""
        if self.value is None:
            return ""
        layer = "" if self.value.layer is None else f"layer{self.value.layer}"
        names = dict.fromkeys((layer, self.value.part, self.value.short))
        return "-".join(filter(None, names))

    def __str__(self) -> str:
        return "-".join(filter(None, (self.place, self.phase.name)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    subject = subject_of(metafunc.config)
    cases = [case for phase in subject.first_run.phases for case in _cases(subject, phase)]
    metafunc.parametrize("case", cases, ids=str)


def _cases(subject: Subject, phase: Phase) -> list[ValueCase]:
    """The values of a phase; one that says why nothing is known of it."""
    if not phase.ran:
        return [ValueCase(None, phase)]
    try:
        return [ValueCase(value, phase) for value in subject.steps(phase)]
    except jobs.Undetermined as error:
        return [ValueCase(None, dataclasses.replace(phase, failed=str(error)))]


def test_value(case: ValueCase, subject: Subject, record_property: Any) -> None:
    proceed(case.phase)
    assert case.value is not None  # of a phase that ran
    findings = subject.findings(case.phase)
    about = [one for one in findings if is_on(one, case.value)]
    within = [one for one in findings if one.bad and _is_within(one, case.value)]
    judged = [one.step for one in about] + [one.verdict for one in within]
    shown = figures.worst(one for one in judged if one is not None)
    if shown is not None:
        op = f"layers.{case.value.part}.{case.value.short}"
        record_property(*figures.brief(op, str(case), shown))
    fail_for([*(one for one in about if one.bad), *within])
    if shown is None:
        fail_for(one for one in findings if _is_near(one, case.value))
        pytest.skip(_reason(about, findings))


def fail_for(bad: Iterable[OpFinding]) -> None:
    figures.fail([(one.headline, one.verdict, one.line) for one in bad])


def is_on(one: OpFinding, value: HfValue) -> bool:
    """Whether a finding is on a value."""
    return (one.layer, one.value) == (value.layer, value.short)


def _is_within(one: OpFinding, value: HfValue) -> bool:
    """Whether a finding is on a value that stays within the computation of another."""
    return one.layer == value.layer and (one.value or "").startswith(f"{value.short}.")


def _is_near(one: OpFinding, value: HfValue) -> bool:
    """Whether a bad call computes none of Hugging Face's values, and lies where this one should."""
    return one.bad and one.value is None and (one.layer, one.part) == (value.layer, value.part)


def _reason(about: Sequence[OpFinding], findings: Sequence[OpFinding]) -> str:
    """Why nothing is known of a value, by what is on it and by all of its phase."""
    if not about:
        bad = next((one for one in findings if one.bad), None)
        return FUSED if bad is None else AFTER_BAD.format(bad.headline.partition(":")[0])
    notes = [one.note for one in about if one.note]
    return f"{UNCOMPARED}: {notes[0]}" if notes else f"{UNCOMPARED}: too little is known to judge."

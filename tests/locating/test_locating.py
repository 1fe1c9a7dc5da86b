"""Drift names the operation that a fault of the catalogue is at, in the full model."""

import functools

import pytest

import ttnn_emulator
from tests.faults.catalogue import FAULTS
from tests.support.checkpoint import STAGES
from ttnn_verify import drift

from .places import DECODED, PROMPT, build, located, logits


@pytest.fixture(scope="module")
def ids(prompt_ids):
    return prompt_ids[:, : PROMPT + DECODED]


@pytest.fixture(scope="module")
def healthy(stage, hf_model, device, ids):
    @functools.cache
    def of(arithmetic):
        with ttnn_emulator.arithmetic_settings(arithmetic):
            return logits(build(stage, hf_model, device), ids)

    return of


@pytest.mark.parametrize(
    ("stage", "fault"),
    [
        pytest.param(stage, fault, id=f"{stage}-{fault.id}")
        for stage in STAGES
        for fault in FAULTS
        if stage in fault.stages
    ],
    indirect=["stage"],
)
def test_drift_names_the_operation(stage, fault, hf_model, device, ids, healthy, record_property):
    model = functools.partial(build, stage, hf_model, device)
    result = located(fault, model, hf_model, ids, healthy)
    line = result.finding.line if result.finding else "nothing"
    record_property("located", line)
    if result.idle:
        pytest.skip(result.idle)
    if fault.unseen:
        assert result.finding is None, f"{fault.name} is seen by now: {line}"
        return
    assert result.right, f"{fault.name}: {line}"


@pytest.mark.healthy
def test_the_model_without_a_fault_has_no_first_bad_operation(
    stage, draw, hf_model, device, long_ids
):
    model = build(stage, hf_model, device)
    ids = long_ids[:, draw:][:, : PROMPT + DECODED]
    assert drift.locate(model, hf_model, ids, DECODED) is None


def test_nor_has_it_one_by_the_tolerance_of_the_faults(stage, hf_model, device, ids):
    model = build(stage, hf_model, device)
    with ttnn_emulator.arithmetic_settings("rounded"):
        assert drift.locate(model, hf_model, ids, DECODED, drift.Session(accurate=True)) is None

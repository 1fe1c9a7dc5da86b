"""Drift on this repository's Phi-3 on two chips: none where it is healthy, and a wrong kernel."""

import pytest

import ttnn_emulator
from model import functional, optimized
from tests.support.checkpoint import CACHE_LENGTH, STAGES
from ttnn_verify import drift
from ttnn_verify.drift import finding

BUILDS = {"functional": functional.build_model, "optimized": optimized.build_model}
PROMPT, DECODED = 33, 2


def doubled_on_the_last_chip(kernel):
    """A collective that gives one chip twice the sum."""

    def faulty(launch, *args, **kwargs):
        (parts,) = kernel(launch, *args, **kwargs)
        return [[*parts[:-1], parts[-1] * 2]]

    return faulty


@pytest.mark.parametrize("stage", STAGES)
def test_a_healthy_model_does_not_drift(stage, opened, hf_model, prompt_ids):
    ids = prompt_ids[:, : PROMPT + DECODED]
    with opened((1, 2)) as mesh:
        model = BUILDS[stage](hf_model, mesh, CACHE_LENGTH)
        result = drift.measure(model, hf_model, ids, DECODED)
    assert result.status == 0, result.line
    assert not set(result.counts) & {finding.NO_GOLDEN, finding.TOOL_ERROR}


@pytest.mark.parametrize("stage", STAGES)
def test_a_sum_that_is_wrong_on_a_chip_is_named_with_it(stage, opened, hf_model, prompt_ids):
    ids = prompt_ids[:, : PROMPT + DECODED]
    with (
        opened((1, 2)) as mesh,
        ttnn_emulator.binding_replaced("ttnn.all_reduce", doubled_on_the_last_chip),
    ):
        model = BUILDS[stage](hf_model, mesh, CACHE_LENGTH)
        found = drift.locate(model, hf_model, ids, DECODED)
    assert (found.status, found.operation) == (finding.WRONG, "ttnn.all_reduce"), found.line
    assert (found.layer, found.chip) == (0, "chip 1"), found.line


@pytest.mark.parametrize("stage", STAGES)
def test_halving_names_it_in_few_runs(stage, opened, hf_model, prompt_ids):
    ids = prompt_ids[:, : PROMPT + DECODED]
    with (
        opened((1, 2)) as mesh,
        ttnn_emulator.binding_replaced("ttnn.all_reduce", doubled_on_the_last_chip),
    ):
        model = BUILDS[stage](hf_model, mesh, CACHE_LENGTH)
        found = drift.halve(model, hf_model, ids, DECODED)
    assert (found.operation, found.step.layer) == ("ttnn.all_reduce", 0), found.line
    assert found.evaluations <= 2 + 2 + 4, found.line  # 4 layers, 15 steps in each

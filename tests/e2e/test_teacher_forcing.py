"""Teacher forcing over 150 tokens of prompt and 100 more, through prefill and through decode."""

import pytest
import torch

from tests.support.checks import check
from ttnn_verify.huggingface import accuracy, module_floors, verdict
from ttnn_verify.numerics import metrics, tolerance

NEW_TOKENS = 100


@pytest.fixture(scope="module")
def reference(hf_model, prompt_ids):
    return accuracy.reference(hf_model, prompt_ids, NEW_TOKENS)


@pytest.fixture(scope="module")
def rounded(hf_model, reference):
    """[T, V]: the reference's logits with a device's roundings."""
    text = torch.cat((reference.prompt_ids, reference.tokens[None]), 1)[:, :-1]
    return module_floors.values(hf_model, text)["logits"][0, -len(reference.tokens) :]


@pytest.mark.parametrize("mode", ["prefill", "decode"])
def test_teacher_forcing_agrees(mode, tt_model, reference, rounded, record_property):
    """One test for all that a score says, because a score takes seconds."""
    score = accuracy.score(tt_model, reference, prefill_decode=mode == "decode")
    assert not score.nonfinite
    exact = reference.logits
    check(
        "e2e.teacher_forcing", mode, exact[None], rounded[None], score.logits[None], record_property
    )

    error = verdict.explained_by(exact, rounded, tolerance.K, reference)
    wrong = verdict.failures(score, verdict.bounds_by(error, reference))
    wrong += verdict.surprises(score, error)
    assert not wrong, "\n".join(wrong)
    assert not score.implausible, f"steps {score.implausible}: not among HF's first 100"

    floor = module_floors.measured(exact, rounded)
    least = tolerance.pcc_floor(
        tolerance.K * floor.worst_row / metrics.compare(exact, rounded).spread
    )
    worst = int(score.pcc_steps.argmin())
    assert score.pcc_steps[worst] >= least, f"step {worst}: PCC {score.pcc_steps[worst]} of {least}"

    change, allowed = perplexity_change(score, rounded)
    assert abs(change) <= allowed, f"log perplexity off by {change:.2g}, up to {allowed:.2g}"


def perplexity_change(score, rounded):
    """(log of the model's perplexity over the reference's, how much of it the noise explains).

    It is a mean over T steps, each of which may err by K times the noise, independently. The bound
    is four standard deviations of such a mean.
    """
    reference = score.reference
    exact, model, rounded = (
        accuracy.nll(logits, reference.tokens)
        for logits in (reference.logits, score.logits, rounded)
    )
    deviation = (rounded - exact).square().mean().sqrt() * len(exact) ** -0.5
    return float((model - exact).mean()), float(4 * tolerance.K * deviation)

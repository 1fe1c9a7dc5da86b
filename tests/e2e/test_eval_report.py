"""The printed score: lines that scripts parse by pattern, and explanations."""

import re
import types

import pytest
import torch

from scripts import run_eval
from tests.support.small_model import IDS, Along, small_model
from ttnn_emulator.evidence import Evidence
from ttnn_verify import evaluation, jobs
from ttnn_verify.huggingface import accuracy
from ttnn_verify.report import score_text


@pytest.fixture(scope="module")
def reference():
    return accuracy.reference(small_model(), IDS, 20)


def printed(reference, tokens):
    """The lines for a model that chooses the given tokens."""
    score = accuracy.score(Along(reference, tokens), reference)
    checkpoint = types.SimpleNamespace(name="small", hf_model=lambda dtype: small_model())
    plan = evaluation.Plan(
        jobs.Prompt(checkpoint, reference.prompt_ids), 20, 20, reference_dtype="float32"
    )
    return score_text.lines(plan, bringup("emulated"), score)


def bringup(backend, arithmetic=None):
    return jobs.Bringup(types.ModuleType("model"), backend, arithmetic, 0, 256)


def choices(reference, wrong):
    """The reference's tokens, but the least likely ones in the first `wrong` steps."""
    tokens = reference.tokens.clone()
    tokens[:wrong] = (
        reference.choosable[:wrong]
        .masked_fill(reference.choosable[:wrong] == -torch.inf, torch.inf)
        .argmin(-1)
    )
    return tokens


def test_top1_and_top5_are_lines_of_a_fixed_form(reference):
    lines = printed(reference, choices(reference, 1))
    assert "Top-1 accuracy: 95.00% (0.9500)" in lines
    (line,) = (line for line in lines if line.startswith("Top-5"))
    assert re.fullmatch(r"Top-5 accuracy: \d+\.\d\d% \([01]\.\d{4}\)", line)


def test_the_line_of_metrics_has_a_fixed_form(reference):
    args = run_eval.parse(["--mode", "tt", "--hf-model", "m", "--stage", "optimized"])
    score = accuracy.score(Along(reference, reference.tokens), reference)
    assert run_eval.metrics(args, score) == (
        'YT_METRICS={"mode":"tt","trace":0,"top1":1.0,"top5":1.0,"prefill_len":128,'
        '"decode_len":100,"batch":1,"total":20}'
    )


def test_the_interval_and_the_other_top5_stand_below(reference):
    lines = printed(reference, choices(reference, 1))
    assert any(line.startswith("95 % intervals: top-1 76.4% to 99.1%") for line in lines)
    assert "In HF's top-5:  95.00%; beyond its first 100: 0 tokens" in lines
    assert any(line.startswith("Perplexity: ") for line in lines)


def test_differences_are_judged_and_the_first_five_shown(reference):
    lines = printed(reference, choices(reference, 8))
    shown = [line for line in lines if line.startswith("Differs in")]
    assert len(shown) == 5
    assert all("(a defect)" in line for line in shown)
    assert any("8 steps in all, 8 of them defects" in line for line in lines)
    assert not any(line.startswith("Differs") for line in printed(reference, reference.tokens))


def test_evidence_counts_what_is_recorded_and_names_the_rest():
    settings = (
        Evidence("ttnn.add", "bf16, bf16 -> bf16", "recorded", ("first/add",)),
        Evidence("ttnn.add", "bfp8, bfp8 -> bfp8", "recorded", ("first/add_bf8",)),
        Evidence("ttnn.add", "bf16, bf16 -> fp32", "derived"),
        Evidence("ttnn.exp", "fp32 -> fp32", "derived", (), ("first/a", "second/b")),
        Evidence("ttnn.erf", "bf16 -> bf16; erf in float32", "approximate"),
    )
    assert score_text.evidence_lines(settings) == [
        "Evidence:       1 operation recorded, in 2 settings; "
        + "2 operations derived, in 2 settings; 1 operation approximate, in 1 setting",
        "  derived       add (bf16, bf16 -> fp32)",
        "  derived       exp (fp32 -> fp32), 2 recordings not equalled",
        "  approximate   erf (bf16 -> bf16; erf in float32)",
    ]
    assert score_text.evidence_lines(()) == []


def test_another_device_than_the_emulated_one_has_no_evidence(monkeypatch):
    monkeypatch.setattr("ttnn_emulator.found_evidence", lambda: pytest.fail("asked the emulation"))
    for backend, arithmetic in (("silicon", None), ("simulator", None), ("emulated", "rounded")):
        assert score_text.evidence(bringup(backend, arithmetic)) == []

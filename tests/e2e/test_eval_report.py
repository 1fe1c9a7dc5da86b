"""The printed score: lines that scripts parse by pattern, and explanations."""

import dataclasses
import re
import types

import pytest
import torch

from scripts import run_eval
from tests.support.small_model import IDS, Along, small_model
from ttnn_emulator.evidence import Evidence
from ttnn_verify import evaluation, jobs
from ttnn_verify.huggingface import accuracy, verdict
from ttnn_verify.report import score_text


@pytest.fixture(scope="module")
def reference():
    return accuracy.reference(small_model(), IDS, 20)


def printed(reference, tokens, **bounds):
    """The lines for a model that chooses the given tokens."""
    plan, result = judged([reference], [tokens], **bounds)
    return score_text.lines(plan, bringup("emulated"), result)


def judged(references, choices, **bounds):
    """A plan of these references and the result of rows that choose the given tokens."""
    checkpoint = types.SimpleNamespace(name="small")
    ids = torch.cat([reference.prompt_ids for reference in references])
    plan = evaluation.Plan(jobs.Prompt(checkpoint, ids), 20, 20, bounds=bounds)
    rows = []
    for number, (reference, tokens) in enumerate(zip(references, choices, strict=True)):
        error = verdict.explained(small_model(), reference, verdict.FACTORS["rounded"])
        own = dataclasses.replace(verdict.bounds_by(error, reference), **bounds)
        score = accuracy.score(Along(reference, tokens), reference)
        rows.append(evaluation.RowResult(number, score, error, own))
    return plan, evaluation.Result(tuple(rows))


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


def test_bounds_that_are_set_are_told_from_those_that_are_measured(reference):
    lines = printed(reference, reference.tokens, pcc=-1.0, kl=99.0)
    (line,) = (line for line in lines if line.startswith("Bounds:"))
    form = r"Bounds:         top-1 >= \d+\.\d\d%, top-5 >= \d+\.\d\d%, "
    assert re.fullmatch(form + r"PCC >= -1\.000000 \(set\), KL <= 99\.000000 \(set\)", line)
    assert "Verdict:        passed" in lines


def test_a_missed_bound_is_counted(reference):
    lines = printed(reference, choices(reference, 8), pcc=-1.0, kl=99.0, top5=0.0)
    assert "Verdict:        failed, bounds missed: 1" in lines


def test_the_worst_row_of_a_batch_is_shown_with_its_number(reference):
    tokens = [reference.tokens, choices(reference, 3), choices(reference, 1)]
    plan, result = judged([reference] * 3, tokens, pcc=-1.0, kl=99.0, top1=0.9)
    lines = score_text.lines(plan, bringup("emulated"), result)
    assert "Rows:           3, 1 failed; the worst one, row 1:" in lines
    assert "Top-1 accuracy: 85.00% (0.8500)" in lines
    assert [line for line in result.failures if "top-1" in line] == [
        "row 1: top-1 is 85.00 %, at least 90.00 % is expected"
    ]


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

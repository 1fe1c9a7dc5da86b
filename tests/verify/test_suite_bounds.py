"""The bounds of a whole model's logits: Hugging Face's pass in bfloat16 is within, faults not."""

import pytest
import torch

from tests.bringups.bringup_table import ROWS, hf_model
from ttnn_verify.huggingface import accuracy, as_called, verdict
from ttnn_verify.huggingface.as_called import CalledProduct
from ttnn_verify.numerics import tolerance
from ttnn_verify.numerics.compute_config import ComputeConfig
from ttnn_verify.suite import bounds

PROMPT, NEW = 33, 24


@pytest.fixture(scope="module")
def reference():
    (row,) = (row for row in ROWS if row.name == "llama")
    model = hf_model(row)
    ids = torch.randint(3, 320, (1, PROMPT), generator=torch.Generator().manual_seed(0))
    return model, accuracy.reference(model, ids, NEW)


@pytest.fixture(scope="module")
def limits(reference):
    model, written = reference
    text = torch.cat((written.prompt_ids, written.tokens[None]), 1)[:, :-1]
    return bounds.bounded_logits(model, text)


@pytest.fixture(scope="module")
def error(reference):
    return verdict.explained(*reference, tolerance.K)


@pytest.fixture
def failures(reference, error):
    """Of a score with these logits `[T, V]`, as the suite has them."""
    limits = verdict.bounds_by(error, reference[1])

    def of(logits):
        score = accuracy.Score(reference[1], logits, 0, 0)
        found = verdict.failures(score, limits)
        return found if score.nonfinite else found + verdict.surprises(score, error)

    return of


def test_a_pass_in_bfloat16_is_within(failures, limits):
    assert failures(limits.in_bfloat16[-NEW:]) == []


def test_the_floor_of_a_row_is_at_least_that_of_all(limits):
    assert limits.floor(1).relative_l2 >= limits.floor(PROMPT + NEW - 1).relative_l2 > 0


def test_another_choice_where_the_reference_is_sure_fails(failures, reference):
    logits = reference[1].logits.clone()
    sure = int((logits.topk(2).values @ torch.tensor([1.0, -1.0])).argmax())
    logits[sure] = logits[sure].neg()
    assert any(f"the reference was sure: step {sure}:" in line for line in failures(logits))


def test_a_token_out_of_the_first_five_fails(failures, reference):
    """The reference's six best tokens in the opposite order."""
    logits, steps = reference[1].logits.clone(), []
    for row in logits:
        best = row.topk(6)
        row[best.indices] = best.values.flip(0)
        steps.append(float(best.values[0] - best.values[5]))
    found = failures(logits)
    wide = max(range(NEW), key=steps.__getitem__)
    told = f"step {wide}: the reference's token is the model's number 6"
    assert any(told in line for line in found)


def test_a_divergence_that_no_rounding_explains_fails(failures, reference):
    """All tokens keep their ranks: the distribution alone is sharper."""
    assert [line.split()[0] for line in failures(1.2 * reference[1].logits)] == ["KL"]


def test_logits_that_are_not_finite_fail(failures, reference):
    logits = reference[1].logits.clone()
    logits[3, 7] = torch.nan
    line, *_ = failures(logits)
    assert line.startswith("the logits are not finite")


def factor_of(name, *products):
    (row,) = (row for row in ROWS if row.name == name)
    model = hf_model(row)
    ids = torch.randint(3, 256, (1, PROMPT), generator=torch.Generator().manual_seed(0))
    return as_called.factor(model, ids, products)


BY_DEFAULT = CalledProduct(ComputeConfig())
ACCURATE = CalledProduct(ComputeConfig("HiFi4", fp32_dest_acc=True))
LOW = CalledProduct(ComputeConfig("LoFi", fp32_dest_acc=True))
BLOCKS = CalledProduct(ACCURATE.compute, "bfloat8_b")


@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_products_by_default_add_to_the_noise_of_any_architecture(name):
    assert 1 < factor_of(name, BY_DEFAULT) < 5


@pytest.mark.parametrize("product", [BY_DEFAULT, LOW, BLOCKS], ids=["default", "lofi", "blocks"])
def test_what_a_model_asks_for_adds_more_than_accurate_products(product):
    accurate = factor_of("llama", ACCURATE)
    assert factor_of("llama", product) > 1.2 * accurate
    assert factor_of("llama", ACCURATE, product) == factor_of("llama", product)


def test_products_in_float32_have_the_noise_of_bfloat16_and_of_their_weights():
    assert factor_of("llama") == 1.0
    assert factor_of("llama", CalledProduct(None)) == pytest.approx(1, rel=1e-3)
    assert factor_of("llama", CalledProduct(None, "bfloat8_b")) > 1.2

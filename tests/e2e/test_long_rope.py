"""LongRoPE's short and long factors, and a text that grows from the one to the other.

Hugging Face chooses for each call by its length: the long factors, for all positions, as soon as a
sequence is longer than `original_max_position_embeddings`.
"""

import copy

import pytest
import torch

from tests.support.checkpoint import CACHE_LENGTH
from tests.support.checks import check
from tests.support.hf_reference import HfReference
from ttnn_verify.huggingface import accuracy, golden
from ttnn_verify.numerics import metrics, tolerance

# The functional stage's cache ends where the checkpoint's long factors begin.
optimized = pytest.mark.parametrize("stage", ["optimized"], indirect=True)
EARLY = 40  # a switch that it reaches

BEYOND = 44  # tokens of the longest prompt beyond the switch
BEFORE, WRITTEN = 6, 14  # a text that crosses: tokens before the switch, tokens written


@pytest.fixture(scope="module")
def switch(hf_model):
    """The longest sequence with short factors."""
    length = hf_model.config.rope_parameters["original_max_position_embeddings"]
    assert length == CACHE_LENGTH
    return length


@pytest.fixture(scope="module")
def long_model(build, switch):
    return build(2 * switch)


@pytest.fixture(scope="module")
def text(long_ids):
    """[1, S] tokens, more than the switch."""
    return torch.cat((long_ids, long_ids[:, : BEYOND + 1]), 1)


@optimized
@pytest.mark.parametrize("beyond", [-1, 0, 1, BEYOND], ids="switch{:+}".format)
def test_a_prompt_takes_its_lengths_factors(
    beyond, switch, long_model, hf_model, text, record_property
):
    ids = text[:, : switch + beyond]
    reference = HfReference(hf_model, golden.load(hf_model, ids))
    actual = long_model(ids).logits.float()
    case = f"S{switch + beyond}"
    check(
        "e2e.long_rope",
        case,
        reference["logits"],
        reference.rounded_stack("logits"),
        actual,
        record_property,
    )


@optimized
def test_a_text_that_crosses_the_switch_is_hugging_faces(
    long_model, hf_model, text, switch, logits_limit
):
    """Hugging Face drops its cache there, computes all again with the long factors and goes on."""
    crosses(long_model, hf_model, text[:, : switch - BEFORE], logits_limit)


def test_so_does_a_text_that_crosses_an_early_one(build, hf_model, text, logits_limit):
    config = copy.deepcopy(hf_model.config)
    config.original_max_position_embeddings = EARLY
    config.rope_parameters["original_max_position_embeddings"] = EARLY
    early = type(hf_model)(config).eval()
    early.load_state_dict(hf_model.state_dict())
    crosses(build(CACHE_LENGTH, early), early, text[:, : EARLY - BEFORE], logits_limit)


def crosses(long_model, hf_model, prompt, logits_limit):
    """Whether a model goes on behind a prompt as Hugging Face's does, across the switch."""
    reference = accuracy.reference(hf_model, prompt, WRITTEN)
    score = accuracy.score(long_model, reference)
    for expected, actual in zip(reference.logits, score.logits, strict=True):
        assert metrics.relative_l2(expected, actual) <= logits_limit
    written = long_model.generate(prompt, max_new_tokens=WRITTEN, do_sample=False)[0, -WRITTEN:]
    different = torch.nonzero(written != reference.tokens).flatten()
    if len(different):  # then at a place where Hugging Face hardly prefers one of two
        at = int(different[0])
        logits = reference.logits[at]
        margin = logits.max() - logits[written[at]]
        assert margin <= tolerance.near_tie(logits, logits_limit)


def test_short_and_long_factors_are_told_apart(hf_model, text, switch, logits_limit):
    """Else the tests above could not fail."""
    with torch.no_grad():
        short = hf_model(text[:, :switch]).logits
        long = hf_model(text[:, : switch + 1]).logits[:, :switch]
    assert metrics.relative_l2(short, long) > 2 * logits_limit

"""LongRoPE's short and long factors, and a text that grows from the one to the other."""

import pytest
import torch

from model import build_model
from verify import accuracy, metrics, tolerance

BOUNDARY = 256  # the checkpoint's original_max_position_embeddings


@pytest.fixture(scope="module")
def long_model(hf_model, device):
    return build_model(hf_model, device, 512)


@pytest.fixture(scope="module")
def text(prompt_ids):
    return prompt_ids.repeat(1, 3)


@pytest.mark.parametrize("seq_len", [BOUNDARY, BOUNDARY + 1, 300])
def test_a_prompt_takes_its_lengths_factors(seq_len, long_model, hf_model, text, logits_limit):
    ids = text[:, :seq_len]
    with torch.no_grad():
        expected = hf_model(ids).logits[:, -40:]
    actual = long_model(ids, logits_to_keep=40).logits.float()
    assert metrics.relative_l2(expected, actual) <= logits_limit


def test_a_text_that_crosses_the_boundary_is_hugging_faces(
    long_model, hf_model, text, logits_limit
):
    """Hugging Face drops its cache there, computes all again with the long factors and goes on."""
    reference = accuracy.reference(hf_model, text[:, : BOUNDARY - 6], 14)
    score = accuracy.score(long_model, reference)
    for expected, actual in zip(reference.logits, score.logits):
        assert metrics.relative_l2(expected, actual) <= logits_limit
    written = long_model.generate(text[:, : BOUNDARY - 6], max_new_tokens=14, do_sample=False)
    different = torch.nonzero(written[0, BOUNDARY - 6 :] != reference.tokens).flatten()
    if len(different):  # then at a place where Hugging Face hardly prefers one of two
        at = int(different[0])
        logits = reference.logits[at]
        margin = logits.max() - logits[written[0, BOUNDARY - 6 + at]]
        assert margin <= tolerance.near_tie(logits, logits_limit)


def test_without_the_long_factors_it_would_differ(long_model, text, logits_limit, monkeypatch):
    """The checkpoint tells the factors apart, so the tests above can fail."""
    ids = text[:, :300]
    right = long_model(ids, logits_to_keep=40).logits.float()
    monkeypatch.setattr(long_model.model.rope, "is_long", lambda length: False)
    monkeypatch.setattr(long_model.model.rope, "row", lambda position, long: position % BOUNDARY)
    wrong = long_model(ids, logits_to_keep=40).logits.float()
    assert metrics.relative_l2(right, wrong) > 2 * logits_limit

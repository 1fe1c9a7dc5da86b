"""The whole model on the trained checkpoint against Hugging Face."""

import pytest
import torch

from verify import accuracy, metrics, tolerance

NEW_TOKENS = 100


@pytest.fixture(scope="module")
def reference(hf_model, prompt_ids):
    return accuracy.reference(hf_model, prompt_ids, NEW_TOKENS)


@pytest.fixture(scope="module")
def logits_limit(hf_model):
    return tolerance.logits_relative_l2(hf_model.config.num_hidden_layers)


def decoded(model, ids):
    """Logits [S, V] of ids [1, S], given token by token."""
    cache, rows = None, []
    for token in ids[0]:
        out = model(token.reshape(1, 1), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        rows.append(out.logits[0, -1])
    return torch.stack(rows).float()


@pytest.mark.parametrize("prefill_decode", [False, True], ids=["prefill", "decode"])
def test_teacher_forcing_agrees(prefill_decode, tt_model, reference, logits_limit):
    score = accuracy.score(tt_model, reference, prefill_decode=prefill_decode)
    assert not score.nonfinite
    assert score.top1 >= tolerance.TOP1_AGREEMENT
    assert score.top5 >= tolerance.TOP5_AGREEMENT
    assert metrics.relative_l2(reference.logits, score.logits) <= logits_limit
    assert score.pcc >= tolerance.pcc_floor(logits_limit)


@pytest.mark.parametrize("seq_len", [1, 2, 31, 32, 33, 64, 70, 155])
def test_prefill_logits(seq_len, tt_model, hf_model, prompt_ids, logits_limit):
    ids = prompt_ids.repeat(1, 2)[:, :seq_len]
    with torch.no_grad():
        expected = hf_model(ids).logits
    actual = tt_model(ids).logits.float()
    assert actual.shape == expected.shape
    assert metrics.relative_l2(expected, actual) <= logits_limit
    assert metrics.pcc(expected, actual) >= tolerance.pcc_floor(logits_limit)


def test_decode_continues_prefill(tt_model, prompt_ids, logits_limit):
    """Token by token or all at once: the two ways differ by their roundings alone."""
    ids = prompt_ids[:, :70]
    at_once = tt_model(ids).logits[0].float()
    # both ways err on their own, so their distance may be sqrt(2) of one's
    assert metrics.relative_l2(at_once, decoded(tt_model, ids)) <= 2**0.5 * logits_limit


def test_decode_goes_on_after_a_prefill(tt_model, hf_model, prompt_ids, logits_limit):
    ids = prompt_ids[:, :70]
    with torch.no_grad():
        expected = hf_model(ids).logits[0, 33:]
    cache = tt_model(ids[:, :33]).past_key_values
    rows = []
    for token in ids[0, 33:]:
        out = tt_model(token.reshape(1, 1), past_key_values=cache)
        rows.append(out.logits[0, -1])
    assert metrics.relative_l2(expected, torch.stack(rows).float()) <= logits_limit


def test_a_second_sequence_is_as_from_a_fresh_model(tt_model, prompt_ids):
    ids = prompt_ids[:, :40]
    first = tt_model(ids).logits
    decoded(tt_model, prompt_ids[:, 40:80])
    assert torch.equal(tt_model(ids).logits, first)


def test_the_last_position_of_the_cache_can_be_used(tt_model, hf_model, prompt_ids, logits_limit):
    ids = prompt_ids.repeat(1, 2)[:, :256]
    with torch.no_grad():
        expected = hf_model(ids).logits[0, -1:]
    cache = tt_model(ids[:, :-1]).past_key_values
    actual = tt_model(ids[:, -1:], past_key_values=cache).logits[0].float()
    assert metrics.relative_l2(expected, actual) <= logits_limit


def test_generate_writes_what_hugging_face_writes(tt_model, hf_model, prompt_ids, logits_limit):
    """Token for token, up to a place where Hugging Face itself hardly prefers one of two."""
    settings = {"max_new_tokens": 40, "do_sample": False}
    expected = hf_model.generate(prompt_ids, **settings)[0]
    actual = tt_model.generate(prompt_ids, **settings)[0]
    assert actual.shape == expected.shape
    different = torch.nonzero(actual != expected).flatten()
    if len(different):
        at = int(different[0])
        with torch.no_grad():
            logits = hf_model(expected[None, :at]).logits[0, -1].float()
        margin = logits[expected[at]] - logits[actual[at]]
        assert margin <= tolerance.near_tie(logits, logits_limit)


def test_sampling_follows_the_seed(tt_model, prompt_ids):
    def sampled(seed):
        torch.manual_seed(seed)
        return tt_model.generate(prompt_ids[:, :32], max_new_tokens=12, do_sample=True).tolist()

    assert sampled(1) == sampled(1)
    assert sampled(1) != sampled(2)


def test_more_tokens_than_the_cache_has_are_refused(tt_model, prompt_ids):
    with pytest.raises(ValueError, match="257.*256"):
        tt_model(prompt_ids.repeat(1, 2)[:, :257])

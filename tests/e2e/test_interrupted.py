"""A call that fails on the device leaves its sequence unchanged: the call can be repeated."""

import pytest
import torch


class Interrupted(Exception):
    """The error that the device raises in these tests."""


LAST = {"functional": "head", "optimized": "_logits"}  # of the device's work


@pytest.fixture
def model(build):
    return build(256)


@pytest.fixture
def interrupt(stage, monkeypatch):
    """A call whose last part fails, when layers have run and positions are counted on."""

    def call(model, ids, past):
        def fails(x):
            raise Interrupted

        with monkeypatch.context() as patch:
            patch.setattr(model.model, LAST[stage], fails)
            with pytest.raises(Interrupted):
                model(ids, past_key_values=past)

    return call


@pytest.mark.parametrize("tokens", [1, 5], ids=["decode", "prefill"])
def test_the_call_can_be_made_again(model, prompt_ids, interrupt, tokens):
    prompt, more = prompt_ids[:, :40], prompt_ids[:, 40 : 40 + tokens]
    past = model(prompt).past_key_values
    expected = model(more, past_key_values=past).logits
    past = model(prompt).past_key_values
    interrupt(model, more, past)
    assert past.get_seq_length() == 40
    assert torch.equal(model(more, past_key_values=past).logits, expected)


def test_a_sequence_whose_cache_may_be_overwritten_is_refused(model, prompt_ids, interrupt):
    past = model(prompt_ids[:, :40]).past_key_values
    interrupt(model, prompt_ids[:, 50:60], None)
    with pytest.raises(ValueError, match="replaced"):
        model(prompt_ids[:, 40:41], past_key_values=past)

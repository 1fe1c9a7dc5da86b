"""A decode step can be captured as a trace: positions and cache are the device's own."""

import pytest
import torch
import ttnn

from model.optimized import build_model

STEPS = 6


@pytest.fixture(scope="module")
def traced(hf_model, device):
    return build_model(hf_model, device, 256, batch=2, trace=True)


@pytest.fixture(scope="module")
def stepwise(hf_model, device):
    return build_model(hf_model, device, 256, batch=2)


def logits(model, ids, steps=STEPS):
    """Logits of a prompt of two rows [2, S] and of decode steps with the last tokens."""
    output = model(ids[:, :-steps])
    parts = [output.logits]
    for column in ids[:, -steps:].T:
        output = model(column[:, None], past_key_values=output.past_key_values)
        parts.append(output.logits)
    return torch.cat(parts, dim=1)


@pytest.fixture(scope="module")
def two_rows(prompt_ids):
    return torch.stack((prompt_ids[0, :70], prompt_ids[0, 50:120]))


def test_a_trace_gives_the_bits_of_the_operations(traced, stepwise, two_rows):
    assert torch.equal(logits(traced, two_rows), logits(stepwise, two_rows))


def test_it_serves_other_sequences_after_another_prompt(traced, stepwise, two_rows):
    logits(traced, two_rows)
    other = two_rows.flip(0)[:, 15:]
    assert torch.equal(logits(traced, other), logits(stepwise, other))


def test_it_generates_the_same_text(traced, stepwise, prompt_ids):
    settings = {"max_new_tokens": STEPS, "do_sample": False, "pad_token_id": 0}
    ids = prompt_ids[:, :40]
    assert torch.equal(traced.generate(ids, **settings), stepwise.generate(ids, **settings))


def test_a_step_is_the_trace_alone(traced, two_rows, monkeypatch):
    """After the capture the host calls no operation, and reads nothing but logits."""
    past = traced(two_rows[:, :33]).past_key_values
    for i in (33, 34):
        past = traced(two_rows[:, i : i + 1], past_key_values=past).past_key_values
    executed, execute = [], ttnn.execute_trace

    def counting_execute(device, trace, **kwargs):
        executed.append(trace)
        execute(device, trace, **kwargs)

    monkeypatch.setattr(ttnn, "execute_trace", counting_execute)
    monkeypatch.setattr(traced.model, "decode_step", lambda: pytest.fail("operations were called"))
    traced(two_rows[:, 35:36], past_key_values=past)
    assert len(executed) == 1

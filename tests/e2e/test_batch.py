"""Batched sequences equal single ones, split prompts whole ones; decode steps are one program."""

import pytest
import torch
import ttnn

import model.phi3
from model import build_model
from model.cache import SKIP
from model.generation import MAX_BATCH
from ttnn_verify.numerics import metrics

LENGTHS = (40, 33, 7)
PAD = 3


@pytest.fixture(scope="module")
def batched(hf_model, device):
    """A model of four rows, so that one is never used."""
    return build_model(hf_model, device, 512, batch=4)


@pytest.fixture(scope="module")
def prompts(prompt_ids):
    """Three prompts of different lengths."""
    return [prompt_ids[:, 20 * i : 20 * i + n] for i, n in enumerate(LENGTHS)]


def padded(prompts, side):
    """ids and mask [B, S] of prompts, filled up with pad tokens on one side."""
    width = max(p.shape[1] for p in prompts)
    ids, mask = torch.full((len(prompts), width), PAD), torch.zeros(len(prompts), width).long()
    for i, prompt in enumerate(prompts):
        n = prompt.shape[1]
        place = slice(width - n, width) if side == "left" else slice(0, n)
        ids[i, place], mask[i, place] = prompt, 1
    return ids, mask


def test_a_padded_batch_is_written_on_as_each_alone(batched, prompts):
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": PAD}
    ids, mask = padded(prompts, "left")
    together = batched.generate(ids, attention_mask=mask, **settings)
    for i, prompt in enumerate(prompts):
        alone = batched.generate(prompt, **settings)
        assert together[i, ids.shape[1] :].tolist() == alone[0, prompt.shape[1] :].tolist()


@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_of_a_batch_are_those_of_each_alone(side, batched, prompts):
    ids, mask = padded(prompts, side)
    together = batched(ids, attention_mask=mask).logits
    for i, prompt in enumerate(prompts):
        assert torch.equal(together[i, mask[i].bool()], batched(prompt).logits[0])


def test_rows_decode_at_their_own_positions(batched, prompts, prompt_ids):
    """A step of three rows and an idle one: bit for bit the step of each alone."""
    token = prompt_ids[:, 100:101]
    ids, mask = padded(prompts, "left")
    past = batched(ids, attention_mask=mask).past_key_values
    together = batched(token.expand(3, 1), past_key_values=past).logits
    for i, prompt in enumerate(prompts):
        past = batched(prompt).past_key_values
        assert torch.equal(together[i], batched(token, past_key_values=past).logits[0])


def test_as_many_rows_as_a_tile_has(hf_model, device, prompt_ids):
    """32 sequences of lengths 1 to 32, prompt and a step: some of them against single sequences."""
    rows = MAX_BATCH
    full = build_model(hf_model, device, 64, batch=rows)
    ids, mask = padded([prompt_ids[:, i : i + i + 1] for i in range(rows)], "left")
    past = full(ids, attention_mask=mask, logits_to_keep=1).past_key_values
    tokens = prompt_ids[:, 60 : 60 + rows].T
    together = full(tokens, past_key_values=past).logits
    for i in (0, 17, rows - 1):
        past = full(prompt_ids[:, i : i + i + 1], logits_to_keep=1).past_key_values
        assert torch.equal(together[i], full(tokens[i : i + 1], past_key_values=past).logits[0])


@pytest.mark.parametrize("rows", [1, 3, MAX_BATCH])
def test_the_last_positions_are_within_what_operands_hold(hf_model, device, prompt_ids, rows):
    """A step run by operations, a captured trace, its execution; the other rows are idle.

    The emulated device refuses a position that no operand holds.
    """
    model = build_model(hf_model, device, 256, batch=rows, trace=True)
    ids = prompt_ids.repeat(1, 2)[:, :256]
    output = model(ids[:, :-4], logits_to_keep=1)
    for column in ids[:, -4:].T:
        output = model(column[:, None], past_key_values=output.past_key_values)
    assert output.logits.isfinite().all()


def test_a_prompt_in_chunks_is_as_in_one(batched, prompt_ids, hf_model, logits_limit, monkeypatch):
    ids = prompt_ids.repeat(1, 3)[:, :256]
    monkeypatch.setattr(model.phi3, "CHUNK", 128)
    with torch.no_grad():
        expected = hf_model(ids[:, :250]).logits
    assert metrics.relative_l2(expected, batched(ids[:, :250]).logits.float()) <= logits_limit


def test_tokens_that_follow_a_filled_cache_at_once(batched, prompt_ids, hf_model, logits_limit):
    ids = prompt_ids.repeat(1, 2)[:, :200]
    past = batched(ids[:, :150]).past_key_values
    actual = batched(ids[:, 150:], past_key_values=past).logits.float()
    with torch.no_grad():
        expected = hf_model(ids).logits[:, 150:]
    assert metrics.relative_l2(expected, actual) <= logits_limit


def test_a_second_step_compiles_nothing(batched, device, prompt_ids):
    """Whatever the rows and positions are, a decode step is one program."""
    past = batched(prompt_ids[:, :31]).past_key_values
    batched(prompt_ids[:, 31:32], past_key_values=past)
    programs = device.num_program_cache_entries()
    for i in range(32, 35):
        batched(prompt_ids[:, i : i + 1], past_key_values=past)
    batched(prompt_ids[:2, :1].expand(2, 1))
    assert device.num_program_cache_entries() == programs


def test_a_step_sends_nothing_but_the_tokens(batched, prompt_ids, monkeypatch):
    sent, send = [], ttnn.copy_host_to_device_tensor
    past = batched(prompt_ids[:, :31]).past_key_values
    batched(prompt_ids[:, 31:32], past_key_values=past)

    def recorded(host, to, *args, **kwargs):
        sent.append(tuple(host.shape))
        return send(host, to, *args, **kwargs)

    monkeypatch.setattr(ttnn, "copy_host_to_device_tensor", recorded)
    monkeypatch.setattr(ttnn, "to_device", lambda *args: pytest.fail("another tensor was sent"))
    batched(prompt_ids[:, 32:33], past_key_values=past)
    assert sent == [(1, 4)]


def test_the_device_counts_positions_as_the_host(batched, prompts, prompt_ids):
    ids, mask = padded(prompts, "left")
    past = batched(ids, attention_mask=mask).past_key_values
    for _ in range(2):
        batched(prompt_ids[:, :1].expand(3, 1), past_key_values=past)
    expected = [n + 2 for n in LENGTHS] + [SKIP]
    assert ttnn.to_torch(batched.model.state.positions).tolist() == expected


def test_a_layer_takes_sixteen_operations_in_a_step(batched, prompt_ids):
    """Counts device operations: calls that run a program in TTNN's graph."""
    past = batched(prompt_ids[:, :31]).past_key_values

    def programs():
        ttnn.graph.begin_graph_capture(ttnn.graph.RunMode.NORMAL)
        batched(prompt_ids[:, 31:32], past_key_values=past)
        graph = ttnn.graph.end_graph_capture()
        return sum(node["node_type"] == "program_execution" for node in graph)

    whole, layers = programs(), batched.model.layers
    batched.model.layers = layers[:-1]
    try:
        assert whole - programs() == 16
    finally:
        batched.model.layers = layers


def test_what_the_batch_does_not_hold_is_refused(batched, prompt_ids):
    with pytest.raises(ValueError, match="at most 4"):
        batched(prompt_ids[:, :5].expand(5, 5))
    with pytest.raises(ValueError, match="row without a token"):
        batched(prompt_ids[:, :5], attention_mask=torch.zeros(1, 5))
    with pytest.raises(ValueError, match="num_beams=1"):
        batched.generate(prompt_ids[:, :5], num_beams=2, max_new_tokens=3, pad_token_id=PAD)

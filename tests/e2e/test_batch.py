"""Sequences in a batch are as each alone, and prompts in pieces as in one."""

import pytest
import torch

from ttnn_verify.numerics import metrics

LENGTHS = (40, 33, 7)
PAD = 3


@pytest.fixture(scope="module")
def batched(stage, build):
    """A model with rows that are never used: four in all, or the functional stage's 32."""
    return build(512, batch=4) if stage == "optimized" else build(256)


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


def test_as_many_rows_as_a_tile_has(stage, build, prompt_ids):
    """32 sequences of lengths 1 to 32, prompt and a step: those looked at are as alone."""
    rows = 32
    full = build(64, **({"batch": rows} if stage == "optimized" else {}))
    ids, mask = padded([prompt_ids[:, i : i + i + 1] for i in range(rows)], "left")
    past = full(ids, attention_mask=mask, logits_to_keep=1).past_key_values
    tokens = prompt_ids[:, 60 : 60 + rows].T
    together = full(tokens, past_key_values=past).logits
    for i in (0, 17, rows - 1):
        past = full(prompt_ids[:, i : i + i + 1], logits_to_keep=1).past_key_values
        assert torch.equal(together[i], full(tokens[i : i + 1], past_key_values=past).logits[0])


def test_tokens_that_follow_a_filled_cache_at_once(batched, prompt_ids, hf_model, logits_limit):
    ids = prompt_ids.repeat(1, 2)[:, :200]
    past = batched(ids[:, :150]).past_key_values
    actual = batched(ids[:, 150:], past_key_values=past).logits.float()
    with torch.no_grad():
        expected = hf_model(ids).logits[:, 150:]
    assert metrics.relative_l2(expected, actual) <= logits_limit


def test_what_the_batch_does_not_hold_is_refused(batched, prompt_ids):
    rows = batched.batch
    with pytest.raises(ValueError, match=f"at most {rows}"):
        batched(prompt_ids[:, :5].expand(rows + 1, 5))
    with pytest.raises(ValueError, match="row without a token"):
        batched(prompt_ids[:, :5], attention_mask=torch.zeros(1, 5))
    with pytest.raises(ValueError, match="num_beams=1"):
        batched.generate(prompt_ids[:, :5], num_beams=2, max_new_tokens=3, pad_token_id=PAD)

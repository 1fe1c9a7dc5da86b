"""The whole model on the trained checkpoint: prompts, tokens after them, a second sequence."""

import pytest
import torch
import ttnn

from model.optimized.cache import PAGE
from tests.support.checkpoint import CACHE_LENGTH
from tests.support.checks import check, check_row
from ttnn_verify.numerics import tolerance

LENGTHS = [*range(1, 71), 127, 128, 129, 254, 255]
PAGES = CACHE_LENGTH // PAGE  # of a row of the batch


def decoded(model, ids, cache=None):
    """Logits [1, S, V] of ids [1, S], given token by token after what the cache holds."""
    rows = []
    for token in ids[0]:
        out = model(token.reshape(1, 1), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        rows.append(out.logits[0, -1])
    return torch.stack(rows)[None].float()


@pytest.mark.parametrize("seq_len", LENGTHS, ids="prefill{}".format)
def test_a_prompt_of_any_length_and_the_token_after_it(
    seq_len, tt_model, long_ids, hf_reference, record_property
):
    """The last one is the last position that the cache has."""
    expected, rounded = hf_reference["logits"], hf_reference.rounded_stack("logits")
    out = tt_model(long_ids[:, :seq_len])
    prompt, case = out.logits.float(), f"S{seq_len}"
    check("e2e.prefill", case, expected[:, :seq_len], rounded[:, :seq_len], prompt, record_property)
    row = decoded(tt_model, long_ids[:, seq_len : seq_len + 1], out.past_key_values)
    check_row("e2e.decode", f"P{seq_len}", expected, rounded, seq_len, row, record_property)


@pytest.mark.parametrize("prompt", [0, 1, 33], ids="prefill{}".format)
def test_decode_continues_prefill(prompt, tt_model, long_ids, hf_reference, record_property):
    """Token by token, from the first one or after a prompt, past the end of a tile."""
    end = prompt + 36
    cache = tt_model(long_ids[:, :prompt]).past_key_values if prompt else None
    actual = decoded(tt_model, long_ids[:, prompt:end], cache)
    expected, rounded = (
        x[:, prompt:end] for x in (hf_reference["logits"], hf_reference.rounded_stack("logits"))
    )
    check("e2e.decode", f"P{prompt}-{end - 1}", expected, rounded, actual, record_property)


def test_a_second_sequence_is_as_from_a_fresh_model(build, tt_model, long_ids):
    first, second = long_ids[:, :40], long_ids[:, 60:97]
    decoded(tt_model, first[:, :3])
    tt_model(first)
    used, fresh = (prefill_and_decode(model, second) for model in (tt_model, build(CACHE_LENGTH)))
    assert torch.equal(used, fresh)


def prefill_and_decode(model, ids):
    """Logits of a prompt and of three tokens after it."""
    out = model(ids[:, :-3])
    return torch.cat((out.logits.float(), decoded(model, ids[:, -3:], out.past_key_values)), 1)


def test_what_another_row_of_the_cache_holds_never_reaches_a_result(stage, build, long_ids):
    """A sequence has the first row of the batch; decode goes over all, and keeps the others."""
    model = build(CACHE_LENGTH, **({"batch": 2} if stage == "optimized" else {}))
    clean = prefill_and_decode(model, long_ids[:, :36])
    caches, first = other_rows(stage, model)
    strange = [strangers(cache, first) for cache in caches]
    assert torch.equal(prefill_and_decode(model, long_ids[:, :36]), clean)
    for cache, expected in zip(caches, strange, strict=True):
        assert torch.equal(ttnn.to_torch(cache)[first:], expected)


def other_rows(stage, model):
    """A model's caches, and where in them the second row of the batch begins."""
    owners, first = model.model.layers, 1
    if stage == "optimized":
        owners, first = [layer.attention.cache for layer in owners], PAGES
    return [tensor for one in owners for tensor in (one.keys, one.values)], first


def strangers(cache, first):
    """Put large numbers into a cache from index `first` on; returns them."""
    values = ttnn.to_torch(cache)
    values[first:] = 100 * torch.randn(values[first:].shape)
    ttnn.copy_host_to_device_tensor(
        ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT), cache
    )
    return values[first:]


def test_generate_writes_what_hugging_face_writes(
    tt_model, hf_model, tokenizer, prompt_ids, logits_limit
):
    """The same text, up to a place where Hugging Face itself hardly prefers one of two tokens."""
    settings = {"max_new_tokens": 40, "do_sample": False}
    expected = hf_model.generate(prompt_ids, **settings)[0]
    actual = tt_model.generate(prompt_ids, **settings)[0]
    assert actual.shape == expected.shape
    different = torch.nonzero(actual != expected).flatten()
    if not len(different):
        assert tokenizer.decode(actual) == tokenizer.decode(expected)
        return
    at = int(different[0])
    with torch.no_grad():
        logits = hf_model(expected[None, :at]).logits[0, -1].float()
    margin = logits[expected[at]] - logits[actual[at]]
    assert margin <= tolerance.near_tie(logits, logits_limit), (
        f"token {at}: {tokenizer.decode(actual[at])!r} for {tokenizer.decode(expected[at])!r}"
    )


def test_sampling_follows_the_seed(tt_model, prompt_ids):
    def sampled(seed):
        torch.manual_seed(seed)
        return tt_model.generate(prompt_ids[:, :32], max_new_tokens=12, do_sample=True).tolist()

    assert sampled(1) == sampled(1)
    assert sampled(1) != sampled(2)


def test_more_tokens_than_the_cache_has_are_refused(tt_model, prompt_ids):
    with pytest.raises(ValueError, match=r"257.*256"):
        tt_model(prompt_ids.repeat(1, 2)[:, :257])

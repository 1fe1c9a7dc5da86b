"""`precision="performance"`: the error is explained by weights and cache in bfloat8_b.

Hugging Face runs with the weights that the device holds. The floor has a bfloat16 device's
roundings and, beyond those, keys and values as a bfloat8_b cache holds them; what HiFi2 and 16-bit
sums cost is left to the factor of the tolerance.

B batch, S sequence, V vocabulary.
"""

import contextlib
import copy
import dataclasses

import pytest
import torch
import ttnn
from transformers.models.phi3 import modeling_phi3

from tests.support.checkpoint import CACHE_LENGTH
from tests.support.checks import check, check_row, judge
from ttnn_verify.drift.observation import taps
from ttnn_verify.huggingface import module_floors, submodules
from ttnn_verify.numerics import rounding
from ttnn_verify.numerics.floors import Floor, chain
from ttnn_verify.ops import table

pytestmark = pytest.mark.parametrize("stage", ["optimized"], indirect=True)

LENGTHS = [1, 31, 32, 33, 155]  # of prompts; a token is decoded after each
BATCH_LENGTHS = (40, 33, 7)
PAD = 3
FLOATS = (ttnn.bfloat16, ttnn.bfloat8_b, ttnn.bfloat4_b, ttnn.float32)


@dataclasses.dataclass(frozen=True)
class Logits:
    """[1, S, V] by Hugging Face with weights in bfloat8_b: in float32, and rounded."""

    exact: torch.Tensor
    rounded: torch.Tensor


@pytest.fixture(scope="module")
def block_logits(hf_model, long_ids):
    model = with_block_weights(hf_model)
    with torch.no_grad():
        exact = model(long_ids).logits
    with module_floors.rounded(model), block_cache():
        return Logits(exact, submodules.values(model, long_ids)["logits"])


def with_block_weights(hf_model):
    """A copy whose weights of products are in bfloat8_b; ttnn.linear has them as [in, out]."""
    model = copy.deepcopy(hf_model)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = in_blocks(module.weight.data.T).T.contiguous()
    return model


@contextlib.contextmanager
def block_cache():
    """Within, Hugging Face's attention sees keys and values as a bfloat8_b cache holds them."""
    original = modeling_phi3.eager_attention_forward

    def attention(module, query, key, value, *args, **kwargs):
        return original(module, query, in_blocks(key), in_blocks(value), *args, **kwargs)

    modeling_phi3.eager_attention_forward = attention
    try:
        yield
    finally:
        modeling_phi3.eager_attention_forward = original


def in_blocks(x):
    """Values as bfloat8_b holds them: sixteen of the last dimension share an exponent."""
    return rounding.blocks(module_floors.to_bf16(x), "bfloat8_b")


@pytest.fixture(scope="module")
def fast_model(build):
    """A model of four rows, of which only the first is used unless a test says otherwise."""
    return build(CACHE_LENGTH, precision="performance", batch=4)


def decoded(model, token, past):
    """Logits [1, 1, V] of one token [1, 1] after what the cache holds."""
    return model(token, past_key_values=past).logits.float()


@pytest.mark.parametrize("seq_len", LENGTHS, ids="prefill{}".format)
def test_a_prompt_and_the_token_after_it_are_hugging_faces(
    seq_len, fast_model, long_ids, block_logits
):
    expected, rounded = block_logits.exact, block_logits.rounded
    out = fast_model(long_ids[:, :seq_len])
    prompt = out.logits.float()
    case, first = f"S{seq_len}", (x[:, :seq_len] for x in (expected, rounded))
    check("e2e.performance_prefill", case, *first, prompt)
    row = decoded(fast_model, long_ids[:, seq_len : seq_len + 1], out.past_key_values)
    check_row("e2e.performance_decode", f"P{seq_len}", expected, rounded, seq_len, row)


@pytest.mark.parametrize("seq_len", LENGTHS, ids="prefill{}".format)
def test_decode_continues_prefill_with_a_cache_in_blocks(
    seq_len, fast_model, long_ids, block_logits
):
    """The last token of a prompt is as if it had been decoded: both read the same cache.

    Each is off by a floor's worth, independently of the other.
    """
    ids = long_ids[:, : seq_len + 1]
    prefilled = fast_model(ids).logits.float()[:, -1:]
    past = fast_model(ids[:, :-1]).past_key_values
    usual = module_floors.measured(block_logits.exact, block_logits.rounded).relative_l2
    floor = chain(*[Floor(usual, usual)] * 2)
    stepped = decoded(fast_model, ids[:, -1:], past)
    judge("e2e.performance_step", f"P{seq_len}", prefilled, stepped, floor)


def test_rows_of_a_batch_are_as_each_alone_with_a_cache_in_blocks(fast_model, prompt_ids):
    """Prompts of three lengths and a step at three positions, bit for bit; one row is idle.

    A block's exponent is shared within a row of the cache, never between sequences.
    """
    prompts = [prompt_ids[:, 20 * i : 20 * i + n] for i, n in enumerate(BATCH_LENGTHS)]
    width = max(BATCH_LENGTHS)
    ids, mask = torch.full((len(prompts), width), PAD), torch.zeros(len(prompts), width).long()
    for i, prompt in enumerate(prompts):
        ids[i, width - prompt.shape[1] :], mask[i, width - prompt.shape[1] :] = prompt, 1
    token = prompt_ids[:, 100:101]
    together = fast_model(ids, attention_mask=mask)
    past = together.past_key_values
    step = fast_model(token.expand(len(prompts), 1), past_key_values=past).logits
    for i, prompt in enumerate(prompts):
        alone = fast_model(prompt)
        assert torch.equal(together.logits[i, mask[i].bool()], alone.logits[0])
        past = alone.past_key_values
        assert torch.equal(step[i], fast_model(token, past_key_values=past).logits[0])


def test_weights_and_cache_are_in_blocks(fast_model, prompt_ids):
    """The formats that a decode step reads; the floor is too large to show them."""
    past = fast_model(prompt_ids[:, :33]).past_key_values
    formats = {"products": set(), "attention": set()}

    def observe(call, run):
        family = table.spec_of(call.name).family
        if family in formats:
            formats[family] |= {x.dtype for x in call.operands[1:] if x.dtype in FLOATS}
        return run()

    with taps.intercept(observe):
        fast_model(prompt_ids[:, 33:34], past_key_values=past)
    assert set(map(frozenset, formats.values())) == {frozenset({ttnn.bfloat8_b})}

"""Short and long rotary factors, about the length at which Hugging Face takes the long ones.

The long factors are compared on the first rows of a call that is one token too long for the short.
"""

import pytest
import torch

from verify import golden, metrics

from ..checking import check
from ..conftest import CACHE_LENGTH
from ..due import Due


@pytest.fixture(scope="module")
def switch(hf_model):
    """The longest sequence with short factors; the cache is as long."""
    length = hf_model.config.rope_parameters["original_max_position_embeddings"]
    assert length == CACHE_LENGTH
    return length


@pytest.fixture(scope="module")
def long_due(hf_model, long_ids, switch):
    """What Hugging Face computes of one token more."""
    ids = torch.cat((long_ids, long_ids[:, :1]), 1)
    assert ids.shape[1] == switch + 1
    return Due(hf_model, golden.load(hf_model, ids))


@pytest.mark.parametrize("below", [1, 0])
def test_short_factors_up_to_the_switch(
    below, switch, tt_model, hf_model, long_ids, due, record_property
):
    seq_len = switch - below
    with torch.no_grad():
        expected = hf_model(long_ids[:, :seq_len]).logits
    noisy, actual = due.noisy_stack("logits")[:, :seq_len], tt_model(long_ids[:, :seq_len]).logits
    check("e2e.short_rope", f"S{seq_len}", expected, noisy, actual.float(), record_property)


@pytest.mark.parametrize("beyond", [1, 256])
def test_long_factors_beyond_the_switch(beyond, switch, build, long_due, record_property):
    expected, noisy = (x[:, :switch] for x in (long_due["logits"], long_due.noisy_stack("logits")))
    ids = long_due.golden.tokens
    actual = build(switch + beyond)(ids).logits[:, :switch].float()
    case = f"built-for-{switch + beyond}"
    check("e2e.long_rope", case, expected, noisy, actual, record_property)


def test_short_and_long_factors_are_told_apart(switch, due, long_due, logits_limit):
    """Else the two tests above could not fail."""
    short, long = due["logits"], long_due["logits"][:, :switch]
    assert metrics.relative_l2(short, long) > 2 * logits_limit

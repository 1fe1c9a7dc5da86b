"""What a model returns: each form that is needed passes, each other one is named in a sentence."""

import re
from types import SimpleNamespace

import pytest
import torch
import ttnn

from ttnn_verify.huggingface import inputs, model_results

BATCH, TOKENS, VOCAB = 2, 5, 7


def logits_of(output):
    return model_results.logits_of(output, BATCH, TOKENS, VOCAB)


@pytest.mark.parametrize("tokens", [TOKENS, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_logits_of_all_tokens_and_of_the_last_pass(tokens, dtype):
    logits = torch.zeros(BATCH, tokens, VOCAB, dtype=dtype)
    assert logits_of(SimpleNamespace(logits=logits)) is logits


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_passes_to_be_judged(value):
    logits = torch.full((BATCH, 1, VOCAB), value)
    assert logits_of(SimpleNamespace(logits=logits)) is logits


NEEDED = "(2, 5, 7), or (2, 1, 7) for the last token alone, is needed."


@pytest.mark.parametrize(
    ("shape", "wrong"),
    [
        ((2, 7), "2 dimensions"),
        ((1, 2, 5, 7), "4 dimensions"),
        ((1, 5, 7), "1 rows for 2 of input_ids"),
        ((32, 1, 7), "32 rows for 2 of input_ids"),
        ((2, 32, 7), "those of 32 tokens for 5 of input_ids"),
        ((2, 0, 7), "those of 0 tokens for 5 of input_ids"),
        ((2, 5, 32), "32 for each token where the vocabulary has 7"),
    ],
)
def test_a_wrong_shape_is_named(shape, wrong):
    with pytest.raises(inputs.ModelFails) as failure:
        logits_of(SimpleNamespace(logits=torch.zeros(shape)))
    assert str(failure.value) == f"the model's logits have shape {shape}, {wrong}; {NEEDED}"


def test_a_single_token_has_one_shape():
    output = SimpleNamespace(logits=torch.zeros(BATCH, 2, VOCAB))
    with pytest.raises(inputs.ModelFails, match=re.escape("; (2, 1, 7) is needed.")):
        model_results.logits_of(output, BATCH, 1, VOCAB)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (None, "the model returns None, which has no logits"),
        ((1, 2), "the model returns a tuple, which has no logits"),
        ({"logits": 1}, "the model returns a dict, which has no logits"),
        (torch.zeros(2, 5, 7), "the model returns a torch.Tensor, which has no logits"),
        (SimpleNamespace(logits=None), "logits are None; a torch.Tensor on the host is needed"),
        (SimpleNamespace(logits=[[[0.0]]]), "logits are a list; a torch.Tensor on the host"),
        (SimpleNamespace(logits=torch.zeros(2, 5, 7).long()), "logits are of torch.int64; a float"),
    ],
    ids=["none", "tuple", "dict", "tensor", "no-logits", "list", "integers"],
)
def test_what_has_no_logits_is_named(output, sentence):
    with pytest.raises(inputs.ModelFails, match=re.escape(sentence)):
        logits_of(output)


def test_a_tensor_of_ttnn_is_told_from_one_of_torch():
    logits = ttnn.Tensor(torch.zeros(2, 5, 7), ttnn.bfloat16)
    with pytest.raises(inputs.ModelFails, match=r"logits are a ttnn\.\S*Tensor; .*ttnn\.to_torch"):
        logits_of(SimpleNamespace(logits=logits))


@pytest.mark.parametrize("past", [0, (), torch.zeros(2)])
def test_past_key_values_may_be_anything(past):
    assert model_results.past_key_values_of(SimpleNamespace(past_key_values=past)) is past


def test_past_key_values_are_needed_by_a_second_call():
    with pytest.raises(inputs.ModelFails, match=r"a types\.SimpleNamespace, which has no past_key"):
        model_results.past_key_values_of(SimpleNamespace())
    with pytest.raises(inputs.ModelFails, match="past_key_values None, which begins a new"):
        model_results.past_key_values_of(SimpleNamespace(past_key_values=None))


def test_past_key_values_are_not_asked_for_after_the_last_call():
    output = SimpleNamespace(logits=torch.ones(1, 1, VOCAB))
    led = model_results.lead(lambda input_ids, **_: output, [torch.zeros(1, 3)], VOCAB)
    assert [logits.shape for logits in led] == [(1, VOCAB)]


def test_a_model_that_cannot_be_called_is_named():
    assert model_results.check_callable(len) is len
    with pytest.raises(inputs.ModelFails, match=r"build_model returns None, which cannot be call"):
        model_results.check_callable(None)

"""Hugging Face's own pass in bfloat16, which bounds what rounding makes of the logits."""

import contextlib
import copy

import torch

from tests.support.small_model import small_model
from ttnn_verify.huggingface import bf16_pass
from ttnn_verify.numerics import metrics
from ttnn_verify.weights import upcast

IDS = torch.arange(1, 20)[None]


def test_it_is_as_far_off_as_the_model_in_bfloat16():
    hf_model = small_model()
    exact = hf_model(IDS).logits[0]
    with bf16_pass.rounded(hf_model):
        rounded = hf_model(IDS).logits[0]
    assert torch.equal(rounded, rounded.bfloat16().float())
    real = hf_model.bfloat16()(IDS).logits[0].float()
    ours, theirs = (metrics.relative_l2(exact, logits) for logits in (rounded, real))
    assert 0.5 < ours / theirs < 2


def test_nothing_stays_behind():
    hf_model = small_model()
    before = hf_model(IDS).logits
    assert bf16_pass.of_logits(hf_model, IDS).relative_l2 > 0
    assert torch.equal(hf_model(IDS).logits, before)


def test_a_model_in_bfloat16_computes_in_float32_without_a_copy():
    hf_model = small_model().bfloat16()
    with torch.no_grad():
        expected = copy.deepcopy(hf_model).float()(IDS).logits
        with upcast.in_float32(hf_model):
            actual = hf_model(IDS).logits
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)


def test_weights_are_back_in_place_even_after_an_exception():
    hf_model = small_model().bfloat16()
    before = {name: weight.data_ptr() for name, weight in hf_model.named_parameters()}

    def fails(*_):
        raise ZeroDivisionError

    handle = hf_model.model.layers[1].mlp.down_proj.register_forward_pre_hook(fails)
    with contextlib.suppress(ZeroDivisionError), upcast.in_float32(hf_model):
        hf_model(IDS)
    handle.remove()
    assert {name: weight.data_ptr() for name, weight in hf_model.named_parameters()} == before
    assert all(weight.dtype == torch.bfloat16 for weight in hf_model.parameters())


def test_the_last_logits_are_those_of_a_whole_pass():
    hf_model = small_model()
    with torch.no_grad():
        expected = hf_model(IDS).logits[0, -3:]
    exact, rounded = bf16_pass.last_logits(hf_model, IDS, 3)
    torch.testing.assert_close(exact, expected)
    assert not torch.equal(rounded, exact)
    assert torch.equal(rounded, rounded.bfloat16().float())

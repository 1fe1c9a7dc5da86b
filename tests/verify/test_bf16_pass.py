"""Hugging Face's own pass in bfloat16, which bounds what rounding makes of the logits."""

import torch

from tests.support.small_model import small_model
from ttnn_verify.huggingface import bf16_pass
from ttnn_verify.numerics import metrics

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

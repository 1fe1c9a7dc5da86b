"""Noise floors of Phi-3's modules: roundings alone, and Hugging Face's model left as it was."""

import pytest
import torch
from transformers.models.phi3 import modeling_phi3

from tests.support.small_model import IDS, small_model
from ttnn_verify.huggingface import module_floors, submodules
from ttnn_verify.numerics import metrics, tolerance


@pytest.fixture
def hf_model():
    model = small_model(head_dim=32)
    with torch.no_grad():
        for parameter in model.parameters():  # weights as a bf16 checkpoint has them
            parameter.copy_(parameter.bfloat16())
    return model


def test_every_value_is_one_of_bfloat16(hf_model):
    values = module_floors.values(hf_model, IDS)
    for name, value in values.items():
        if name not in ("cos", "sin"):
            assert torch.equal(value, value.bfloat16().float()), name


@pytest.mark.parametrize(("name", "roundings"), [("input_norm", 2), ("qkv", 3), ("q", 6), ("k", 6)])
def test_noise_is_of_the_size_of_its_roundings(name, roundings, hf_model):
    """The embedding's, the norm's, the product's; then of a table, two products and their sum."""
    exact, rounded_reference = submodules.values(hf_model, IDS), module_floors.values(hf_model, IDS)
    error = metrics.relative_l2(exact[f"layers.0.{name}"], rounded_reference[f"layers.0.{name}"])
    most = tolerance.bf16_relative_l2(roundings)  # 2.4 times what is expected
    assert most / 5 < error < most


def test_a_part_fed_with_exact_input_has_less_noise_than_in_a_pass(hf_model):
    exact, inherited = submodules.values(hf_model, IDS), module_floors.values(hf_model, IDS)
    alone = module_floors.run(hf_model.model.layers[2].mlp, exact["layers.2.post_norm"])
    errors = [
        metrics.relative_l2(exact["layers.2.down"], rounded_reference)
        for rounded_reference in (alone, inherited["layers.2.down"])
    ]
    assert 0 < errors[0] < errors[1]


def test_the_model_is_left_as_it_was(hf_model):
    functions = modeling_phi3.apply_rotary_pos_emb, modeling_phi3.eager_attention_forward
    before = submodules.values(hf_model, IDS)
    module_floors.values(hf_model, IDS)
    with pytest.raises(TypeError):
        module_floors.run(hf_model.model.layers[0], before["embedding"], nothing=1)
    assert functions == (
        modeling_phi3.apply_rotary_pos_emb,
        modeling_phi3.eager_attention_forward,
    )
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in hf_model.modules())
    after = submodules.values(hf_model, IDS)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_floor_is_at_least_a_rounding_of_the_result():
    exact = torch.randn(1, 32, 64)
    unrounded = module_floors.measured(exact, exact)
    rounded = module_floors.measured(exact, module_floors.to_bf16(exact))
    assert unrounded.relative_l2 > 0
    assert rounded.relative_l2 == pytest.approx(unrounded.relative_l2, rel=0.5)


def test_the_floor_of_logits_is_that_of_a_whole_pass(hf_model):
    exact, rounded = (
        make.values(hf_model, IDS)["logits"][0] for make in (submodules, module_floors)
    )
    assert module_floors.of_logits(hf_model, IDS) == module_floors.measured(exact, rounded)
    last = module_floors.measured(exact[-2:], rounded[-2:])
    assert module_floors.of_logits(hf_model, IDS, last=2) == last


def test_an_attention_whose_roundings_cannot_be_replaced_is_refused(hf_model):
    hf_model.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match=r"'sdpa'.*'eager'"):
        module_floors.of_logits(hf_model, IDS)

"""The noise of Phi-3's parts: roundings alone, and Hugging Face's model left as it was."""

import pytest
import torch
from transformers.models.phi3 import modeling_phi3

from ttnn_verify.huggingface import module_floors, submodules
from ttnn_verify.numerics import metrics, tolerance

from .test_golden import IDS, small_model


@pytest.fixture
def hf_model():
    model = small_model(head_dim=32)
    with torch.no_grad():
        for parameter in model.parameters():  # weights as a bf16 checkpoint has them
            parameter.copy_(parameter.bfloat16())
    return model


def test_every_value_is_one_of_bfloat16(hf_model):
    found = module_floors.values(hf_model, IDS)
    for name, value in found.items():
        if name not in ("cos", "sin"):
            assert torch.equal(value, value.bfloat16().float()), name


@pytest.mark.parametrize(("name", "roundings"), [("input_norm", 2), ("qkv", 3), ("q", 6), ("k", 6)])
def test_noise_is_of_the_size_of_its_roundings(name, roundings, hf_model):
    """The embedding's, the norm's, the product's; then of a table, two products and their sum."""
    exact, noisy = submodules.values(hf_model, IDS), module_floors.values(hf_model, IDS)
    error = metrics.relative_l2(exact[f"layers.0.{name}"], noisy[f"layers.0.{name}"])
    most = tolerance.bf16_relative_l2(roundings)  # 2.4 times what is expected
    assert most / 5 < error < most


def test_a_part_fed_with_exact_input_has_less_noise_than_in_a_pass(hf_model):
    exact, inherited = submodules.values(hf_model, IDS), module_floors.values(hf_model, IDS)
    alone = module_floors.run(hf_model.model.layers[2].mlp, exact["layers.2.post_norm"])
    errors = [
        metrics.relative_l2(exact["layers.2.down"], noisy)
        for noisy in (alone, inherited["layers.2.down"])
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

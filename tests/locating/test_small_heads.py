"""Drift accuses no model whose single small head leaves everything to a few numbers, and to chance.

One rounding of cos or sin shows in such a head; softmax over large scores makes much of it.
"""

import pytest
import torch
import transformers

import ttnn_emulator
from model import functional, optimized
from tests.bad_input import tiny_checkpoint
from ttnn_verify import drift

from .places import DECODED, PROMPT

BUILDERS = {"functional": functional.build_model, "optimized": optimized.build_model}
VOCABULARY, POSITIONS = 64, 128


def with_a_single_head(width, seed):
    torch.manual_seed(seed)
    config = tiny_checkpoint.config(width, VOCABULARY, POSITIONS)
    hf_model = transformers.Phi3ForCausalLM(config).bfloat16().float().eval()
    hf_model.set_attn_implementation("eager")
    return hf_model


@pytest.mark.healthy
@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_single_small_head_is_not_accused(stage, width, seed, device):
    hf_model = with_a_single_head(width, seed)
    ids = torch.randint(3, VOCABULARY, (1, PROMPT + DECODED))
    model = BUILDERS[stage](hf_model, device, POSITIONS)
    with ttnn_emulator.arithmetic_settings("rounded"):
        assert drift.locate(model, hf_model, ids, DECODED) is None

"""The two models whose parts are compared, and Hugging Face's values for both."""

import pytest
import torch
import transformers
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding

from tests.support import wide_layer
from tests.support.checkpoint import CACHE_LENGTH
from tests.support.hf_reference import HfReference
from ttnn_verify.huggingface import golden

from .plain_parts import PARTS

FEW_WIDE_ROWS = 48


@pytest.fixture(scope="session")
def parts(stage, hf_model, weights, device):
    """Our parts of the trained checkpoint."""
    return PARTS[stage](hf_model.config, weights, device)


@pytest.fixture(scope="session")
def full_width_weights():
    return wide_layer.random_weights()


@pytest.fixture(scope="session")
def full_width_parts(stage, full_width_weights, device):
    return PARTS[stage](wide_layer.config(), full_width_weights, device)


@pytest.fixture(scope="session")
def full_width_reference(stage, full_width_weights):
    """Of fewer rows for the functional stage, whose roundings take a second a row to compute."""
    with torch.device("meta"):  # no weights of its own, which would be made for nothing
        hf_model = transformers.AutoModelForCausalLM.from_config(
            wide_layer.config(), dtype=torch.float32, attn_implementation="eager"
        ).eval()
    hf_model.load_state_dict({n: w.float() for n, w in full_width_weights.items()}, assign=True)
    hf_model.model.rotary_emb = Phi3RotaryEmbedding(hf_model.config)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, wide_layer.VOCABULARY, (1, CACHE_LENGTH), generator=generator)
    by_default = stage == "functional"
    rows = FEW_WIDE_ROWS if by_default else CACHE_LENGTH
    return HfReference(hf_model, golden.load(hf_model, ids[:, :rows]), by_default)

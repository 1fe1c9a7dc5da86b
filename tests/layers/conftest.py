"""The two models whose parts are compared, what Hugging Face computed with them, and its noise."""

import pytest
import torch
import transformers
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding

from benchmarks import phi3_mini
from ttnn_verify.huggingface import golden

from ..conftest import CACHE_LENGTH
from ..due import Due
from .parts import Parts

# The wide layer has Phi-3-mini's widths and so its sums, but a small vocabulary.
WIDE_VOCABULARY = 2048
WIDE_LENGTH = CACHE_LENGTH


@pytest.fixture(scope="session")
def weights(hf_model):
    return hf_model.state_dict()


@pytest.fixture(scope="session")
def parts(hf_model, weights, device):
    """Our parts of the trained checkpoint."""
    return Parts(hf_model.config, weights, device)


@pytest.fixture(scope="session")
def wide_weights():
    """Of one decoder layer at Phi-3-mini's full width, random."""
    return dict(phi3_mini.RandomWeights(wide_config()))


@pytest.fixture(scope="session")
def wide_parts(wide_weights, device):
    return Parts(wide_config(), wide_weights, device)


@pytest.fixture(scope="session")
def wide_due(wide_weights):
    with torch.device("meta"):  # no weights of its own, which would be made for nothing
        hf_model = transformers.AutoModelForCausalLM.from_config(
            wide_config(), dtype=torch.float32, attn_implementation="eager"
        ).eval()
    hf_model.load_state_dict({n: w.float() for n, w in wide_weights.items()}, assign=True)
    hf_model.model.rotary_emb = Phi3RotaryEmbedding(hf_model.config)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, WIDE_VOCABULARY, (1, WIDE_LENGTH), generator=generator)
    return Due(hf_model, golden.load(hf_model, ids))


def wide_config():
    config = phi3_mini.config(n_layers=1)
    config.vocab_size = WIDE_VOCABULARY
    config.pad_token_id = 0  # Phi-3's own is beyond these
    return config

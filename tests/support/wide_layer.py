"""One decoder layer at Phi-3-mini's full width, so that sums are as long, with random weights."""

import zlib

import torch
from transformers import Phi3Config, Phi3ForCausalLM
from transformers.utils import logging

VOCABULARY = 2048  # small, because a head of Phi-3-mini's own would take most of the time


def config() -> Phi3Config:
    """Phi-3-mini-128k-instruct's with one layer, a small vocabulary, made-up LongRoPE factors."""
    half = 48  # head_dim / 2
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns of the form of rope_parameters
    try:
        return Phi3Config(
            vocab_size=VOCABULARY,
            hidden_size=3072,
            intermediate_size=8192,
            num_hidden_layers=1,
            num_attention_heads=32,
            num_key_value_heads=32,
            max_position_embeddings=131072,
            original_max_position_embeddings=4096,
            rms_norm_eps=1e-5,
            tie_word_embeddings=False,
            sliding_window=262144,
            pad_token_id=0,  # Phi-3's own is beyond this vocabulary
            rope_parameters={
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "original_max_position_embeddings": 4096,
                "short_factor": [1.0 + 0.02 * i for i in range(half)],
                "long_factor": [1.0 + i for i in range(half)],
            },
            torch_dtype="bfloat16",
        )
    finally:
        logging.set_verbosity(verbosity)


def random_weights() -> dict[str, torch.Tensor]:
    """Hugging Face's names -> bfloat16, N(0, 0.02^2), the same in every run; norms are 1."""
    with torch.device("meta"):
        shapes = {name: x.shape for name, x in Phi3ForCausalLM(config()).state_dict().items()}
    return {name: _random(name, shape) for name, shape in shapes.items()}


def _random(name, shape):
    if name.endswith("norm.weight"):
        return torch.ones(shape, dtype=torch.bfloat16)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.randn(shape, generator=generator, dtype=torch.bfloat16).mul_(0.02)

"""Phi-3-mini at its full width with random weights, made when they are asked for."""

import zlib
from collections.abc import Iterator, Mapping

import torch
from transformers import Phi3Config, Phi3ForCausalLM

from ttnn_verify.huggingface.inputs import quiet_transformers

quiet_transformers()  # it warns of this configuration's rope parameters each time

N_LAYERS = 32


def config(n_layers: int = N_LAYERS) -> Phi3Config:
    """Phi-3-mini-128k-instruct's configuration, with `n_layers` decoder layers.

    The LongRoPE factors are made up; their number and the positions they hold for are the model's.
    """
    half = 48  # head_dim / 2
    return Phi3Config(
        vocab_size=32064,
        hidden_size=3072,
        intermediate_size=8192,
        num_hidden_layers=n_layers,
        num_attention_heads=32,
        num_key_value_heads=32,
        max_position_embeddings=131072,
        original_max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        sliding_window=262144,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "original_max_position_embeddings": 4096,
            "short_factor": [1.0 + 0.02 * i for i in range(half)],
            "long_factor": [1.0 + i for i in range(half)],
        },
        dtype="bfloat16",
    )


class RandomWeights(Mapping[str, torch.Tensor]):
    """Hugging Face's parameter names -> bfloat16 tensors, N(0, 0.02^2), the same at each access.

    Nothing is kept, so the full model costs the host one tensor at a time.
    """

    def __init__(self, hf_config: Phi3Config):
        with torch.device("meta"):
            meta = Phi3ForCausalLM(hf_config)
        self._shapes = {name: tensor.shape for name, tensor in meta.state_dict().items()}

    @property
    def count(self) -> int:
        """How many numbers all tensors have."""
        return sum(shape.numel() for shape in self._shapes.values())

    def __getitem__(self, name: str) -> torch.Tensor:
        shape = self._shapes[name]
        if name.endswith("norm.weight"):
            return torch.ones(shape, dtype=torch.bfloat16)
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        return torch.randn(shape, generator=generator, dtype=torch.bfloat16).mul_(0.02)

    def __contains__(self, name: object) -> bool:
        return name in self._shapes  # Mapping's own would create the tensor to answer

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

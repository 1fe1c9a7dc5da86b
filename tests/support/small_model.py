"""A Hugging Face Phi-3 with 64 tokens, and a model whose answers are given."""

import types

import torch
from transformers import Phi3Config, Phi3ForCausalLM

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def small_model(**other):
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="eager",
        **other,
    )
    return Phi3ForCausalLM(config).eval()


class Along:
    """A model that chooses the given tokens `[T]`, one in each step of a reference."""

    def __init__(self, reference, tokens):
        self.tokens, self.width, self.step = tokens, reference.logits.shape[1], -1

    def __call__(self, input_ids, past_key_values=None, use_cache=True):
        self.step += 1
        logits = torch.zeros(1, 1, self.width)
        logits[..., self.tokens[self.step]] = 50.0
        return types.SimpleNamespace(logits=logits, past_key_values=self.step)

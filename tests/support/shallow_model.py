"""A model without layers, in Hugging Face and in TTNN: drift over it takes a second."""

import types

import torch
import transformers
import ttnn

CALLS = 3  # of TTNN's operations that a call of the model makes and drift judges
VOCABULARY = 64


def in_hugging_face():
    """A Phi-3 without layers, float32, with weights that bfloat16 holds."""
    torch.manual_seed(0)
    config = transformers.Phi3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=0,
        num_attention_heads=1,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="eager",
    )
    return transformers.Phi3ForCausalLM(config).bfloat16().float().eval()


class InTTNN:
    """The same on the device; `past_key_values` says nothing, since no token looks at another."""

    def __init__(self, hf_model, device):
        weights = hf_model.state_dict()
        self.device, self.epsilon = device, hf_model.config.rms_norm_eps
        self.table = self._put(weights["model.embed_tokens.weight"], ttnn.ROW_MAJOR_LAYOUT)
        self.norm = self._put(weights["model.norm.weight"][None])
        self.head = self._put(weights["lm_head.weight"].T)

    def _put(self, tensor, layout=ttnn.TILE_LAYOUT):
        return ttnn.from_torch(tensor.bfloat16(), layout=layout, device=self.device)

    def __call__(self, input_ids, past_key_values=None, use_cache=True):
        ids = ttnn.from_torch(input_ids.int(), dtype=ttnn.uint32, device=self.device)
        x = ttnn.embedding(ids, self.table, layout=ttnn.TILE_LAYOUT)
        x = ttnn.rms_norm(x, weight=self.norm, epsilon=self.epsilon)
        logits = ttnn.to_torch(self.logits(x)).float()
        return types.SimpleNamespace(logits=logits, past_key_values=())

    def logits(self, x):
        return ttnn.linear(x, self.head)

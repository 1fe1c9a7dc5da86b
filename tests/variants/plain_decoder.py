"""A decoder in TTNN that the variants are written from: each overrides what it writes otherwise.

It computes Llama and Phi-3, in TTNN's defaults and bfloat16, without padding; its cache grows by
concatenation. B batch, S sequence, H hidden, N heads, K kv heads, D head_dim, C positions,
I intermediate, V vocabulary.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import torch
import ttnn

TILE = 32


def whole_tiles(count):
    return -(-count // TILE) * TILE


@dataclass
class Past:
    """What a call leaves for the next one: keys and values of each layer, and how many tokens."""

    layers: list
    length: int


class Decoder:
    """Called as a causal language model of transformers is.

    Attributes of a call:
        start: the first token's position.
        past: keys and values of each layer, None before the first call.
        cos, sin: of the tokens' positions, [1, 1, S, D].
    """

    def __init__(self, hf_model, device, max_seq_len):
        self.config, self.device = hf_model.config, device
        self.capacity = whole_tiles(max_seq_len)
        self.n, self.k = self.config.num_attention_heads, self.config.num_key_value_heads
        self.d = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.n
        self.eps, self.depth = self.config.rms_norm_eps, self.config.num_hidden_layers
        self.state = separate(hf_model.state_dict(), self.n * self.d, self.k * self.d)
        self.w = {name: self.placed(name, weight) for name, weight in self.state.items()}
        self.tables = self.rotary_tables()
        self.build()

    def build(self):
        """What a variant keeps on the device beside the weights."""

    # --- weights and constants ------------------------------------------------------------------

    def placed(self, name, weight):
        """Matrices transposed, [in, out], norms [1, 1, 1, H], the embedding row-major."""
        if name == "embed_tokens":
            return self.to_device(weight, ttnn.ROW_MAJOR_LAYOUT)
        if weight.dim() == 1:
            return self.to_device(weight[None, None, None])
        return self.to_device(weight.T, dtype=self.format_of(name))

    def format_of(self, name):
        return ttnn.bfloat16

    def to_device(self, tensor, layout=ttnn.TILE_LAYOUT, dtype=ttnn.bfloat16):
        return ttnn.from_torch(
            tensor.float().contiguous(), dtype=dtype, layout=layout, device=self.device
        )

    def ids_to_device(self, ids):
        return ttnn.from_torch(ids.int(), dtype=ttnn.uint32, device=self.device)

    def angles(self, factors=1.0):
        """[C, D], both halves of a head alike."""
        steps = torch.arange(0, self.d, 2) / self.d
        wavelengths = factors * self.config.rope_parameters["rope_theta"] ** steps
        return torch.outer(torch.arange(self.capacity), 1 / wavelengths).repeat(1, 2)

    def rotary_tables(self):
        angles = self.angles()
        return [self.to_device(t, ttnn.ROW_MAJOR_LAYOUT) for t in (angles.cos(), angles.sin())]

    # --- a call ---------------------------------------------------------------------------------

    def __call__(self, input_ids, past_key_values=None, attention_mask=None, use_cache=True):
        past = past_key_values or Past([None] * self.depth, 0)
        assert past.length + input_ids.shape[1] <= self.capacity, "the sequence is too long"
        assert not past.length or input_ids.shape[1] == 1, "after the prompt, a token at a time"
        self.past = list(past.layers)
        logits = self.compute(input_ids, past.length)
        return SimpleNamespace(
            logits=logits, past_key_values=Past(self.past, past.length + input_ids.shape[1])
        )

    def compute(self, ids, start):
        """Logits [B, S, V] on the host of ids [B, S], the first of which is at `start`."""
        self.start = start
        self.at_positions(torch.arange(start, start + ids.shape[1])[None])
        x = self.embed(ids)
        for i in range(self.depth):
            x = self.layer(x, i)
        return ttnn.to_torch(self.head(x))[:, 0].float()

    def at_positions(self, positions):
        """Look up cos and sin of positions [1, S]."""
        positions = self.ids_to_device(positions)
        self.cos, self.sin = (
            ttnn.unsqueeze_to_4D(ttnn.embedding(positions, table, layout=ttnn.TILE_LAYOUT))
            for table in self.tables
        )

    def embed(self, ids):  # [B, S]
        ids = self.ids_to_device(ids)
        x = ttnn.embedding(ids, self.w["embed_tokens"], layout=ttnn.TILE_LAYOUT)
        return ttnn.reshape(x, (x.shape[0], 1, x.shape[1], x.shape[2]))  # [B, 1, S, H]

    def layer(self, x, i):  # [B, 1, S, H]
        h = self.norm(x, f"layers.{i}.input_layernorm")
        x = self.add(x, self.attention(h, i))
        h = self.norm(x, f"layers.{i}.post_attention_layernorm")
        return self.add(x, self.mlp(h, f"layers.{i}.mlp."))

    def head(self, x):
        return self.product(self.norm(x, "norm"), "lm_head")

    # --- its parts ------------------------------------------------------------------------------

    def norm(self, x, name):
        return ttnn.rms_norm(x, weight=self.w[name], epsilon=self.eps)

    def product(self, x, name):
        return ttnn.linear(x, self.w[name])

    def add(self, x, y):
        return ttnn.add(x, y)

    def attention(self, x, i):
        q, k, v = self.heads(x, f"layers.{i}.self_attn.")
        q, k = self.rotate(q), self.rotate(k)
        y = self.attend(q, *self.remember(k, v, i))
        return self.product(ttnn.experimental.nlp_concat_heads(y), f"layers.{i}.self_attn.o_proj")

    def heads(self, x, name):
        """[B, N, S, D] and twice [B, K, S, D]."""
        counts = {"q": self.n, "k": self.k, "v": self.k}
        return [self.split(self.product(x, f"{name}{p}_proj"), n) for p, n in counts.items()]

    def split(self, x, count):
        b, _, s, _ = x.shape
        return ttnn.transpose(ttnn.reshape(x, (b, s, count, self.d)), 1, 2)

    def rotate(self, x):
        return ttnn.experimental.rotary_embedding_hf(x, self.cos, self.sin)

    def remember(self, k, v, i):
        """Keys and values of all tokens so far, [B, K, C, D]."""
        if self.past[i] is not None:
            k, v = (
                ttnn.concat(list(pair), dim=2) for pair in zip(self.past[i], (k, v), strict=True)
            )
        self.past[i] = k, v
        return k, v

    def attend(self, q, k, v):
        """[B, N, S, D]; a single token sees all keys."""
        return ttnn.transformer.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)

    def mlp(self, x, name):
        gate = ttnn.silu(self.product(x, f"{name}gate_proj"))
        return self.product(
            ttnn.multiply(gate, self.product(x, f"{name}up_proj")), f"{name}down_proj"
        )


def separate(state, q_width, kv_width):
    """Names without "model." and ".weight" -> weights; what Phi-3 has in one matrix is several."""
    separated = {}
    for name, weight in state.items():
        name = name.removeprefix("model.").removesuffix(".weight")
        if name.endswith("qkv_proj"):
            parts = weight.split([q_width, kv_width, kv_width])
            for short, part in zip("qkv", parts, strict=True):
                separated[name.replace("qkv", short)] = part
        elif name.endswith("gate_up_proj"):
            for short, part in zip(("gate", "up"), weight.chunk(2), strict=True):
                separated[name.replace("gate_up", short)] = part
        else:
            separated[name] = weight
    return separated

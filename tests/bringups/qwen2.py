"""Qwen2 in TTNN from elementary operations: attention is products, a mask and a softmax.

A prompt and a token take the same way: keys and values go into a cache of all C positions, and the
scores are of all of them. No operation that knows of caches, heads or rotations is used.
"""

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
import ttnn

HIDDEN = -1e9  # what the mask adds to scores of later positions


def build_model(hf_model, tt_device, max_seq_len):
    """Qwen2ForCausalLM on the device, for batches of equally long rows."""
    return Qwen2(hf_model, tt_device, max_seq_len)


@dataclass
class Past:
    """Keys and values of each layer, [B, K, C, D], of which `length` positions are filled."""

    layers: list
    length: int


@dataclass
class Positions:
    """What the layers need of the tokens' positions.

    Attributes:
        start: position of the first token.
        cos, sin: [1, 1, S, D].
        mask: [1, 1, S, C], added to scores.
        chosen: [1, 1, C, 1], 1 where a single token's keys go; None for a prompt.
    """

    start: int
    cos: Any
    sin: Any
    mask: Any
    chosen: Any


class Qwen2:
    def __init__(self, hf_model, device, max_seq_len):
        self.device, self.config = device, hf_model.config
        config, self.capacity = hf_model.config, math.ceil(max_seq_len / 32) * 32
        self.n, self.k = config.num_attention_heads, config.num_key_value_heads
        self.d = config.hidden_size // self.n
        self.w = {}
        for name, value in hf_model.state_dict().items():
            if "embed_tokens" in name:
                self.w[name] = self.put(value, ttnn.ROW_MAJOR_LAYOUT)
            elif value.dim() == 2:
                self.w[name] = self.put(value.T)
            else:
                self.w[name] = self.put(value.reshape(1, -1))
        half, positions = self.d // 2, torch.arange(self.capacity)
        angles = torch.outer(
            positions, config.rope_parameters["rope_theta"] ** (-torch.arange(half) / half)
        ).repeat(1, 2)
        hidden = HIDDEN * (positions[:, None] < positions)
        self.tables = [
            self.put(table, ttnn.ROW_MAJOR_LAYOUT) for table in (angles.cos(), angles.sin(), hidden)
        ]
        # x @ turn is (-second half, first half)
        turn = torch.zeros(self.d, self.d)
        turn[range(half, self.d), range(half)] = -1
        turn[range(half), range(half, self.d)] = 1
        self.turn = self.put(turn[None, None])
        self.numbers = self.put(positions.reshape(1, 1, -1, 1))  # bfloat16 holds those up to 256

    def put(self, tensor, layout=ttnn.TILE_LAYOUT):
        return ttnn.from_torch(
            tensor.float().contiguous(), dtype=ttnn.bfloat16, layout=layout, device=self.device
        )

    def __call__(self, input_ids, past_key_values=None, attention_mask=None, use_cache=True):
        if attention_mask is not None and not attention_mask.all():
            raise ValueError("Rows of different lengths are not computed.")
        s = input_ids.shape[1]
        start = past_key_values.length if past_key_values else 0
        if start + s > self.capacity or (start and s > 1):
            raise ValueError(f"{s} tokens after {start} do not fit {self.capacity} positions.")
        wide = math.ceil(s / 32) * 32 if s > 1 else 1  # whole tiles of a prompt
        ids = torch.nn.functional.pad(input_ids, (0, wide - s))
        at = self.positions(start, wide)
        x = self.look_up(ids, self.w["model.embed_tokens.weight"])
        old = past_key_values.layers if past_key_values else [None] * self.config.num_hidden_layers
        new = []
        for i, kv in enumerate(old):
            x, kv = self.layer(x, f"model.layers.{i}.", at, kv)
            new.append(kv)
        x = self.norm_by_hand(x, self.w["model.norm.weight"])
        name = "model.embed_tokens" if self.config.tie_word_embeddings else "lm_head"
        logits = ttnn.to_torch(ttnn.linear(x, self.w[f"{name}.weight"]))[:, :s].float()
        return SimpleNamespace(logits=logits, past_key_values=Past(new, start + s))

    def look_up(self, ids, table):
        ids = ttnn.from_torch(ids.to(torch.int32), dtype=ttnn.uint32, device=self.device)
        return ttnn.embedding(ids, table, layout=ttnn.TILE_LAYOUT)

    def positions(self, start, count):
        ids = torch.arange(start, start + count)[None]
        rows = (ttnn.unsqueeze(self.look_up(ids, table), 0) for table in self.tables)
        chosen = ttnn.eq(self.numbers, float(start)) if count == 1 else None
        return Positions(start, *rows, chosen)

    def layer(self, x, name, at, past):
        h = ttnn.rms_norm(
            x, weight=self.w[f"{name}input_layernorm.weight"], epsilon=self.config.rms_norm_eps
        )
        h, present = self.attention(h, f"{name}self_attn.", at, past)
        x = ttnn.add(x, h)
        h = ttnn.rms_norm(
            x,
            weight=self.w[f"{name}post_attention_layernorm.weight"],
            epsilon=self.config.rms_norm_eps,
        )
        gate = ttnn.linear(h, self.w[f"{name}mlp.gate_proj.weight"], activation="silu")
        h = ttnn.mul(gate, ttnn.linear(h, self.w[f"{name}mlp.up_proj.weight"]))
        return ttnn.add(x, ttnn.linear(h, self.w[f"{name}mlp.down_proj.weight"])), present

    def norm_by_hand(self, x, weight):
        mean = ttnn.mean(ttnn.multiply(x, x), dim=-1, keepdim=True)
        scale = ttnn.rsqrt(ttnn.add(mean, self.config.rms_norm_eps))
        return ttnn.multiply(ttnn.multiply(x, scale), weight)

    def heads(self, x, name, count):
        """[B, S, H] -> [B, count, S, D]."""
        y = ttnn.linear(x, self.w[f"{name}.weight"], bias=self.w[f"{name}.bias"])
        y = ttnn.reshape(y, (x.shape[0], x.shape[1], count, self.d))
        return ttnn.transpose(y, 1, 2)

    def rope(self, x, at):
        turned = ttnn.matmul(x, self.turn)
        return ttnn.add(ttnn.multiply(x, at.cos), ttnn.multiply(turned, at.sin))

    def attention(self, x, name, at, past):
        q = self.rope(self.heads(x, f"{name}q_proj", self.n), at)
        k = self.rope(self.heads(x, f"{name}k_proj", self.k), at)
        v = self.heads(x, f"{name}v_proj", self.k)
        if past is None:
            grow = [(0, 0), (0, 0), (0, self.capacity - k.shape[2]), (0, 0)]
            k, v = ttnn.pad(k, grow, 0.0), ttnn.pad(v, grow, 0.0)
        if at.chosen is not None and past is not None:
            k, v = (ttnn.where(at.chosen, one, old) for one, old in zip((k, v), past, strict=True))
        present = k, v
        k, v = (ttnn.repeat_interleave(t, self.n // self.k, dim=1) for t in present)
        scores = ttnn.matmul(q, ttnn.transpose(k, -2, -1))  # [B, N, S, C]
        scores = ttnn.add(ttnn.multiply(scores, self.d**-0.5), at.mask)
        y = ttnn.matmul(ttnn.softmax(scores, dim=-1), v)
        y = ttnn.reshape(ttnn.transpose(y, 1, 2), (x.shape[0], x.shape[1], self.n * self.d))
        return ttnn.linear(y, self.w[f"{name}o_proj.weight"]), present

"""Llama in TTNN: separate products, rotation by hand, a cache that grows by concatenation.

Tensors are [B, S, H] between layers and [B, N, S, D] within attention. The MLP multiplies in LoFi,
everything else in HiFi2.
"""

from types import SimpleNamespace

import torch
import ttnn

# The two settings of the whole model. LoFi drops the lower bits of both factors.
HIFI2 = ttnn.WormholeComputeKernelConfig(
    math_fidelity=ttnn.MathFidelity.HiFi2, fp32_dest_acc_en=True, packer_l1_acc=True
)
LOFI = ttnn.WormholeComputeKernelConfig(
    math_fidelity=ttnn.MathFidelity.LoFi, fp32_dest_acc_en=False, packer_l1_acc=True
)


def build_model(hf_model, tt_device, max_seq_len):
    """LlamaForCausalLM on the device, for sequences of up to `max_seq_len` tokens."""
    return TtLlama(hf_model.config, hf_model.state_dict(), tt_device, max_seq_len)


class Linear:
    """y = x W^T, with a compute configuration of its own."""

    def __init__(self, weight, device, config):
        self.weight = ttnn.from_torch(
            weight.T.contiguous(), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device
        )
        self.config = config

    def __call__(self, x):
        return ttnn.linear(x, self.weight, compute_kernel_config=self.config)


class RMSNorm:
    def __init__(self, weight, device, eps):
        self.weight = ttnn.from_torch(
            weight[None], dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device
        )
        self.eps = eps

    def __call__(self, x):
        return ttnn.rms_norm(x, epsilon=self.eps, weight=self.weight, compute_kernel_config=HIFI2)


def rotate(x, cos, sin):
    """x cos + rotate_half(x) sin, as transformers writes it. x is [B, N, S, D]."""
    b, n, s, d = x.shape
    left = ttnn.slice(x, [0, 0, 0, 0], [b, n, s, d // 2])
    right = ttnn.slice(x, [0, 0, 0, d // 2], [b, n, s, d])
    turned = ttnn.concat([ttnn.neg(right), left], dim=-1)
    return ttnn.add(ttnn.multiply(x, cos), ttnn.multiply(turned, sin))


class Attention:
    """Grouped-query attention; `past` is the (keys, values) of earlier tokens, or None."""

    def __init__(self, config, weights, device):
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = config.head_dim
        self.k, self.q, self.v, self.o = (
            Linear(weights[f"self_attn.{name}_proj.weight"], device, HIFI2) for name in "kqvo"
        )

    def split(self, x, heads):
        """[B, S, heads D] -> [B, heads, S, D]."""
        b, s, _ = x.shape
        return ttnn.permute(ttnn.reshape(x, (b, s, heads, self.head_dim)), (0, 2, 1, 3))

    def __call__(self, x, cos, sin, past):
        k = rotate(self.split(self.k(x), self.kv_heads), cos, sin)
        v = self.split(self.v(x), self.kv_heads)
        q = rotate(self.split(self.q(x), self.heads), cos, sin)
        if past is not None:
            k, v = (ttnn.concat([old, new], dim=2) for old, new in zip(past, (k, v), strict=True))
        y = ttnn.transformer.scaled_dot_product_attention(
            q, k, v, is_causal=past is None, compute_kernel_config=HIFI2
        )  # a single token sees all keys: no mask
        b, _, s, _ = y.shape
        y = ttnn.reshape(ttnn.permute(y, (0, 2, 1, 3)), (b, s, self.heads * self.head_dim))
        return self.o(y), (k, v)


class Layer:
    def __init__(self, config, weights, device):
        self.norm1 = RMSNorm(weights["input_layernorm.weight"], device, config.rms_norm_eps)
        self.norm2 = RMSNorm(
            weights["post_attention_layernorm.weight"], device, config.rms_norm_eps
        )
        self.attention = Attention(config, weights, device)
        self.gate, self.up, self.down = (
            Linear(weights[f"mlp.{name}_proj.weight"], device, LOFI)
            for name in ("gate", "up", "down")
        )

    def __call__(self, x, cos, sin, past):
        y, present = self.attention(self.norm1(x), cos, sin, past)
        x = ttnn.add(x, y)
        h = self.norm2(x)
        h = ttnn.multiply(ttnn.silu(self.gate(h)), self.up(h))
        return ttnn.add(x, self.down(h)), present


class TtLlama:
    """Called as LlamaForCausalLM is; `past_key_values` is a list of (keys, values) per layer."""

    def __init__(self, config, weights, device, max_seq_len):
        self.device, self.max_seq_len = device, max_seq_len
        table = weights["model.embed_tokens.weight"]
        self.embedding = ttnn.from_torch(table, dtype=ttnn.bfloat16, device=device)
        d, theta = config.head_dim, config.rope_parameters["rope_theta"]
        angles = torch.outer(torch.arange(max_seq_len), theta ** -(torch.arange(0, d, 2) / d))
        angles = torch.cat((angles, angles), dim=-1)[None, None]
        self.cos, self.sin = (
            ttnn.from_torch(t, dtype=ttnn.bfloat16, device=device)  # row-major, to be sliced
            for t in (angles.cos(), angles.sin())
        )
        self.layers = []
        for i in range(config.num_hidden_layers):
            prefix = f"model.layers.{i}."
            own = {n[len(prefix) :]: w for n, w in weights.items() if n.startswith(prefix)}
            self.layers.append(Layer(config, own, device))
        self.norm = RMSNorm(weights["model.norm.weight"], device, config.rms_norm_eps)
        self.lm_head = Linear(weights["lm_head.weight"], device, HIFI2)

    def __call__(
        self, input_ids, past_key_values=None, attention_mask=None, use_cache=True
    ) -> SimpleNamespace:
        """Logits [B, S, V]. After a prompt one token at a time; no padding."""
        assert attention_mask is None or attention_mask.all(), "padding is not computed"
        s = input_ids.shape[1]
        assert past_key_values is None or s == 1, "after the prompt, a token at a time"
        start = 0 if past_key_values is None else past_key_values[0][0].shape[2]
        assert start + s <= self.max_seq_len, "the sequence is too long"
        cos, sin = (
            ttnn.to_layout(
                ttnn.slice(t, [0, 0, start, 0], [1, 1, start + s, t.shape[3]]), ttnn.TILE_LAYOUT
            )
            for t in (self.cos, self.sin)
        )
        ids = ttnn.from_torch(input_ids.int(), dtype=ttnn.uint32, device=self.device)
        x = ttnn.embedding(ids, self.embedding, layout=ttnn.TILE_LAYOUT)
        presents = []
        for layer, past in zip(
            self.layers, past_key_values or [None] * len(self.layers), strict=True
        ):
            x, present = layer(x, cos, sin, past)
            presents.append(present)
        logits = ttnn.to_torch(self.lm_head(self.norm(x))).float()
        return SimpleNamespace(logits=logits, past_key_values=presents if use_cache else None)

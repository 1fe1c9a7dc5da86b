"""Phi-3 in TTNN without a cache, with weights in bfloat8_b.

One class, one method from ids to logits. Each call computes all tokens so far. Oddities of the
source it was ported from are kept: norms have a bias (of zeros), and the MLP computes at twice its
size, which is put right at its end.
"""

from types import SimpleNamespace

import torch
import ttnn


def build_model(hf_model, tt_device, max_seq_len):
    """Phi3ForCausalLM on the device, for rows of equal length."""
    return Phi3(hf_model.config, dict(hf_model.named_parameters()), tt_device, max_seq_len)


class Phi3:
    """`past_key_values` is the list of ids [B, S] that were given so far."""

    def __init__(self, config, parameters, device, max_seq_len):
        self.config, self.device, self.max_seq_len = config, device, max_seq_len
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.parameters = {name: self._convert(name, t) for name, t in parameters.items()}
        self.zeros = ttnn.zeros(
            (1, config.hidden_size), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device
        )
        inverse = 1.0 / config.rope_parameters["rope_theta"] ** (
            torch.arange(0, self.head_dim, 2, dtype=torch.float32) / self.head_dim
        )
        # whole tiles: the rotation reads a row for each row of its input, padding included
        angles = torch.arange(-(-max_seq_len // 32) * 32)[:, None] * inverse[None]
        angles = torch.cat((angles, angles), -1)[None, None]
        self.cos = ttnn.from_torch(
            angles.cos(), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device
        )
        self.sin = ttnn.from_torch(
            angles.sin(), dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device
        )

    def _convert(self, name, tensor):
        tensor = tensor.detach()
        if "embed_tokens" in name:
            return ttnn.from_torch(tensor, dtype=ttnn.bfloat16, device=self.device)
        if "norm" in name:
            dtype, tensor = ttnn.bfloat16, tensor.unsqueeze(0)
        else:
            dtype, tensor = ttnn.bfloat8_b, tensor.transpose(0, 1).contiguous()
        return ttnn.from_torch(tensor, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=self.device)

    def __call__(self, input_ids, past_key_values=None, attention_mask=None, use_cache=True):
        seen = [*(past_key_values or []), input_ids]
        ids = torch.cat(seen, dim=1)
        if ids.shape[1] > self.max_seq_len:
            raise ValueError(f"{ids.shape[1]} tokens; the model has {self.max_seq_len} positions.")
        if attention_mask is not None and int(attention_mask.min()) == 0:
            raise ValueError("attention_mask has zeros; padding is not supported.")
        logits = self.forward(ids)[:, -input_ids.shape[1] :]
        return SimpleNamespace(logits=logits, past_key_values=seen if use_cache else None)

    def forward(self, ids):
        """Logits [B, S, V] of ids [B, S]."""
        config, w = self.config, self.parameters
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        x = ttnn.embedding(
            ttnn.from_torch(ids.to(torch.int32), dtype=ttnn.uint32, device=self.device),
            w["model.embed_tokens.weight"],
            layout=ttnn.TILE_LAYOUT,
        )
        for i in range(config.num_hidden_layers):
            layer = f"model.layers.{i}."

            # attention
            residual = x
            x = self.norm(x, layer + "input_layernorm.weight")
            qkv = ttnn.matmul(x, w[layer + "self_attn.qkv_proj.weight"])
            q, k, v = ttnn.transformer.split_query_key_value_and_split_heads(
                qkv, num_heads=heads, num_kv_heads=kv_heads, transpose_key=False
            )
            # the rotation counts the padding rows of the last tile as tokens
            q = ttnn.experimental.rotary_embedding(q, self.cos, self.sin)[:, :, : ids.shape[1]]
            k = ttnn.experimental.rotary_embedding(k, self.cos, self.sin)[:, :, : ids.shape[1]]
            x = ttnn.transformer.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = ttnn.transformer.concatenate_heads(x)
            x = ttnn.matmul(x, w[layer + "self_attn.o_proj.weight"])
            x = ttnn.add(residual, x)

            # MLP
            residual = x
            x = self.norm(x, layer + "post_attention_layernorm.weight")
            gate_up = ttnn.matmul(x, w[layer + "mlp.gate_up_proj.weight"])
            width = config.intermediate_size
            gate = gate_up[:, :, :width]
            up = ttnn.multiply(gate_up[:, :, width:], 2.0)
            x = ttnn.multiply(up, ttnn.silu(gate))
            x = ttnn.matmul(x, w[layer + "mlp.down_proj.weight"])
            x = ttnn.add(ttnn.multiply(x, 0.5), residual)
        x = self.norm(x, "model.norm.weight")
        return ttnn.to_torch(ttnn.matmul(x, w["lm_head.weight"])).float()

    def norm(self, x, name):
        return ttnn.rms_norm(
            x, weight=self.parameters[name], bias=self.zeros, epsilon=self.config.rms_norm_eps
        )

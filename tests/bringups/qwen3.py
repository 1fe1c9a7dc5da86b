"""Qwen3 in TTNN with the fused head operations, for one user, its cache in bfloat8_b.

The weights of q and k are put into the order of Meta's checkpoints, in which the two columns that
are rotated together are neighbours, as `rotary_embedding_llama` wants them.
"""

import types

import torch
import ttnn

TILE = 32


def build_model(hf_model, tt_device, max_seq_len):
    """Qwen3ForCausalLM on the device: a prompt's last logits, [1, 1, V], then token by token."""
    return Transformer(tt_device, hf_model.config, hf_model.state_dict(), max_seq_len)


def to_device(tensor, device, layout=ttnn.TILE_LAYOUT):
    return ttnn.from_torch(
        tensor,
        device=device,
        dtype=ttnn.bfloat16,
        layout=layout,
        memory_config=ttnn.DRAM_MEMORY_CONFIG,
    )


def to_meta(weight, head_dim):
    """Rows of [heads D, ...]: column i and column i + D/2 of a head become 2 i and 2 i + 1."""
    heads = weight.unflatten(0, (-1, 2, head_dim // 2))
    return heads.transpose(1, 2).flatten(0, 2)


class Transformer:
    """`past_key_values` is the number of tokens in the cache, which the device keeps."""

    def __init__(self, device, config, state, max_seq_len):
        self.device, self.config = device, config
        self.capacity = -(-max_seq_len // TILE) * TILE
        self.state = state
        self.embed = to_device(state["model.embed_tokens.weight"], device, ttnn.ROW_MAJOR_LAYOUT)
        self.rope = RotarySetup(device, config, self.capacity)
        self.blocks = [Block(self, f"model.layers.{i}.") for i in range(config.num_hidden_layers)]
        self.norm = self.load("model.norm.weight")
        self.output = self.load("lm_head.weight")

    def load(self, *names, change=lambda w: w):
        """A norm's weight as [1, 1, 1, H]; matrices side by side as [1, 1, in, out]."""
        tensors = [change(self.state[name]) for name in names]
        joined = tensors[0][None] if tensors[0].dim() == 1 else torch.cat(tensors).T
        return to_device(joined[None, None], self.device)

    def __call__(self, input_ids, past_key_values=None, attention_mask=None, use_cache=True):
        users, s = input_ids.shape
        start = past_key_values or 0
        if users != 1 or (start and s != 1) or start + s > self.capacity:
            raise ValueError(f"{users} users, {s} tokens after {start}: not supported.")
        padded = torch.nn.functional.pad(input_ids, (0, -s % TILE if s > 1 else 0))
        tokens = ttnn.from_torch(
            padded.to(torch.int32), device=self.device, dtype=ttnn.uint32
        )  # [1, S]
        x = ttnn.unsqueeze_to_4D(ttnn.embedding(tokens, self.embed, layout=ttnn.TILE_LAYOUT))
        rot_mats = self.rope.at(start, padded.shape[1])
        for block in self.blocks:
            x = block.forward(x, rot_mats, start)
        x = ttnn.slice(x, (0, 0, s - 1, 0), (1, 1, s, x.shape[-1]))
        x = ttnn.rms_norm(x, weight=self.norm, epsilon=self.config.rms_norm_eps)
        logits = ttnn.to_torch(ttnn.linear(x, self.output))[0].float()
        return types.SimpleNamespace(logits=logits, past_key_values=start + s)


class RotarySetup:
    """cos and sin, each value twice for the two neighbours, and the matrix that exchanges them."""

    def __init__(self, device, config, length):
        dims = torch.arange(0, config.head_dim, 2) / config.head_dim
        angles = torch.outer(
            torch.arange(length).float(), config.rope_parameters["rope_theta"] ** -dims
        ).repeat_interleave(2, dim=-1)
        self.cos = to_device(angles.cos(), device, ttnn.ROW_MAJOR_LAYOUT)
        self.sin = to_device(angles.sin(), device, ttnn.ROW_MAJOR_LAYOUT)
        even = torch.arange(0, TILE, 2)
        exchange = torch.zeros(TILE, TILE)
        exchange[even, even + 1], exchange[even + 1, even] = 1, -1
        self.trans_mat = to_device(exchange[None, None], device)
        self.device = device

    def at(self, start, count):
        positions = torch.arange(start, start + count, dtype=torch.int32)[None]
        positions = ttnn.from_torch(positions, dtype=ttnn.uint32, device=self.device)
        tables = (
            ttnn.embedding(positions, table, layout=ttnn.TILE_LAYOUT)
            for table in (self.cos, self.sin)
        )
        return *(ttnn.unsqueeze_to_4D(table) for table in tables), self.trans_mat


class Block:
    """A decoder layer with its own cache, [1, K, C, D]."""

    def __init__(self, model, name):
        self.config = c = model.config
        self.eps, self.scale = c.rms_norm_eps, c.head_dim**-0.5

        def meta(weight):
            return to_meta(weight, c.head_dim)

        attention = name + "self_attn."
        model.state[attention + "qk"] = torch.cat(
            [meta(model.state[f"{attention}{which}_proj.weight"]) for which in "qk"]
        )
        self.wqkv = model.load(attention + "qk", attention + "v_proj.weight")
        self.q_norm = model.load(attention + "q_norm.weight", change=meta)
        self.k_norm = model.load(attention + "k_norm.weight", change=meta)
        self.wo = model.load(attention + "o_proj.weight")
        self.attn_norm = model.load(name + "input_layernorm.weight")
        self.ffn_norm = model.load(name + "post_attention_layernorm.weight")
        self.w3, self.w1, self.w2 = (
            model.load(f"{name}mlp.{which}_proj.weight") for which in ("up", "gate", "down")
        )
        shape = (1, c.num_key_value_heads, model.capacity, c.head_dim)
        self.cache = [
            ttnn.zeros(shape, dtype=ttnn.bfloat8_b, layout=ttnn.TILE_LAYOUT, device=model.device)
            for _ in range(2)
        ]

    def forward(self, x, rot_mats, start):  # [1, 1, S, H]
        h = ttnn.rms_norm(x, weight=self.attn_norm, epsilon=self.eps)
        x = x + self.attention(h, rot_mats, start)
        h = ttnn.rms_norm(x, weight=self.ffn_norm, epsilon=self.eps)
        up = ttnn.linear(h, self.w3)
        gate = ttnn.linear(h, self.w1)
        h = ttnn.multiply(gate, up, input_tensor_a_activations=[ttnn.UnaryOpType.SILU])
        return x + ttnn.linear(h, self.w2)

    def attention(self, x, rot_mats, start):
        q, k, v = ttnn.experimental.nlp_create_qkv_heads(
            ttnn.linear(x, self.wqkv),
            num_heads=self.config.num_attention_heads,
            num_kv_heads=self.config.num_key_value_heads,
            transpose_k_heads=False,
        )
        q = ttnn.rms_norm(q, weight=self.q_norm, epsilon=self.eps)
        k = ttnn.rms_norm(k, weight=self.k_norm, epsilon=self.eps)
        q = ttnn.experimental.rotary_embedding_llama(q, *rot_mats)
        k = ttnn.experimental.rotary_embedding_llama(k, *rot_mats)
        y = self.decode(q, k, v, start) if start else self.prefill(q, k, v)
        return ttnn.linear(ttnn.experimental.nlp_concat_heads(y), self.wo)

    def prefill(self, q, k, v):
        k, v = (ttnn.typecast(t, ttnn.bfloat8_b) for t in (k, v))
        for cache, new in zip(self.cache, (k, v), strict=True):
            ttnn.fill_cache(cache, new, 0)
        return ttnn.transformer.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=self.scale
        )

    def decode(self, q, k, v, start):
        for cache, new in zip(self.cache, (k, v), strict=True):
            ttnn.update_cache(cache, new, start)
        y = ttnn.transformer.scaled_dot_product_attention_decode(
            ttnn.transpose(q, 1, 2), *self.cache, cur_pos=[start], scale=self.scale
        )  # [1, 1, N, D]
        return ttnn.transpose(y, 1, 2)

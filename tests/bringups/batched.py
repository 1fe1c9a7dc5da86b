"""Arcee in TTNN for a fixed batch of eight users, some of whom may be idle.

Prompts may have padding on their left. A user's tokens lie in the cache without it, from position
0 on, so users are at positions of their own; a user at position -1 is left alone.
"""

from types import SimpleNamespace

import torch
import ttnn

USERS = 8
TILE = 32


def build_model(hf_model, tt_device, max_seq_len):
    """ArceeForCausalLM on the device, for 1 to 8 rows of `max_seq_len` tokens."""
    return BatchedArcee(hf_model, tt_device, max_seq_len)


def replicate(tensor, device, layout=ttnn.TILE_LAYOUT):
    return ttnn.from_torch(tensor, dtype=ttnn.bfloat16, layout=layout, device=device)


class BatchedArcee:
    """Called as ArceeForCausalLM is; `past_key_values` is the attention mask so far, [B, S].

    A row whose mask ends with 0 has no token in this call. The device has one cache: a call without
    `past_key_values` begins eight new sequences.
    """

    def __init__(self, hf_model, device, max_seq_len):
        self.device, self.config = device, hf_model.config
        self.length = (max_seq_len + TILE - 1) & -TILE
        weights = hf_model.state_dict()
        self.embedding = replicate(
            weights["model.embed_tokens.weight"], device, ttnn.ROW_MAJOR_LAYOUT
        )
        self.layers = [
            ArceeLayer(self.config, weights, i, device, self.length)
            for i in range(self.config.num_hidden_layers)
        ]
        self.norm = replicate(weights["model.norm.weight"][None], device)
        self.head = replicate(weights["lm_head.weight"].T, device)
        d = self.config.head_dim
        inverse = self.config.rope_parameters["rope_theta"] ** -(torch.arange(0, d, 2) / d)
        angles = (torch.arange(self.length)[:, None] * inverse).tile(2)
        self.cos_sin = [
            replicate(table, device, ttnn.ROW_MAJOR_LAYOUT)
            for table in (angles.cos(), angles.sin())
        ]

    def __call__(self, input_ids, past_key_values=None, attention_mask=None, use_cache=True):
        b, s = input_ids.shape
        before = past_key_values
        if before is None:
            before = torch.zeros(b, 0, dtype=torch.int64)
        mask = attention_mask
        if mask is None:
            mask = torch.cat((before, torch.ones(b, s, dtype=torch.int64)), dim=1)
        lengths = mask.sum(dim=1).tolist()
        assert b <= USERS, f"{b} rows; the batch is {USERS}"
        assert max(lengths) <= self.length, f"{max(lengths)} tokens; the cache has {self.length}"
        if past_key_values is None:
            logits = self.prefill(input_ids, mask.bool())
        else:
            assert s == 1, "after the prompts, a token at a time"
            active = mask[:, -1].tolist()
            logits = self.decode(
                input_ids[:, 0].tolist(),
                [n - 1 if on else -1 for n, on in zip(lengths, active, strict=True)],
            )
        return SimpleNamespace(logits=logits, past_key_values=mask if use_cache else None)

    def upload(self, numbers, dtype):
        return ttnn.from_torch(
            torch.tensor(numbers, dtype=torch.int32), dtype=dtype, device=self.device
        )

    def prefill(self, ids, mask):
        """Logits [B, S, V] of prompts, zeros where the mask [B, S] is."""
        s = -(-ids.shape[1] // TILE) * TILE
        tokens = torch.zeros(USERS, s, dtype=torch.int32)
        for row, (line, present) in enumerate(zip(ids, mask, strict=True)):
            tokens[row, : present.sum()] = line[present]
        tokens = self.upload(tokens.tolist(), ttnn.uint32)
        x = ttnn.embedding(tokens, self.embedding, layout=ttnn.TILE_LAYOUT)
        x = ttnn.reshape(x, (USERS, 1, s, self.config.hidden_size))
        positions = self.upload([list(range(s))], ttnn.uint32)
        rope = [
            ttnn.unsqueeze_to_4D(ttnn.embedding(positions, t, layout=ttnn.TILE_LAYOUT))
            for t in self.cos_sin
        ]
        used = [row for row, present in enumerate(mask) if present.any()]
        for layer in self.layers:
            x = layer(x, layer.prefill, rope, used)
        computed = ttnn.to_torch(self.logits(x))[:, 0].float()
        logits = torch.zeros(*ids.shape, computed.shape[-1])
        for row, present in enumerate(mask):
            logits[row, present] = computed[row, : present.sum()]
        return logits

    def decode(self, tokens, positions):
        """Logits [B, 1, V] of a token of each row at its position, zeros where that is -1."""
        idle = USERS - len(tokens)
        where = self.upload(positions + [-1] * idle, ttnn.int32)
        tokens = self.upload([tokens + [0] * idle], ttnn.uint32)
        x = ttnn.unsqueeze_to_4D(ttnn.embedding(tokens, self.embedding, layout=ttnn.TILE_LAYOUT))
        rows = self.upload([[max(p, 0)] for p in positions] + [[0]] * idle, ttnn.uint32)
        rope = [
            ttnn.to_memory_config(
                ttnn.unsqueeze(ttnn.embedding(rows, t, layout=ttnn.TILE_LAYOUT), 0),
                self.layers[0].a_user_per_core,
            )
            for t in self.cos_sin
        ]  # [1, 8, 1, D]
        for layer in self.layers:
            x = layer(x, layer.decode, rope, where)
        computed = ttnn.to_torch(self.logits(x))[0, 0].float()
        present = torch.tensor(positions) >= 0
        return torch.where(present[:, None], computed[: len(positions)], 0.0)[:, None]

    def logits(self, x):
        return ttnn.linear(
            ttnn.rms_norm(x, weight=self.norm, epsilon=self.config.rms_norm_eps), self.head
        )


class ArceeLayer:
    """x + attention, x + MLP: down(relu(up)^2), without a gate. The cache is [8, K, C, D]."""

    def __init__(self, config, weights, number, device, length):
        def get(name):
            return weights[f"model.layers.{number}.{name}.weight"]

        self.n, self.k, self.d = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        self.eps = config.rms_norm_eps
        self.qkv = replicate(torch.cat([get(f"self_attn.{name}_proj") for name in "qkv"]).T, device)
        self.out = replicate(get("self_attn.o_proj").T, device)
        self.up, self.down = (
            replicate(get(f"mlp.{name}_proj").T, device) for name in ("up", "down")
        )
        self.before_attention = replicate(get("input_layernorm")[None], device)
        self.before_mlp = replicate(get("post_attention_layernorm")[None], device)
        empty = torch.zeros(USERS, self.k, length, self.d)
        self.keys, self.values = replicate(empty, device), replicate(empty, device)
        self.a_user_per_core = ttnn.create_sharded_memory_config(
            (TILE, self.d),
            ttnn.num_cores_to_corerangeset(
                USERS, device.compute_with_storage_grid_size(), row_wise=True
            ),
            ttnn.ShardStrategy.HEIGHT,
            use_height_and_width_as_shard_shape=True,
        )

    def __call__(self, x, attend, rope, users):
        h = ttnn.rms_norm(x, weight=self.before_attention, epsilon=self.eps)
        x = ttnn.add(x, ttnn.linear(attend(ttnn.linear(h, self.qkv), rope, users), self.out))
        h = ttnn.rms_norm(x, weight=self.before_mlp, epsilon=self.eps)
        h = ttnn.square(ttnn.linear(h, self.up, activation="relu"))
        return ttnn.add(x, ttnn.linear(h, self.down))

    def prefill(self, qkv, rope, users):
        """[8, 1, S, (N + 2 K) D] -> [8, 1, S, N D]; the cache rows of `users` are filled."""
        q, k, v = ttnn.experimental.nlp_create_qkv_heads(
            qkv, num_heads=self.n, num_kv_heads=self.k, transpose_k_heads=False
        )
        q, k = (ttnn.experimental.rotary_embedding(t, *rope) for t in (q, k))
        for user in users:
            for cache, new in ((self.keys, k), (self.values, v)):
                one = ttnn.slice(new, [user, 0, 0, 0], [user + 1, self.k, new.shape[2], self.d])
                ttnn.kv_cache.fill_cache_for_user_(cache, one, user)
        y = ttnn.transformer.scaled_dot_product_attention(q, k, v, is_causal=True)
        return ttnn.experimental.nlp_concat_heads(y)

    def decode(self, qkv, rope, where):
        """[1, 1, 8, (N + 2 K) D] -> [1, 1, 8, N D]; a row of each user's cache is written."""
        q, k, v = ttnn.experimental.nlp_create_qkv_heads_decode(
            qkv, num_heads=self.n, num_kv_heads=self.k
        )
        q, k = (
            ttnn.experimental.rotary_embedding_hf(t, *rope, is_decode_mode=True) for t in (q, k)
        )
        ttnn.experimental.paged_update_cache(self.keys, k, update_idxs_tensor=where)
        ttnn.experimental.paged_update_cache(self.values, v, update_idxs_tensor=where)
        y = ttnn.transformer.scaled_dot_product_attention_decode(
            ttnn.to_memory_config(q, ttnn.DRAM_MEMORY_CONFIG),
            self.keys,
            self.values,
            cur_pos_tensor=where,
        )  # [1, 8, N, D]
        y = ttnn.experimental.nlp_concat_heads_decode(
            ttnn.to_memory_config(y, self.a_user_per_core), num_heads=self.n
        )  # [1, 1, 32, N D], of which 8 rows are users
        y = ttnn.to_memory_config(y, ttnn.DRAM_MEMORY_CONFIG)
        return ttnn.slice(y, [0, 0, 0, 0], [1, 1, USERS, self.n * self.d])

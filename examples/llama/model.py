"""Llama in TTNN on an n150, plain: any LlamaForCausalLM that fits the card, in bfloat16.

B rows of the batch, S positions of a prompt in whole tiles of 32, C positions of the cache,
H hidden, N heads, K key and value heads, D head_dim, V vocabulary.
"""

from types import SimpleNamespace

import torch
import ttnn

TILE = 32
BATCH = 8  # rows of the cache; a decode step computes all of them


def check_config(config):
    """Refuse, before any weight is read, what this file does not compute."""
    if config.model_type != "llama" or config.hidden_act != "silu":
        raise ValueError(f"{config.model_type} with {config.hidden_act}: this is llama with silu.")
    if config.head_dim % (2 * TILE):
        raise ValueError(f"head_dim {config.head_dim}: rotary_embedding takes multiples of 64.")
    if config.rope_parameters["rope_type"] in ("dynamic", "longrope"):
        raise ValueError("rope factors that change with the length of a sequence are not computed.")


def build_model(hf_model, tt_device, max_seq_len):
    """What eval.py, drift and the suite call. `hf_model` is LlamaForCausalLM on the CPU."""
    check_config(hf_model.config)
    with torch.no_grad():
        return TtLlama(hf_model, tt_device, -(-max_seq_len // TILE) * TILE)


def put(tensor, device, layout=ttnn.TILE_LAYOUT):
    return ttnn.from_torch(tensor, dtype=ttnn.bfloat16, layout=layout, device=device)


class Linear:
    """y = x W^T + b; the results of several modules lie side by side."""

    def __init__(self, device, *modules):
        self.weight = put(torch.cat([module.weight for module in modules]).T, device)
        biases = [module.bias for module in modules if module.bias is not None]
        self.bias = put(torch.cat(biases)[None], device) if biases else None

    def __call__(self, x):
        return ttnn.linear(x, self.weight, bias=self.bias)


class RMSNorm:
    def __init__(self, device, module):
        self.weight, self.epsilon = put(module.weight[None], device), module.variance_epsilon

    def __call__(self, x):
        return ttnn.rms_norm(x, weight=self.weight, epsilon=self.epsilon)


class Attention:
    """Grouped queries: N / K query heads share a key and value head. The cache is [B, K, C, D]."""

    def __init__(self, device, module, length):
        n, k = module.config.num_attention_heads, module.config.num_key_value_heads
        self.heads, self.width = {"num_heads": n, "num_kv_heads": k}, n * module.head_dim
        self.qkv = Linear(device, module.q_proj, module.k_proj, module.v_proj)
        self.out = Linear(device, module.o_proj)
        empty = torch.zeros(BATCH, k, length, module.head_dim)
        self.keys, self.values = put(empty, device), put(empty, device)

    def prefill(self, x, cos, sin):  # [B, 1, S, H]
        """A prompt. Its keys and values begin the cache; the causal mask hides what fills tiles."""
        q, k, v = ttnn.experimental.nlp_create_qkv_heads(
            self.qkv(x), **self.heads, transpose_k_heads=False
        )  # [B, N, S, D], [B, K, S, D], [B, K, S, D]
        q, k = (ttnn.experimental.rotary_embedding(t, cos, sin) for t in (q, k))
        rows, *shape = k.shape
        for cache, new in ((self.keys, k), (self.values, v)):
            for row in range(rows):
                one = ttnn.slice(new, [row, 0, 0, 0], [row + 1, *shape])
                ttnn.fill_cache(cache, one, batch_idx=row)
        y = ttnn.transformer.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(ttnn.experimental.nlp_concat_heads(y))

    def decode(self, x, cos, sin, positions):  # [1, 1, B, H]
        """A token of each row at its position, int32 [B], with the cache up to there."""
        q, k, v = ttnn.experimental.nlp_create_qkv_heads_decode(self.qkv(x), **self.heads)
        row_per_core = ttnn.create_sharded_memory_config(
            (TILE, q.shape[3]),
            q.memory_config().shard_spec.grid,
            ttnn.ShardStrategy.HEIGHT,
            use_height_and_width_as_shard_shape=True,
        )
        rope = [ttnn.to_memory_config(t, row_per_core) for t in (cos, sin)]
        rotate = ttnn.experimental.rotary_embedding_hf
        q, k = (rotate(t, *rope, is_decode_mode=True) for t in (q, k))  # [1, B, N, D]
        for cache, new in ((self.keys, k), (self.values, v)):
            ttnn.experimental.paged_update_cache(cache, new, update_idxs_tensor=positions)
        q = ttnn.to_memory_config(q, ttnn.DRAM_MEMORY_CONFIG)
        y = ttnn.transformer.scaled_dot_product_attention_decode(
            q, self.keys, self.values, cur_pos_tensor=positions
        )  # [1, B, N, D]
        return self.out(ttnn.reshape(y, (1, 1, BATCH, self.width)))


class Layer:
    def __init__(self, device, module, length):
        self.norms = [
            RMSNorm(device, norm)
            for norm in (module.input_layernorm, module.post_attention_layernorm)
        ]
        self.attention = Attention(device, module.self_attn, length)
        parts = (module.mlp.gate_proj, module.mlp.up_proj, module.mlp.down_proj)
        self.gate, self.up, self.down = (Linear(device, part) for part in parts)

    def __call__(self, x, attend, *where):
        x = ttnn.add(x, attend(self.attention, self.norms[0](x), *where))
        h = self.norms[1](x)
        return ttnn.add(x, self.down(ttnn.multiply(ttnn.silu(self.gate(h)), self.up(h))))


class TtLlama:
    """Called as LlamaForCausalLM is, with rows of equal length and without padding.

    `past_key_values` is how many positions the one cache holds; a call without it begins anew.
    """

    def __init__(self, hf_model, device, length):
        llama, row_major = hf_model.model, ttnn.ROW_MAJOR_LAYOUT  # of what rows are looked up in
        self.device, self.length = device, length
        self.embedding = put(llama.embed_tokens.weight, device, row_major)  # [V, H]
        # cos and sin [C, D] by Hugging Face's own module, whatever the kind of rope
        tables = llama.rotary_emb(torch.zeros(1), torch.arange(length)[None])
        self.tables = [put(table[0], device, row_major) for table in tables]
        self.layers = [Layer(device, module, length) for module in llama.layers]
        self.norm, self.head = RMSNorm(device, llama.norm), Linear(device, hf_model.lm_head)

    def __call__(self, input_ids, past_key_values=None, use_cache=True):  # [B, S]
        (rows, new), start = input_ids.shape, past_key_values or 0
        if rows > BATCH or start + new > self.length:
            given = f"{rows} rows of {start + new} positions"
            raise ValueError(f"{given}; the cache has {BATCH} of {self.length}.")
        if start:  # what follows a prompt is decoded, token by token
            steps = [self.decode(input_ids[:, i], start + i) for i in range(new)]
            logits = torch.stack(steps, dim=1)
        else:
            logits = self.prefill(input_ids)
        return SimpleNamespace(logits=logits, past_key_values=start + new)

    def prefill(self, ids):  # [B, S] -> [B, S, V]
        given = ids.shape[1]
        ids = torch.nn.functional.pad(ids, (0, -given % TILE))
        x = ttnn.unsqueeze(self.rows(ids, self.embedding), 1)  # [B, 1, S, H]
        at = torch.arange(ids.shape[1])[None]
        rope = [ttnn.unsqueeze(self.rows(at, table), 1) for table in self.tables]  # [1, 1, S, D]
        for layer in self.layers:
            x = layer(x, Attention.prefill, *rope)
        return self.logits(x)[:, 0, :given]

    def decode(self, ids, position):  # [B] -> [B, V]
        given = len(ids)
        ids = torch.nn.functional.pad(ids, (0, BATCH - given))
        at = torch.where(torch.arange(BATCH) < given, position, -1)  # -1: a row that is skipped
        x = ttnn.unsqueeze(self.rows(ids[None], self.embedding), 0)  # [1, 1, B, H]
        places = at.clamp(min=0)[:, None]
        rope = [ttnn.unsqueeze(self.rows(places, t), 0) for t in self.tables]  # [1, B, 1, D]
        positions = ttnn.from_torch(at.int(), dtype=ttnn.int32, device=self.device)
        for layer in self.layers:
            x = layer(x, Attention.decode, *rope, positions)
        return self.logits(x)[0, 0, :given]

    def rows(self, numbers, table):  # [A, S] -> [A, S, width]
        numbers = ttnn.from_torch(numbers.int(), dtype=ttnn.uint32, device=self.device)
        return ttnn.embedding(numbers, table, layout=ttnn.TILE_LAYOUT)

    def logits(self, x):
        return ttnn.to_torch(self.head(self.norm(x))).float()

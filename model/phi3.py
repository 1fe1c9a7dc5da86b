"""Phi-3 in TTNN: from token ids to logits without leaving the device."""

from collections.abc import Mapping

import torch
import ttnn

from .cache import KVCache, slot_positions, to_slots
from .compute import NORMS, linear, linear_weight, to_device
from .config import TILE, ModelConfig
from .rope import RotaryEmbedding


class Phi3:
    """The whole model, one sequence at a time.

    `weights` maps Hugging Face's parameter names to host tensors and is asked for each name
    once, in the order of the layers; nothing of it is kept.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, torch.Tensor],
        max_seq_len: int,
        cache_len: int,
        device,
    ):
        self.config = config
        self.device = device
        embedding = "model.embed_tokens.weight"
        self.embedding = to_device(weights[embedding], device, ttnn.ROW_MAJOR_LAYOUT)  # [V, H]
        rope = RotaryEmbedding(config.rope, config.head_dim, max_seq_len, cache_len, device)
        self.layers = [
            DecoderLayer(
                config, weights, f"model.layers.{i}.", rope, KVCache(config, cache_len, device)
            )
            for i in range(config.n_layers)
        ]
        self.norm = RMSNorm(weights["model.norm.weight"], config.norm_eps, device)
        head = embedding if config.tie_word_embeddings else "lm_head.weight"
        self.lm_head = linear_weight(weights[head], device)  # [H, V]

    def prefill(self, ids: torch.Tensor, keep: int) -> torch.Tensor:
        """Logits [keep, V] of the last `keep` of ids [S], which become positions 0..S-1.

        The sequence is filled up to whole tiles with token 0. These rows come last, so the
        causal mask hides them from the others; what they leave in the cache lies beyond the
        positions that decode reads until it has overwritten it.
        """
        seq_len = len(ids)
        padded = -(-seq_len // TILE) * TILE
        x = self._embed(torch.nn.functional.pad(ids, (0, padded - seq_len)))  # [1, 1, S, H]
        for layer in self.layers:
            x = layer.prefill(x)
        start = (seq_len - keep) // TILE * TILE  # lm_head only on the tiles that are asked for
        x = ttnn.slice(x, [0, 0, start, 0], [1, 1, padded, self.config.hidden_size])
        return self._logits(x)[seq_len - keep - start : seq_len - start]

    def decode(self, token: torch.Tensor, position: int) -> torch.Tensor:
        """Logits [1, V] after token [1] at `position`."""
        positions = slot_positions(position, self.device)
        x = self._embed(token)  # [1, 1, 1, H]
        for layer in self.layers:
            x = layer.decode(x, position, positions)
        return self._logits(x)

    def _embed(self, ids: torch.Tensor) -> ttnn.Tensor:
        ids = ttnn.from_torch(ids[None].to(torch.int32), dtype=ttnn.uint32, device=self.device)
        x = ttnn.embedding(ids, self.embedding, layout=ttnn.TILE_LAYOUT)  # [1, S, H]
        return ttnn.unsqueeze_to_4D(x)

    def _logits(self, x: ttnn.Tensor) -> torch.Tensor:  # [1, 1, S, H]
        return ttnn.to_torch(linear(self.norm(x), self.lm_head))[0, 0]  # [S, V]


class DecoderLayer:
    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, torch.Tensor],
        prefix: str,
        rope: RotaryEmbedding,
        cache: KVCache,
    ):
        device = cache.device
        eps = config.norm_eps
        self.input_norm = RMSNorm(weights[f"{prefix}input_layernorm.weight"], eps, device)
        self.attention = Attention(config, weights, f"{prefix}self_attn.", rope, cache)
        self.mlp_norm = RMSNorm(weights[f"{prefix}post_attention_layernorm.weight"], eps, device)
        self.mlp = MLP(weights, f"{prefix}mlp.", device)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:  # [1, 1, S, H]
        h = ttnn.add(x, self.attention.prefill(self.input_norm(x)))
        return ttnn.add(h, self.mlp(self.mlp_norm(h)))

    def decode(self, x, position: int, positions: ttnn.Tensor) -> ttnn.Tensor:  # [1, 1, 1, H]
        h = ttnn.add(x, self.attention.decode(self.input_norm(x), position, positions))
        return ttnn.add(h, self.mlp(self.mlp_norm(h)))


class Attention:
    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, torch.Tensor],
        prefix: str,
        rope: RotaryEmbedding,
        cache: KVCache,
    ):
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        self.head_dim = config.head_dim
        self.scale = config.head_dim**-0.5
        self.rope = rope
        self.cache = cache
        self.wqkv = linear_weight(weights[f"{prefix}qkv_proj.weight"], cache.device)
        self.wo = linear_weight(weights[f"{prefix}o_proj.weight"], cache.device)

    def prefill(self, x: ttnn.Tensor) -> ttnn.Tensor:  # [1, 1, S, H]
        qkv = linear(x, self.wqkv)  # [1, 1, S, (N + 2K) D]
        q, k, v = ttnn.experimental.nlp_create_qkv_heads(
            qkv,
            num_heads=self.n_heads,
            num_kv_heads=self.n_kv_heads,
            transpose_k_heads=False,
        )  # [1, N, S, D], [1, K, S, D], [1, K, S, D]
        q, k = self.rope.prefill(q), self.rope.prefill(k)
        self.cache.fill(k, v)
        y = ttnn.transformer.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=self.scale
        )  # [1, N, S, D]
        y = ttnn.experimental.nlp_concat_heads(y)  # [1, 1, S, N D]
        return linear(y, self.wo)  # [1, 1, S, H]

    def decode(self, x, position: int, positions: ttnn.Tensor) -> ttnn.Tensor:  # [1, 1, 1, H]
        qkv = linear(x, self.wqkv)  # [1, 1, 1, (N + 2K) D]
        q, k, v = ttnn.experimental.nlp_create_qkv_heads_decode(
            qkv,
            num_heads=self.n_heads,
            num_kv_heads=self.n_kv_heads,
            memory_config=ttnn.L1_HEIGHT_SHARDED_MEMORY_CONFIG,
        )  # [1, 1, N, D], [1, 1, K, D], [1, 1, K, D]
        q, k = self.rope.decode(q, position), self.rope.decode(k, position)
        self.cache.update(k, v, positions)
        y = ttnn.transformer.scaled_dot_product_attention_decode(
            to_slots(q),
            self.cache.keys,
            self.cache.values,
            cur_pos_tensor=positions,
            scale=self.scale,
        )  # [1, 32, N, D], of which slot 0 is defined
        y = ttnn.slice(y, [0, 0, 0, 0], [1, 1, self.n_heads, self.head_dim])
        y = ttnn.reshape(y, (1, 1, 1, self.n_heads * self.head_dim))
        return linear(y, self.wo)  # [1, 1, 1, H]


class MLP:
    def __init__(self, weights: Mapping[str, torch.Tensor], prefix: str, device):
        self.w_gate_up = linear_weight(weights[f"{prefix}gate_up_proj.weight"], device)
        self.w_down = linear_weight(weights[f"{prefix}down_proj.weight"], device)

    def __call__(self, x: ttnn.Tensor) -> ttnn.Tensor:  # [1, 1, S, H]
        gate_up = linear(x, self.w_gate_up)  # [1, 1, S, 2I]
        _, _, seq_len, width = gate_up.shape
        gate = ttnn.slice(gate_up, [0, 0, 0, 0], [1, 1, seq_len, width // 2])
        up = ttnn.slice(gate_up, [0, 0, 0, width // 2], [1, 1, seq_len, width])
        y = ttnn.multiply(gate, up, input_tensor_a_activations=[ttnn.UnaryOpType.SILU])
        return linear(y, self.w_down)  # [1, 1, S, H]


class RMSNorm:
    def __init__(self, weight: torch.Tensor, eps: float, device):
        self.weight = to_device(weight[None, None, None], device)  # [1, 1, 1, H]
        self.eps = eps

    def __call__(self, x: ttnn.Tensor) -> ttnn.Tensor:  # [1, 1, S, H]
        return ttnn.rms_norm(x, weight=self.weight, epsilon=self.eps, compute_kernel_config=NORMS)

"""Phi-3 in TTNN: from token ids to logits without leaving the device.

B batch, S sequence, H hidden, N heads, K kv heads, D head_dim, I intermediate, V vocabulary,
C cache length. A prompt is prefilled alone, as [1, 1, S, H] in DRAM; a decode step takes a token
of each row of the batch, as [1, 1, B, H] in L1. Results stay in the memory their input is in.
"""

from dataclasses import dataclass

import torch
import ttnn
from tqdm import tqdm

from .cache import PAGE, SKIP, KVCache, page_table
from .config import TILE, ModelConfig
from .precision import Precision, Product, kernel
from .rope import RotaryEmbedding, pairs
from .weights import DeviceWeights

CHUNK = 1024  # positions of a prompt that are prefilled at once: what bounds the activations
ATTENTION_CHUNK = (
    128  # queries and keys that attention takes at once; a prefill begins at a multiple
)
EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True)
class Chunk:
    """Where a piece of a prompt stands, on the device."""

    cos_sin: list[ttnn.Tensor]  # [1, 1, S, D] each
    start: ttnn.Tensor  # int32 [1], its first position
    pages: ttnn.Tensor  # int32 [1, S / 32], its own pages
    row_pages: ttnn.Tensor  # int32 [1, C / 32], all pages of its row of the batch

    @classmethod
    def at(cls, first: int, seq_len: int, long: bool, rope, row_pages: torch.Tensor, device):
        """Positions first, first + 1, ... first + S - 1, in whole tiles."""
        rows = [rope.row(p, long) for p in range(first, first + seq_len)]
        pages = row_pages[None, first // PAGE : (first + seq_len) // PAGE]
        return cls(
            cos_sin=rope.prefill_rows(ints([rows], ttnn.uint32, device)),
            start=ints([first], device=device),
            pages=ints(pages, device=device),
            row_pages=ints(row_pages[None], device=device),
        )


@dataclass(frozen=True)
class Step:
    """Where the tokens of a decode step stand, on the device."""

    cos_sin: list[ttnn.Tensor]  # [1, 2 B, 32, D] each
    positions: ttnn.Tensor  # int32 [B]
    pages: ttnn.Tensor  # int32 [B, C / 32]


class Phi3:
    """The whole model.

    `weights` maps Hugging Face's parameter names to host tensors and is asked for each name
    once, in the order of the layers; nothing of it is kept. With `trace` the second decode step is
    captured, and `decode` executes the trace from then on.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: DeviceWeights,
        batch: int,
        cache_len: int,
        precision: Precision,
        trace: bool = False,
    ):
        self.config, self.batch, self.device = config, batch, weights.device
        self.trace = trace
        embedding = weights[EMBEDDING]
        self.embedding = weights.place(embedding, layout=ttnn.ROW_MAJOR_LAYOUT)  # [V, H]
        head = embedding if config.tie_word_embeddings else None
        del embedding
        self.rope = RotaryEmbedding(config.rope, config.head_dim, batch, cache_len, self.device)
        layers = tqdm(range(config.n_layers), "Loading", unit="layer", disable=None, leave=False)
        self.layers = [
            DecoderLayer(
                config,
                weights,
                f"model.layers.{i}.",
                self.rope,
                KVCache(config, batch, cache_len, precision.cache, self.device),
                precision,
            )
            for i in layers
        ]
        self.norm = RMSNorm(weights, "model.norm.weight", config.norm_eps)
        head = weights["lm_head.weight"] if head is None else head
        self.lm_head = Linear(weights, head, precision.lm_head)  # [H, V]

        self.host_pages = page_table(batch, cache_len)
        self.pages = ints(self.host_pages, device=self.device)
        # What a decode step reads; it counts the positions on, so that only tokens are sent for one.
        self.tokens = ints(torch.zeros(1, batch), ttnn.uint32, self.device)
        self.positions = ints(torch.zeros(batch), device=self.device)
        self.rope_ids = ints(self.rope.decode_ids([0] * batch), ttnn.uint32, self.device)
        self.placed = None  # (positions, which sequences are long) that the device stands at
        self.compiled, self.captured = False, None  # a step; (id, logits) of its trace

    def prefill(self, tokens: list[int], row: int, start: int, keep: int) -> torch.Tensor:
        """Logits [keep, V] of the last `keep` of a sequence's tokens, which fill a row of the cache.

        Positions before `start`, a multiple of ATTENTION_CHUNK, are in the cache already. The last
        chunk is filled up to whole tiles with token 0. These rows come last, so the causal mask
        hides them from the others; what they leave in the cache lies beyond the positions that
        decode reads until it has overwritten it.
        """
        self.placed = None
        logits = []
        for first in range(start, len(tokens), CHUNK):
            end = min(first + CHUNK, len(tokens))
            x = self._prefill_chunk(tokens, row, first, end)  # [1, 1, S, H]
            wanted = max(first, len(tokens) - keep)
            if wanted < end:
                logits.append(self._last_logits(x, wanted - first, end - first))
        return torch.cat(logits)

    def _prefill_chunk(self, tokens, row, first, end) -> ttnn.Tensor:
        ids = tokens[first:end] + [0] * (-(end - first) % TILE)
        long = self.rope.is_long(len(tokens))
        chunk = Chunk.at(first, len(ids), long, self.rope, self.host_pages[row], self.device)
        x = self._embed(ints([ids], ttnn.uint32, self.device), ttnn.DRAM_MEMORY_CONFIG)
        for layer in self.layers:
            x = layer.prefill(x, chunk)
        return x

    def _last_logits(self, x: ttnn.Tensor, first: int, end: int) -> torch.Tensor:
        """Logits [end - first, V] of rows of x [1, 1, S, H]: lm_head on them alone."""
        _, _, _, width = x.shape
        x = ttnn.slice(x, [0, 0, first, 0], [1, 1, end, width])
        return ttnn.to_torch(self._logits(x))[0, 0]

    def decode(self, tokens: list[int], positions: list[int], long: list[bool]) -> torch.Tensor:
        """Logits [B, V] after a token for each row, at its position; a row at SKIP has none.

        `long` says which sequences take the long rope factors.
        """
        if self.placed != (positions, long):
            self._place(positions, long)
        ttnn.copy_host_to_device_tensor(ints([tokens], ttnn.uint32), self.tokens)
        logits = ttnn.to_torch(self._step())[0, 0]
        self.placed = [p if p == SKIP else p + 1 for p in positions], long
        return logits

    def _step(self) -> ttnn.Tensor:
        """`decode_step`, or the trace of it: a capture takes programs that are compiled already."""
        if not self.trace or not self.compiled:
            self.compiled = True
            return self.decode_step()
        if self.captured is None:
            trace_id = ttnn.begin_trace_capture(self.device, cq_id=0)
            self.captured = trace_id, self.decode_step()
            ttnn.end_trace_capture(self.device, trace_id, cq_id=0)
        trace_id, logits = self.captured
        ttnn.execute_trace(self.device, trace_id, cq_id=0, blocking=False)
        return logits

    def decode_step(self) -> ttnn.Tensor:
        """Logits [1, 1, B, V] after the tokens the device holds, and one position further.

        All of it is on the device and the same program each time, for a trace.
        """
        step = Step(self.rope.decode_rows(self.rope_ids), self.positions, self.pages)
        x = self._embed(self.tokens, ttnn.L1_MEMORY_CONFIG)  # [1, 1, B, H]
        for layer in self.layers:
            x = layer.decode(x, step)
        ttnn.plus_one(self.positions, skip_negative_entries=True)
        ttnn.plus_one(self.rope_ids)
        return self._logits(x)

    def _place(self, positions, long) -> None:
        ttnn.copy_host_to_device_tensor(ints(positions), self.positions)
        rows = [self.rope.row(max(p, 0), is_long) for p, is_long in zip(positions, long)]
        ids = ints(self.rope.decode_ids(rows), ttnn.uint32)
        ttnn.copy_host_to_device_tensor(ids, self.rope_ids)

    def _embed(self, ids: ttnn.Tensor, place) -> ttnn.Tensor:  # [1, S]
        x = ttnn.embedding(ids, self.embedding, layout=ttnn.TILE_LAYOUT, memory_config=place)
        return ttnn.unsqueeze_to_4D(x)  # [1, 1, S, H]

    def _logits(self, x: ttnn.Tensor) -> ttnn.Tensor:  # [1, 1, S, H]
        return self.lm_head(self.norm(x))  # [1, 1, S, V]


def ints(numbers, dtype=ttnn.int32, device=None) -> ttnn.Tensor:
    """Row-major integers on the device, or on the host."""
    host = ttnn.from_torch(torch.as_tensor(numbers).int(), dtype=dtype)
    return host if device is None else ttnn.to_device(host, device)


class DecoderLayer:
    def __init__(
        self,
        config: ModelConfig,
        weights: DeviceWeights,
        prefix: str,
        rope: RotaryEmbedding,
        cache: KVCache,
        precision: Precision,
    ):
        eps = config.norm_eps
        self.input_norm = RMSNorm(weights, f"{prefix}input_layernorm.weight", eps)
        self.attention = Attention(config, weights, f"{prefix}self_attn.", rope, cache, precision)
        self.mlp_norm = RMSNorm(weights, f"{prefix}post_attention_layernorm.weight", eps)
        self.mlp = MLP(weights, f"{prefix}mlp.", precision)

    def prefill(self, x: ttnn.Tensor, chunk: Chunk) -> ttnn.Tensor:  # [1, 1, S, H]
        h = ttnn.add(x, self.attention.prefill(self.input_norm(x), chunk))
        return ttnn.add(h, self.mlp(self.mlp_norm(h)))

    def decode(self, x: ttnn.Tensor, step: Step) -> ttnn.Tensor:  # [1, 1, B, H]
        h = ttnn.add(x, self.attention.decode(self.input_norm(x), step))
        return ttnn.add(h, self.mlp(self.mlp_norm(h)))


class Attention:
    def __init__(
        self,
        config: ModelConfig,
        weights: DeviceWeights,
        prefix: str,
        rope: RotaryEmbedding,
        cache: KVCache,
        precision: Precision,
    ):
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        self.scale = config.head_dim**-0.5
        self.rope = rope
        self.cache = cache
        wqkv = _rotary_order(weights[f"{prefix}qkv_proj.weight"], config)
        self.wqkv = Linear(weights, wqkv, precision.qkv)
        self.wo = Linear(weights, weights[f"{prefix}o_proj.weight"], precision.o)
        self.precision = precision.attention
        self.grid = weights.device.compute_with_storage_grid_size()

    def prefill(self, x: ttnn.Tensor, chunk: Chunk) -> ttnn.Tensor:  # [1, 1, S, H]
        q, k, v = ttnn.experimental.nlp_create_qkv_heads(
            self.wqkv(x),  # [1, 1, S, (N + 2K) D]
            num_heads=self.n_heads,
            num_kv_heads=self.n_kv_heads,
            transpose_k_heads=False,
        )  # [1, N, S, D], [1, K, S, D], [1, K, S, D]
        q, k = (self.rope.prefill(t, chunk.cos_sin) for t in (q, k))
        self.cache.fill(k, v, chunk.pages)
        seq_len = q.shape[2]
        # ttnn 0.81.1 takes no scale here, which by itself is D^-0.5
        y = ttnn.transformer.chunked_scaled_dot_product_attention(
            input_tensor_q=q,
            input_tensor_k=self.cache.keys,
            input_tensor_v=self.cache.values,
            page_table_tensor=chunk.row_pages,
            chunk_start_idx_tensor=chunk.start,
            **self._kernel(min(ATTENTION_CHUNK, seq_len & -seq_len)),  # a divisor
        )  # [1, N, S, D]
        return self.wo(ttnn.experimental.nlp_concat_heads(y))  # [1, 1, S, H]

    def decode(self, x: ttnn.Tensor, step: Step) -> ttnn.Tensor:  # [1, 1, B, H]
        q, k, v = ttnn.experimental.nlp_create_qkv_heads_decode(
            self.wqkv(x),  # [1, 1, B, (N + 2K) D]
            num_heads=self.n_heads,
            num_kv_heads=self.n_kv_heads,
        )  # [1, B, N, D], [1, B, K, D], [1, B, K, D], a core for each row of the batch
        q, k = self.rope.decode(q, k, step.cos_sin)
        self.cache.update(k, v, step.positions, step.pages)
        y = ttnn.transformer.paged_scaled_dot_product_attention_decode(
            q,
            self.cache.keys,
            self.cache.values,
            step.pages,
            cur_pos_tensor=step.positions,
            scale=self.scale,
            memory_config=x.memory_config(),
            **self._kernel(ATTENTION_CHUNK),
        )  # [1, B, N, D]
        _, batch, heads, head_dim = y.shape
        y = ttnn.reshape(y, (1, 1, batch, heads * head_dim), memory_config=x.memory_config())
        return self.wo(y)  # [1, 1, B, H]

    def _kernel(self, chunk: int) -> dict:
        return {
            "program_config": ttnn.SDPAProgramConfig(
                compute_with_storage_grid_size=self.grid,
                q_chunk_size=chunk,
                k_chunk_size=chunk,
                exp_approx_mode=not self.precision.exact_exp,
            ),
            "compute_kernel_config": kernel(self.precision.fidelity, self.precision.fp32_sums),
        }


def _rotary_order(wqkv: torch.Tensor, config: ModelConfig) -> torch.Tensor:
    """[(N + 2K) D, H] with the rows of queries and keys in the rotary kernel's order."""
    heads = torch.arange(len(wqkv)).reshape(-1, config.head_dim)
    rotated = config.n_heads + config.n_kv_heads
    heads[:rotated] = heads[:rotated][:, pairs(config.head_dim)]
    return wqkv[heads.flatten()]


class MLP:
    def __init__(self, weights: DeviceWeights, prefix: str, precision: Precision):
        gate, up = weights[f"{prefix}gate_up_proj.weight"].chunk(2)
        self.w_gate = Linear(weights, gate, precision.gate_up)
        self.w_up = Linear(weights, up, precision.gate_up)
        del gate, up
        self.w_down = Linear(weights, weights[f"{prefix}down_proj.weight"], precision.down)

    def __call__(self, x: ttnn.Tensor) -> ttnn.Tensor:  # [1, 1, S, H]
        gate, up = self.w_gate(x), self.w_up(x)  # [1, 1, S, I]
        y = ttnn.multiply(gate, up, input_tensor_a_activations=[ttnn.UnaryOpType.SILU])
        return self.w_down(y)  # [1, 1, S, H]


class Linear:
    def __init__(self, weights: DeviceWeights, weight: torch.Tensor, product: Product):
        self.weight = weights.linear(weight, product.weights)
        self.kernel = kernel(product.fidelity, product.fp32_sums)

    def __call__(self, x: ttnn.Tensor) -> ttnn.Tensor:
        return ttnn.linear(
            x,
            self.weight,
            dtype=ttnn.bfloat16,
            compute_kernel_config=self.kernel,
            memory_config=x.memory_config(),
        )


class RMSNorm:
    KERNEL = kernel(ttnn.MathFidelity.HiFi4)

    def __init__(self, weights: DeviceWeights, name: str, eps: float):
        self.weight = weights.place(weights[name][None, None, None])  # [1, 1, 1, H]
        self.eps = eps

    def __call__(self, x: ttnn.Tensor) -> ttnn.Tensor:  # [1, 1, S, H]
        return ttnn.rms_norm(
            x, weight=self.weight, epsilon=self.eps, compute_kernel_config=self.KERNEL
        )

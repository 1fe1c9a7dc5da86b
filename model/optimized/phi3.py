"""Phi-3 in TTNN: from token ids to logits on the device.

B batch, S sequence, H hidden, N heads, K kv heads, D head_dim, I intermediate, V vocabulary,
C cache length; of several chips, N, K, I and V are each one's own. A prompt is prefilled alone, as
[1, 1, S, H] in DRAM; a decode step takes a token of each row of the batch, as [1, 1, B, H] in L1.
Results stay in the memory their input is in.
"""

import functools

import torch
import ttnn
from tqdm import tqdm

from ..config import TILE, ModelConfig
from ..weights import DeviceWeights
from .cache import KVCache
from .positions import Chunk, DecodeState, Step, ints
from .precision import AttentionPrecision, MatmulPrecision, Precision, compute_config
from .rope import RotaryEmbedding, pairs

CHUNK = 1024  # positions of a prompt that are prefilled at once; bounds the activations' memory
# Queries and keys in a chunk of attention; a prefill begins at a multiple.
ATTENTION_CHUNK = 128


class Phi3:
    """The whole model: what `TTPhi3ForCausalLM` drives.

    `weights` maps Hugging Face's parameter names to host tensors; each is read once, in the order
    of the layers, and not kept. With `trace` the second decode step is captured, and `decode`
    executes the trace from then on.
    """

    prefill_multiple = ATTENTION_CHUNK

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
        self.mesh, own = weights.mesh, config.share(weights.mesh.chips)
        self.trace = trace
        first, last = weights.ends(config.tie_word_embeddings)
        embedding = weights[first]
        self.embedding = weights.place(embedding, layout=ttnn.ROW_MAJOR_LAYOUT)  # [V, H]
        head = embedding if first == last else None
        del embedding
        self.rope = RotaryEmbedding(config.rope, config.head_dim, batch, cache_len, self.device)
        layers = tqdm(range(config.n_layers), "Loading", unit="layer", disable=None, leave=False)
        self.layers = [
            DecoderLayer(
                config,
                weights,
                f"model.layers.{i}.",
                self.rope,
                KVCache(own, batch, cache_len, precision.of_layer(i).cache, self.device),
                precision.of_layer(i),
            )
            for i in layers
        ]
        self.norm = RMSNorm(weights, "model.norm.weight", config.norm_eps)
        head = weights[last] if head is None else head
        head = weights.columns(head, own.vocab_size, precision.lm_head.weights)
        self.lm_head = Linear(head, precision.lm_head)  # [H, V]

        self.state = DecodeState(self.rope, batch, cache_len, self.device)

    def prefill(self, tokens: list[int], row: int, start: int, keep: int) -> torch.Tensor:
        """Logits [keep, V] of the last `keep` of a sequence's tokens, which fill a cache row.

        Positions before `start`, a multiple of ATTENTION_CHUNK, are in the cache already. The last
        chunk is filled up to whole tiles with token 0. These rows come last, so the causal mask
        hides them from the others; what they leave in the cache lies beyond the positions that
        decode reads until it has overwritten it.
        """
        self.state.standing = None
        logits = []
        for first in range(start, len(tokens), CHUNK):
            end = min(first + CHUNK, len(tokens))
            x = self._prefill_chunk(tokens, row, first, end)  # [1, 1, S, H]
            first_returned = max(first, len(tokens) - keep)
            if first_returned < end:
                logits.append(self._last_logits(x, first_returned - first, end - first))
        return torch.cat(logits)

    def _prefill_chunk(self, tokens: list[int], row: int, first: int, end: int) -> ttnn.Tensor:
        ids = tokens[first:end] + [0] * (-(end - first) % TILE)
        long = self.rope.is_long(len(tokens))
        pages = self.state.page_table[row]
        chunk = Chunk.at(first, len(ids), long, self.rope, pages, self.device)
        x = self._embed(ints([ids], ttnn.uint32, self.device), ttnn.DRAM_MEMORY_CONFIG)
        for layer in self.layers:
            x = layer.prefill(x, chunk)
        return x

    def _last_logits(self, x: ttnn.Tensor, first: int, end: int) -> torch.Tensor:
        """Logits [end - first, V] of rows of x [1, 1, S, H]: lm_head on them alone."""
        _, _, _, width = x.shape
        x = ttnn.slice(x, [0, 0, first, 0], [1, 1, end, width])
        return self._on_host(self._logits(x))

    def decode(self, tokens: list[int], positions: list[int]) -> torch.Tensor:
        """Logits [B, V] after a token for each row, at its position; a row at SKIP has none."""
        long = [self.rope.is_long(position + 1) for position in positions]
        self.state.send(tokens, positions, long)
        logits = self._on_host(self._step())
        self.state.stepped(positions, long)
        return logits

    def _step(self) -> ttnn.Tensor:
        """`decode_step`, or its trace once the programs are compiled, as a capture requires."""
        state = self.state
        if not self.trace or not state.compiled:
            logits = self.decode_step()
            state.compiled = True
            return logits
        if state.captured is None:
            trace_id = ttnn.begin_trace_capture(self.device, cq_id=0)
            logits = self.decode_step()
            ttnn.end_trace_capture(self.device, trace_id, cq_id=0)
            state.captured = trace_id, logits
        trace_id, logits = state.captured
        ttnn.execute_trace(self.device, trace_id, cq_id=0, blocking=False)
        return logits

    def turns_long(self, before: int, after: int) -> bool:
        """Whether a sequence that grows takes the long rope factors from there on."""
        return self.rope.is_long(after) and not self.rope.is_long(before)

    def decode_step(self) -> ttnn.Tensor:
        """Logits [1, 1, B, V] after the tokens on the device; advances the positions by one.

        Runs on the device alone, and is the same program each time, so that it can be traced.
        """
        state = self.state
        step = Step(self.rope.decode_rows(state.rope_ids), state.positions, state.pages)
        x = self._embed(state.tokens, ttnn.L1_MEMORY_CONFIG)  # [1, 1, B, H]
        for layer in self.layers:
            x = layer.decode(x, step)
        state.count_on()
        return self._logits(x)

    def _embed(self, ids: ttnn.Tensor, place: ttnn.MemoryConfig) -> ttnn.Tensor:  # [1, S]
        x = ttnn.embedding(ids, self.embedding, layout=ttnn.TILE_LAYOUT, memory_config=place)
        return ttnn.unsqueeze_to_4D(x)  # [1, 1, S, H]

    def _logits(self, x: ttnn.Tensor) -> ttnn.Tensor:  # [1, 1, S, H]
        return self.lm_head(self.norm(x))  # [1, 1, S, V]

    def _on_host(self, logits: ttnn.Tensor) -> torch.Tensor:  # [1, 1, S, V]
        """Those of all chips, [S, V] of the whole vocabulary."""
        return self.mesh.columns(logits)[:, : self.config.vocab_size]


class DecoderLayer:
    """One of `n_layers`: attention and MLP, each after its norm and beside a residual."""

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
        self.mlp = MLP(config, weights, f"{prefix}mlp.", precision)

    def prefill(self, x: ttnn.Tensor, chunk: Chunk) -> ttnn.Tensor:  # [1, 1, S, H]
        h = ttnn.add(x, self.attention.prefill(self.input_norm(x), chunk))
        return ttnn.add(h, self.mlp(self.mlp_norm(h)))

    def decode(self, x: ttnn.Tensor, step: Step) -> ttnn.Tensor:  # [1, 1, B, H]
        h = ttnn.add(x, self.attention.decode(self.input_norm(x), step))
        return ttnn.add(h, self.mlp(self.mlp_norm(h)))


class Attention:
    """Self-attention over a layer's cache, which it fills."""

    def __init__(
        self,
        config: ModelConfig,
        weights: DeviceWeights,
        prefix: str,
        rope: RotaryEmbedding,
        cache: KVCache,
        precision: Precision,
    ):
        self.mesh, own = weights.mesh, config.share(weights.mesh.chips)
        self.n_heads, self.n_kv_heads = own.n_heads, own.n_kv_heads
        self.scale = config.head_dim**-0.5
        self.rope = rope
        self.cache = cache
        wqkv = _rotary_order(weights[f"{prefix}qkv_proj.weight"], config)
        rows = [n * config.head_dim for n in (config.n_heads, config.n_kv_heads, config.n_kv_heads)]
        each = [n * config.head_dim for n in (own.n_heads, own.n_kv_heads, own.n_kv_heads)]
        wqkv = weights.joined(wqkv.split(rows), each, precision.qkv.weights)
        wo = weights.rows(weights[f"{prefix}o_proj.weight"], each[0], precision.o.weights)
        self.wqkv = Linear(wqkv, precision.qkv)  # [H, (N + 2K) D]
        self.wo = Linear(wo, precision.o)  # [N D, H]
        self.precision = precision.attention
        grid = weights.device.compute_with_storage_grid_size()
        self.cores = grid.x, grid.y

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
            **attention_options(
                self.cores,
                min(ATTENTION_CHUNK, seq_len & -seq_len),  # a divisor
                self.precision,
            ),
        )  # [1, N, S, D]
        y = self.wo(ttnn.experimental.nlp_concat_heads(y))
        return self.mesh.sum(y)  # [1, 1, S, H]

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
            **attention_options(self.cores, ATTENTION_CHUNK, self.precision),
        )  # [1, B, N, D]
        _, batch, heads, head_dim = y.shape
        y = ttnn.reshape(y, (1, 1, batch, heads * head_dim), memory_config=x.memory_config())
        return self.mesh.sum(self.wo(y))  # [1, 1, B, H]


@functools.cache
def attention_options(
    cores: tuple[int, int], chunk: int, precision: AttentionPrecision
) -> dict[str, object]:
    """Arguments of both attention ops: how the work is divided, and how exactly it is done."""
    return {
        "program_config": ttnn.SDPAProgramConfig(
            compute_with_storage_grid_size=cores,
            q_chunk_size=chunk,
            k_chunk_size=chunk,
            exp_approx_mode=not precision.exact_exp,
        ),
        "compute_kernel_config": compute_config(precision.fidelity, precision.fp32_dest_acc),
    }


def _rotary_order(wqkv: torch.Tensor, config: ModelConfig) -> torch.Tensor:
    """[(N + 2K) D, H] with the rows of queries and keys in the rotary kernel's order."""
    heads = torch.arange(len(wqkv)).reshape(-1, config.head_dim)
    rotated = config.n_heads + config.n_kv_heads
    heads[:rotated] = heads[:rotated][:, pairs(config.head_dim)]
    return wqkv[heads.flatten()]


class MLP:
    """down(silu(gate(x)) * up(x))."""

    def __init__(
        self, config: ModelConfig, weights: DeviceWeights, prefix: str, precision: Precision
    ):
        self.mesh = weights.mesh
        each = config.share(self.mesh.chips).intermediate_size
        gate, up = weights[f"{prefix}gate_up_proj.weight"].chunk(2)
        self.w_gate, self.w_up = (
            Linear(weights.columns(w, each, asked.weights), asked)
            for w, asked in ((gate, precision.gate), (up, precision.up))
        )  # [H, I]
        down = weights.rows(weights[f"{prefix}down_proj.weight"], each, precision.down.weights)
        self.w_down = Linear(down, precision.down)  # [I, H]

    def __call__(self, x: ttnn.Tensor) -> ttnn.Tensor:  # [1, 1, S, H]
        gate, up = self.w_gate(x), self.w_up(x)  # [1, 1, S, I]
        y = ttnn.multiply(gate, up, input_tensor_a_activations=[ttnn.UnaryOpType.SILU])
        return self.mesh.sum(self.w_down(y))  # [1, 1, S, H]


class Linear:
    """A product with a weight, no bias."""

    def __init__(self, weight: ttnn.Tensor, precision: MatmulPrecision):
        self.weight = weight
        self.compute_config = compute_config(precision.fidelity, precision.fp32_dest_acc)

    def __call__(self, x: ttnn.Tensor) -> ttnn.Tensor:
        return ttnn.linear(
            x,
            self.weight,
            dtype=ttnn.bfloat16,
            compute_kernel_config=self.compute_config,
            memory_config=x.memory_config(),
        )


class RMSNorm:
    """x / sqrt(mean(x^2) + eps) * weight, over the last dimension."""

    COMPUTE_CONFIG = compute_config(ttnn.MathFidelity.HiFi4)

    def __init__(self, weights: DeviceWeights, name: str, eps: float):
        self.weight = weights.place(weights[name][None, None, None])  # [1, 1, 1, H]
        self.eps = eps

    def __call__(self, x: ttnn.Tensor) -> ttnn.Tensor:  # [1, 1, S, H]
        return ttnn.rms_norm(
            x, weight=self.weight, epsilon=self.eps, compute_kernel_config=self.COMPUTE_CONFIG
        )

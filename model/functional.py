"""Phi-3 in TTNN as one first brings it up: plain operations, one file, to be read from the top.

Everything between token ids and logits happens on the device, in bfloat16 and with TTNN's default
compute configurations. A prompt is prefilled alone, as [1, 1, S, H]; a decode step takes one token
of each of the cache's 32 rows, as [1, 1, B, H]. What is not a whole number of tiles is padded to
one and trimmed again.

B batch, S sequence, H hidden, N heads, K kv heads, D head_dim, P padded head_dim, I intermediate,
V vocabulary, C cache length; of several chips, N, K, I and V are each one's own.
"""

from collections.abc import Mapping

import torch
import ttnn
from transformers import PretrainedConfig, PreTrainedModel

from .config import TILE, ModelConfig, RopeConfig
from .generation import TTPhi3ForCausalLM, from_hf_model
from .weights import DeviceWeights

BATCH = TILE  # rows of the cache: a decode step fills a tile with their tokens
MAX_CACHE_SEQ_LEN = 256


def build_model(
    hf_model: PreTrainedModel, tt_device: ttnn.MeshDevice, max_seq_len: int
) -> TTPhi3ForCausalLM:
    """Phi-3 on `tt_device` from a Hugging Face Phi3ForCausalLM on the CPU: see `build`."""
    return from_hf_model(build, hf_model, tt_device, max_seq_len)


def build(
    hf_config: PretrainedConfig,
    weights: Mapping[str, torch.Tensor],
    tt_device: ttnn.MeshDevice,
    max_seq_len: int,
) -> TTPhi3ForCausalLM:
    """Phi-3 on `tt_device` from a configuration and Hugging Face's tensors by their names.

    Args:
        max_seq_len: tokens of a sequence. The cache has 256 positions at most, whatever is asked.

    Raises ValueError for a configuration this bring-up does not compute, and for a missing tensor.
    """
    config = ModelConfig.from_hf(hf_config)
    config.check_length(max_seq_len)
    model = PlainPhi3(config, DeviceWeights(weights, tt_device), max_seq_len)
    return TTPhi3ForCausalLM(hf_config, model, min(max_seq_len, MAX_CACHE_SEQ_LEN))


class PlainPhi3:
    """The whole model: what `TTPhi3ForCausalLM` drives."""

    batch = BATCH
    prefill_multiple = MAX_CACHE_SEQ_LEN  # a prompt is always prefilled from its first token

    def __init__(self, config: ModelConfig, weights: DeviceWeights, max_seq_len: int):
        self.device, self.mesh = weights.device, weights.mesh
        embedding, head = weights.ends(config.tie_word_embeddings)
        self.length = length = min(-(-max_seq_len // TILE) * TILE, MAX_CACHE_SEQ_LEN)
        # [V, H] of the whole vocabulary
        self.embedding = weights.place(weights[embedding], layout=ttnn.ROW_MAJOR_LAYOUT)
        # the longest sequence that takes LongRoPE's short factors
        self.short = config.rope.original_max_position if config.rope.long_factor else length
        # cos and sin, [C, P] of the short factors and behind them [C, P] of the long ones
        tables = [cos_sin(config.rope, config.head_dim, long, length) for long in (False, True)]
        pairs = (torch.cat(pair) for pair in zip(*tables, strict=True))
        self.tables = [weights.place(pair, layout=ttnn.ROW_MAJOR_LAYOUT) for pair in pairs]
        self.layers = [PlainLayer(config, weights, i, length) for i in range(config.n_layers)]
        self.final_norm = norm_weight(weights, "model.norm.weight")
        self.eps = config.norm_eps
        self.vocab_size, share = config.vocab_size, config.share(self.mesh.chips)
        self.lm_head = weights.columns(weights[head], share.vocab_size, ttnn.bfloat16)  # [H, V]

    def prefill(self, tokens: list[int], row: int, start: int, keep: int) -> torch.Tensor:
        """Logits [keep, V] of the last `keep` of a sequence's tokens, which fill a cache row.

        The prompt is filled up to whole tiles with token 0. These come last, so that the causal
        mask hides them; what they leave in the cache is overwritten before a decode step reads it.
        """
        padded = tokens + [0] * (-len(tokens) % TILE)
        rows = [self.table_row(position, len(tokens)) for position in range(len(padded))]
        x, cos, sin = self.embed(padded, rows)  # [1, 1, S, H]
        for layer in self.layers:
            x = layer.prefill(x, cos, sin, row)
        return self.logits(x)[len(tokens) - keep : len(tokens)]

    def decode(self, tokens: list[int], positions: list[int]) -> torch.Tensor:
        """Logits [B, V] after a token for each row of the cache, at its position.

        A row at position SKIP is left alone, and its logits mean nothing.
        """
        x, cos, sin = self.embed(tokens, [self.table_row(max(p, 0), p + 1) for p in positions])
        where = ttnn.from_torch(torch.tensor(positions, dtype=torch.int32), device=self.device)
        for layer in self.layers:
            x = layer.decode(x, cos, sin, where)
        return self.logits(x)

    def turns_long(self, before: int, after: int) -> bool:
        """Whether a sequence that grows takes the long rope factors from there on."""
        return before <= self.short < after

    def table_row(self, position: int, known: int) -> int:
        """The row of `tables` for a position of a sequence of which so many tokens are known."""
        return position + (self.length if known > self.short else 0)

    def embed(self, tokens: list[int], table_rows: list[int]) -> list[ttnn.Tensor]:
        """Embeddings [1, 1, S, H] of tokens; cos and sin [1, 1, S, P] of their `table_row`s."""

        def rows(numbers: list[int], table: ttnn.Tensor) -> ttnn.Tensor:
            ids = torch.tensor([numbers], dtype=torch.int32)
            ids = ttnn.from_torch(ids, dtype=ttnn.uint32, device=self.device)
            return ttnn.unsqueeze_to_4D(ttnn.embedding(ids, table, layout=ttnn.TILE_LAYOUT))

        return [rows(tokens, self.embedding), *(rows(table_rows, table) for table in self.tables)]

    def head(self, x: ttnn.Tensor) -> ttnn.Tensor:  # [1, 1, S, H]
        x = ttnn.rms_norm(x, weight=self.final_norm, epsilon=self.eps)
        return ttnn.linear(x, self.lm_head)  # [1, 1, S, V]

    def logits(self, x: ttnn.Tensor) -> torch.Tensor:  # [1, 1, S, H] -> [S, whole vocabulary]
        return self.mesh.columns(self.head(x))[:, : self.vocab_size]


class PlainLayer:
    """A decoder layer: attention and MLP, each after its norm and beside a residual."""

    def __init__(self, config: ModelConfig, weights: DeviceWeights, number: int, length: int):
        self.mesh, share = weights.mesh, config.share(weights.mesh.chips)
        self.n_heads, self.n_kv_heads = share.n_heads, share.n_kv_heads
        self.head_dim, self.eps = config.head_dim, config.norm_eps
        self.grid = weights.device.compute_with_storage_grid_size()

        def rows(name: str, each: int) -> ttnn.Tensor:
            return weights.rows(weights[f"{prefix}{name}.weight"], each, ttnn.bfloat16)

        prefix = f"model.layers.{number}."
        wqkv = padded_heads(weights[f"{prefix}self_attn.qkv_proj.weight"], config)
        width = len(wqkv) // (config.n_heads + 2 * config.n_kv_heads)  # P
        heads = wqkv.split([width * n for n in (config.n_heads, *[config.n_kv_heads] * 2)])
        gate_up = weights[f"{prefix}mlp.gate_up_proj.weight"].chunk(2)
        inner = share.intermediate_size
        self.input_norm = norm_weight(weights, f"{prefix}input_layernorm.weight")
        heads_each = [width * n for n in (self.n_heads, *[self.n_kv_heads] * 2)]
        self.wqkv = weights.joined(heads, heads_each, ttnn.bfloat16)  # [H, (N + 2K) P]
        self.wo = rows("self_attn.o_proj", self.n_heads * self.head_dim)  # [N D, H]
        self.mlp_norm = norm_weight(weights, f"{prefix}post_attention_layernorm.weight")
        self.w_gate_up = weights.joined(gate_up, [inner, inner], ttnn.bfloat16)  # [H, 2 I]
        self.w_down = rows("mlp.down_proj", inner)  # [I, H]
        self.keys, self.values = (
            ttnn.zeros(
                (BATCH, self.n_kv_heads, length, self.head_dim),
                dtype=ttnn.bfloat16,
                layout=ttnn.TILE_LAYOUT,
                device=weights.device,
            )
            for _ in range(2)
        )

    def prefill(
        self, x: ttnn.Tensor, cos: ttnn.Tensor, sin: ttnn.Tensor, row: int
    ) -> ttnn.Tensor:  # [1, 1, S, H]
        """A prompt, whose keys and values fill a row of the cache."""
        h = ttnn.add(x, self.attention_prefill(self.norm(x, self.input_norm), cos, sin, row))
        return ttnn.add(h, self.mlp(self.norm(h, self.mlp_norm)))

    def decode(
        self, x: ttnn.Tensor, cos: ttnn.Tensor, sin: ttnn.Tensor, positions: ttnn.Tensor
    ) -> ttnn.Tensor:  # [1, 1, B, H]
        """A token of each row of the cache, at its position, int32 [B]."""
        h = ttnn.add(x, self.attention_decode(self.norm(x, self.input_norm), cos, sin, positions))
        return ttnn.add(h, self.mlp(self.norm(h, self.mlp_norm)))

    def norm(self, x: ttnn.Tensor, weight: ttnn.Tensor) -> ttnn.Tensor:  # [1, 1, S, H]
        return ttnn.rms_norm(x, weight=weight, epsilon=self.eps)

    def attention_prefill(
        self, x: ttnn.Tensor, cos: ttnn.Tensor, sin: ttnn.Tensor, row: int
    ) -> ttnn.Tensor:  # [1, 1, S, H]
        q, k, v = ttnn.experimental.nlp_create_qkv_heads(
            ttnn.linear(x, self.wqkv),
            num_heads=self.n_heads,
            num_kv_heads=self.n_kv_heads,
            transpose_k_heads=False,
        )  # [1, N, S, P], [1, K, S, P], [1, K, S, P]
        q, k = (ttnn.experimental.rotary_embedding(t, cos, sin) for t in (q, k))
        q, k, v = (self._unpadded(t) for t in (q, k, v))  # [1, N, S, D], ...
        cores, place = self._prefill_cores(k.shape[2]), ttnn.DRAM_MEMORY_CONFIG
        if cores:
            place = height_shards(k, cores, self.grid)
        for cache, new in ((self.keys, k), (self.values, v)):
            ttnn.fill_cache(cache, ttnn.to_memory_config(new, place), batch_idx=row)
        y = ttnn.transformer.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=self.head_dim**-0.5
        )  # [1, N, S, D]
        return self.mesh.sum(ttnn.linear(ttnn.experimental.nlp_concat_heads(y), self.wo))

    def attention_decode(
        self, x: ttnn.Tensor, cos: ttnn.Tensor, sin: ttnn.Tensor, positions: ttnn.Tensor
    ) -> ttnn.Tensor:  # [1, 1, B, H]
        q, k, v = ttnn.experimental.nlp_create_qkv_heads_decode(
            ttnn.linear(x, self.wqkv), num_heads=self.n_heads, num_kv_heads=self.n_kv_heads
        )  # [1, B, N, P], [1, B, K, P], [1, B, K, P]: a row of the cache on each core
        # rotary_embedding takes a row of cos and sin for each place of the third dimension
        q, k = (ttnn.transpose(t, 1, 2) for t in (q, k))  # [1, N, B, P], [1, K, B, P]
        q, k = (ttnn.experimental.rotary_embedding(t, cos, sin) for t in (q, k))
        q, k, v = (self._unpadded(t) for t in (q, k, v))
        q = ttnn.transpose(q, 1, 2, memory_config=ttnn.DRAM_MEMORY_CONFIG)  # [1, B, N, D]
        k = ttnn.transpose(k, 1, 2, memory_config=v.memory_config())  # [1, B, K, D]
        for cache, new in ((self.keys, k), (self.values, v)):
            ttnn.experimental.paged_update_cache(cache, new, update_idxs_tensor=positions)
        y = ttnn.transformer.scaled_dot_product_attention_decode(
            q, self.keys, self.values, cur_pos_tensor=positions, scale=self.head_dim**-0.5
        )  # [1, B, N, D]
        y = ttnn.reshape(y, (1, 1, BATCH, self.n_heads * self.head_dim))
        return self.mesh.sum(ttnn.linear(y, self.wo))

    def mlp(self, x: ttnn.Tensor) -> ttnn.Tensor:  # [1, 1, S, H]
        """down(silu(gate) * up)."""
        gate, up = ttnn.split(ttnn.linear(x, self.w_gate_up), self.w_down.shape[0], dim=3)
        y = ttnn.multiply(gate, up, input_tensor_a_activations=[ttnn.UnaryOpType.SILU])
        return self.mesh.sum(ttnn.linear(y, self.w_down))

    def _unpadded(self, heads: ttnn.Tensor) -> ttnn.Tensor:  # [1, *, *, P] -> [1, *, *, D]
        one, second, third, width = heads.shape
        if width == self.head_dim:
            return heads
        return ttnn.slice(heads, [0, 0, 0, 0], [one, second, third, self.head_dim])

    def _prefill_cores(self, seq_len: int) -> int:
        """Cores for K heads of S rows: the most that divide each head into whole tiles.

        fill_cache wants no shard to span two heads. 0 where there are more heads than cores.
        """
        tiles = seq_len // TILE
        cores = (self.n_kv_heads * n for n in range(tiles, 0, -1) if tiles % n == 0)
        return next((n for n in cores if n <= self.grid.x * self.grid.y), 0)


def norm_weight(weights: DeviceWeights, name: str) -> ttnn.Tensor:
    """A norm's weight, [1, 1, 1, H]."""
    return weights.place(weights[name][None, None, None])


def height_shards(x: ttnn.Tensor, cores: int, grid: ttnn.CoreCoord) -> ttnn.MemoryConfig:
    """The rows of x [1, K, S, D] in equal parts on so many cores."""
    _, heads, rows, width = x.padded_shape
    return ttnn.create_sharded_memory_config(
        (heads * rows // cores, width),
        ttnn.num_cores_to_corerangeset(cores, grid, row_wise=True),
        ttnn.ShardStrategy.HEIGHT,
        use_height_and_width_as_shard_shape=True,
    )


# --- rotary position embedding --------------------------------------------------------------------
#
# Hugging Face turns column i of a head with column i + D/2, TTNN's rotary_embedding column i with
# i + P/2, where both halves are whole tiles: P is a multiple of 64. Phi-3's 96 columns are three
# tiles. They are put in an order in which the first tile (columns 0-31) has the third one (48-79)
# for its partner, and the middle one holds both halves of the 16 pairs that are left. A fourth tile
# repeats it with its halves exchanged: that is its partner, and is sliced off after the rotation.
# Queries and keys in the same order have the same products, so nothing is put back.


def rotated_columns(head_dim: int) -> torch.Tensor:
    """int64 [P]: the columns of a head in the order in which they are rotated."""
    half = head_dim // 2
    first, second = torch.arange(half), torch.arange(half, head_dim)
    whole = half // TILE * TILE  # pairs that fill whole tiles; 16 or none are left
    left = first[whole:], second[whole:]
    return torch.cat((first[:whole], *left, second[:whole], *reversed(left)))


def padded_heads(wqkv: torch.Tensor, config: ModelConfig) -> torch.Tensor:
    """[(N + 2K) D, H] -> [(N + 2K) P, H]: q and k in the order of rotation, zeros after v."""
    columns, kv_heads = rotated_columns(config.head_dim), config.n_kv_heads
    heads = wqkv.unflatten(0, (-1, config.head_dim))
    rotated = heads[:-kv_heads, columns]
    padding = (0, 0, 0, len(columns) - config.head_dim)
    values = torch.nn.functional.pad(heads[-kv_heads:], padding)
    return torch.cat((rotated, values)).flatten(0, 1)


def cos_sin(
    rope: RopeConfig, head_dim: int, long: bool, length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin of positions 0 to length - 1, float32 [C, P]; `long`: of LongRoPE's factors."""
    factors, scaling = torch.ones(head_dim // 2), 1.0
    if rope.short_factor is not None and rope.long_factor is not None:
        factors = torch.tensor(rope.long_factor if long else rope.short_factor)
        scaling = rope.scaling
    wavelengths = factors * rope.theta ** (torch.arange(0, head_dim, 2) / head_dim)
    columns = rotated_columns(head_dim)
    angles = torch.arange(length)[:, None] * (1 / wavelengths)[columns % len(factors)]
    # the operation subtracts on the left half of a head, as is right for a pair's first column
    left = torch.arange(len(columns)) < len(columns) // 2
    sign = torch.where(left == (columns < len(factors)), 1, -1)
    return angles.cos() * scaling, angles.sin() * scaling * sign

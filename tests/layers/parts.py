"""The optimized stage's parts by themselves, between host tensors of Hugging Face's shapes.

The tests of this folder know its classes by this file alone, those of the functional stage by
`plain_parts`.
"""

import dataclasses

import torch
import ttnn

from model.config import ModelConfig
from model.optimized.cache import KVCache, page_table
from model.optimized.phi3 import Chunk, DecoderLayer, Phi3, Step, ints
from model.optimized.precision import PRECISIONS
from model.optimized.rope import RotaryEmbedding, cos_sin, pairs
from model.weights import DeviceWeights
from tests.support.checkpoint import CACHE_LENGTH
from tests.support.tensors import TILE, on_tiles


class StageParts:
    """What the tests call of a stage's parts; each is built when it is first used.

    `x` is `[1, S, H]`, as all results are but where a comment says so. `i` numbers the layer.

    Args:
        hf_config, weights: of the checkpoint, weights by Hugging Face's names.
    """

    def __init__(self, hf_config, weights, device):
        self.config = ModelConfig.from_hf(hf_config)
        self.weights = DeviceWeights(weights, device)
        self.device = device
        self._layers = {}

    def layer(self, i):
        if i not in self._layers:
            self._layers[i] = self.build_layer(i)
        return self._layers[i]

    def _prompt(self, x):
        """[1, S, H] -> [1, 1, S, H] on the device, S filled with zero rows up to whole tiles."""
        return self._place(torch.nn.functional.pad(x, (0, 0, 0, -x.shape[1] % TILE))[None])

    def _place(self, x, **where):
        return on_tiles(self.device, x, **where)

    def _host(self, y, seq_len):
        """[1, 1, S padded, H] on the device -> [1, S, H] float32."""
        return ttnn.to_torch(y)[0, :, :seq_len].float()


class OptimizedParts(StageParts):
    """Those of `model.optimized`, with a cache for 256 positions."""

    def __init__(self, hf_config, weights, device):
        super().__init__(hf_config, weights, device)
        self.precision = PRECISIONS["accuracy"]
        self._ends = None
        self._rope = None

    def embedding(self, ids):  # [1, S] -> [1, S, H]
        padded = torch.nn.functional.pad(ids, (0, -ids.shape[1] % TILE))
        padded = ints(padded, ttnn.uint32, self.device)
        return self._host(self.ends._embed(padded, ttnn.DRAM_MEMORY_CONFIG), ids.shape[1])

    def input_norm(self, i, x):  # [1, S, H] -> [1, S, H], as all below
        return self._host(self.layer(i).input_norm(self._prompt(x)), x.shape[1])

    def post_norm(self, i, x):
        return self._host(self.layer(i).mlp_norm(self._prompt(x)), x.shape[1])

    def mlp(self, i, x):
        return self._host(self.layer(i).mlp(self._prompt(x)), x.shape[1])

    def attention(self, i, x):
        y = self.layer(i).attention.prefill(self._prompt(x), self._chunk(x))
        return self._host(y, x.shape[1])

    def output(self, i, x):
        return self._host(self.layer(i).prefill(self._prompt(x), self._chunk(x)), x.shape[1])

    def attention_at(self, i, x, position):
        """Attention of x's row at `position` alone, `[1, 1, H]`, after the rows before it."""
        attention, before = self.layer(i).attention, with_stale_rows(x, position)
        attention.prefill(self._prompt(before), self._chunk(before))
        return self._host(attention.decode(self._token(x, position), self._step(position)), 1)

    def output_at(self, i, x, position):
        """As `attention_at`, of the whole layer."""
        layer, before = self.layer(i), with_stale_rows(x, position)
        layer.prefill(self._prompt(before), self._chunk(before))
        return self._host(layer.decode(self._token(x, position), self._step(position)), 1)

    def stack(self, x):
        """The outputs of all layers, one on top of the other, from the input of the first."""
        seq_len, y, outputs = x.shape[1], self._prompt(x), []
        for i in range(self.config.n_layers):
            y = self.layer(i).prefill(y, self._chunk(x))
            outputs.append(self._host(y, seq_len))
        return outputs

    def rotated(self, x):  # [1, N, S, D], positions 0..S-1
        return rotated(self.rope, x, self.device)

    def rotated_at(self, q, k, position):  # [1, N, D], [1, K, D], a token's heads
        """Both rotated by one call, as in a decode step: queries on the first core, keys beside."""
        order = pairs(q.shape[-1])
        q = self._place(q[None, ..., order], memory_config=one_core(q.shape[-1]))
        k = self._place(k[None, ..., order])
        heads = self.rope.decode(q, k, self._step(position).cos_sin)
        return [ttnn.to_torch(x)[0][..., order.argsort()].float() for x in heads]

    def norm_and_head(self, x):  # [1, S, H] -> [1, S, V]
        return self._host(self.ends._logits(self._prompt(x)), x.shape[1])

    def rope_tables(self, length):
        """cos and sin of positions 0 to length - 1, [S, D] each, in Hugging Face's order."""
        rope, head_dim = self.config.rope, self.config.head_dim
        tables = cos_sin(rope, head_dim, length > rope.original_max_position, length)
        return [table[:, pairs(head_dim).argsort()] for table in tables]

    def build_layer(self, i):
        cache = KVCache(self.config, 1, CACHE_LENGTH, self.precision.cache, self.device)
        return DecoderLayer(
            self.config, self.weights, f"model.layers.{i}.", self.rope, cache, self.precision
        )

    @property
    def ends(self):
        """The model without its layers."""
        if self._ends is None:
            config = dataclasses.replace(self.config, n_layers=0)
            self._ends = Phi3(config, self.weights, 1, CACHE_LENGTH, self.precision)
        return self._ends

    @property
    def rope(self):
        if self._rope is None:
            config = self.config
            self._rope = RotaryEmbedding(config.rope, config.head_dim, 1, CACHE_LENGTH, self.device)
        return self._rope

    def _token(self, x, position):
        """The row of x at a position as a decode step's input, [1, 1, 1, H] in L1."""
        token = x[None, :, position : position + 1]
        return on_tiles(self.device, token, memory_config=ttnn.L1_MEMORY_CONFIG)

    def _chunk(self, x):
        """Where the rows of x [1, S, H] stand: at the beginning, in the only row of the batch."""
        rows, pages = -(-x.shape[1] // TILE) * TILE, page_table(1, CACHE_LENGTH)[0]
        return Chunk.at(0, rows, False, self.rope, pages, self.device)

    def _step(self, position):
        ids = ints(self.rope.decode_ids([position]), ttnn.uint32, self.device)
        pages = ints(page_table(1, CACHE_LENGTH), device=self.device)
        return Step(self.rope.decode_rows(ids), ints([position], device=self.device), pages)


def one_core(width):
    """A tile row on the first core."""
    return ttnn.create_sharded_memory_config(
        (TILE, width),
        ttnn.CoreGrid(x=1, y=1),
        ttnn.ShardStrategy.HEIGHT,
        use_height_and_width_as_shard_shape=True,
    )


def rotated(rope, x, device, long=False):
    """Heads `[1, N, S, D]` at the positions 0..S-1, rotated by a model's rotary embedding."""
    order = pairs(x.shape[-1])
    padded = torch.nn.functional.pad(x[..., order], (0, 0, 0, -x.shape[2] % TILE))
    rows = [rope.row(position, long) for position in range(padded.shape[2])]
    cos_sin = rope.prefill_rows(ints([rows], ttnn.uint32, device))
    y = ttnn.to_torch(rope.prefill(on_tiles(device, padded), cos_sin))[:, :, : x.shape[2]]
    return y[..., order.argsort()].float()


def with_stale_rows(x, position):
    """The rows of x `[1, S, H]` before `position`, then stale ones, as an earlier text leaves them.

    A decode step must overwrite one of the stale rows and read none. They end with the tile after
    the position's, or with the cache.
    """
    length = min((position // TILE + 2) * TILE, CACHE_LENGTH)
    stale = x.flip(1).repeat(1, -(-length // x.shape[1]), 1)[:, :length]
    return torch.cat((x[:, :position], stale[:, position:]), 1)

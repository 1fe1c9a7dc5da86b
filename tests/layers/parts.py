"""The model's parts by themselves: tensors in and out have Hugging Face's shapes, on the host.

The tests of this folder know the model's classes by this file alone.
"""

import dataclasses

import torch
import ttnn

from model.cache import KVCache, page_table
from model.config import TILE, ModelConfig
from model.phi3 import Chunk, DecoderLayer, Phi3, Step, ints
from model.precision import PRECISIONS
from model.rope import RotaryEmbedding, pairs
from model.weights import DeviceWeights

from ..conftest import CACHE_LENGTH


class Parts:
    """Each part is built when it is first used, with a cache for 256 positions.

    Args:
        hf_config, weights: of the checkpoint, weights by Hugging Face's names.
    """

    def __init__(self, hf_config, weights, device):
        self.config = ModelConfig.from_hf(hf_config)
        self.weights = DeviceWeights(weights, device)
        self.precision = PRECISIONS["accuracy"]
        self.device = device
        self._layers = {}
        self._ends = None
        self._rope = None

    def embedding(self, ids):  # [1, S] -> [1, S, H]
        filled = torch.nn.functional.pad(ids, (0, -ids.shape[1] % TILE))
        filled = ints(filled, ttnn.uint32, self.device)
        return self._host(self.ends._embed(filled, ttnn.DRAM_MEMORY_CONFIG), ids.shape[1])

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
        """Of x's row at `position` alone, `[1, 1, H]`, after the rows before it."""
        attention = self.layer(i).attention
        before = misled(x, position)
        attention.prefill(self._prompt(before), self._chunk(before))
        return self._host(attention.decode(self._token(x, position), self._step(position)), 1)

    def output_at(self, i, x, position):
        """As `attention_at`, of the whole layer."""
        layer = self.layer(i)
        before = misled(x, position)
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

    def rotated_at(self, x, position):  # [1, N, D], a token's heads
        order = pairs(self.config.head_dim)
        heads = ttnn.create_sharded_memory_config(
            (TILE, self.config.head_dim),
            ttnn.num_cores_to_corerangeset(1, ttnn.CoreCoord(8, 8), row_wise=True),
            ttnn.ShardStrategy.HEIGHT,
            use_height_and_width_as_shard_shape=True,
        )
        q, k = (self._place(x[None][..., order], heads) for _ in range(2))
        q, _ = self.rope.decode(q, k, self._step(position).cos_sin)
        return ttnn.to_torch(q)[0, :, :, order.argsort()].float()

    def norm_and_head(self, x):  # [1, S, H] -> [1, S, V]
        return self._host(self.ends._logits(self._prompt(x)), x.shape[1])

    def layer(self, i):
        if i not in self._layers:
            cache = KVCache(self.config, 1, CACHE_LENGTH, self.precision.cache, self.device)
            self._layers[i] = DecoderLayer(
                self.config, self.weights, f"model.layers.{i}.", self.rope, cache, self.precision
            )
        return self._layers[i]

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

    def _prompt(self, x):
        """[1, S, H] -> [1, 1, S, H] on the device, S filled with zero rows up to whole tiles."""
        return self._place(torch.nn.functional.pad(x, (0, 0, 0, -x.shape[1] % TILE))[None])

    def _chunk(self, x):
        """Where a prompt [1, S, H] stands: at the beginning."""
        rows = -(-x.shape[1] // TILE) * TILE
        return Chunk.at(0, rows, False, self.rope, page_table(1, CACHE_LENGTH)[0], self.device)

    def _step(self, position):
        """Where a token stands."""
        rows = ints([[position]] * 2, ttnn.uint32, self.device)
        pages = ints(page_table(1, CACHE_LENGTH), device=self.device)
        positions = ints([position], device=self.device)
        return Step(self.rope.decode_rows(rows), positions, pages)

    def _token(self, x, position):
        return self._place(x[None, :, position : position + 1], ttnn.L1_MEMORY_CONFIG)

    def _place(self, x, where=ttnn.DRAM_MEMORY_CONFIG):
        return place(x, self.device, where)

    def _host(self, y, seq_len):
        """[1, 1, S padded, H] on the device -> [1, S, H] float32."""
        return ttnn.to_torch(y)[0, :, :seq_len].float()


def place(x, device, where=ttnn.DRAM_MEMORY_CONFIG):
    return ttnn.from_torch(
        x, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device, memory_config=where
    )


def rotated(rope, x, device, long=False):
    """Heads `[1, N, S, D]` at the positions 0..S-1, rotated by a model's rotary embedding."""
    order, seq_len = pairs(x.shape[-1]), x.shape[2]
    filled = torch.nn.functional.pad(x[..., order], (0, 0, 0, -seq_len % TILE))
    rows = [rope.row(position, long) for position in range(filled.shape[2])]
    tables = rope.prefill_rows(ints([rows], ttnn.uint32, device))
    y = ttnn.to_torch(rope.prefill(place(filled, device), tables))
    return y[:, :, :seq_len, order.argsort()].float()


def misled(x, position):
    """The rows of x `[1, S, H]` before `position`, then others: what a cache may hold from before.

    A decode step must write its own row over one of them and look at none. They end with the tile
    after the position's, or with the cache.
    """
    length = min((position // TILE + 2) * TILE, CACHE_LENGTH)
    others = x.flip(1).repeat(1, -(-length // x.shape[1]), 1)[:, :length]
    return torch.cat((x[:, :position], others[:, position:]), 1)

"""The functional stage's parts by themselves, as `parts` has those of the optimized one."""

import dataclasses

import torch
import ttnn

from model import functional
from model.functional import BATCH, PlainLayer, PlainPhi3
from model.sequences import SKIP
from tests.support.checkpoint import CACHE_LENGTH
from tests.support.tensors import TILE

from .parts import OptimizedParts, StageParts, with_stale_rows

ROW = 5  # of the cache: any of its 32


class FunctionalParts(StageParts):
    """Those of `model.functional`, whose cache has 256 positions."""

    def __init__(self, hf_config, weights, device):
        super().__init__(hf_config, weights, device)
        self._ends = None

    def embedding(self, ids):  # [1, S] -> [1, S, H]
        filled = torch.nn.functional.pad(ids, (0, -ids.shape[1] % TILE))[0].tolist()
        return self._host(self.ends.embed(filled, [0] * len(filled))[0], ids.shape[1])

    def input_norm(self, i, x):
        return self._normed(i, x, "input_norm")

    def post_norm(self, i, x):
        return self._normed(i, x, "mlp_norm")

    def mlp(self, i, x):
        return self._host(self.layer(i).mlp(self._prompt(x)), x.shape[1])

    def attention(self, i, x):
        y = self.layer(i).attention_prefill(self._prompt(x), *self._cos_sin(x), ROW)
        return self._host(y, x.shape[1])

    def output(self, i, x):
        return self._host(
            self.layer(i).prefill(self._prompt(x), *self._cos_sin(x), ROW), x.shape[1]
        )

    def attention_at(self, i, x, position):
        """Of x's row at `position` alone, `[1, 1, H]`, after the rows before it."""
        layer, before = self.layer(i), with_stale_rows(x, position)
        layer.attention_prefill(self._prompt(before), *self._cos_sin(before), ROW)
        return self._own(layer.attention_decode(self._tokens(x, position), *self._step(position)))

    def output_at(self, i, x, position):
        """As `attention_at`, of the whole layer."""
        layer, before = self.layer(i), with_stale_rows(x, position)
        layer.prefill(self._prompt(before), *self._cos_sin(before), ROW)
        return self._own(layer.decode(self._tokens(x, position), *self._step(position)))

    def stack(self, x):
        """The outputs of all layers, one on top of the other, from the input of the first."""
        seq_len, y, outputs = x.shape[1], self._prompt(x), []
        for i in range(self.config.n_layers):
            y = self.layer(i).prefill(y, *self._cos_sin(x), ROW)
            outputs.append(self._host(y, seq_len))
        return outputs

    def rotated(self, x):  # [1, N, S, D], positions 0..S-1
        return self._turned(x, list(range(x.shape[2])))

    def rotated_at(self, q, k, position):  # [1, N, D], [1, K, D], a token's heads
        return [self._turned(x[:, :, None], [position])[:, :, 0] for x in (q, k)]

    def norm_and_head(self, x):  # [1, S, H] -> [1, S, V]
        return self._host(self.ends.head(self._prompt(x)), x.shape[1])

    def rope_tables(self, length):
        """cos and sin of positions 0 to length - 1, [S, D] each, in Hugging Face's order."""
        head_dim = self.config.head_dim
        rope = self.config.rope
        cos, sin = functional.cos_sin(rope, head_dim, length > rope.original_max_position, length)
        places = functional.rotated_columns(head_dim)[:head_dim].argsort()
        # where the operation adds on a left half what is to be subtracted, the sign is the table's
        cos, sin = cos[:, places], sin[:, places]
        half = head_dim // 2
        return cos, torch.cat((sin[:, :half], sin[:, :half]), -1)

    def build_layer(self, i):
        return PlainLayer(self.config, self.weights, i, CACHE_LENGTH)

    @property
    def ends(self):
        """The model without its layers."""
        if self._ends is None:
            config = dataclasses.replace(self.config, n_layers=0)
            self._ends = PlainPhi3(config, self.weights, CACHE_LENGTH)
        return self._ends

    def _normed(self, i, x, name):
        layer = self.layer(i)
        return self._host(layer.norm(self._prompt(x), getattr(layer, name)), x.shape[1])

    def _cos_sin(self, x):
        """Of the positions of x [1, S, H], from 0 on, in whole tiles."""
        return self._rows(list(range(-(-x.shape[1] // TILE) * TILE)))

    def _rows(self, positions):
        return self.ends.embed([0] * len(positions), positions)[1:]

    def _tokens(self, x, position):
        """x's row at a position in row ROW of a step's input [1, 1, B, H], others beside it."""
        rows = x[:, :BATCH].flip(1)
        rows = torch.nn.functional.pad(rows, (0, 0, 0, BATCH - rows.shape[1]))
        rows[:, ROW] = x[:, position]
        return self._place(rows[None])

    def _step(self, position):
        """cos, sin and positions of a step in which only row ROW has a token."""
        positions = [SKIP] * BATCH
        positions[ROW] = position
        where = ttnn.from_torch(torch.tensor(positions, dtype=torch.int32), device=self.device)
        return *self._rows([max(p, 0) for p in positions]), where

    def _own(self, y):
        return ttnn.to_torch(y)[0, :, ROW : ROW + 1].float()

    def _turned(self, x, positions):
        head_dim, rows = x.shape[-1], x.shape[2]
        columns = functional.rotated_columns(head_dim)
        filled = torch.nn.functional.pad(x[..., columns], (0, 0, 0, -rows % TILE))
        positions = positions + [0] * (-rows % TILE)
        y = ttnn.experimental.rotary_embedding(self._place(filled), *self._rows(positions))
        y = ttnn.to_torch(y)[:, :, :rows, :head_dim]
        return y[..., columns[:head_dim].argsort()].float()


# Of each stage of the bring-up.
PARTS: dict[str, type[StageParts]] = {"functional": FunctionalParts, "optimized": OptimizedParts}

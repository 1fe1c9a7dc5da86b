"""Variants in products, heads and their rotation; each before its twins with a fault.

B batch, S sequence, N heads, K kv heads, D head_dim.
"""

import torch
import ttnn

from .plain_decoder import TILE, Decoder

# --- products and heads ---------------------------------------------------------------------------


class KeysFirst(Decoder):
    """v, then k, which is rotated before there is a q."""

    def attention(self, x, i):
        name = f"layers.{i}.self_attn."
        v = self.split(self.product(x, f"{name}{self.of_v}_proj"), self.k)
        k = self.rotate(self.split(self.product(x, f"{name}{self.of_k}_proj"), self.k))
        q = self.rotate(self.split(self.product(x, f"{name}q_proj"), self.n))
        y = self.attend(q, *self.remember(k, v, i))
        return self.product(ttnn.experimental.nlp_concat_heads(y), f"{name}o_proj")

    of_k, of_v = "k", "v"


class KeysAndValuesExchanged(KeysFirst):
    """Fault."""

    of_k, of_v = "v", "k"


class Fused(Decoder):
    """One product for q, k and v; heads by a fused operation."""

    order = "qkv"

    def build(self):
        for i in range(self.depth):
            name = f"layers.{i}.self_attn."
            weights = [self.state[f"{name}{p}_proj"] for p in self.order]
            self.w[f"{name}qkv"] = self.to_device(torch.cat(weights).T)

    def heads(self, x, name):
        return ttnn.experimental.nlp_create_qkv_heads(
            self.product(x, f"{name}qkv"),
            num_heads=self.n,
            num_kv_heads=self.k,
            transpose_k_heads=False,
        )


class FusedInAnotherOrder(Fused):
    """Fault: the weights are in another order than the operation takes them."""

    order = "qvk"


class FusedAndSplit(Fused):
    """Heads by the operation that takes [B, S, W]."""

    def heads(self, x, name):
        qkv = ttnn.squeeze(self.product(x, f"{name}qkv"), 1)
        return ttnn.transformer.split_query_key_value_and_split_heads(
            qkv, num_heads=self.n, num_kv_heads=self.k, transpose_key=False
        )


class QueriesApart(Fused):
    """A product for q, another for k and v."""

    order = "kv"

    def heads(self, x, name):
        return ttnn.experimental.nlp_create_qkv_heads(
            self.product(x, f"{name}q_proj"),
            self.product(x, f"{name}qkv"),
            num_heads=self.n,
            num_kv_heads=self.k,
            transpose_k_heads=False,
        )


class ValuesBeforeKeys(QueriesApart):
    """Fault: the weights are in another order than the operation takes them."""

    order = "vk"


class HeadsByColumns(Fused):
    """Each of q, k and v is a slice of the columns of the fused product."""

    def heads(self, x, name):
        qkv, first, parts = self.product(x, f"{name}qkv"), 0, []
        for count in (self.n, self.k, self.k):
            last = first + count * self.d
            parts.append(self.split(qkv[:, :, :, first:last], count))
            first = last
        return parts


class HeadsUntransposed(HeadsByColumns):
    """Fault: rows and heads are not exchanged, only reshaped."""

    def split(self, x, count):
        b, _, s, _ = x.shape
        return ttnn.reshape(x, (b, count, s, self.d))


# --- rotation -------------------------------------------------------------------------------------


class RotatedBySlices(Decoder):
    """x cos + (-second half, first half) sin."""

    def rotate(self, x):
        return ttnn.add(ttnn.multiply(x, self.cos), ttnn.multiply(self.turned(x), self.sin))

    def halves(self, x):
        b, n, s, d = x.shape
        return (
            ttnn.slice(x, [0, 0, 0, 0], [b, n, s, d // 2]),
            ttnn.slice(x, [0, 0, 0, d // 2], [b, n, s, d]),
        )

    def turned(self, x):
        first, second = self.halves(x)
        return ttnn.concat([ttnn.neg(second), first], dim=-1)


class TurnedBack(RotatedBySlices):
    """Fault: the sign is the other half's."""

    def turned(self, x):
        first, second = self.halves(x)
        return ttnn.concat([second, ttnn.neg(first)], dim=-1)


class HalvesNotExchanged(RotatedBySlices):
    """Fault."""

    def turned(self, x):
        first, second = self.halves(x)
        return ttnn.concat([ttnn.neg(first), second], dim=-1)


class RotatedByMatrix(RotatedBySlices):
    """The halves are exchanged by a product with a matrix of 0, 1 and -1."""

    def build(self):
        half = self.d // 2
        matrix = torch.zeros(self.d, self.d)
        matrix[range(half, self.d), range(half)] = -1
        matrix[range(half), range(half, self.d)] = 1
        self.matrix = self.to_device(self.as_used(matrix)[None, None])

    def as_used(self, matrix):
        return matrix

    def turned(self, x):
        return ttnn.matmul(x, self.matrix)


class MatrixTransposed(RotatedByMatrix):
    """Fault: it turns the other way."""

    def as_used(self, matrix):
        return matrix.T


class RotatedInPairs(Decoder):
    """By the operation that rotates neighbouring columns; weights of q and k are in its order."""

    def placed(self, name, weight):
        if name.endswith(("q_proj", "k_proj")):
            weight = self.in_pairs(weight)
        return super().placed(name, weight)

    def in_pairs(self, weight):
        """Rows i and i + D/2 of a head become 2 i and 2 i + 1."""
        return weight.unflatten(0, (-1, 2, self.d // 2)).transpose(1, 2).flatten(0, 2)

    def rotary_tables(self):
        angles = self.angles()[:, : self.d // 2].repeat_interleave(2, dim=1)
        even, turn = torch.arange(0, TILE, 2), torch.zeros(TILE, TILE)
        turn[even, even + 1], turn[even + 1, even] = 1, -1
        self.turn = self.to_device(turn[None, None])
        return [self.to_device(t, ttnn.ROW_MAJOR_LAYOUT) for t in (angles.cos(), angles.sin())]

    def rotate(self, x):
        return ttnn.experimental.rotary_embedding_llama(x, self.cos, self.sin, self.turn)


class WeightsNotInPairs(RotatedInPairs):
    """Fault: the weights are in Hugging Face's order."""

    def in_pairs(self, weight):
        return weight


class RotatedInTiles(Decoder):
    """By the operation that rotates whole tiles of rows, whose padding is cut off again."""

    def at_positions(self, positions):
        self.at = int(positions[0, 0])
        self.cos, self.sin = (
            ttnn.unsqueeze_to_4D(ttnn.to_layout(table, ttnn.TILE_LAYOUT)) for table in self.tables
        )

    def rotate(self, x):
        if x.shape[2] == 1:
            y = ttnn.experimental.rotary_embedding(x, self.cos, self.sin, self.index())
        else:
            y = ttnn.experimental.rotary_embedding(x, self.cos, self.sin)
        return y[:, :, : x.shape[2]]

    def index(self):
        """The row of the tables that a single token takes."""
        return self.at


class TokenRotatedOneLate(RotatedInTiles):
    """Fault: a single token is rotated as if it were at the next position."""

    def index(self):
        return self.at + 1

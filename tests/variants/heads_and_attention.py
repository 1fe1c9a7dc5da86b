"""Variants in products, heads, rotation and attention; each before its twins with a fault.

B batch, S sequence, H hidden, N heads, K kv heads, D head_dim, C keys.
"""

import torch
import ttnn

from .plain_decoder import TILE, Decoder, whole_tiles

HIDDEN = -1e9  # what a mask adds to the scores of keys that are not seen


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


# --- attention ------------------------------------------------------------------------------------


class AttentionByHand(Decoder):
    """Products, a mask and a softmax; each key and value is repeated for the queries it serves.

    Rows are padded to whole tiles by the device alone.
    """

    def attend(self, q, k, v):
        k, v = self.repeated(k), self.repeated(v)
        scores = ttnn.matmul(self.scaled(q), ttnn.transpose(k, -2, -1))  # [B, N, S, C]
        if q.shape[2] > 1:
            scores = ttnn.add(scores, self.mask(q.shape[2]))
        return ttnn.matmul(ttnn.softmax(scores, dim=-1), v)

    def scaled(self, q):
        return ttnn.multiply(q, self.scale())

    def scale(self):
        return self.d**-0.5

    def repeated(self, x):
        return ttnn.repeat_interleave(x, self.n // self.k, dim=1)

    def mask(self, s):
        hidden = torch.full((s, s), HIDDEN).triu(self.first_hidden)
        return self.to_device(hidden[None, None])

    first_hidden = 1  # how far after a token the first one is that it does not see


class ScaleOfAnotherWidth(AttentionByHand):
    """Fault: 1 / sqrt(D + 1)."""

    def scale(self):
        return (self.d + 1) ** -0.5


class WidthForScale(AttentionByHand):
    """Fault: 1 / D."""

    def scale(self):
        return 1 / self.d


class HeadsRepeatedInTurn(AttentionByHand):
    """Fault: heads 0 1 0 1 where 0 0 1 1 are meant."""

    def repeated(self, x):
        return ttnn.repeat(x, (1, self.n // self.k, 1, 1))


class NextKeyShown(AttentionByHand):
    """Fault: the mask is off by one, a token sees the next one."""

    first_hidden = 2


class ScoresScaled(AttentionByHand):
    """The scale comes after the product, and the mask before the scale, larger by as much."""

    def attend(self, q, k, v):
        k, v = self.repeated(k), self.repeated(v)
        scores = ttnn.matmul(q, ttnn.permute(k, (0, 1, 3, 2)))
        if q.shape[2] > 1:
            scores = ttnn.add(scores, self.mask(q.shape[2]))
        weights = ttnn.softmax(ttnn.multiply(scores, self.scale()), dim=-1)
        return ttnn.matmul(weights, v)


class SoftmaxOverQueries(ScoresScaled):
    """Fault: in a prompt the weights of each key sum to 1."""

    def attend(self, q, k, v):
        if q.shape[2] == 1:
            return super().attend(q, k, v)
        scores = ttnn.matmul(q, ttnn.permute(self.repeated(k), (0, 1, 3, 2)))
        scores = ttnn.add(scores, self.mask(q.shape[2]))
        weights = ttnn.softmax(ttnn.multiply(scores, self.scale()), dim=-2)
        return ttnn.matmul(weights, self.repeated(v))


class Grouped(AttentionByHand):
    """Queries that share a key are rows of one matrix, [B, K, N / K S, D]; nothing is repeated."""

    def attend(self, q, k, v):
        b, _, s, d = q.shape
        share = self.n // self.k
        q = ttnn.reshape(self.scaled(q), (b, self.k, share * s, d))
        scores = ttnn.matmul(q, ttnn.transpose(k, -2, -1))
        if s > 1:
            hidden = torch.full((s, s), HIDDEN).triu(1).repeat(share, 1)
            scores = ttnn.add(scores, self.to_device(hidden[None, None]))
        y = ttnn.matmul(ttnn.softmax(scores, dim=-1), v)
        return ttnn.reshape(y, (b, self.n, s, d))


class MaskGiven(Decoder):
    """The attention's operation is given a mask, which hides the padding of whole tiles, too."""

    first_hidden = 1

    def attend(self, q, k, v):
        s, length = q.shape[2], k.shape[2]
        rows = torch.arange(length - s, length)
        hidden = torch.arange(length) >= rows[:, None] + self.first_hidden
        return attended_by_mask(self, q, k, v, hidden[None, None])


def attended_by_mask(model, q, k, v, hidden):
    """Attention to keys [B, K, C, D] that are not hidden [B, 1, S, C]."""
    more = whole_tiles(k.shape[2]) - k.shape[2]
    if more:
        grow = [(0, 0), (0, 0), (0, more), (0, 0)]
        k, v = ttnn.pad(k, grow, 0.0), ttnn.pad(v, grow, 0.0)
    mask = torch.nn.functional.pad(hidden * HIDDEN, (0, more), value=HIDDEN)
    return ttnn.transformer.scaled_dot_product_attention(
        q, k, v, is_causal=False, attn_mask=model.to_device(mask)
    )


class MaskOffByOne(MaskGiven):
    """Fault: a token of a prompt sees the next one."""

    first_hidden = 2


class RepeatedForAttention(Decoder):
    """As many keys and values as queries are given to the attention's operation."""

    def attend(self, q, k, v):
        return super().attend(q, self.repeated(k), self.repeated(v))

    def repeated(self, x):
        return ttnn.repeat_interleave(x, self.n // self.k, dim=1)


class RepeatedInTurn(RepeatedForAttention):
    """Fault: heads 0 1 0 1 where 0 0 1 1 are meant."""

    def repeated(self, x):
        return ttnn.repeat(x, (1, self.n // self.k, 1, 1))


class QueriesScaled(Decoder):
    """The scale is multiplied to the queries before the attention, which has 1."""

    scale = 1.0

    def attend(self, q, k, v):
        return ttnn.transformer.scaled_dot_product_attention(
            ttnn.multiply(q, self.d**-0.5),
            k,
            v,
            is_causal=q.shape[2] > 1,
            scale=self.scale,
        )


class ScaledTwice(QueriesScaled):
    """Fault: the operation's own scale, too."""

    scale = None


class PromptInTiles(Decoder):
    """Queries, keys and values of a prompt are padded to whole tiles for the attention alone."""

    def attend(self, q, k, v):
        s = q.shape[2]
        if s == 1:
            return super().attend(q, k, v)
        grow = [(0, 0), (0, 0), (0, whole_tiles(s) - s), (0, 0)]
        q, k, v = (ttnn.pad(x, grow, 0.0) for x in (q, k, v))
        return super().attend(q, k, v)[:, :, :s]

"""Variants in attention; each before its twins with a fault.

B batch, S sequence, N heads, K kv heads, D head_dim, C keys.
"""

import torch
import ttnn

from .plain_decoder import Decoder, whole_tiles

HIDDEN = -1e9  # what a mask adds to the scores of keys that are not seen


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


class WidthForScale(AttentionByHand):
    """Fault: 1 / D."""

    def scale(self):
        return 1 / self.d


class HeadsRepeatedInTurn(AttentionByHand):
    """Fault: heads 0 1 0 1 where 0 0 1 1 are meant."""

    def repeated(self, x):
        return ttnn.repeat(x, (1, self.n // self.k, 1, 1))


class ScoresScaled(AttentionByHand):
    """The scale comes after the product; scores that are hidden are replaced by the mask's."""

    def attend(self, q, k, v):
        scores = ttnn.matmul(q, ttnn.permute(self.repeated(k), (0, 1, 3, 2)))
        scores = ttnn.multiply(scores, self.scale())
        if q.shape[2] > 1:
            scores = ttnn.where(ttnn.ltz(self.mask(q.shape[2])), HIDDEN, scores)
        return ttnn.matmul(self.weights(scores), self.repeated(v))

    def weights(self, scores):
        return ttnn.softmax(scores, dim=-1)


class ScaleOfAnotherWidth(ScoresScaled):
    """Fault: 1 / sqrt(D + 1)."""

    def scale(self):
        return (self.d + 1) ** -0.5


class NextKeyShown(ScoresScaled):
    """Fault: the mask is off by one, a token sees the next one."""

    first_hidden = 2


class SoftmaxOverQueries(ScoresScaled):
    """Fault: in a prompt the weights of each key sum to 1."""

    def weights(self, scores):
        return ttnn.softmax(scores, dim=-2 if scores.shape[2] > 1 else -1)


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

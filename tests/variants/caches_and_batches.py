"""Variants in what is kept between calls, in padding and in batches; each before its twins.

B batch, S sequence, H hidden, K kv heads, D head_dim, C positions.
"""

from types import SimpleNamespace

import torch
import ttnn

from .attending import HIDDEN, attended_by_mask
from .plain_decoder import TILE, Decoder, Past, whole_tiles


def padded_right(ids, token=0):
    """[B, S] in whole tiles."""
    return torch.nn.functional.pad(ids, (0, whole_tiles(ids.shape[1]) - ids.shape[1]), value=token)


# --- the whole prefix again on each call ----------------------------------------------------------


class Uncached(Decoder):
    """`past_key_values` is the ids so far."""

    def __call__(self, input_ids, past_key_values=None, attention_mask=None, use_cache=True):
        ids = input_ids
        if past_key_values is not None:
            ids = torch.cat((past_key_values, input_ids), dim=1)
        self.past = [None] * self.depth
        logits = self.prefix(ids)[:, -input_ids.shape[1] :]
        return SimpleNamespace(logits=logits, past_key_values=ids)

    def prefix(self, ids):
        return self.compute(ids, 0)


class FirstTokenLost(Uncached):
    """Fault: a prefix that has grown begins with its second token."""

    def prefix(self, ids):
        return super().prefix(ids[:, 1:] if ids.shape[1] > 33 else ids)


class UncachedInTiles(Uncached):
    """The prefix is padded on its right to whole tiles."""

    def prefix(self, ids):
        return self.compute(padded_right(ids), 0)[:, : ids.shape[1]]


class LastRowOfTheTile(UncachedInTiles):
    """Fault: the logits are the last rows of the tile."""

    def prefix(self, ids):
        return self.compute(padded_right(ids), 0)


class ByLength(Uncached):
    """LongRoPE: a sequence takes the long factors once it is longer than the original length."""

    def rotary_tables(self):
        scaling = self.config.rope_parameters["attention_factor"]
        tables = []
        for name in ("short_factor", "long_factor"):
            angles = self.angles(torch.tensor(self.config.rope_parameters[name]))
            for table in (angles.cos(), angles.sin()):
                tables.append(self.to_device(table * scaling, ttnn.ROW_MAJOR_LAYOUT))
        self.short, self.long = tables[:2], tables[2:]
        return self.short

    def prefix(self, ids):
        self.tables = self.long if self.is_long(ids.shape[1]) else self.short
        return super().prefix(ids)

    def is_long(self, length):
        return length > self.config.original_max_position_embeddings


class AlwaysLong(ByLength):
    """Fault: the long factors at any length."""

    def is_long(self, length):
        return True


class LongTooLate(ByLength):
    """Fault: the first sequence that is too long for the short factors still takes them."""

    def is_long(self, length):
        return length > self.config.original_max_position_embeddings + 1


# --- a cache of fixed length ----------------------------------------------------------------------


class FilledCache(Decoder):
    """Caches [1, K, C, D] for one row; prompts are padded on their right to whole tiles."""

    token = 0  # of the padding

    def build(self):
        empty = torch.zeros(1, self.k, self.capacity, self.d)
        self.caches = [[self.to_device(empty) for _ in range(2)] for _ in range(self.depth)]

    def __call__(self, input_ids, past_key_values=None, attention_mask=None, use_cache=True):
        rows, s = input_ids.shape
        start = past_key_values or 0
        if rows != 1 or (start and s > 1):
            raise ValueError("one row, and after its prompt a token at a time")
        self.prompt = s > 1
        ids = padded_right(input_ids, self.token) if self.prompt else input_ids
        logits = self.compute(ids, start)[:, :s]
        return SimpleNamespace(logits=logits, past_key_values=start + s)

    def remember(self, k, v, i):
        for cache, new in zip(self.caches[i], (k, v), strict=True):
            if self.prompt:
                ttnn.fill_cache(cache, new, 0)
            else:
                ttnn.update_cache(cache, new, self.place())
        return (k, v) if self.prompt else self.caches[i]

    def place(self):
        """Where a token's key and value go."""
        return self.start

    def attend(self, q, k, v):
        if self.prompt:
            return super().attend(q, k, v)
        y = ttnn.transformer.scaled_dot_product_attention_decode(
            ttnn.transpose(q, 1, 2), k, v, cur_pos=[self.start]
        )  # [1, 1, N, D]
        return ttnn.transpose(y, 1, 2)


class PaddedWithAnotherToken(FilledCache):
    token = 77


class WrittenOneEarly(FilledCache):
    """Fault: a token's key and value overwrite those of the token before."""

    def place(self):
        return max(self.start - 1, 0)


class PaddingAttended(FilledCache):
    """Fault: a token goes behind the padding of its prompt, and sees that."""

    def attend(self, q, k, v):
        before, self.start = self.start, self.place()
        y = super().attend(q, k, v)
        self.start = before
        return y

    def place(self):
        return self.start + 31 if self.start else 0


class MaskedCache(FilledCache):
    """Keys and values for all C positions; the mask says which of them exist."""

    def compute(self, ids, start):
        rows, columns = torch.arange(start, start + ids.shape[1]), torch.arange(self.capacity)
        hidden = columns > rows[:, None] + self.seen_ahead(start)
        self.mask = self.to_device((hidden * HIDDEN)[None, None])
        return super().compute(ids, start)

    def seen_ahead(self, start):
        """How many positions beyond its own a token sees."""
        return 0

    def remember(self, k, v, i):
        super().remember(k, v, i)
        return self.caches[i]

    def attend(self, q, k, v):
        return ttnn.transformer.scaled_dot_product_attention(
            q, k, v, is_causal=False, attn_mask=self.mask
        )


class NextKeySeen(MaskedCache):
    """Fault: the mask is off by one, a token sees the next one."""

    def seen_ahead(self, start):
        return 1


class OwnKeyHiddenInDecode(MaskedCache):
    """Fault: the mask is off by one after the prompt, a token does not see itself."""

    def seen_ahead(self, start):
        return -1 if start else 0


class InChunks(MaskedCache):
    """A prompt is computed 32 tokens at a time."""

    def compute(self, ids, start):
        parts = ids.split(TILE, dim=1)
        starts = [start + TILE * number for number in range(len(parts))]
        return torch.cat(
            [super(InChunks, self).compute(*pair) for pair in zip(parts, starts, strict=True)], 1
        )

    def remember(self, k, v, i):
        if not self.prompt:
            return super().remember(k, v, i)
        for cache, new in zip(self.caches[i], (k, v), strict=True):
            ttnn.fill_cache(cache, new, 0, update_idx=self.start)
        return self.caches[i]


class PositionsOfTheChunk(InChunks):
    """Fault: each chunk of a prompt is rotated as if it were the first."""

    def at_positions(self, positions):
        super().at_positions(positions % TILE if self.prompt else positions)


class ChunksApart(InChunks):
    """Fault: a chunk does not see those before it."""

    def seen_ahead(self, start):
        return 0

    def compute(self, ids, start):
        self.first = start
        return super().compute(ids, start)

    def attend(self, q, k, v):
        if self.prompt and self.start:
            before = torch.arange(self.capacity) < self.start
            hidden = self.to_device((before * HIDDEN).expand(1, 1, TILE, -1))
            self.mask = ttnn.minimum(self.mask, hidden)
        return super().attend(q, k, v)


# --- batches with idle rows -----------------------------------------------------------------------


class ForEight(Decoder):
    """Built for eight rows: those that are not given hold a token."""

    rows = 8

    def compute(self, ids, start):
        assert len(ids) <= self.rows, f"{len(ids)} rows of {self.rows}"
        idle = torch.full((self.rows - len(ids), ids.shape[1]), self.idle_token())
        return super().compute(torch.cat((ids, idle)), start)[: len(ids)]

    def idle_token(self):
        return 7


class ForTwo(ForEight):
    rows = 2


class OthersPast(ForEight):
    """Fault: a row goes on with the keys and values of the row after it."""

    def remember(self, k, v, i):
        if self.past[i] is not None:
            self.past[i] = [
                ttnn.concat([ttnn.slice(t, [1, 0, 0, 0], list(t.shape)), t[:1]], dim=0)
                for t in self.past[i]
            ]
        return super().remember(k, v, i)


class IdleRowsAreNan(ForTwo):
    """Idle rows look up a row of NaN, which stays in them."""

    def placed(self, name, weight):
        if name == "embed_tokens":
            weight = torch.cat((weight, torch.full_like(weight[:1], torch.nan)))
        return super().placed(name, weight)

    def idle_token(self):
        return self.config.vocab_size


class LastRowReturned(ForTwo):
    """Fault: the logits are those of the last rows."""

    def compute(self, ids, start):
        idle = torch.full((self.rows - len(ids), ids.shape[1]), self.idle_token())
        return Decoder.compute(self, torch.cat((ids, idle)), start)[-len(ids) :]


class PaddedLeft(Decoder):
    """Two rows of different lengths with padding on their left; an idle one has a prompt, too.

    Positions of a row count its own tokens, and the mask hides the padding.
    """

    idle = (9, 8, 7, 6, 5)  # tokens of a row that is not given

    def __call__(self, input_ids, past_key_values=None, attention_mask=None, use_cache=True):
        given, s = input_ids.shape
        past = past_key_values
        if past is None:
            width = max(whole_tiles(s), TILE)
            present = torch.zeros(2, width, dtype=torch.bool)
            ids = torch.zeros(2, width, dtype=torch.int64)
            lines = [*input_ids, *[torch.tensor(self.idle)] * (2 - given)]
            for row, line in enumerate(lines):
                ids[row, -len(line) :], present[row, -len(line) :] = line, True
            self.past = [None] * self.depth
        else:
            self.past, present = list(past.layers), past.length
            ids = torch.cat((input_ids, torch.full((2 - given, 1), 9)))
            present = torch.cat((present, torch.ones(2, 1, dtype=torch.bool)), dim=1)
        new = ids.shape[1]
        self.positions = self.positions_of(present)[:, -new:]
        self.hidden = self.hidden_of(present)[:, :, -new:]
        logits = self.compute(ids, 0)[:given, -s:]
        return SimpleNamespace(logits=logits, past_key_values=Past(self.past, present))

    def positions_of(self, present):
        """[2, columns] of the columns so far."""
        return (present.cumsum(1) - 1).clamp(min=0)

    def hidden_of(self, present):
        """[2, 1, columns, columns]: a token sees the tokens up to itself."""
        columns = torch.arange(present.shape[1])
        return ((columns > columns[:, None]) | ~present[:, None])[:, None]

    def at_positions(self, positions):
        positions = self.ids_to_device(self.positions)
        self.cos, self.sin = (
            ttnn.unsqueeze(ttnn.embedding(positions, table, layout=ttnn.TILE_LAYOUT), 1)
            for table in self.tables
        )  # [2, 1, S, D]

    def rotate(self, x):
        half = self.d // 2
        turned = ttnn.concat([ttnn.neg(x[:, :, :, half:]), x[:, :, :, :half]], dim=-1)
        return ttnn.add(ttnn.multiply(x, self.cos), ttnn.multiply(turned, self.sin))

    def attend(self, q, k, v):
        return attended_by_mask(self, q, k, v, self.hidden)


class PaddingCounted(PaddedLeft):
    """Positions count the padding: every query and key of a row is turned by as much more.

    Products of queries and keys do not change: this is right.
    """

    def positions_of(self, present):
        return torch.arange(present.shape[1]).expand(2, -1)


class PaddingCountedInDecode(PaddedLeft):
    """Fault: positions count the padding of a prompt, but not within the prompt itself."""

    def positions_of(self, present):
        if present.shape[1] % TILE == 0:
            return super().positions_of(present)
        return torch.arange(present.shape[1]).expand(2, -1)


class PaddingSeen(PaddedLeft):
    """Fault: the mask is causal alone."""

    def hidden_of(self, present):
        return super().hidden_of(torch.ones_like(present))

"""Which keys a query of a prompt sees, and the order in which a kernel goes through them.

B batch, N heads, K kv heads, G = N / K heads that share one, S queries, T keys. Nothing here has
S x T elements but a mask that the caller gives: what is hidden is told a part at a time, as the
kernel generates its masks. Kernel sources: sliding_window_geometry.hpp, windowed_loop_geometry.hpp,
windowed_mask_gen.hpp, compute_streaming.hpp (16-bit Dst), compute_common.hpp (32-bit Dst).
"""

import bisect
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from ttnn_emulator.arithmetic.compute import PromptScores
from ttnn_emulator.arithmetic.exact.packer import pack
from ttnn_emulator.arithmetic.exact.vector import vector_binary
from ttnn_emulator.arithmetic.formats import TILE, ceil_div


class Part(NamedTuple):
    """Keys `first` to `end` - 1 for rows `row` to `stop` - 1, which have seen none if `fresh`."""

    first: int
    end: int
    row: int
    stop: int
    fresh: bool


@dataclass(frozen=True)
class Visible:
    """Which keys each query sees.

    Attributes:
        scores: the call's own.
        scale: factor of the scores, by which a mask is divided.
        keys: T.
        batch, kv_heads: B, K.
        q_chunk, k_chunk: rows of queries and of keys in one chunk.
        streaming: whether the kernel is the one with a 16-bit Dst. It leaves out chunks of keys
            that a sliding window hides, and its packer adds the kernel's own masks in L1.
    """

    scores: PromptScores
    scale: float
    keys: int
    batch: int
    kv_heads: int
    q_chunk: int
    k_chunk: int
    streaming: bool

    @property
    def masked(self) -> bool:
        """Whether a mask is added to the scores: the caller's, or that of packed sequences."""
        return self.scores.mask is not None or self.scores.sequences is not None

    @property
    def causal(self) -> bool:
        """Whether chunks of keys after a chunk of queries are left out."""
        return self.scores.causal and not self.masked

    @property
    def reach(self) -> tuple[int, int] | None:
        """How many keys before and after itself a query sees in a window; None without one."""
        window = self.scores.window
        if not window or self.masked:
            return None
        return (window - 1, 0) if self.scores.causal else (window // 2, window // 2)

    def parts(self, rows: int) -> Iterator[Part]:
        """The parts in which the kernel goes through the keys, for `rows` queries.

        Rows are taken by whole chunks of queries, each with a range of chunks of keys.
        """
        lows, highs = self._ranges(rows)
        for chunk in range(ceil_div(self.keys, self.k_chunk)):
            first = chunk * self.k_chunk
            end = min(first + self.k_chunk, self.keys)
            taken, new, stop = (
                min(edge * self.q_chunk, rows)
                for edge in (
                    bisect.bisect_right(highs, chunk),
                    bisect.bisect_left(lows, chunk),
                    bisect.bisect_right(lows, chunk),
                )
            )
            if taken < new:
                yield Part(first, end, taken, new, fresh=False)
            if max(taken, new) < stop:
                yield Part(first, end, max(taken, new), stop, fresh=True)

    def rows_of(self, first: int, end: int, rows: int) -> tuple[int, int]:
        """First and end of the `rows` queries that a key of `first` to `end` - 1 is taken for."""
        lows, highs = self._ranges(rows)
        row = bisect.bisect_right(highs, first // self.k_chunk)
        stop = bisect.bisect_right(lows, ceil_div(end, self.k_chunk) - 1)
        return row * self.q_chunk, min(stop * self.q_chunk, rows)

    def _ranges(self, rows: int) -> tuple[list[int], list[int]]:
        """First and end of the chunks of keys that each chunk of queries takes, both rising."""
        count = ceil_div(self.keys, self.k_chunk)
        starts = range(self.scores.start, self.scores.start + rows, self.q_chunk)
        ranges = [self._range(start, count, rows) for start in starts]
        return [low for low, _ in ranges], [high for _, high in ranges]

    def _range(self, start: int, count: int, rows: int) -> tuple[int, int]:
        end = start + self.q_chunk
        if self.scores.sequences is not None:
            # rows are whole tiles; a chunk of queries ends with them
            end = min(end, self.scores.start + ceil_div(rows, TILE) * TILE)
            return _of_sequences(self.scores, start, end, self.k_chunk, count)
        low, high = 0, count
        if self.causal:
            high = min(ceil_div(end, self.k_chunk), count)
        if self.reach and self.streaming:
            before, after = (ceil_div(tokens, TILE) * TILE for tokens in self.reach)
            low = min(max(start - before, 0) // self.k_chunk, count - 1)
            if not self.causal:
                high = min(ceil_div(end + after, self.k_chunk), count)
        return low, high

    def last_seen(self, rows: torch.Tensor) -> torch.Tensor | None:
        """The end of the keys that the chunks of these rows take; None for all of them."""
        if self.masked or not (self.causal or self.reach):
            return None
        after = 0 if self.reach is None else ceil_div(self.reach[1], TILE) * TILE
        return self.scores.start + (rows // self.q_chunk + 1) * self.q_chunk + after

    def hide(self, values: torch.Tensor, part: Part) -> torch.Tensor:
        """Minus infinity on the scores of a part that the kernel's own masks hide.

        Infinity plus minus infinity is NaN to the packer and 0 to the matrix unit, which adds the
        masks beside a 32-bit Dst unless they are causal alone (use_lightweight_causal_mask).
        """
        hidden = self._hidden(part)
        if hidden is None or not hidden.any():
            return values
        stamped = self.streaming or (self.causal and self.reach is None)
        cancelled = torch.nan if stamped else 0.0
        return torch.where(hidden, torch.where(values == math.inf, cancelled, -math.inf), values)

    def _hidden(self, part: Part) -> torch.Tensor | None:
        """[rows, keys] bool of a part, or None where nothing is hidden."""
        start, keys = self.scores.start, self.scores.keys
        before_diagonal = self.causal and part.end <= start + part.row + 1
        before_padding = self.causal or keys is None or part.end <= keys
        if self.reach is None and (before_diagonal or not self.causal) and before_padding:
            return None
        position = torch.arange(start + part.row, start + part.stop)[:, None]
        column = torch.arange(part.first, part.end)
        hidden = torch.zeros(part.stop - part.row, part.end - part.first, dtype=torch.bool)
        if self.causal:
            hidden |= column > position
        elif keys is not None:
            hidden |= column >= keys
        if self.reach is not None:
            before, after = self.reach
            hidden |= (column < position - before) | (column > position + after)
        return hidden

    def mask(self, part: Part) -> torch.Tensor | None:
        """[B*K or 1, G or 1, rows, keys] of a part: what is added to scores before scaling.

        TTNN multiplies the caller's mask by a scalar before the kernel, nearest even (binary_ng):
        the exponential applies the scale to scores and mask alike.
        """
        scores = self.scores
        if scores.sequences is not None:
            return _between_sequences(self._sequence_of_keys, scores, part)
        if scores.mask is None:
            return None
        inverse = torch.tensor(1 / self.scale).bfloat16().float()
        mask = scores.mask[..., part.row : part.stop, part.first : part.end]
        mask = pack(
            vector_binary.multiply(mask.float(), inverse), scores.mask_format, fp32_dest_acc=False
        )
        batch, heads = mask.shape[:2]
        if heads == 1:
            return mask.repeat_interleave(self.kv_heads, 0) if batch > 1 else mask
        mask = mask.unflatten(1, (self.kv_heads, -1))
        return mask.flatten(0, 1) if batch > 1 else self._for_every_batch(mask)

    def _for_every_batch(self, mask: torch.Tensor) -> torch.Tensor:
        """[1, K, G, ...] -> [B*K, G, ...]."""
        return mask.expand(self.batch, *mask.shape[1:]).flatten(0, 1)

    @cached_property
    def _sequence_of_keys(self) -> torch.Tensor:
        """[T] the number of the sequence that each key belongs to, -1 for none."""
        bounds = torch.tensor(self.scores.sequences)
        numbers = torch.searchsorted(bounds, torch.arange(self.keys), right=True) - 1
        return numbers.masked_fill(numbers >= len(bounds) - 1, -1)


def _of_sequences(
    scores: PromptScores, start: int, end: int, k_chunk: int, count: int
) -> tuple[int, int]:
    """First and end of the chunks of keys of the sequences that queries `start` to `end` are in."""
    bounds = scores.sequences or ()
    spans = list(itertools.pairwise(bounds))
    here = [i for i, (low, high) in enumerate(spans) if low <= start < high or low < end <= high]
    if not here:  # one chunk, of which everything is hidden
        return count - 1, count
    last = here[0]
    while last + 1 < len(spans) and spans[last][1] < end:
        last += 1
    stop = min(spans[last][1], end) if scores.causal else spans[last][1]
    high = min(ceil_div(stop, k_chunk), count)
    return min(spans[here[0]][0] // k_chunk, high - 1), high


def _between_sequences(numbers: torch.Tensor, scores: PromptScores, part: Part) -> torch.Tensor:
    """[1, 1, rows, keys]: minus infinity where query and key are not of one sequence, else 0."""
    position = torch.arange(scores.start + part.row, scores.start + part.stop)
    of_query = torch.full(position.shape, -1)
    inside = position < len(numbers)
    of_query[inside] = numbers[position[inside]]
    hidden = of_query[:, None] != numbers[part.first : part.end]
    hidden |= (of_query < 0)[:, None]
    if scores.causal:
        hidden |= torch.arange(part.first, part.end) > position[:, None]
    return torch.zeros(hidden.shape).masked_fill(hidden, -math.inf)[None, None]

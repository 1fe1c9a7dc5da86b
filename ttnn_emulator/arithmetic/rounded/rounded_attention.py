"""Attention and rotary embeddings in float32, for `rounded`.

B batch, S queries, T keys, N heads, K kv heads, D head_dim.
"""

import math

import torch

from ttnn_emulator.arithmetic.compute import (
    CAUSAL,
    AttentionProgram,
    CacheScores,
    Compute,
    DecodeWork,
    PromptScores,
    default_scale,
)
from ttnn_emulator.arithmetic.formats import TILE

SCORES_AT_ONCE = 1 << 26  # 256 MB of float32; a longer prompt is computed some queries at a time


def rotary(
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    *,
    table: str = "bfloat16",
    out: str = "bfloat16",
    compute: Compute | None = None,
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    return x.float() * cos.float() + rotate_half(x).float() * sin.float()


def rotate_half(x: torch.Tensor) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def rotary_pairs(
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    transformation: torch.Tensor,
    *,
    compute: Compute | None = None,
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    x = x.float()
    turned = (x.unflatten(-1, (-1, TILE)) @ transformation.float()).flatten(-2)
    return x * cos.float() + turned * sin.float()


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scores: PromptScores = CAUSAL,
    program: AttentionProgram | None = None,
    compute: Compute | None = None,
    out: str = "bfloat16",
) -> torch.Tensor:
    """See `interface.Arithmetic`; a query that sees no key gets zeros."""
    scale = _scale(scores.scale, query)
    rows, length = query.shape[-2], key.shape[-2]

    def bias(first: int, end: int) -> torch.Tensor | None:
        """[..., end - first, T]: what is added to the scores of some queries."""
        if scores.mask is not None:
            return scores.mask[..., first:end, :].float()
        positions = torch.arange(scores.start + first, scores.start + end)
        keys = length if scores.keys is None else scores.keys
        hidden = hidden_keys(positions, length, keys, causal=scores.causal, window=scores.window)
        if scores.sequences is not None:
            hidden = hidden | _of_other_sequences(positions, length, scores.sequences)
        if not hidden.any():
            return None
        return torch.zeros(hidden.shape).masked_fill_(hidden, -math.inf)

    sink = _scaled(scores.sink, scale)
    at_once = max(1, SCORES_AT_ONCE // (query.shape[0] * query.shape[1] * length))
    parts = [(first, min(first + at_once, rows)) for first in range(0, rows, at_once)]
    results = [
        _attend(query[:, :, first:end], key, value, scale, bias(first, end), sink)
        for first, end in parts
    ]
    return results[0] if len(results) == 1 else torch.cat(results, dim=2)


def _scale(scale: float | None, query: torch.Tensor) -> float:
    return default_scale(query.shape[-1]) if scale is None else scale


def _scaled(sink: torch.Tensor | None, scale: float) -> torch.Tensor | None:
    return None if sink is None else sink.float() * scale


def hidden_keys(
    positions: torch.Tensor, length: int, keys: int, *, causal: bool, window: int | None
) -> torch.Tensor:
    """[S, T] bool, the keys that queries at `positions` do not see.

    A causal window covers the last `window` keys, the query's own included; any other one half of
    `window` to either side (sliding_window_geometry.hpp). Without `causal`, keys from `keys` on are
    padding.
    """
    distance = positions[:, None] - torch.arange(length)
    hidden = distance < 0 if causal else (torch.arange(length) >= keys).expand_as(distance)
    if window:
        hidden = hidden | (distance >= window if causal else distance.abs() > window // 2)
    return hidden


def _of_other_sequences(
    positions: torch.Tensor, length: int, bounds: tuple[int, ...]
) -> torch.Tensor:
    """[S, T] bool, keys of other sequences than the queries' own; what is in none sees nothing."""
    edges = torch.tensor(bounds)
    own = torch.searchsorted(edges, positions, right=True)
    of_key = torch.searchsorted(edges, torch.arange(length), right=True)
    outside = (own == 0) | (own == len(edges))
    return (own[:, None] != of_key) | outside[:, None]


def attention_rows(last: int, capacity: int, program: AttentionProgram | None) -> int:
    """See `interface.Arithmetic`."""
    return last


def attention_decode(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scores: CacheScores,
    work: DecodeWork,
    program: AttentionProgram | None = None,
    compute: Compute | None = None,
    out: str = "bfloat16",
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    mask, scale = scores.mask, _scale(scores.scale, query)
    if scores.positions is not None:
        last = int(scores.positions[0]) + 1
        first = max(0, last - scores.window) if scores.window else 0
        key, value = key[:, :, first:last], value[:, :, first:last]
        mask = mask if mask is None else mask[..., first:last]
    bias = None if mask is None else (mask.float() * scale).unsqueeze(-2)
    sink = _scaled(scores.sink, scale)
    return _attend(query.unsqueeze(-2), key, value, scale, bias, sink).squeeze(-2)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    bias: torch.Tensor | None,
    sink: torch.Tensor | None,
) -> torch.Tensor:
    batch, heads, length, width = query.shape
    kv_heads = key.shape[1]
    grouped = (batch, kv_heads, heads // kv_heads * length)
    scores = (query.float() * scale).reshape(*grouped, width) @ key.float().transpose(-1, -2)
    scores = scores.reshape(batch, heads, length, -1)
    if bias is not None:
        scores += bias
    weights = _softmax(scores, sink).reshape(*grouped, -1)
    return _weighted_sum(weights, value.float()).reshape(batch, heads, length, -1)


def _softmax(scores: torch.Tensor, sink: torch.Tensor | None) -> torch.Tensor:
    largest = scores.amax(-1, keepdim=True)
    if sink is not None:
        sink = sink[:, None, None]
        largest = torch.maximum(largest, sink)
    largest = largest.masked_fill(largest == -math.inf, 0.0)
    weights = scores.sub_(largest).exp_()
    total = weights.sum(-1, keepdim=True)
    if sink is not None:
        total = total + torch.exp(sink - largest)
    return weights.div_(total.masked_fill(total == 0, 1.0))


def _weighted_sum(weights: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """weights @ value; a value that is not finite counts only where its weight is not 0.

    The matrix unit takes 0 times anything as 0.
    """
    if value.sum().isfinite():  # then all are; testing each would take as long as the product
        return weights @ value
    finite = value.isfinite()
    spoilt = weights @ (~finite).float() > 0
    return (weights @ value.masked_fill(~finite, 0.0)).masked_fill(spoilt, math.nan)

"""Attention and rotary embeddings in float32, for `ttnn_emulator.arithmetic.rounded.rounded`.

B batch, S queries, T keys, N heads, K kv heads, D head_dim.
"""

import math

import torch

SCORES_AT_ONCE = 1 << 26  # 256 MB of float32; a longer prompt is computed some queries at a time


def rotary(x, cos, sin, *, table="bfloat16", out="bfloat16"):
    """Rotate by halves, as `apply_rotary_pos_emb` of Hugging Face does.

    Args:
        x: [..., S, D].
        cos, sin: broadcastable to x.
        table, out: the tables' and the result's dtype; not modelled here.

    Returns:
        x * cos + rotate_half(x) * sin, float32.
    """
    return x.float() * cos.float() + rotate_half(x).float() * sin.float()


def rotate_half(x):
    """[..., D] -> the same shape and dtype: the negated second half, then the first half."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def rotary_pairs(x, cos, sin, transformation, *, compute=None):
    """Rotate by what a transformation matrix makes of every 32 columns, as Meta's interleaved pairs.

    Args:
        x: [..., S, D], D a multiple of 32.
        cos, sin: broadcastable to x.
        transformation: [32, 32], applied from the right.
        compute: a `compute.Compute`, None for TTNN's default; not modelled here.

    Returns:
        x * cos + (x @ transformation) * sin, float32.
    """
    x = x.float()
    turned = (x.unflatten(-1, (-1, 32)) @ transformation.float()).flatten(-2)
    return x * cos.float() + turned * sin.float()


def attention(
    query,
    key,
    value,
    *,
    scale,
    causal=True,
    start=0,
    window=None,
    keys=None,
    mask=None,
    mask_format="bfloat16",
    sink=None,
    program=None,
    compute=None,
    out="bfloat16",
):
    """softmax(query @ key^T * scale + mask) @ value over a prompt.

    Args:
        query: [B, N, S, D].
        key, value: [B, K, T, D]; each kv head serves N / K query heads.
        scale: factor of the scores.
        causal: whether a query sees no key after its own position; not with a mask.
        start: position of the first query.
        window: keys that a query sees, its own included (causal); or half of it to either side.
        keys: keys that are not padding, for attention that is not causal and has no mask.
        mask: [1 or B, 1 or N, S, T] added to the scaled scores, or None. It is added, as the kernel
            adds it, so a NaN in a hidden key still spoils its scores.
        mask_format: the mask's dtype.
        sink: [N] logits before scaling that take part in the softmax's sum and have no value; or
            None.
        program, compute: a `compute.AttentionProgram` and a `compute.Compute`, or None. Chunk sizes
            and fidelity change only how a step is rounded, so nothing here looks at them.
        out: the result's dtype.

    Returns:
        [B, N, S, D] float32. A query that sees no key gets zeros.
    """
    length = key.shape[-2]
    if mask is not None:
        bias = mask.float()
    else:
        positions = torch.arange(start, start + query.shape[-2])
        hidden = hidden_keys(
            positions, length, length if keys is None else keys, causal=causal, window=window
        )
        bias = None
        if hidden.any():
            bias = torch.zeros(hidden.shape).masked_fill_(hidden, -math.inf)
    sink = None if sink is None else sink.float() * scale
    return _in_parts(query, key, value, scale, bias, sink)


def hidden_keys(positions, length, keys, *, causal, window):
    """[S, T] bool, the keys that queries at `positions` do not see.

    A causal window reaches `window` keys back, the query's own included; the other one half of it
    to either side (sliding_window_geometry.hpp). Without `causal`, keys from `keys` on are padding.
    """
    distance = positions[:, None] - torch.arange(length)
    hidden = distance < 0 if causal else (torch.arange(length) >= keys).expand_as(distance)
    if window:
        hidden = hidden | (distance >= window if causal else distance.abs() > window // 2)
    return hidden


def attention_rows(last, capacity, program):
    """Rows of a cache of `capacity` that are read for queries that see the first `last` of them."""
    return last


def attention_decode(
    query,
    key,
    value,
    *,
    scale,
    positions=None,
    mask=None,
    window=None,
    sink=None,
    capacity=None,
    users=None,
    cores=(8, 8),
    program=None,
    compute=None,
    out="bfloat16",
):
    """Attention of one query for each user over a cache.

    Args:
        query: [B, N, D], of users at the same position.
        key, value: [B, K, T, D], the first T = `attention_rows(...)` rows of their caches.
        scale, sink, program, compute, out: as for `attention`.
        positions: last row that each user sees, B equal ints; None where all T are seen.
        mask: [B or 1, N, T], added to the scores before they are scaled; or None.
        window: how many rows back a user sees, its own included; None for all.
        capacity: rows of the whole cache, from which TTNN derives the size of a chunk.
        users: how many the call has, those that are skipped included.
        cores: (columns, rows) of worker cores.

    Returns:
        [B, N, D] float32.
    """
    if positions is not None:
        last = int(positions[0]) + 1
        first = max(0, last - window) if window else 0
        key, value = key[:, :, first:last], value[:, :, first:last]
        mask = mask if mask is None else mask[..., first:last]
    bias = None if mask is None else (mask.float() * scale).unsqueeze(-2)
    sink = None if sink is None else sink.float() * scale
    return _in_parts(query.unsqueeze(-2), key, value, scale, bias, sink).squeeze(-2)


def _in_parts(query, key, value, scale, bias, sink):
    """Attention of some queries at a time, so that their scores fit."""
    batch, heads, length, _ = query.shape
    at_once = max(1, SCORES_AT_ONCE // (batch * heads * key.shape[-2]))
    if length <= at_once:
        return _attend(query, key, value, scale, bias, sink)
    results = []
    for start in range(0, length, at_once):
        rows = slice(start, start + at_once)
        part = bias if bias is None or bias.shape[-2] == 1 else bias[..., rows, :]
        results.append(_attend(query[:, :, rows], key, value, scale, part, sink))
    return torch.cat(results, dim=2)


def _attend(query, key, value, scale, bias, sink):
    batch, heads, length, width = query.shape
    kv_heads = key.shape[1]
    grouped = (batch, kv_heads, heads // kv_heads * length)
    scores = (query.float() * scale).reshape(*grouped, width) @ key.float().transpose(-1, -2)
    scores = scores.reshape(batch, heads, length, -1)
    if bias is not None:
        scores += bias
    weights = _softmax(scores, sink).reshape(*grouped, -1)
    return _weighted_sum(weights, value.float()).reshape(batch, heads, length, -1)


def _softmax(scores, sink):
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


def _weighted_sum(weights, value):
    """weights @ value; a value that is not finite counts only where its weight is not 0.

    The matrix unit takes 0 times anything as 0.
    """
    if value.sum().isfinite():  # then all are; a look at each would take as long as the product
        return weights @ value
    finite = value.isfinite()
    spoilt = weights @ (~finite).float() > 0
    return (weights @ value.masked_fill(~finite, 0.0)).masked_fill(spoilt, math.nan)

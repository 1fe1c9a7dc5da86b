"""Attention and rotary embeddings in float32, for `emulator.arithmetic.rounded`.

B batch, S queries, T keys, N heads, K kv heads, D head_dim.
"""

import math

import torch

SCORES_AT_ONCE = 1 << 26  # 256 MB of float32; a longer prompt is computed some queries at a time


def rotary(x, cos, sin):
    """Rotate by halves, as `apply_rotary_pos_emb` of Hugging Face does.

    Args:
        x: [..., S, D].
        cos, sin: broadcastable to x.

    Returns:
        x * cos + rotate_half(x) * sin, float32.
    """
    return x.float() * cos.float() + rotate_half(x).float() * sin.float()


def rotate_half(x):
    """[..., D] -> the same shape and dtype: the negated second half, then the first half."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def rotary_pairs(x, cos, sin, transformation):
    """Rotate by what a transformation matrix makes of every 32 columns, as Meta's interleaved pairs.

    Args:
        x: [..., S, D], D a multiple of 32.
        cos, sin: broadcastable to x.
        transformation: [32, 32], applied from the right.

    Returns:
        x * cos + (x @ transformation) * sin, float32.
    """
    x = x.float()
    turned = (x.unflatten(-1, (-1, 32)) @ transformation.float()).flatten(-2)
    return x * cos.float() + turned * sin.float()


def attention(query, key, value, *, scale, bias=None, sink=None, program=None, compute=None):
    """softmax(query @ key^T * scale + bias) @ value over a prompt.

    Args:
        query: [B, N, S, D].
        key, value: [B, K, T, D]; each kv head serves N / K query heads.
        scale: factor of the scores.
        bias: added to the scaled scores, broadcastable to [B, N, S, T]; minus infinity hides a key.
            It is added, as the kernel adds it, so a NaN in a hidden key still spoils its scores.
        sink: [N] scaled logits that take part in the softmax's sum and have no value; or None.
        program, compute: TTNN's program and compute kernel configurations, or None. Chunk sizes and
            fidelity change only how a step is rounded, so nothing here looks at them.

    Returns:
        [B, N, S, D] float32. A query that sees no key gets zeros.
    """
    batch, heads, length, width = query.shape
    at_once = max(1, SCORES_AT_ONCE // (batch * heads * key.shape[-2]))
    if length > at_once:
        parts = [slice(start, start + at_once) for start in range(0, length, at_once)]
        results = (
            attention(
                query[:, :, rows],
                key,
                value,
                scale=scale,
                bias=bias if bias is None or bias.shape[-2] == 1 else bias[..., rows, :],
                sink=sink,
            )
            for rows in parts
        )
        return torch.cat(list(results), dim=2)
    kv_heads = key.shape[1]
    grouped = (batch, kv_heads, heads // kv_heads * length)
    scores = (query.float() * scale).reshape(*grouped, width) @ key.float().transpose(-1, -2)
    scores = scores.reshape(batch, heads, length, -1)
    if bias is not None:
        scores += bias
    weights = _softmax(scores, sink).reshape(*grouped, -1)
    return _weighted_sum(weights, value.float()).reshape(batch, heads, length, -1)


def attention_decode(
    query, key, value, *, scale, bias=None, sink=None, capacity=None, program=None, compute=None
):
    """Attention of one query for each user over the live part of its cache.

    Args:
        query: [B, N, D].
        key, value: [B, K, T, D], only the rows that the query sees: T = position + 1.
        scale, sink, program, compute: as for `attention`.
        bias: broadcastable to [B, N, T].
        capacity: rows of the whole cache, from which TTNN derives the size of a chunk.

    Returns:
        [B, N, D] float32.
    """
    bias = None if bias is None else bias.unsqueeze(-2)
    return attention(query.unsqueeze(-2), key, value, scale=scale, bias=bias, sink=sink).squeeze(-2)


def _softmax(scores, sink):
    largest = scores.amax(-1, keepdim=True)
    if sink is not None:
        sink = sink.float()[:, None, None]
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
    finite = value.isfinite()
    if finite.all():
        return weights @ value
    spoilt = weights @ (~finite).float() > 0
    return (weights @ value.masked_fill(~finite, 0.0)).masked_fill(spoilt, math.nan)

"""Attention and rotary embeddings in float32, for `emulator.arithmetic.rounded`.

B batch, S queries, T keys, N heads, K kv heads, D head_dim.
"""

import math

import torch


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
    """[..., D] -> the same shape: the negated second half, then the first half."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def rotary_pairs(x, cos, sin, transformation):
    """Rotate by what a transformation matrix makes of each tile, as Meta's interleaved pairs.

    Args:
        x: [..., S, D], D a multiple of 32.
        cos, sin: broadcastable to x.
        transformation: [32, 32] applied to each 32 columns of x from the right.

    Returns:
        x * cos + (x @ transformation) * sin, float32.
    """
    x = x.float()
    turned = (x.unflatten(-1, (-1, 32)) @ transformation.float()).flatten(-2)
    return x * cos.float() + turned * sin.float()


def attention(query, key, value, *, scale, bias=None, sink=None, program=None, compute=None):
    """softmax(query @ key^T * scale + bias) @ value.

    Args:
        query: [B, N, S, D].
        key: [B, K, T, D]; each kv head serves N / K query heads.
        value: [B, K, T, Dv].
        scale: factor of the scores; None means 1 / sqrt(D).
        bias: added to the scaled scores, broadcastable to [B, N, S, T]; minus infinity hides a key.
        sink: [N] logits that take part in the sum of the softmax and have no value; or None.
        program, compute: TTNN's program and compute kernel configurations, or None. Chunk sizes and
            fidelity change only how a step is rounded, so nothing here looks at them.

    Returns:
        [B, N, S, Dv] float32. A query that sees no key at all gets zeros.
    """
    batch, heads, length, width = query.shape
    kv_heads = key.shape[1]
    shared = heads // kv_heads
    scale = 1 / math.sqrt(width) if scale is None else scale
    query = query.float().reshape(batch, kv_heads, shared * length, width)
    scores = (query * scale) @ key.float().transpose(-1, -2)
    scores = scores.reshape(batch, heads, length, -1)
    if bias is not None:
        scores += bias
    weights = _softmax(scores, sink)
    weights = weights.reshape(batch, kv_heads, shared * length, -1)
    return (weights @ value.float()).reshape(batch, heads, length, -1)


def _softmax(scores, sink):
    largest = scores.amax(-1, keepdim=True)
    if sink is not None:
        largest = torch.maximum(largest, sink.float()[:, None, None])
    largest = largest.masked_fill(largest == -math.inf, 0.0)
    weights = torch.exp(scores - largest)
    total = weights.sum(-1, keepdim=True)
    if sink is not None:
        total = total + torch.exp(sink.float()[:, None, None] - largest)
    return weights / total.masked_fill(total == 0, 1.0)

"""Kernels that split a fused projection into heads, and join heads again: data movement, exact.

B batch, S sequence, N heads, K kv heads, D head_dim.
"""

import torch

from emulator.ops.transfer import undefined


def nlp_create_qkv_heads(
    launch,
    input,
    input_kv=None,
    *,
    num_heads,
    num_kv_heads=None,
    transpose_k_heads=True,
    kv_tied=False,
    output_tensors=None,
):
    """[B, 1, S, (N + 2 K) D] -> [B, N, S, D], [B, K, S, D], [B, K, S, D], padding rows included.

    Keys and values come from `input_kv` [B, 1, S, 2 K D] when it is given.
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    query, key, value = launch.outputs
    fused = input.data
    rest = fused[..., num_heads * query.shape[-1] :] if input_kv is None else input_kv.data
    width = kv_heads * query.shape[-1]
    q = _split(fused, num_heads, query.shape[-1])
    k = _split(rest, kv_heads, query.shape[-1])
    v = k if kv_tied else _split(rest[..., width:], kv_heads, query.shape[-1])
    return q, k.transpose(-1, -2) if transpose_k_heads else k, v


def nlp_create_qkv_heads_decode(
    launch,
    input_tensor,
    *,
    num_heads,
    num_kv_heads=None,
    output_tensors=None,
    overlap_qk_coregrid=True,
):
    """[1, 1, B, (N + 2 K) D] -> [1, B, N, D], [1, B, K, D], [1, B, K, D].

    Each user's heads are padded to a whole tile; what stands in the padding rows is undefined.
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    width = input_tensor.shape[-1] // (num_heads + 2 * kv_heads)
    fused = input_tensor.logical[0, 0].unflatten(-1, (-1, width))  # [B, N + 2 K, D]
    parts = fused.split([num_heads, kv_heads, kv_heads], dim=1)
    return tuple(
        _in_undefined(part[None], plan) for part, plan in zip(parts, launch.outputs, strict=True)
    )


def nlp_concat_heads(launch, input_tensor):
    """[B, N, S, D] -> [B, 1, S, N D], padding rows included."""
    return input_tensor.data.transpose(1, 2).flatten(2)[:, None]


def _split(fused, heads, width):
    """[B, 1, S, ...] -> [B, heads, S, width] from the first heads * width columns."""
    return fused[:, 0, :, : heads * width].unflatten(-1, (heads, width)).transpose(1, 2)


def _in_undefined(values, plan):
    """`values` in the corner of an output that was not written elsewhere."""
    whole = undefined(plan.padded_shape, plan.dtype).to(values.dtype)
    whole[tuple(slice(0, n) for n in values.shape)] = values
    return whole


KERNELS = {
    "ttnn.experimental.nlp_create_qkv_heads": nlp_create_qkv_heads,
    "ttnn.experimental.nlp_create_qkv_heads_decode": nlp_create_qkv_heads_decode,
    "ttnn.experimental.nlp_concat_heads": nlp_concat_heads,
}

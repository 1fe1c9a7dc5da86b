"""Kernels of scaled dot product attention, over a prompt and over a cache.

B batch, S queries, T keys, N heads, K kv heads, D head_dim, C cache length.
"""

import math

import torch

from emulator.ops.transfer import undefined


def scaled_dot_product_attention(
    launch,
    input_tensor_q,
    input_tensor_k,
    input_tensor_v,
    *,
    attn_mask=None,
    is_causal=True,
    scale=None,
    program_config=None,
    compute_kernel_config=None,
):
    """[B, N, S, D], [B, K, T, D], [B, K, T, D] -> [B, N, S, D]."""
    query, key, value = input_tensor_q.logical, input_tensor_k.logical, input_tensor_v.logical
    bias = attn_mask.logical.float() if attn_mask is not None else None
    if is_causal:
        bias = _causal_bias(query.shape[-2], key.shape[-2])
    return launch.math.attention(
        query,
        key,
        value,
        scale=scale,
        bias=bias,
        program=program_config,
        compute=compute_kernel_config,
    )


def scaled_dot_product_attention_decode(
    launch,
    input_tensor_q,
    input_tensor_k,
    input_tensor_v,
    *,
    is_causal=True,
    attn_mask=None,
    cur_pos=(),
    cur_pos_tensor=None,
    scale=None,
    program_config=None,
    compute_kernel_config=None,
):
    """One query for each user: [1, B, N, D] over the first `position + 1` rows of [B, K, C, D].

    Only those rows of the cache are read. A position of -1 skips the user, whose result is
    undefined.
    """
    query = input_tensor_q.logical[0]  # [B, N, D]
    batch, heads, _ = query.shape
    length = input_tensor_k.shape[-2]
    lengths = torch.full((batch,), length)
    if is_causal:
        lengths = _positions(cur_pos, cur_pos_tensor)[:batch] + 1
    output = undefined(launch.output.padded_shape, launch.output.dtype)
    for live in lengths.unique().tolist():
        if live <= 0:
            continue
        users = torch.nonzero(lengths == live).flatten()
        if len(users) == batch:
            users = slice(0, batch)
        key = input_tensor_k.data[users, :, :live]
        value = input_tensor_v.data[users, :, :live]
        bias = None
        if attn_mask is not None:
            bias = attn_mask.logical[0, users, :, None, :live].float()
        result = launch.math.attention(
            query[users, :, None],
            key,
            value,
            scale=scale,
            bias=bias,
            program=program_config,
            compute=compute_kernel_config,
        )
        output[0, users, :heads] = result[:, :, 0].to(output.dtype)
    return output


def _causal_bias(queries, keys):
    return torch.full((queries, keys), -math.inf).triu(1)


def _positions(listed, tensor):
    if tensor is not None:
        return tensor.logical.flatten().long()
    return torch.tensor(list(listed), dtype=torch.long)


KERNELS = {
    "ttnn.transformer.scaled_dot_product_attention": scaled_dot_product_attention,
    "ttnn.transformer.scaled_dot_product_attention_decode": scaled_dot_product_attention_decode,
}

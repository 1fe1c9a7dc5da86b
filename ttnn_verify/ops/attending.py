"""What attention and rotary embeddings make of their operands.

Functions as `semantics` wants them. B batch, S sequence, N heads, K kv heads, D head_dim, C cache
length, P pages.
"""

import math

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.ops import comparison
from ttnn_verify.ops.expected import Due, NoGolden, compute_of

# --- attention -----------------------------------------------------------------------------------


def scaled_dot_product_attention(
    made,
    input_tensor_q,
    input_tensor_k,
    input_tensor_v,
    *,
    attn_mask=None,
    is_causal=True,
    scale=None,
    sliding_window_size=None,
    attention_sink=None,
    output_concat_heads=False,
    program_config=None,
    compute_kernel_config=None,
    **_,
):
    if sliding_window_size or attention_sink is not None:
        raise NoGolden("attention with a sliding window or a sink has no golden.")
    q, k, v = input_tensor_q, input_tensor_k, input_tensor_v
    how = {"scale": scale, "causal": is_causal and attn_mask is None, "mask": attn_mask}
    value = attended(q, k, v, **how)

    def floor():
        approximate = approximates(program_config, compute_kernel_config, q)
        return attention_floor(q, k, v, value, made, how, compute_kernel_config, approximate)

    return Due(value.transpose(1, 2).flatten(2)[:, None] if output_concat_heads else value, floor)


def chunked_scaled_dot_product_attention(
    made,
    input_tensor_q,
    input_tensor_k,
    input_tensor_v,
    page_table_tensor,
    chunk_start_idx=None,
    *,
    chunk_start_idx_tensor=None,
    scale=None,
    program_config=None,
    compute_kernel_config=None,
    **_,
):
    start = chunk_start_idx
    if chunk_start_idx_tensor is not None:
        start = int(chunk_start_idx_tensor.flatten()[0])
    length = start + input_tensor_q.shape[-2]
    k, v = (paged(cache, page_table_tensor, length) for cache in (input_tensor_k, input_tensor_v))
    how = {"scale": scale, "causal": True}
    value = attended(input_tensor_q, k, v, **how)

    def floor():
        approximate = approximates(program_config, compute_kernel_config, input_tensor_q)
        return attention_floor(
            input_tensor_q, k, v, value, made, how, compute_kernel_config, approximate
        )

    return Due(value, floor)


def scaled_dot_product_attention_decode(
    made,
    input_tensor_q,
    input_tensor_k,
    input_tensor_v,
    page_table_tensor=None,
    *,
    is_causal=True,
    attn_mask=None,
    cur_pos=(),
    cur_pos_tensor=None,
    scale=None,
    share_cache=None,
    sliding_window_size=None,
    attention_sink=None,
    program_config=None,
    compute_kernel_config=None,
    **_,
):
    if not is_causal or attn_mask is not None or share_cache or sliding_window_size:
        raise NoGolden("decode attention with a mask, a window or a shared cache has no golden.")
    positions = torch.tensor(list(cur_pos)) if cur_pos_tensor is None else cur_pos_tensor.flatten()
    users = [user for user in range(input_tensor_q.shape[1]) if positions[user] >= 0]
    parts = []
    for user in users:
        rows = int(positions[user]) + 1
        q = input_tensor_q[0, user][None, :, None]
        if page_table_tensor is None:
            k, v = (x[user : user + 1, :, :rows] for x in (input_tensor_k, input_tensor_v))
        else:
            pages = page_table_tensor[user : user + 1]
            k, v = (paged(x, pages, rows) for x in (input_tensor_k, input_tensor_v))
        parts.append((q, k, v))
    how = {"scale": scale, "causal": False}
    values = [attended(*part, **how) for part in parts]
    value = torch.stack([one[0, :, 0] for one in values])

    def floor():
        floors = [
            attention_floor(
                *part,
                one,
                made,
                how,
                compute_kernel_config,
                approximates(program_config, compute_kernel_config, part[0]),
            )
            for part, one in zip(parts, values, strict=True)
        ]
        return op_floors.Floor(
            max(one.relative_l2 for one in floors), max(one.worst_row for one in floors)
        )

    return Due(value[None], floor, (slice(None), users))


def attended(q, k, v, **how):
    """softmax(q k^T scale + mask) v in float64; [B, N, S, D], [B, K, C, D] twice."""
    weights, v = attention_weights(q, k, v, **how)
    return weights @ v


def approximates(program_config, compute_config, q):
    """Whether attention takes the approximate exponential: unless asked not to, and where it can.

    A prompt with a 16-bit destination always does, and a decode step of at most 16 heads.
    """
    if getattr(program_config, "exp_approx_mode", None) is not False:
        return True
    if q.shape[-2] == 1:
        return q.shape[1] <= 16
    return not (compute_config and compute_config.fp32_dest_acc_en)


def attention_floor(q, k, v, value, made, how, config, approximate):
    """The noise floor of attention, of a few queries too.

    `noise.attention` shows an example of the roundings. Of one query and few keys that matter it may be
    a lucky one, as the weights' errors are few and all columns share them: so at least what those
    errors come to on average, a deviation of `noise.VECTOR_RELATIVE` of each weight.
    """
    how = how | compute_of(config) | {"exp_approximate": approximate}
    shown = op_floors.attention(q, k, v, out=made.out, **how)
    if not approximate:
        return shown
    weights, v = attention_weights(
        q, k, v, **{n: how[n] for n in ("scale", "causal", "mask") if n in how}
    )
    spread = weights.square() @ v.square() - 2 * value * (weights.square() @ v)
    spread = spread + value.square() * weights.square().sum(-1, keepdim=True)
    off = value + op_floors.VECTOR_RELATIVE["exp_approximate"] * spread.clamp(min=0).sqrt()
    rows = value.numel() // value.shape[-1]
    whole, row = (op_floors.between(value, off, count) for count in (rows, 1))
    return op_floors.Floor(
        max(shown.relative_l2, whole.relative_l2), max(shown.worst_row, row.worst_row)
    )


def attention_weights(q, k, v, *, scale=None, causal=True, mask=None):
    """softmax(q k^T scale + mask), and the values [B, N, C, D] to be weighted by it, in float64."""
    groups = q.shape[1] // k.shape[1]
    q, k, v = q.double(), *(x.double().repeat_interleave(groups, 1) for x in (k, v))
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool)
        scores = scores.masked_fill(hidden.triu(1 + k.shape[-2] - q.shape[-2]), -math.inf)
    if mask is not None:
        scores = scores + mask.double()
    return torch.softmax(scores, -1), v


def paged(cache, table, rows):
    """[P, K, block, D] -> [B, K, rows, D]: the first rows of each row of a page table."""
    pages = table[:, : -(-rows // cache.shape[2])].long()
    return cache[pages].transpose(1, 2).flatten(2, 3)[:, :, :rows]


# --- rotary embeddings ---------------------------------------------------------------------------


def rotary_embedding(made, input_tensor, cos_cache, sin_cache, token_index=None, **_):
    start, rows = (0, input_tensor.shape[-2]) if token_index is None else (token_index, 1)
    tables = (table[..., start : start + rows, :] for table in (cos_cache, sin_cache))
    return _by_halves(made, input_tensor, *tables)


def rotary_embedding_hf(made, input_tensor, cos_cache, sin_cache, *, is_decode_mode=False, **_):
    rows = 1 if is_decode_mode else input_tensor.shape[-2]
    return _by_halves(made, input_tensor, cos_cache[..., :rows, :], sin_cache[..., :rows, :])


def _by_halves(made, x, cos, sin):
    value = comparison.by_halves(x.double(), cos.double(), sin.double()).double()
    # the operation's result has whole tiles of rows
    region = (Ellipsis, slice(0, x.shape[-2]), slice(None))
    return Due(value, lambda: op_floors.rotary(x, cos, sin, out=made.out), region)


def rotary_embedding_llama(
    made, input_tensor, cos_cache, sin_cache, trans_mat, *, is_decode_mode=False, **_
):
    rows = 1 if is_decode_mode else min(input_tensor.shape[-2], cos_cache.shape[-2])
    x = input_tensor if is_decode_mode else input_tensor[..., :rows, :]
    return _by_pairs(made, x, cos_cache[..., :rows, :], sin_cache[..., :rows, :], trans_mat)


def rotary_embedding_llama_fused_qk(
    made, q_input_tensor, k_input_tensor, cos_cache, sin_cache, trans_mat, **_
):
    users = q_input_tensor.shape[1]
    return [
        _by_pairs(made, x, cos_cache[:, part, :1], sin_cache[:, part, :1], trans_mat)
        for x, part in (
            (q_input_tensor, slice(0, users)),
            (k_input_tensor, slice(users, 2 * users)),
        )
    ]


def _by_pairs(made, x, cos, sin, trans_mat):
    turn = trans_mat.reshape(-1, 32, 32)[0]
    turned = (x.unflatten(-1, (-1, 32)) @ turn).flatten(-2)
    value = x.double() * cos.double() + turned.double() * sin.double()
    region = (Ellipsis, slice(0, x.shape[-2]), slice(None))
    return Due(value, lambda: op_floors.rotary(x, cos, sin, rotated=turned, out=made.out), region)

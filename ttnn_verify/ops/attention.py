"""Scaled dot product attention over a prompt, over a cache and over pages of one.

B batch, S sequence, N heads, K kv heads, D head_dim, C cache length, P pages.
"""

import math
from typing import Any

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.ops.expected import CallContext, Expected, compute_of
from ttnn_verify.ops.spec import OpSpec

Heads = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # q [B, N, S, D]; k and v [B, K, C, D]


def scaled_dot_product_attention(
    context: CallContext,
    input_tensor_q: torch.Tensor,
    input_tensor_k: torch.Tensor,
    input_tensor_v: torch.Tensor,
    *,
    attn_mask: torch.Tensor | None = None,
    is_causal: bool = True,
    scale: float | None = None,
    output_concat_heads: bool = False,
) -> Expected:
    """[B, N, S, D], [B, K, C, D] twice -> [B, N, S, D], or [B, 1, S, N D] with heads joined."""
    heads = (input_tensor_q, input_tensor_k, input_tensor_v)
    options = {"scale": scale, "causal": is_causal and attn_mask is None, "mask": attn_mask}
    value = attended(heads, **options)
    return Expected(
        value.transpose(1, 2).flatten(2)[:, None] if output_concat_heads else value,
        lambda: attention_floor(context, heads, value, options),
    )


def chunked_scaled_dot_product_attention(
    context: CallContext,
    input_tensor_q: torch.Tensor,
    input_tensor_k: torch.Tensor,
    input_tensor_v: torch.Tensor,
    page_table_tensor: torch.Tensor,
    chunk_start_idx: int | None = None,
    *,
    chunk_start_idx_tensor: torch.Tensor | None = None,
    scale: float | None = None,
) -> Expected:
    """[B, N, S, D] from position `chunk_start_idx` on, causally over pages [P, K, block, D]."""
    start = chunk_start_idx or 0
    if chunk_start_idx_tensor is not None:
        start = int(chunk_start_idx_tensor.flatten()[0])
    length = start + input_tensor_q.shape[-2]
    k, v = (paged(cache, page_table_tensor, length) for cache in (input_tensor_k, input_tensor_v))
    options = {"scale": scale, "causal": True}
    value = attended((input_tensor_q, k, v), **options)
    return Expected(value, lambda: attention_floor(context, (input_tensor_q, k, v), value, options))


def scaled_dot_product_attention_decode(
    context: CallContext,
    input_tensor_q: torch.Tensor,
    input_tensor_k: torch.Tensor,
    input_tensor_v: torch.Tensor,
    page_table_tensor: torch.Tensor | None = None,
    *,
    cur_pos: tuple[int, ...] = (),
    cur_pos_tensor: torch.Tensor | None = None,
    scale: float | None = None,
) -> Expected:
    """[1, B, N, D] over caches [B, K, C, D], or pages [P, K, block, D] and a table [B, pages].

    User b attends rows 0 to its position. A user at a position below 0 is skipped and not compared.
    """
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
    options = {"scale": scale, "causal": False}
    values = [attended(part, **options) for part in parts]
    value = torch.stack([one[0, :, 0] for one in values])

    def floor() -> op_floors.Floor:
        floors = [
            attention_floor(context, part, one, options)
            for part, one in zip(parts, values, strict=True)
        ]
        return op_floors.Floor(
            max(one.relative_l2 for one in floors), max(one.worst_row for one in floors)
        )

    return Expected(value[None], floor, (slice(None), users))


def attended(heads: Heads, **options: Any) -> torch.Tensor:
    """softmax(q k^T scale + mask) v in float64, [B, N, S, D]; options of `attention_weights`."""
    weights, v = attention_weights(heads, **options)
    return weights @ v


def approximates(context: CallContext, q: torch.Tensor) -> bool:
    """Whether attention takes the approximate exponential: unless asked not to, and where it can.

    A prompt with a 16-bit destination always does, and a decode step of at most 16 heads.
    """
    if getattr(context.program_config, "exp_approx_mode", None) is not False:
        return True
    if q.shape[-2] == 1:
        return q.shape[1] <= 16
    config = context.compute_kernel_config
    return not (config and config.fp32_dest_acc_en)


def attention_floor(
    context: CallContext, heads: Heads, value: torch.Tensor, options: dict[str, Any]
) -> op_floors.Floor:
    """The noise floor of attention whose result is `value`.

    `op_floors.attention` shows one example of the roundings. With one query and few keys that
    matter the example can be a lucky one, since the weights' errors are few and all columns share
    them. So the floor is at least what those errors come to on average: each weight deviates by
    `op_floors.VECTOR_RELATIVE`.
    """
    q, k, v = heads
    approximate = approximates(context, q)
    shown = op_floors.attention(
        *(q, k, v),
        out=context.out,
        compute=compute_of(context.compute_kernel_config),
        exp_approximate=approximate,
        **options,
    )
    if not approximate:
        return shown
    weights, v = attention_weights(heads, **options)
    spread = weights.square() @ v.square() - 2 * value * (weights.square() @ v)
    spread = spread + value.square() * weights.square().sum(-1, keepdim=True)
    off = value + op_floors.VECTOR_RELATIVE["exp_approximate"] * spread.clamp(min=0).sqrt()
    rows = value.numel() // value.shape[-1]
    whole, row = (op_floors.between(value, off, count) for count in (rows, 1))
    return op_floors.Floor(
        max(shown.relative_l2, whole.relative_l2), max(shown.worst_row, row.worst_row)
    )


def attention_weights(
    heads: Heads,
    *,
    scale: float | None = None,
    causal: bool = True,
    mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(q k^T scale + mask), and the values [B, N, C, D] to be weighted by it, in float64."""
    q, k, v = (x.double() for x in heads)
    groups = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(groups, 1) for x in (k, v))
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool)
        scores = scores.masked_fill(hidden.triu(1 + k.shape[-2] - q.shape[-2]), -math.inf)
    if mask is not None:
        scores = scores + mask.double()
    return torch.softmax(scores, -1), v


def paged(cache: torch.Tensor, table: torch.Tensor, rows: int) -> torch.Tensor:
    """[P, K, block, D] -> [B, K, rows, D]: the first rows of each row of a page table."""
    pages = table[:, : -(-rows // cache.shape[2])].long()
    return cache[pages].transpose(1, 2).flatten(2, 3)[:, :, :rows]


# A window or a sink changes which keys are seen, and no golden here computes that.
NO_WINDOW: dict[str, tuple] = {"sliding_window_size": (0,), "attention_sink": ()}
WHOLE: dict[str, tuple] = {
    "cu_window_seqlens": (),
    "windowed_q_token_offset": (0,),
    "windowed_q_token_offset_tensor": (),
    "attn_mask_block_map": (),
}
PAGES: dict[str, tuple] = {
    "paged_cache_geometry": (),
    "cache_position_modulo": (),
    "spec_multi_pos_tiles": (0,),
}
CAUSAL_ALONE: dict[str, tuple] = {"is_causal": (True,), "attn_mask": (), "share_cache": (False,)}

SPECS = (
    OpSpec(
        ("scaled_dot_product_attention",),
        scaled_dot_product_attention,
        kind="attention",
        constant="scale",
        family="attention",
        neutral=NO_WINDOW | WHOLE,
    ),
    OpSpec(
        ("chunked_scaled_dot_product_attention",),
        chunked_scaled_dot_product_attention,
        kind="attention",
        constant="scale",
        family="attention",
        page_table_at=3,
        neutral=NO_WINDOW | {"paged_cache_geometry": ()},
    ),
    OpSpec(
        ("scaled_dot_product_attention_decode",),
        scaled_dot_product_attention_decode,
        kind="attention",
        constant="scale",
        family="attention",
        neutral=NO_WINDOW | CAUSAL_ALONE,
    ),
    OpSpec(
        ("paged_scaled_dot_product_attention_decode",),
        scaled_dot_product_attention_decode,
        kind="attention",
        constant="scale",
        family="attention",
        page_table_at=3,
        neutral=NO_WINDOW | CAUSAL_ALONE | PAGES,
    ),
)

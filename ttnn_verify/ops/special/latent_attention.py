"""Attention over latent keys, whose first columns are the values, and over two sequences at once.

B batch, S sequence, N heads, K kv heads, D head_dim of queries and keys, V of values, C cache
length, P pages.
"""

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.ops.attention import (
    CAUSAL_ALONE,
    NO_WINDOW,
    Heads,
    attended,
    attention_floor,
    paged,
)
from ttnn_verify.ops.expected import CallContext, Expected
from ttnn_verify.ops.spec import OpSpec


def flash_mla_prefill(
    context: CallContext,
    input_tensor_q: torch.Tensor,
    input_tensor_k: torch.Tensor,
    head_dim_v: int | torch.Tensor | None = None,
    *,
    input_tensor_v: torch.Tensor | None = None,
    attn_mask: torch.Tensor | None = None,
    is_causal: bool = True,
    scale: float | None = None,
) -> Expected:
    """[B, N, S, D], [B, K, C, D] -> [B, N, S, V]; values are given, or the keys' first columns."""
    k, v = input_tensor_k, input_tensor_v
    if torch.is_tensor(head_dim_v):
        v = head_dim_v
    elif v is None:
        v = k[..., :head_dim_v]
    k = k.expand(-1, v.shape[1], -1, -1) if k.shape[1] == 1 else k
    options = {"scale": scale, "causal": is_causal and attn_mask is None, "mask": attn_mask}
    return _expected(context, (input_tensor_q, k, v), options)


def chunked_flash_mla_prefill(
    context: CallContext,
    input_tensor_q: torch.Tensor,
    input_tensor_k: torch.Tensor,
    head_dim_v: int,
    page_table_tensor: torch.Tensor,
    chunk_start_idx: int,
    *,
    scale: float | None = None,
) -> Expected:
    """[B, N, S, V] from position `chunk_start_idx` on, causally over pages [P, K, block, D]."""
    k = paged(input_tensor_k, page_table_tensor, chunk_start_idx + input_tensor_q.shape[-2])
    options = {"scale": scale, "causal": True}
    return _expected(context, (input_tensor_q, k, k[..., :head_dim_v]), options)


def latent_decode(
    context: CallContext,
    input_tensor_q: torch.Tensor,
    input_tensor_k: torch.Tensor,
    *,
    head_dim_v: int,
    page_table_tensor: torch.Tensor | None = None,
    cur_pos: tuple[int, ...] = (),
    cur_pos_tensor: torch.Tensor | None = None,
    scale: float | None = None,
) -> Expected:
    """[1, B, N, D] over caches [B, K, C, D] or pages of them -> [1, B, N, V].

    A user at a position below 0 is skipped and not compared.
    """
    positions = list(cur_pos) if cur_pos_tensor is None else cur_pos_tensor.flatten().tolist()
    users = [u for u in range(input_tensor_q.shape[1]) if positions[u] >= 0]
    options = {"scale": scale, "causal": False}
    each: list[tuple[Heads, torch.Tensor]] = []
    for user in users:
        rows = int(positions[user]) + 1
        if page_table_tensor is None:
            k = input_tensor_k[user : user + 1, :, :rows]
        else:
            k = paged(input_tensor_k, page_table_tensor[user : user + 1], rows)
        heads = (input_tensor_q[0, user][None, :, None], k, k[..., :head_dim_v])
        each.append((heads, attended(heads, **options)))

    def floor() -> op_floors.Floor:
        floors = [attention_floor(context, heads, value, options) for heads, value in each]
        return op_floors.Floor(
            max(one.relative_l2 for one in floors), max(one.worst_row for one in floors)
        )

    value = torch.stack([value[0, :, 0] for _heads, value in each])[None]
    return Expected(value, floor, (slice(None), users))


def joint_scaled_dot_product_attention(
    context: CallContext,
    input_tensor_q: torch.Tensor,
    input_tensor_k: torch.Tensor,
    input_tensor_v: torch.Tensor,
    joint_tensor_q: torch.Tensor,
    joint_tensor_k: torch.Tensor,
    joint_tensor_v: torch.Tensor,
    *,
    joint_strategy: str,
) -> list[Expected]:
    """[B, N, S, D] and [B, N, L, D]: all queries see all keys of both."""
    k, v = (
        torch.cat(pair, 2)
        for pair in ((input_tensor_k, joint_tensor_k), (input_tensor_v, joint_tensor_v))
    )
    options = {"causal": False}
    return [_expected(context, (q, k, v), options) for q in (input_tensor_q, joint_tensor_q)]


def _expected(context: CallContext, heads: Heads, options: dict) -> Expected:
    value = attended(heads, **options)
    return Expected(value, lambda: attention_floor(context, heads, value, options))


SPECS = (
    OpSpec(
        ("flash_mla_prefill",),
        flash_mla_prefill,
        kind="attention",
        constant="scale",
        family="attention",
        neutral=NO_WINDOW,
    ),
    OpSpec(
        ("chunked_flash_mla_prefill",),
        chunked_flash_mla_prefill,
        kind="attention",
        constant="scale",
        family="attention",
        page_table_at=3,
        neutral=NO_WINDOW,
    ),
    OpSpec(
        ("flash_multi_latent_attention_decode", "paged_flash_multi_latent_attention_decode"),
        latent_decode,
        kind="attention",
        constant="scale",
        family="attention",
        neutral=NO_WINDOW | CAUSAL_ALONE,
    ),
    OpSpec(
        ("joint_scaled_dot_product_attention",),
        joint_scaled_dot_product_attention,
        kind="attention",
        family="attention",
        neutral=NO_WINDOW | {"scale": ()},
    ),
)

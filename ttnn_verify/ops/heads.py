"""Operations that split a fused projection into heads and join heads again: data that moves.

B batch, S sequence, N heads, K kv heads, D head_dim.
"""

import torch

from ttnn_verify.ops.comparison import in_whole_tiles, of_golden
from ttnn_verify.ops.expected import CallContext, Expected
from ttnn_verify.ops.spec import OpSpec, without_context


def nlp_create_qkv_heads(
    input: torch.Tensor,
    input_kv: torch.Tensor | None = None,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_k_heads: bool = True,
    kv_tied: bool = False,
) -> tuple[torch.Tensor, ...]:
    """[B, 1, S, (N + 2 K) D] -> [B, N, S, D], [B, K, S, D] or transposed, [B, K, S, D].

    Keys and values come from `input_kv` [B, 1, S, 2 K D] when it is given, and are the same columns
    when `kv_tied`.
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    groups = kv_heads if kv_tied else 2 * kv_heads
    fused = input if input_kv is None else torch.cat((input, input_kv), -1)
    heads = fused[:, 0].unflatten(-1, (num_heads + groups, -1)).transpose(1, 2)
    q, k = heads[:, :num_heads], heads[:, num_heads : num_heads + kv_heads]
    v = heads[:, -kv_heads:]
    return q, k.mT if transpose_k_heads else k, v


def decode_heads(
    input_tensor: torch.Tensor, *, num_heads: int, num_kv_heads: int | None = None
) -> tuple[torch.Tensor, ...]:
    """[1, 1, B, (N + 2 K) D] -> [1, B, N, D], [1, B, K, D], [1, B, K, D]."""
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    heads = input_tensor[0].unflatten(-1, (num_heads + 2 * kv_heads, -1))
    return heads.split([num_heads, kv_heads, kv_heads], dim=2)


def nlp_create_qkv_heads_decode(
    context: CallContext,
    input_tensor: torch.Tensor,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
) -> list[Expected]:
    """[1, 1, B, (N + 2 K) D] -> [1, B, N, D], [1, B, K, D], [1, B, K, D]."""
    parts = decode_heads(input_tensor, num_heads=num_heads, num_kv_heads=num_kv_heads)
    users = context.shapes[0][1]
    return [Expected(one[:, :users]) for one in parts]


def nlp_concat_heads(input_tensor: torch.Tensor) -> torch.Tensor:
    """[B, N, S, D] -> [B, 1, S, N D]."""
    return input_tensor.transpose(1, 2).flatten(2)[:, None]


def nlp_concat_heads_decode(
    context: CallContext, input_tensor: torch.Tensor, *, num_heads: int
) -> Expected:
    """[1, B, N, D] -> [1, 1, 32, N D], of which the first B rows are written."""
    value = input_tensor[:, :, :num_heads].flatten(2)[:, None]
    return Expected(value, None, (slice(None), slice(None), slice(0, value.shape[2])))


SPECS = (
    OpSpec(
        ("nlp_create_qkv_heads",),
        without_context(nlp_create_qkv_heads),
        kind="heads",
        data="picks",
        comparison=nlp_create_qkv_heads,
    ),
    OpSpec(
        ("nlp_create_qkv_heads_decode",),
        nlp_create_qkv_heads_decode,
        kind="heads",
        data="picks",
        ignored=frozenset({"overlap_qk_coregrid"}),
        comparison=decode_heads,
    ),
    OpSpec(("split_query_key_value_and_split_heads",), kind="heads"),  # TTNN's own golden
    OpSpec(
        ("nlp_concat_heads",),
        without_context(nlp_concat_heads),
        data="picks",
        comparison=nlp_concat_heads,
    ),
    OpSpec(
        ("nlp_concat_heads_decode",),
        nlp_concat_heads_decode,
        data="picks",
        comparison=in_whole_tiles(of_golden(nlp_concat_heads_decode)),
    ),
)

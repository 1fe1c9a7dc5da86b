"""Rotary position embeddings, of the halves of a head and of pairs of columns.

B batch, S sequence, N heads, K kv heads, D head_dim, C positions of the tables.
"""

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.ops.comparison import in_whole_tiles, of_golden
from ttnn_verify.ops.expected import CallContext, Expected
from ttnn_verify.ops.spec import OpSpec, without_context

PAIRS = 32  # columns that a transformation matrix [32, 32] turns at a time


def rotary_embedding(
    context: CallContext,
    input_tensor: torch.Tensor,
    cos_cache: torch.Tensor,
    sin_cache: torch.Tensor,
    token_index: int | None = None,
) -> Expected:
    """[B, N, S, D], tables [1, 1, C, D]. Row s is at position s, or every row at `token_index`."""
    start, rows = (0, input_tensor.shape[-2]) if token_index is None else (token_index, 1)
    cos, sin = (table[..., start : start + rows, :] for table in (cos_cache, sin_cache))
    return _by_halves(context, input_tensor, cos, sin)


def rotary_embedding_hf(
    context: CallContext,
    input_tensor: torch.Tensor,
    cos_cache: torch.Tensor,
    sin_cache: torch.Tensor,
    *,
    is_decode_mode: bool = False,
) -> Expected:
    """[B, N, S, D], tables [1, 1, C, D]; in decode mode [1, B, N, D], tables [1, B, 1, D]."""
    rows = 1 if is_decode_mode else input_tensor.shape[-2]
    return _by_halves(context, input_tensor, cos_cache[..., :rows, :], sin_cache[..., :rows, :])


def rotary_embedding_llama(
    context: CallContext,
    input_tensor: torch.Tensor,
    cos_cache: torch.Tensor,
    sin_cache: torch.Tensor,
    trans_mat: torch.Tensor,
    *,
    is_decode_mode: bool = False,
) -> Expected:
    """As `rotary_embedding_hf`, of pairs of columns, which trans_mat [..., 32, 32] turns."""
    rows = 1 if is_decode_mode else min(input_tensor.shape[-2], cos_cache.shape[-2])
    x = input_tensor if is_decode_mode else input_tensor[..., :rows, :]
    return _by_pairs(context, x, cos_cache[..., :rows, :], sin_cache[..., :rows, :], trans_mat)


def rotary_embedding_llama_fused_qk(
    context: CallContext,
    q_input_tensor: torch.Tensor,
    k_input_tensor: torch.Tensor,
    cos_cache: torch.Tensor,
    sin_cache: torch.Tensor,
    trans_mat: torch.Tensor,
) -> list[Expected]:
    """`rotary_embedding_llama` in decode mode of q [1, B, N, D] and k [1, B, K, D].

    The tables are [1, 2 B, 1 or 32, D]: the rows for q, then those for k; of 32 the first counts.
    """
    users = q_input_tensor.shape[1]
    return [
        _by_pairs(context, x, cos_cache[:, part, :1], sin_cache[:, part, :1], trans_mat)
        for x, part in (
            (q_input_tensor, slice(0, users)),
            (k_input_tensor, slice(users, 2 * users)),
        )
    ]


def rotate_half(input: torch.Tensor) -> torch.Tensor:
    """[..., D] -> the second half of the columns with its sign changed, then the first."""
    return torch.cat((-input[..., input.shape[-1] // 2 :], input[..., : input.shape[-1] // 2]), -1)


def _by_halves(
    context: CallContext, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> Expected:
    first, second = x.float().chunk(2, -1)
    value = x.float() * cos.float() + torch.cat((-second, first), -1) * sin.float()
    return Expected(
        value.double(), lambda: op_floors.rotary(x, cos, sin, out=context.out), _rows_of(x)
    )


def _by_pairs(
    context: CallContext,
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    trans_mat: torch.Tensor,
) -> Expected:
    turn = trans_mat.reshape(-1, PAIRS, PAIRS)[0]
    turned = (x.unflatten(-1, (-1, PAIRS)) @ turn).flatten(-2)
    value = x.double() * cos.double() + turned.double() * sin.double()
    return Expected(
        value,
        lambda: op_floors.rotary(x, cos, sin, rotated=turned, out=context.out),
        _rows_of(x),
    )


def _rows_of(x: torch.Tensor) -> tuple:
    """The region that is compared: an operation's result has whole tiles of rows."""
    return (Ellipsis, slice(0, x.shape[-2]), slice(None))


# TTNN's own golden of the first wants a token index, which a prompt does not have, and the shape of
# the input, which the operation pads. It has none of the others.
SPECS = (
    *(
        OpSpec(
            (golden.__name__,),
            golden,
            kind="rope",
            pairs=pairs,
            family="rotary",
            comparison=comparison,
        )
        for golden, pairs, comparison in (
            (rotary_embedding, False, in_whole_tiles(of_golden(rotary_embedding))),
            (rotary_embedding_hf, False, of_golden(rotary_embedding_hf)),
            (rotary_embedding_llama, True, of_golden(rotary_embedding_llama)),
            (rotary_embedding_llama_fused_qk, True, of_golden(rotary_embedding_llama_fused_qk)),
        )
    ),
    OpSpec(("rotate_half",), without_context(rotate_half)),
)

"""Golden functions for TTNN's comparison mode, of operations on a Llama-like model's way.

In comparison mode TTNN computes each operation once more in torch, from the tensors that the
operation was given ("locally"), and, when a report is asked for, from the goldens of the operations
before ("globally"). An operation without a golden function ends the second: its results, and
everything made of them, have no golden. TTNN 0.81.1 has none for ten of these; for three its own
does not work: `rotary_embedding` wants a token index, which a prompt does not have, and the shape
of the input, which the operation pads; `reshape` takes no memory configuration; `plus_one` leaves
the accumulated golden as it was.

`comparison_mode.attached` gives them to TTNN. Each takes the operation's own arguments.
B batch, S sequence, N heads, K kv heads, D head_dim, C cache length, P pages.
"""

from collections.abc import Sequence
from typing import Any

import torch
from ttnn.decorators import set_golden_comparison_config

from ttnn_verify.ops.spec import called

TILE = 32


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


def nlp_create_qkv_heads_decode(
    input_tensor: torch.Tensor, *, num_heads: int, num_kv_heads: int | None = None
) -> tuple[torch.Tensor, ...]:
    """[1, 1, B, (N + 2 K) D] -> [1, B, N, D], [1, B, K, D], [1, B, K, D]."""
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    heads = input_tensor[0].unflatten(-1, (num_heads + 2 * kv_heads, -1))
    return heads.split([num_heads, kv_heads, kv_heads], dim=2)


def nlp_concat_heads(input_tensor: torch.Tensor) -> torch.Tensor:
    """[B, N, S, D] -> [B, 1, S, N D]."""
    return input_tensor.transpose(1, 2).flatten(2)[:, None]


def nlp_concat_heads_decode(input_tensor: torch.Tensor, *, num_heads: int) -> torch.Tensor:
    """[1, B, N, D] -> [1, 1, 32, N D], of which the first B rows are written and compared."""
    return whole_tiles(input_tensor[:, :, :num_heads].flatten(2)[:, None])


def rotary_embedding(
    input_tensor: torch.Tensor,
    cos_cache: torch.Tensor,
    sin_cache: torch.Tensor,
    token_index: int | None = None,
) -> torch.Tensor:
    """[B, N, S, D], tables [1, 1, C, D] -> [B, N, S in whole tiles, D], the S rows compared.

    Row s is at position s, or every row at `token_index`.
    """
    start, rows = (0, input_tensor.shape[-2]) if token_index is None else (token_index, 1)
    cos, sin = (table[..., start : start + rows, :] for table in (cos_cache, sin_cache))
    return whole_tiles(by_halves(input_tensor, cos, sin))


def rotary_embedding_hf(
    input_tensor: torch.Tensor,
    cos_cache: torch.Tensor,
    sin_cache: torch.Tensor,
    *,
    is_decode_mode: bool = False,
) -> torch.Tensor:
    """[B, N, S, D], tables [1, 1, C, D]; in decode mode [1, B, N, D], tables [1, B, 1, D]."""
    rows = 1 if is_decode_mode else input_tensor.shape[-2]
    return by_halves(input_tensor, cos_cache[..., :rows, :], sin_cache[..., :rows, :])


def rotary_embedding_llama(
    input_tensor: torch.Tensor,
    cos_cache: torch.Tensor,
    sin_cache: torch.Tensor,
    trans_mat: torch.Tensor,
    *,
    is_decode_mode: bool = False,
) -> torch.Tensor:
    """As `rotary_embedding_hf`, of pairs of columns, which trans_mat [..., 32, 32] turns."""
    rows = 1 if is_decode_mode else input_tensor.shape[-2]
    turn = trans_mat.reshape(-1, TILE, TILE)[0].float()
    turned = (input_tensor.float().unflatten(-1, (-1, TILE)) @ turn).flatten(-2)
    cos, sin = (table[..., :rows, :].float() for table in (cos_cache, sin_cache))
    return input_tensor.float() * cos + turned * sin


def rotary_embedding_llama_fused_qk(
    q_input_tensor: torch.Tensor,
    k_input_tensor: torch.Tensor,
    cos_cache: torch.Tensor,
    sin_cache: torch.Tensor,
    trans_mat: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """`rotary_embedding_llama` in decode mode of q [1, B, N, D] and k [1, B, K, D].

    The tables are [1, 2 B, 1 or 32, D]: the rows for q, then those for k; of 32 the first counts.
    """
    users = q_input_tensor.shape[1]
    return tuple(
        rotary_embedding_llama(x, cos, sin, trans_mat, is_decode_mode=True)
        for x, cos, sin in zip(
            (q_input_tensor, k_input_tensor),
            cos_cache.split(users, 1),
            sin_cache.split(users, 1),
            strict=True,
        )
    )


def by_halves(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x cos + (columns of x rotated by half a head) sin, in float32."""
    first, second = x.float().chunk(2, -1)
    return x.float() * cos.float() + torch.cat((-second, first), -1) * sin.float()


def whole_tiles(rows: torch.Tensor) -> torch.Tensor:
    """`rows` [..., S, D] with zero rows up to a whole tile, which TTNN does not compare."""
    count = rows.shape[-2]
    padded = torch.nn.functional.pad(rows, (0, 0, 0, -count % TILE))
    compared = (torch.arange(padded.shape[-2]) < count)[:, None].expand(padded.shape)
    # the method is for constants alone, everything else is compared by PCC
    return set_golden_comparison_config(padded, method="allclose", mask=compared)


def paged_update_cache(
    cache_tensor: torch.Tensor,
    input_tensor: torch.Tensor,
    *,
    update_idxs: Sequence[int] = (),
    update_idxs_tensor: torch.Tensor | None = None,
    share_cache: bool | None = None,
    page_table: torch.Tensor | None = None,
    cache_position_modulo: int | None = None,
    _ttnn_global_golden: bool = False,
) -> torch.Tensor:
    """Cache [B, K, C, D], or pages [P, K, block, D] and a table [B, pages]; tokens [1, B, K, D].

    Returns the cache as the operation leaves it: a copy, or the argument itself with
    `_ttnn_global_golden`, by which TTNN marks the accumulated golden. So do the functions below.
    """
    cache = cache_tensor if _ttnn_global_golden else cache_tensor.clone()
    positions = list(update_idxs)
    if update_idxs_tensor is not None:
        positions = update_idxs_tensor.flatten().tolist()
    heads, block = cache.shape[1:3]
    for user, position in enumerate(positions):
        if position < 0:  # this user is skipped
            continue
        if cache_position_modulo is not None:
            position %= cache_position_modulo
        row = 0 if share_cache else user
        if page_table is not None:
            row, position = int(page_table[user, position // block]), position % block
        cache[row, :, position] = input_tensor[0, user, :heads].to(cache.dtype)
    return cache


def paged_fused_update_cache(
    cache_tensor1: torch.Tensor,
    input_tensor1: torch.Tensor,
    cache_tensor2: torch.Tensor,
    input_tensor2: torch.Tensor,
    *,
    _ttnn_global_golden: bool = False,
    **arguments: Any,
) -> tuple[torch.Tensor, ...]:
    """`paged_update_cache` of two caches at once, with the same keyword arguments.

    Raises:
        NoGolden: `paged_update_cache` has no such argument.
    """
    arguments["_ttnn_global_golden"] = _ttnn_global_golden
    name = "paged_fused_update_cache"
    return (
        called(name, paged_update_cache, cache_tensor1, input_tensor1, **arguments),
        called(name, paged_update_cache, cache_tensor2, input_tensor2, **arguments),
    )


def paged_fill_cache(
    cache_tensor: torch.Tensor,
    input_tensor: torch.Tensor,
    page_table: torch.Tensor,
    *,
    batch_idx_tensor: torch.Tensor | None = None,
    batch_idx: int = 0,
    _ttnn_global_golden: bool = False,
) -> torch.Tensor:
    """Pages [P, K, block, D], prompts [users, K, S, D], table [B, pages]; page -1 is skipped."""
    cache = cache_tensor if _ttnn_global_golden else cache_tensor.clone()
    users = [batch_idx] if batch_idx_tensor is None else batch_idx_tensor.flatten().tolist()
    for prompt, user in zip(input_tensor, users, strict=False):
        for page, rows in zip(
            page_table[user].tolist(), prompt.split(cache.shape[2], dim=1), strict=False
        ):
            if page >= 0:
                cache[page, :, : rows.shape[1]] = rows.to(cache.dtype)
    return cache


def reshape(input_tensor: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """[...] -> `shape`, in which one size may be -1."""
    return input_tensor.reshape(tuple(shape))


def plus_one(
    input_tensor: torch.Tensor,
    *,
    skip_negative_entries: bool = False,
    _ttnn_global_golden: bool = False,
) -> torch.Tensor:
    """Integers of any shape, each one larger; without those below 0 if they are skipped."""
    counted = input_tensor.long()  # torch adds no uint32
    counted = (counted + ((counted >= 0) if skip_negative_entries else 1)).to(input_tensor.dtype)
    return input_tensor.copy_(counted) if _ttnn_global_golden else counted

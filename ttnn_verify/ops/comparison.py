"""Golden functions that TTNN's comparison mode lacks on a Llama-like model's way.

In comparison mode TTNN computes each op once more in torch, from the tensors that the op was given
("locally"), and, when a report is asked for, from the goldens of the ops before ("globally"). An op
without a golden function ends the second: its results, and all that is made of them, have no golden.
`attached` gives TTNN 0.81.1 those of ten ops, and of three one that works: `rotary_embedding`'s own wants
a token index, which a prompt does not have, and the shape of the input, which the op pads; `reshape`'s
own takes no memory configuration, and `plus_one`'s leaves the accumulated golden as it was.

B batch, S sequence, N heads, K kv heads, D head_dim, C cache length, P pages.
"""

import contextlib

import torch
import ttnn
from ttnn.decorators import set_golden_comparison_config

from ttnn_emulator.interpose import Layer, Level

TILE = 32


@contextlib.contextmanager
def attached():
    """Within the block TTNN's ops have these golden functions."""
    with Layer("golden functions", Level.STAND_IN) as layer:
        for operation, golden in GOLDENS.items():
            for name in ATTACHED:
                layer.replace(operation, name, getattr(operation, name))
            # What runs in comparison mode is made of the operation on its first call there, and
            # kept.
            layer.replace(operation, "_slow_operation", None)
            ttnn.attach_golden_function(operation, golden)
        yield


# What `ttnn.attach_golden_function` sets.
ATTACHED = (
    "golden_function",
    "preprocess_golden_function_inputs",
    "postprocess_golden_function_outputs",
    "output_tensor_kwarg_names",
)


# --- heads ---------------------------------------------------------------------------------------


def nlp_create_qkv_heads(
    input,
    input_kv=None,
    *,
    num_heads,
    num_kv_heads=None,
    transpose_k_heads=True,
    kv_tied=False,
    **_,
):
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


def nlp_create_qkv_heads_decode(input_tensor, *, num_heads, num_kv_heads=None, **_):
    """[1, 1, B, (N + 2 K) D] -> [1, B, N, D], [1, B, K, D], [1, B, K, D]."""
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    heads = input_tensor[0].unflatten(-1, (num_heads + 2 * kv_heads, -1))
    return heads.split([num_heads, kv_heads, kv_heads], dim=2)


def nlp_concat_heads(input_tensor, **_):
    """[B, N, S, D] -> [B, 1, S, N D]."""
    return input_tensor.transpose(1, 2).flatten(2)[:, None]


def nlp_concat_heads_decode(input_tensor, *, num_heads, **_):
    """[1, B, N, D] -> [1, 1, 32, N D], of which the first B rows are written and compared."""
    return whole_tiles(input_tensor[:, :, :num_heads].flatten(2)[:, None])


# --- rotary --------------------------------------------------------------------------------------


def rotary_embedding(input_tensor, cos_cache, sin_cache, token_index=None, **_):
    """[B, N, S, D], tables [1, 1, C, D] -> [B, N, S in whole tiles, D], the S rows compared.

    Row s is at position s, or every row at `token_index`.
    """
    start, rows = (0, input_tensor.shape[-2]) if token_index is None else (token_index, 1)
    cos, sin = (table[..., start : start + rows, :] for table in (cos_cache, sin_cache))
    return whole_tiles(by_halves(input_tensor, cos, sin))


def rotary_embedding_hf(input_tensor, cos_cache, sin_cache, *, is_decode_mode=False, **_):
    """[B, N, S, D], tables [1, 1, C, D]; in decode mode [1, B, N, D], tables [1, B, 1, D]."""
    rows = 1 if is_decode_mode else input_tensor.shape[-2]
    return by_halves(input_tensor, cos_cache[..., :rows, :], sin_cache[..., :rows, :])


def rotary_embedding_llama(
    input_tensor, cos_cache, sin_cache, trans_mat, *, is_decode_mode=False, **_
):
    """As `rotary_embedding_hf`, of pairs of columns, which trans_mat [..., 32, 32] turns."""
    rows = 1 if is_decode_mode else input_tensor.shape[-2]
    turn = trans_mat.reshape(-1, TILE, TILE)[0].float()
    turned = (input_tensor.float().unflatten(-1, (-1, TILE)) @ turn).flatten(-2)
    cos, sin = (table[..., :rows, :].float() for table in (cos_cache, sin_cache))
    return input_tensor.float() * cos + turned * sin


def rotary_embedding_llama_fused_qk(
    q_input_tensor, k_input_tensor, cos_cache, sin_cache, trans_mat, **_
):
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


def by_halves(x, cos, sin):
    first, second = x.float().chunk(2, -1)
    return x.float() * cos.float() + torch.cat((-second, first), -1) * sin.float()


def whole_tiles(rows):
    """Zero rows up to whole tiles, which are left out of the comparison."""
    count = rows.shape[-2]
    padded = torch.nn.functional.pad(rows, (0, 0, 0, -count % TILE))
    compared = (torch.arange(padded.shape[-2]) < count)[:, None].expand(padded.shape)
    # the method is for constants alone, everything else is compared by PCC
    return set_golden_comparison_config(padded, method="allclose", mask=compared)


# --- caches --------------------------------------------------------------------------------------
#
# Each writes into the cache's golden where that is the accumulated one, as the op does into the
# cache; of the local one it gives a copy.


def paged_update_cache(
    cache_tensor,
    input_tensor,
    *,
    update_idxs=(),
    update_idxs_tensor=None,
    share_cache=None,
    page_table=None,
    cache_position_modulo=None,
    _ttnn_global_golden=False,
    **_,
):
    """Cache [B, K, C, D], or pages [P, K, block, D] and a table [B, pages]; tokens [1, B, K, D]."""
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
    cache_tensor1, input_tensor1, cache_tensor2, input_tensor2, **arguments
):
    """`paged_update_cache` of two caches at once, with the same keyword arguments."""
    return (
        paged_update_cache(cache_tensor1, input_tensor1, **arguments),
        paged_update_cache(cache_tensor2, input_tensor2, **arguments),
    )


def paged_fill_cache(
    cache_tensor,
    input_tensor,
    page_table,
    *,
    batch_idx_tensor=None,
    batch_idx=0,
    _ttnn_global_golden=False,
    **_,
):
    """Pages [P, K, block, D], prompts [users, K, S, D], page table [B, pages]; page -1 is skipped."""
    cache = cache_tensor if _ttnn_global_golden else cache_tensor.clone()
    users = [batch_idx] if batch_idx_tensor is None else batch_idx_tensor.flatten().tolist()
    for prompt, user in zip(input_tensor, users, strict=False):
        for page, rows in zip(
            page_table[user].tolist(), prompt.split(cache.shape[2], dim=1), strict=False
        ):
            if page >= 0:
                cache[page, :, : rows.shape[1]] = rows.to(cache.dtype)
    return cache


# --- shapes and positions ------------------------------------------------------------------------


def reshape(input_tensor, shape, **_):
    """[...] -> `shape`, in which one size may be -1."""
    return input_tensor.reshape(tuple(shape))


def plus_one(input_tensor, *, skip_negative_entries=False, _ttnn_global_golden=False, **_):
    """Integers of any shape, counted on in place; those below 0 not, if they are to be skipped."""
    counted = input_tensor.long()  # torch adds no uint32
    counted = (counted + ((counted >= 0) if skip_negative_entries else 1)).to(input_tensor.dtype)
    return input_tensor.copy_(counted) if _ttnn_global_golden else counted


# TTNN passes the accumulated goldens themselves to functions with this mark, and says so.
for writes in (paged_update_cache, paged_fused_update_cache, paged_fill_cache, plus_one):
    writes._ttnn_mutates_global_inputs = True


GOLDENS = {ttnn.reshape: reshape, ttnn.plus_one: plus_one} | {
    getattr(ttnn.experimental, golden.__name__): golden
    for golden in (
        nlp_create_qkv_heads,
        nlp_create_qkv_heads_decode,
        nlp_concat_heads,
        nlp_concat_heads_decode,
        rotary_embedding,
        rotary_embedding_hf,
        rotary_embedding_llama,
        rotary_embedding_llama_fused_qk,
        paged_update_cache,
        paged_fused_update_cache,
        paged_fill_cache,
    )
}

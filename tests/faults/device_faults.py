"""Faults of the device's kernels: heads, rotary embeddings, attention, caches.

The op tier must catch every one of them. B batch, S sequence, N heads, K kv heads, D head_dim,
C cache length.
"""

import dataclasses
import math

import torch

from .inject import Fault, argument, arithmetic, first_operand, holding, kernels

# --- heads ---------------------------------------------------------------------------------------


def fused_heads(order):
    """A change of the kernels that split q, k and v: they find the heads in another order.

    `order(heads, n, k)` of [..., N + 2 K, D] returns the same shape.
    """

    def of(kernel):
        def faulty(launch, fused, *args, num_heads, num_kv_heads=None, **kwargs):
            kv_heads = num_kv_heads or num_heads
            heads = fused.data.unflatten(-1, (num_heads + 2 * kv_heads, -1))
            other = order(heads, num_heads, kv_heads).flatten(-2)
            counts = {"num_heads": num_heads, "num_kv_heads": num_kv_heads}
            return kernel(launch, holding(fused, other), *args, **counts, **kwargs)

        return faulty

    return of


def k_before_q(heads, n, k):
    return torch.cat((heads[..., k : k + n, :], heads[..., :k, :], heads[..., k + n :, :]), -2)


def v_before_k(heads, n, k):
    return torch.cat((heads[..., :n, :], heads[..., n + k :, :], heads[..., n : n + k, :]), -2)


def by_group(heads, n, k):
    """As GPT-NeoX and Falcon fuse them: each group's queries, then its key and its value."""
    groups = torch.arange(n + 2 * k).view(k, -1)
    order = torch.cat((groups[:, :-2].flatten(), groups[:, -2], groups[:, -1]))
    return heads[..., order, :]


def head_of_every_nth_column(heads, n, k):
    """Head h is columns h, h + N, h + 2 N, ... instead of D neighbours."""
    query = heads[..., :n, :].flatten(-2).unflatten(-1, (-1, n)).transpose(-1, -2)
    return torch.cat((query, heads[..., n:, :]), -2)


def untransposed(kernel):
    """Heads are joined by looking at the buffer as [S, N D]."""

    def faulty(launch, x):
        return x.data.reshape(launch.output.padded_shape)

    return faulty


CREATE = "ttnn.experimental.nlp_create_qkv_heads"
CREATE_DECODE = "ttnn.experimental.nlp_create_qkv_heads_decode"
CONCAT = "ttnn.experimental.nlp_concat_heads"


def splitting(name, order, operation=CREATE):
    table_name = operation.rpartition(".")[2]
    return Fault(name, "ops", kernels(operation, fused_heads(order)), (table_name,))


HEADS = [
    splitting("q and k exchanged", k_before_q),
    splitting("k and v exchanged", v_before_k),
    splitting("q k v fused by group", by_group),
    splitting("head of every nth column", head_of_every_nth_column),
    splitting("q and k exchanged in decode", k_before_q, CREATE_DECODE),
    splitting("k and v exchanged in decode", v_before_k, CREATE_DECODE),
    Fault("heads joined untransposed", "ops", kernels(CONCAT, untransposed), ("nlp_concat_heads",)),
    Fault(
        "heads joined in reverse",
        "ops",
        kernels(CONCAT, first_operand(lambda x: x.flip(1))),
        ("nlp_concat_heads",),
    ),
]

# --- rotary embeddings ---------------------------------------------------------------------------

ROTARY = "ttnn.experimental.rotary_embedding"


def other_sign(rotary):
    return lambda x, cos, sin, **formats: rotary(x, cos, -sin, **formats)


def cos_for_sin(rotary):
    return lambda x, cos, sin, **formats: rotary(x, sin, cos, **formats)


def neighbours_paired(rotary):
    """Columns 2 i and 2 i + 1 are rotated together, as in Meta's weights, not i and i + D / 2."""

    def faulty(x, cos, sin, **formats):
        x = x.float()
        turned = torch.stack((-x[..., 1::2], x[..., 0::2]), -1).flatten(-2)
        return x * cos.float() + turned * sin.float()

    return faulty


def tables_from_row(offset):
    """Sequence position s takes row s + offset of the tables."""

    def of(kernel):
        def faulty(launch, x, cos, sin, token_index=None, **kwargs):
            if token_index is None:
                cos, sin = (holding(t, t.data.roll(-offset, -2)) for t in (cos, sin))
            return kernel(launch, x, cos, sin, token_index, **kwargs)

        return faulty

    return of


def token_index(change):
    def of(kernel):
        def faulty(launch, x, cos, sin, token_index=None, **kwargs):
            index = None if token_index is None else change(token_index)
            return kernel(launch, x, cos, sin, index, **kwargs)

        return faulty

    return of


def rotating(name, change, table_name="rotary_embedding", sample="37x64"):
    return Fault(name, "ops", kernels(ROTARY, change), (table_name,), sample)


TOKEN = "rotary_embedding_token"
ROTATIONS = [
    rotating("rotate half with the other sign", arithmetic("rotary", other_sign)),
    rotating("cos and sin exchanged", arithmetic("rotary", cos_for_sin)),
    rotating("neighbouring columns rotated together", arithmetic("rotary", neighbours_paired)),
    rotating("cos and sin one position late", tables_from_row(1)),
    rotating("rotary index ignored", token_index(lambda index: 0), TOKEN, "at-31"),
    rotating(
        "rotary index one too small", token_index(lambda index: max(index - 1, 0)), TOKEN, "at-31"
    ),
]

# --- attention -----------------------------------------------------------------------------------


def scored(**fields):
    """A change of attention: its `scores` have other values in these fields."""
    return argument("scores", lambda scores: dataclasses.replace(scores, **fields))


def scale_of_padded_head(attention):
    """1 / sqrt of the head's width in pairs of tiles: 128 for 96."""

    def faulty(query, *args, scores, **kwargs):
        width = query.shape[-1]
        scale = scores.scale * math.sqrt(width / (-(-width // 64) * 64))
        scores = dataclasses.replace(scores, scale=scale)
        return attention(query, *args, scores=scores, **kwargs)

    return faulty


def kv_heads_repeated_in_turn(attention):
    """Query head h takes kv head h mod K (repeat) instead of h // (N / K) (repeat_interleave)."""

    def faulty(query, key, value, **kwargs):
        turn = torch.arange(query.shape[1]).view(-1, key.shape[1]).T.flatten()
        return attention(query[:, turn], key, value, **kwargs)[:, turn.argsort()]

    return faulty


def last_key_tile_left_out(attention):
    """The loop over tiles of keys ends one too early."""

    def faulty(query, key, value, *, scores, **kwargs):
        keys = -(-scores.keys // 32) * 32 - 32
        if scores.causal or keys < 32:
            return attention(query, key, value, scores=scores, **kwargs)
        scores = dataclasses.replace(scores, keys=keys)
        return attention(query, key[:, :, :keys], value[:, :, :keys], scores=scores, **kwargs)

    return faulty


SDPA = "ttnn.transformer.scaled_dot_product_attention"


def attending(name, change, sample=""):
    change = arithmetic("attention", change)
    return Fault(name, "ops", kernels(SDPA, change), ("scaled_dot_product_attention",), sample)


PROMPT = [
    attending("scale 1/sqrt(128) for 1/sqrt(96)", scale_of_padded_head),
    attending("scores not scaled", scored(scale=1.0)),
    attending("causal mask missing", scored(causal=False)),
    attending("causal mask shows the next key", scored(start=1)),
    attending("causal mask hides the own key", scored(start=-1)),
    attending("padding keys attended", scored(keys=None), "37x64-dram-full"),
    attending("last tile of keys left out", last_key_tile_left_out, "64x64-dram-2-kv-full"),
    attending("kv heads repeated in turn", kv_heads_repeated_in_turn, "2-kv"),
]

SDPA_DECODE = "ttnn.transformer.scaled_dot_product_attention_decode"


def positions(keyword, change):
    """A change of a kernel that works at users' positions: `change(positions [B], C)` of those."""

    def of(kernel):
        def faulty(launch, first, second, *rest, **kwargs):
            own = kwargs[keyword]
            # attention has the caches second, an update first
            length = (second if keyword == "cur_pos_tensor" else first).shape[-2]
            moved = torch.where(own.data >= 0, change(own.data, length), own.data)
            kwargs[keyword] = holding(own, moved.to(own.data.dtype))
            return kernel(launch, first, second, *rest, **kwargs)

        return faulty

    return of


def caches_of_first_user(kernel):
    def faulty(launch, query, key, value, **kwargs):
        key, value = (holding(x, x.data[:1].expand_as(x.data)) for x in (key, value))
        return kernel(launch, query, key, value, **kwargs)

    return faulty


def attending_in_decode(name, change, sample=""):
    ops = ("scaled_dot_product_attention_decode",)
    return Fault(name, "ops", kernels(SDPA_DECODE, change), ops, sample)


def seen_up_to(change):
    return positions("cur_pos_tensor", change)


DECODE = [
    attending_in_decode("decode without the own key", seen_up_to(lambda p, _: (p - 1).clamp(0))),
    attending_in_decode("decode attends the tile's padding", seen_up_to(lambda p, _: p | 31)),
    attending_in_decode("decode attends the whole cache", seen_up_to(lambda p, c: 0 * p + c - 1)),
    attending_in_decode(
        "all users at the first one's position", seen_up_to(lambda p, _: p[:1].expand_as(p))
    ),
    attending_in_decode("all users read the first one's cache", caches_of_first_user),
    attending_in_decode(
        "kv heads repeated in turn in decode",
        arithmetic("attention_decode", kv_heads_repeated_in_turn),
        "2-kv",
    ),
]

# --- caches --------------------------------------------------------------------------------------

FILL, UPDATE = "ttnn.fill_cache", "ttnn.experimental.paged_update_cache"


def next_user(kernel):
    def faulty(launch, cache, prompt, user, **kwargs):
        return kernel(launch, cache, prompt, (user + 1) % cache.shape[0], **kwargs)

    return faulty


def last_tile_not_written(kernel):
    def faulty(launch, cache, prompt, user, **kwargs):
        rows = slice(prompt.padded_shape[-2] - 32, prompt.padded_shape[-2])
        before = cache.data[user, :, rows].clone()
        kernel(launch, cache, prompt, user, **kwargs)
        cache.data[user, :, rows] = before

    return faulty


def users_rolled(kernel):
    """User b's token goes to user b + 1."""

    def faulty(launch, cache, token, *, update_idxs_tensor, **kwargs):
        token = holding(token, token.data.roll(1, 1))
        index = holding(update_idxs_tensor, update_idxs_tensor.data.roll(1, -1))
        return kernel(launch, cache, token, update_idxs_tensor=index, **kwargs)

    return faulty


def rest_of_tile_wiped(kernel):
    """The tile that holds the position is written whole, not read first."""

    def faulty(launch, cache, token, *, update_idxs_tensor, **kwargs):
        for user, position in enumerate(update_idxs_tensor.logical.flatten().tolist()):
            if position >= 0:
                cache.data[user, :, position // 32 * 32 : position // 32 * 32 + 32] = 0
        return kernel(launch, cache, token, update_idxs_tensor=update_idxs_tensor, **kwargs)

    return faulty


def skipped_users_written(kernel):
    """A position of -1 counts from the cache's end."""

    def faulty(launch, cache, token, *, update_idxs_tensor, **kwargs):
        own = update_idxs_tensor.data
        index = holding(update_idxs_tensor, torch.where(own < 0, own + cache.shape[2], own))
        return kernel(launch, cache, token, update_idxs_tensor=index, **kwargs)

    return faulty


def filling(name, change):
    return Fault(name, "ops", kernels(FILL, change), ("fill_cache",))


def updating(name, change, sample="4x2x64x96-height-at-0-31"):
    return Fault(name, "ops", kernels(UPDATE, change), ("paged_update_cache",), sample)


def written_at(change):
    return positions("update_idxs_tensor", change)


CACHES = [
    filling("prompt into the next user's cache", next_user),
    filling("prompt's last tile not cached", last_tile_not_written),
    updating("token cached one position late", written_at(lambda p, c: (p + 1).clamp(max=c - 1))),
    updating("token into the next user's cache", users_rolled),
    updating("token wipes its tile of the cache", rest_of_tile_wiped),
    updating("skipped users are written", skipped_users_written, "4x4x96x64"),
]

FAULTS = [*HEADS, *ROTATIONS, *PROMPT, *DECODE, *CACHES]

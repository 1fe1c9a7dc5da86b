"""Faults of attention: scale, masks, kv heads, positions.

B batch, S sequence, N heads, K kv heads, D head_dim, C cache length.
"""

import dataclasses
import math

import torch

from .inject import (
    Fault,
    argument,
    arithmetic,
    calls,
    holding,
    host,
    in_layers,
    in_model,
    ints,
    kernels,
    of_stage,
    positions,
)

# --- a prompt ------------------------------------------------------------------------------------


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

# --- a token -------------------------------------------------------------------------------------

SDPA_DECODE = "ttnn.transformer.scaled_dot_product_attention_decode"


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

# --- of the model --------------------------------------------------------------------------------


def of_two_tiles_later(start):
    """Queries see keys of rows after them."""
    return ints(host(start) + 64, start.device())


def greatest_so_far(attention):
    """The rows that a longer sequence before has left are attended too."""
    greatest = [0]

    def faulty(*args, cur_pos_tensor, **kwargs):
        own = host(cur_pos_tensor)
        greatest[0] = max(greatest[0], int(own.max()))
        stale = torch.where(own >= 0, greatest[0], own)
        return attention(*args, cur_pos_tensor=ints(stale, cur_pos_tensor.device()), **kwargs)

    return faulty


CHUNKED = "chunked_scaled_dot_product_attention"
PAGED_DECODE = "paged_scaled_dot_product_attention_decode"

OPTIMIZED = [
    in_layers(
        "attention sees later keys",
        calls(f"transformer.{CHUNKED}", argument("chunk_start_idx_tensor", of_two_tiles_later)),
        place=(CHUNKED, 0),
    ),
    in_layers(
        "scale of 128 columns in decode's call",
        calls(f"transformer.{PAGED_DECODE}", argument("scale", lambda scale: 128**-0.5)),
        PAGED_DECODE,
        place=(PAGED_DECODE, 0),
    ),
    in_model(
        "stale rows attended after a reset",
        calls(f"transformer.{PAGED_DECODE}", greatest_so_far),
        place=(PAGED_DECODE, 0),
    ),
]

FAULTS = [*PROMPT, *DECODE, *of_stage("optimized", OPTIMIZED)]

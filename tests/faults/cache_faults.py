"""Faults of the key/value cache: rows in the wrong place, rows that are lost, keys for values.

B batch, C cache length.
"""

import torch

from model.optimized import cache, phi3

from .inject import (
    Fault,
    holding,
    host,
    in_layers,
    in_model,
    ints,
    kernels,
    of_stage,
    part,
    positions,
)

# --- of the device's kernels ---------------------------------------------------------------------

FILL, UPDATE = "ttnn.fill_cache", "ttnn.experimental.paged_update_cache"


def next_user(kernel):
    def faulty(launch, cache, prompt, batch_idx, **kwargs):
        return kernel(launch, cache, prompt, (batch_idx + 1) % cache.shape[0], **kwargs)

    return faulty


def last_tile_not_written(kernel):
    def faulty(launch, cache, prompt, batch_idx, **kwargs):
        rows = slice(prompt.padded_shape[-2] - 32, prompt.padded_shape[-2])
        before = cache.data[batch_idx, :, rows].clone()
        kernel(launch, cache, prompt, batch_idx, **kwargs)
        cache.data[batch_idx, :, rows] = before

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


KERNELS = [
    filling("prompt into the next user's cache", next_user),
    filling("prompt's last tile not cached", last_tile_not_written),
    updating("token cached one position late", written_at(lambda p, c: (p + 1).clamp(max=c - 1))),
    updating("token into the next user's cache", users_rolled),
    updating("token wipes its tile of the cache", rest_of_tile_wiped),
    updating("skipped users are written", skipped_users_written, "4x4x96x64"),
]

# --- of the model --------------------------------------------------------------------------------

KVCache = cache.KVCache


def keys_for_values(fill):
    def faulty(self, k, v, pages):
        return fill(self, k, k, pages)

    return faulty


def nothing_cached(update):
    return lambda self, k, v, positions, pages: None


def cached_one_late(update):
    def faulty(self, k, v, positions, pages):
        own = host(positions)
        later = torch.where(own >= 0, own + 1, own)
        return update(self, k, v, ints(later, positions.device()), pages)

    return faulty


def one_for_all(make):
    """The layers get the first one's."""
    made = []

    def faulty(*args):
        if not made:
            made.append(make(*args))
        return made[0]

    return faulty


PAGED_FILL = "paged_fill_cache"

OPTIMIZED = [
    in_layers(
        "prompt's keys cached for values",
        part(KVCache, "fill", keys_for_values),
        place=(PAGED_FILL, 0),
    ),
    in_layers(
        "decode caches nothing", part(KVCache, "update", nothing_cached), place=("cache update", 0)
    ),
    in_layers(
        "decode caches one position late",
        part(KVCache, "update", cached_one_late),
        place=("paged_fused_update_cache", 0),
    ),
    in_model("one cache for all layers", part(phi3, "KVCache", one_for_all), place=(PAGED_FILL, 1)),
]

FAULTS = [*KERNELS, *of_stage("optimized", OPTIMIZED)]

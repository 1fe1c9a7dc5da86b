"""Kernels that write keys and values into a cache: data movement in place on the first argument.

B batch, S sequence, K kv heads, D head_dim, C cache length.
"""

import torch

from emulator.arithmetic import formats


def fill_cache(launch, cache_tensor, input_tensor, batch_idx, *, update_idx=0):
    """Write [1, K, S, D] into user `batch_idx` of the cache [B, K, C, D] from row `update_idx` on.

    Whole tiles: the padding rows of the input are written too.
    """
    rows = slice(update_idx, update_idx + input_tensor.padded_shape[-2])
    cache_tensor.data[batch_idx, :, rows] = _stored(input_tensor.data[0], cache_tensor)


def paged_update_cache(
    launch,
    cache_tensor,
    input_tensor,
    *,
    update_idxs=(),
    update_idxs_tensor=None,
    share_cache=None,
    compute_kernel_config=None,
):
    """Write one row for each user: [1, B, K, D] into [B, K, C, D]; an index of -1 skips the user."""
    positions = _positions(update_idxs, update_idxs_tensor)
    users = torch.nonzero(positions >= 0).flatten()
    slots = torch.zeros_like(users) if share_cache else users
    rows = input_tensor.data[0, users, : cache_tensor.shape[1]]
    cache_tensor.data[slots, :, positions[users]] = _stored(rows, cache_tensor)


def _positions(listed, tensor):
    if tensor is not None:
        return tensor.logical.flatten().long()
    return torch.tensor(list(listed), dtype=torch.long)


def _stored(values, cache_tensor):
    return formats.encode(values, cache_tensor.dtype)


KERNELS = {
    "ttnn.fill_cache": fill_cache,
    "ttnn.experimental.paged_update_cache": paged_update_cache,
}

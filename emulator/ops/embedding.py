"""Kernels of table look-ups: `ttnn.embedding`."""

import math

from emulator.dispatch import NotEmulated


def embedding(
    launch,
    input_tensor,
    weight,
    *,
    padding_idx=None,
    layout=None,
    embeddings_type=None,
    dtype=None,
    output_tensor=None,
):
    """Rows of a table: indices [B, S] or [B, 1, 1, S] and a table [1, 1, V, H] -> [B, S, H].

    Indices are uint32 or bfloat16 (exact up to 256). `padding_idx` and `embeddings_type` only keep
    the rows that they name in faster memory (embeddings_common.hpp); the result is the same.
    Another dtype than the table's is made by a typecast behind it.

    Raises:
        NotEmulated: an index beyond the table; indices of another shape, of which TTNN plans for
            the first and the last dimension alone.
    """
    table = weight.logical.reshape(-1, weight.shape[-1])
    indices = input_tensor.logical.reshape(-1).long()
    if len(indices) * weight.shape[-1] != math.prod(launch.output.shape):
        raise NotEmulated(
            f"ttnn.embedding of indices {list(input_tensor.shape)} gives {list(launch.output.shape)}: "
            "TTNN looks at their first and last dimension. Use [B, S] or [B, 1, 1, S]."
        )
    beyond = indices[(indices < 0) | (indices >= len(table))]
    if beyond.numel():
        raise NotEmulated(
            f"ttnn.embedding reads row {int(beyond[0])} of a table of {len(table)} rows, which on the "
            f"device is memory of something else. Indices go from 0 to {len(table) - 1}."
        )
    rows = table[indices].reshape(launch.output.shape)
    return launch.math.typecast(rows, weight.dtype, launch.output.dtype)


KERNELS = {"ttnn.embedding": embedding}

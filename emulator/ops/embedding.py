"""Kernels of table look-ups: `ttnn.embedding`."""

import torch

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
    """Rows of `weight` by the indices in `input_tensor`.

    Args:
        input_tensor: indices [B, S] or [B, 1, 1, S], uint32 (or bfloat16, as the kernel reads them).
        weight: [1, 1, V, H] or [V, H].
    """
    table = weight.logical.reshape(-1, weight.shape[-1])
    indices = input_tensor.logical.long()
    if indices.numel() and (indices.min() < 0 or indices.max() >= len(table)):
        raise NotEmulated(
            f"ttnn.embedding reads row {int(indices.max())} of a table of {len(table)} rows: on the "
            "device that is other memory. Indices must be below the table's length."
        )
    return table[indices.reshape(-1)].reshape(launch.output.shape)


KERNELS = {"ttnn.embedding": embedding}

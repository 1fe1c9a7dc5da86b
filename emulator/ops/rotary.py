"""Kernels of rotary position embeddings."""


def rotary_embedding(
    launch, input_tensor, cos_cache, sin_cache, token_index=None, *, compute_kernel_config=None
):
    """Rotation by halves of [B, N, S, D] (or [1, 1, B, D] with a token index).

    cos and sin are [1, 1, C, D]: row s for sequence position s, or row `token_index` for all rows.
    The kernel rotates whole tiles, padding rows included.
    """
    rows = slice(0, input_tensor.padded_shape[-2])
    if token_index is not None:
        rows = slice(token_index, token_index + 1)
    cos, sin = cos_cache.data[..., rows, :], sin_cache.data[..., rows, :]
    return launch.math.rotary(input_tensor.data, cos, sin)


KERNELS = {"ttnn.experimental.rotary_embedding": rotary_embedding}

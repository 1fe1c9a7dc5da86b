"""Bindings that split a fused projection into heads and join heads again: data movement, exact.

B batch, S sequence, N heads, K kv heads, D head_dim.
"""

import torch

from ttnn_emulator.arithmetic.formats import TILE
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor, Output
from ttnn_emulator.ops.common.padding import undefined


def nlp_create_qkv_heads(
    launch: Launch,
    input: DeviceTensor,
    input_kv: DeviceTensor | None = None,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_k_heads: bool = True,
    kv_tied: bool = False,
    output_tensors: object = None,
) -> tuple[torch.Tensor, ...]:
    """[B, 1, S, (N + 2 K) D] -> [B, N, S, D], [B, K, S, D], [B, K, S, D], padding rows included.

    Keys and values come from `input_kv` [B, 1, S, 2 K D] when it is given, and are the same columns
    when `kv_tied`. `transpose_k_heads` makes the keys [B, K, D, S].
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    sections = num_heads + (1 if kv_tied else 2) * kv_heads
    width = input.shape[-1] // (sections if input_kv is None else num_heads)
    if width % TILE:
        raise NotEmulated(
            f"{launch.name} moves whole tiles, so a head of {width} columns does not come out as "
            "one: head_dim must be a multiple of 32."
        )
    query = input.data[:, 0, :, : num_heads * width]
    kv = input.data[:, 0, :, num_heads * width :] if input_kv is None else input_kv.data[:, 0]
    value = kv if kv_tied else kv[..., kv_heads * width :]
    q, k, v = (
        _split(columns, heads, width)
        for columns, heads in ((query, num_heads), (kv, kv_heads), (value, kv_heads))
    )
    return q, k.transpose(-1, -2) if transpose_k_heads else k, v


def split_query_key_value_and_split_heads(
    launch: Launch,
    input_tensor: DeviceTensor,
    kv_input_tensor: DeviceTensor | None = None,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_key: bool = True,
    use_falcon7b_backend: bool = False,
) -> tuple[torch.Tensor, ...]:
    """[B, S, (N + 2 K) D] -> [B, N, S, D], [B, K, D, S], [B, K, S, D], padding rows included.

    Keys and values come from `kv_input_tensor` [B, S, 2 K D] when it is given. Without
    `transpose_key` the keys are [B, K, S, D].
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    width = launch.outputs[0].shape[-1]
    fused = input_tensor.data
    kv = fused[..., num_heads * width :] if kv_input_tensor is None else kv_input_tensor.data
    q = _split(fused, num_heads, width)
    k = _split(kv, kv_heads, width)
    v = _split(kv[..., kv_heads * width :], kv_heads, width)
    return q, k.transpose(-1, -2) if transpose_key else k, v


def nlp_create_qkv_heads_decode(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    output_tensors: object = None,
    overlap_qk_coregrid: bool = True,
) -> tuple[torch.Tensor, ...]:
    """[1, 1, B, (N + 2 K) D] -> [1, B, N, D], [1, B, K, D], [1, B, K, D].

    Each user's heads are padded to a whole tile; the padding rows are not written.
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    width = input_tensor.shape[-1] // (num_heads + 2 * kv_heads)
    users = launch.outputs[0].shape[1]
    rows = input_tensor.logical if users <= input_tensor.shape[2] else input_tensor.data
    fused = rows[0, 0, :users, : input_tensor.shape[-1]].unflatten(-1, (-1, width))
    parts = fused.split([num_heads, kv_heads, kv_heads], dim=1)
    return tuple(
        _in_undefined(part[None], plan) for part, plan in zip(parts, launch.outputs, strict=True)
    )


def nlp_concat_heads(launch: Launch, input_tensor: DeviceTensor) -> torch.Tensor:
    """[B, N, S, D] -> [B, 1, S, N D], padding included."""
    return _join(input_tensor)[:, None]


def concatenate_heads(launch: Launch, input_tensor: DeviceTensor) -> torch.Tensor:
    """[B, N, S, D] -> [B, S, N D], padding included."""
    return _join(input_tensor)


def nlp_concat_heads_decode(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    num_heads: int,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """[1, B, N, D] -> [1, 1, 32, N D]; rows from B on are not written and hold anything."""
    joined = input_tensor.data[0, : input_tensor.shape[1], :num_heads].flatten(1)
    return _in_undefined(joined[None, None], launch.output)


def _split(fused: torch.Tensor, heads: int, width: int) -> torch.Tensor:
    """[B, S, ...] -> [B, heads, S, width] from the first heads * width columns."""
    return fused[..., : heads * width].unflatten(-1, (heads, width)).transpose(1, 2)


def _join(input_tensor: DeviceTensor) -> torch.Tensor:
    return input_tensor.data.transpose(1, 2).flatten(2)


def _in_undefined(values: torch.Tensor, plan: Output) -> torch.Tensor:
    """`values` in the first corner of an output of which nothing else is written."""
    padded = undefined(plan.padded_shape, plan.dtype).to(values.dtype)
    padded[tuple(slice(0, n) for n in values.shape)] = values
    return padded


BINDINGS = {
    "ttnn.experimental.nlp_create_qkv_heads": nlp_create_qkv_heads,
    "ttnn.experimental.nlp_create_qkv_heads_decode": nlp_create_qkv_heads_decode,
    "ttnn.experimental.nlp_concat_heads": nlp_concat_heads,
    "ttnn.experimental.nlp_concat_heads_decode": nlp_concat_heads_decode,
    "ttnn.transformer.split_query_key_value_and_split_heads": split_query_key_value_and_split_heads,
    "ttnn.transformer.concatenate_heads": concatenate_heads,
}

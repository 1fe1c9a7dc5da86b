"""Heads for particular models, and from blocks that lie on a grid of cores: data movement, exact.

B batch, S sequence, N heads, K kv heads, D head_dim.
"""

import torch
import ttnn

from ttnn_emulator.arithmetic.formats import TILE
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.head_groups import split, split_groups
from ttnn_emulator.ops.common.padding import undefined

FALCON_7B = (71, 1, 64)  # N, K, D of nlp_create_qkv_heads_falcon7b
VIT = (12, 12, 64)


def nlp_create_qkv_heads_falcon7b(launch: Launch, input: DeviceTensor) -> tuple[torch.Tensor, ...]:
    """[B, 1, S, 4672] -> [B, 71, S, 64] and twice [B, 1, S, 64], padding rows included."""
    return _sections(input, *FALCON_7B)


def nlp_create_qkv_heads_vit(
    launch: Launch, input: DeviceTensor, *, output_tensors: object = None
) -> tuple[torch.Tensor, ...]:
    """[B, 1, S, 2304] -> three times [B, 12, S, 64], padding rows included."""
    return _sections(input, *VIT)


def nlp_create_qkv_heads_segformer(
    launch: Launch, input: DeviceTensor, *, output_tensors: object = None
) -> tuple[torch.Tensor, ...]:
    """[B, 1, S, N 32] -> [B, N, S, 32]; the other two outputs are allocated, and never written."""
    query = split(input.data[:, 0], input.shape[-1] // TILE, TILE)
    rest = (undefined(plan.padded_shape, plan.dtype) for plan in launch.outputs[1:])
    return query, *rest


def nlp_create_qkv_heads_boltz(
    launch: Launch,
    input: DeviceTensor,
    input_kv: DeviceTensor | None = None,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_k_heads: bool = True,
    output_tensors: object = None,
) -> tuple[torch.Tensor, ...]:
    """[1, S, S, (N + 2 K) D] -> [N, S, S, D], [K, S, S, D], [K, S, S, D], of pairs of positions.

    Keys and values come from `input_kv` [1, S, S, 2 K D] when it is given.

    Raises:
        NotEmulated: transposed keys, of which TTNN plans an output of another size than the kernel
            writes; a sharded input; positions that are no square.
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    if transpose_k_heads or input.sharded:
        what = "transpose_k_heads=True" if transpose_k_heads else "a sharded input"
        raise NotEmulated(f"{launch.name} with {what} is not emulated.")
    if input.padded_shape[0] != 1 or input.padded_shape[1] != input.padded_shape[2]:
        raise NotEmulated(f"{launch.name} takes [1, S, S, ...], not {list(input.shape)}.")
    width = launch.outputs[0].shape[-1]
    fused = input.data[0]  # [S, S, columns]
    kv = fused[..., num_heads * width :] if input_kv is None else input_kv.data[0]
    parts = ((fused, num_heads), (kv, kv_heads), (kv[..., kv_heads * width :], kv_heads))
    return tuple(
        part[..., : heads * width].unflatten(-1, (heads, width)).movedim(2, 0)
        for part, heads in parts
    )


def nlp_concat_heads_boltz(
    launch: Launch, input_tensor: DeviceTensor, *, output_tensor: DeviceTensor | None = None
) -> torch.Tensor:
    """[N, S, S, D] -> [1, S, S, N D], padding included.

    Raises:
        NotEmulated: a sharded input.
    """
    if input_tensor.sharded:
        raise NotEmulated(f"{launch.name} of a sharded input is not emulated.")
    return input_tensor.data.movedim(0, 2).flatten(2)[None]


def nlp_create_q_heads_split(
    launch: Launch, input: DeviceTensor, *, num_heads: int, split_head_dim: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """[B, 1, S, N D] -> the first `split_head_dim` columns of [B, N, S, D], and the others."""
    query = split(input.data[:, 0], num_heads, input.shape[-1] // num_heads)
    return query[..., :split_head_dim], query[..., split_head_dim:]


def nlp_kv_cache_load_slice(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    seq_len_start: int,
    seq_len_end: int,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """Rows `seq_len_start` to `seq_len_end` - 1 of [B, K, C, D], each head into a core's L1."""
    return input_tensor.data[:, :, seq_len_start:seq_len_end]


def create_qkv_heads(
    launch: Launch,
    input: DeviceTensor,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_k_heads: bool = True,
    output_tensors: object = None,
) -> tuple[torch.Tensor, ...]:
    """[B, 1, S, K (N / K + 2) D] -> [B, N, S, D], [B, K, D, S], [B, K, S, D].

    The columns are K groups: N / K query heads, a key, a value. Each core splits the groups of its
    own block (reader_create_qkv_heads_sharded.cpp).
    """
    return _grouped(launch, input, None, (num_heads, num_kv_heads), transpose_k_heads)


def create_qkv_heads_from_separate_tensors(
    launch: Launch,
    input: DeviceTensor,
    input_kv: DeviceTensor,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    transpose_k_heads: bool = True,
    output_tensors: object = None,
) -> tuple[torch.Tensor, ...]:
    """`create_qkv_heads` with keys and values apart: [B, 1, S, N D] and [B, 1, S, K 2 D].

    Keys and values take turns (reader_create_qkv_heads_sharded_separate.cpp).
    """
    return _grouped(launch, input, input_kv, (num_heads, num_kv_heads), transpose_k_heads)


def experimental_split_heads(
    launch: Launch,
    input_tensor: DeviceTensor,
    compute_with_storage_grid_size: ttnn.CoreCoord,
    *,
    num_heads: int = 16,
    output_tensors: object = None,
) -> tuple[torch.Tensor, ...]:
    """[B, 1, S, 3 N D] -> [B, N, S, D], [B, N, D, S], [B, N, S, D], keys transposed.

    Each core splits the columns of its own block into queries, keys and values
    (reader_tm_tile_layout_create_qkv_heads_sharded.cpp); interleaved there is one such block. For
    an interleaved input TTNN wants more cores than a Wormhole has.
    """
    fused, width = input_tensor.data[:, 0], launch.outputs[0].shape[-1]
    columns = input_tensor.shards[1] if input_tensor.shards else fused.shape[-1]
    parts = fused.unflatten(-1, (-1, 3, columns // 3 // width, width))  # [B, S, blocks, 3, N/, D]
    query, key, value = (parts[:, :, :, i].flatten(2, 3).transpose(1, 2) for i in range(3))
    return query, key.transpose(-1, -2), value


def _sections(
    input: DeviceTensor, heads: int, kv_heads: int, width: int
) -> tuple[torch.Tensor, ...]:
    fused = input.data[:, 0]
    kv, value = fused[..., heads * width :], fused[..., (heads + kv_heads) * width :]
    return split(fused, heads, width), split(kv, kv_heads, width), split(value, kv_heads, width)


def _grouped(
    launch: Launch,
    input: DeviceTensor,
    input_kv: DeviceTensor | None,
    counts: tuple[int, int | None],
    transpose: bool,
) -> tuple[torch.Tensor, ...]:
    heads, kv_heads = counts
    separate = None if input_kv is None else input_kv.data[:, 0]
    width = launch.outputs[0].shape[-1]
    shared = (heads, heads if kv_heads is None else kv_heads)
    query, key, value = split_groups(input.data[:, 0], separate, shared, width)
    return query, key.transpose(-1, -2) if transpose else key, value


BINDINGS = {
    "ttnn.experimental.create_qkv_heads": create_qkv_heads,
    "ttnn.experimental.create_qkv_heads_from_separate_tensors": (
        create_qkv_heads_from_separate_tensors
    ),
    "ttnn.experimental.nlp_concat_heads_boltz": nlp_concat_heads_boltz,
    "ttnn.experimental.nlp_create_q_heads_split": nlp_create_q_heads_split,
    "ttnn.experimental.nlp_create_qkv_heads_boltz": nlp_create_qkv_heads_boltz,
    "ttnn.experimental.nlp_create_qkv_heads_falcon7b": nlp_create_qkv_heads_falcon7b,
    "ttnn.experimental.nlp_create_qkv_heads_segformer": nlp_create_qkv_heads_segformer,
    "ttnn.experimental.nlp_create_qkv_heads_vit": nlp_create_qkv_heads_vit,
    "ttnn.experimental.nlp_kv_cache_load_slice": nlp_kv_cache_load_slice,
    "ttnn.experimental.split_query_key_value_and_split_heads": experimental_split_heads,
}

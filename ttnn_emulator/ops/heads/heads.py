"""Bindings that split a fused projection into heads and join heads again: data movement, exact.

B batch, S sequence, N heads, K kv heads, D head_dim.
"""

import torch

from ttnn_emulator.arithmetic.formats import TILE
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.head_groups import in_undefined, joined, split, split_groups


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
    when `kv_tied`. `transpose_k_heads` makes the keys [B, K, D, S]. Of a sharded input each core
    holds one kv head with its N / K query heads before it, so the columns are K such groups
    (reader_tm_tile_layout_nlp_create_qkv_heads_sharded.cpp).
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    sections = num_heads + (1 if kv_tied else 2) * kv_heads
    width = input.shape[-1] // (sections if input_kv is None else num_heads)
    if width % TILE:
        raise NotEmulated(
            f"{launch.name} moves whole tiles, so a head of {width} columns does not come out as "
            "one: head_dim must be a multiple of 32."
        )
    fused = input.data[:, 0]
    separate = None if input_kv is None else input_kv.data[:, 0]
    if input.sharded:
        _check_one_head_per_core(launch)
        return split_groups(fused, separate, (num_heads, kv_heads), width, tied=kv_tied)
    kv = fused[..., num_heads * width :] if separate is None else separate
    value = kv if kv_tied else kv[..., kv_heads * width :]
    q, k, v = (
        split(columns, heads, width)
        for columns, heads in ((fused, num_heads), (kv, kv_heads), (value, kv_heads))
    )
    return q, k.transpose(-1, -2) if transpose_k_heads else k, v


def _check_one_head_per_core(launch: Launch) -> None:
    """The sharded reader copies a head as tiles that lie side by side: one row of tiles."""
    for output in launch.outputs:
        expected = (TILE, output.shape[-1], output.shape[1])
        if output.shards != expected:
            raise NotEmulated(
                f"{launch.name} of a sharded input into shards of {output.shards} (rows, columns, "
                f"cores): only one head per core, {expected}, is emulated."
            )


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
    `transpose_key` the keys are [B, K, S, D]. A sharded input is what `create_qkv_heads` takes:
    K groups of N / K query heads, a key and a value (split_query_key_value_and_split_heads.cpp).
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    width = launch.outputs[0].shape[-1]
    fused = input_tensor.data
    if input_tensor.sharded:
        q, k, v = split_groups(fused, None, (num_heads, kv_heads), width)
    else:
        kv = fused[..., num_heads * width :] if kv_input_tensor is None else kv_input_tensor.data
        q, k = split(fused, num_heads, width), split(kv, kv_heads, width)
        v = split(kv[..., kv_heads * width :], kv_heads, width)
    return q, k.transpose(-1, -2) if transpose_key else k, v


def nlp_create_qkv_heads_decode(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    output_tensors: object = None,
    overlap_qk_coregrid: bool | None = True,
    batch_offset: DeviceTensor | None = None,
    slice_size: int | None = None,
) -> tuple[torch.Tensor, ...]:
    """[1, 1, B, (N + 2 K) D] -> [1, U, N, D], [1, U, K, D], [1, U, K, D], U = B or `slice_size`.

    User u of a slice is row `batch_offset` + u of the input. The reader of an interleaved input
    does not look at the offset (reader_interleaved_tm_tile_layout_nlp_create_qkv_heads_decode.cpp).
    Each user's heads are padded to a whole tile; the padding rows are not written.

    Raises:
        NotEmulated: a width-sharded input whose columns do not fill its cores.
        OutOfBounds: rows beyond the input's tile.
    """
    kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    width = input_tensor.shape[-1] // (num_heads + 2 * kv_heads)
    _check_even_shards(launch, input_tensor)
    users = launch.outputs[0].shape[1]
    first = 0
    if batch_offset is not None and input_tensor.sharded:
        first = int(batch_offset.logical.flatten()[0])
    rows = input_tensor.padded_shape[2]
    bounds.span(first, users, rows, op=launch.name, operand="input_tensor", unit="row")
    here = input_tensor.logical if first + users <= input_tensor.shape[2] else input_tensor.data
    fused = here[0, 0, first : first + users, : input_tensor.shape[-1]].unflatten(-1, (-1, width))
    parts = fused.split([num_heads, kv_heads, kv_heads], dim=1)
    return tuple(
        in_undefined(part[None], plan) for part, plan in zip(parts, launch.outputs, strict=True)
    )


def _check_even_shards(launch: Launch, operand: DeviceTensor) -> None:
    """The reader takes the tiles of all columns divided by the cores for what each core has."""
    if operand.shards is None:
        return
    _, columns, cores = operand.shards
    if columns * cores != operand.padded_shape[-1]:
        raise NotEmulated(
            f"{launch.name}: {operand.padded_shape[-1]} columns in shards of {columns} on {cores} "
            "cores do not fill them, and the kernel reads as if they did."
        )


def nlp_concat_heads(launch: Launch, input_tensor: DeviceTensor) -> torch.Tensor:
    """[B, N, S, D] -> [B, 1, S, N D], padding included."""
    return joined(input_tensor)[:, None]


def concatenate_heads(launch: Launch, input_tensor: DeviceTensor) -> torch.Tensor:
    """[B, N, S, D] -> [B, S, N D], padding included."""
    return joined(input_tensor)


def nlp_concat_heads_decode(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    num_heads: int,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """[1, B, N, D] -> [1, 1, 32, N D]; rows from B on are not written and hold anything.

    Raises:
        NotEmulated: shards that are not full; the kernel reads as if they were.
    """
    users = input_tensor.shape[1]
    if input_tensor.shards is not None:
        rows, _, cores = input_tensor.shards
        if rows * cores != users * input_tensor.padded_shape[2]:
            raise NotEmulated(
                f"{launch.name}: {users} users in shards of {rows} rows on {cores} cores do not "
                "fill them, and the kernel reads as if they did."
            )
    columns = input_tensor.data[0, :users, :num_heads].flatten(1)
    return in_undefined(columns[None, None], launch.output)


BINDINGS = {
    "ttnn.experimental.nlp_create_qkv_heads": nlp_create_qkv_heads,
    "ttnn.experimental.nlp_create_qkv_heads_decode": nlp_create_qkv_heads_decode,
    "ttnn.experimental.nlp_concat_heads": nlp_concat_heads,
    "ttnn.experimental.nlp_concat_heads_decode": nlp_concat_heads_decode,
    "ttnn.transformer.split_query_key_value_and_split_heads": split_query_key_value_and_split_heads,
    "ttnn.transformer.concatenate_heads": concatenate_heads,
}

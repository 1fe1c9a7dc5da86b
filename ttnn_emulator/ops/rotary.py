"""Bindings of rotary position embeddings. They rotate whole tiles, padding included.

B batch, S sequence, N heads, D head_dim, C length of the cos and sin tables.
"""

import functools

import torch
import ttnn

from ttnn_emulator.arithmetic.compute import Compute
from ttnn_emulator.arithmetic.formats import TILE
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.configs import compute_of
from ttnn_emulator.ops.common.idle_rows import all_rows, row_by_row


def rotary_embedding(
    launch: Launch,
    input_tensor: DeviceTensor,
    cos_cache: DeviceTensor,
    sin_cache: DeviceTensor,
    token_index: int | None = None,
    *,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,  # TTNN ignores it
) -> torch.Tensor:
    """Rotation by halves of [B, N, S, D]; cos and sin are [1, 1, C, D].

    Sequence position s takes row s of the tables. With a token index every row takes that one row
    (rotary_embedding.cpp, DECODE_MODE). The halves are those of the padded width.
    """
    rows = slice(0, input_tensor.padded_shape[-2])
    if token_index is not None:
        rows = slice(token_index, token_index + 1)
    cos, sin = cos_cache.data[..., rows, :], sin_cache.data[..., rows, :]
    return _rotated(launch, input_tensor, cos, sin, cos_cache.dtype)


def rotary_embedding_hf(
    launch: Launch,
    input_tensor: DeviceTensor,
    cos_cache: DeviceTensor,
    sin_cache: DeviceTensor,
    *,
    is_decode_mode: bool = False,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> torch.Tensor:
    """Rotation by halves of [B, N, S, D] by tables [1, 1, C, D].

    In decode mode of [1, B, N, D] by [1, B, 1, D]: each user's row is broadcast to all its heads.
    """
    rows = slice(0, 1 if is_decode_mode else input_tensor.padded_shape[-2])
    cos, sin = cos_cache.data[..., rows, :], sin_cache.data[..., rows, :]
    compute = compute_of(compute_kernel_config)
    return _rotated(launch, input_tensor, cos, sin, cos_cache.dtype, compute)


def rotary_embedding_llama(
    launch: Launch,
    input_tensor: DeviceTensor,
    cos_cache: DeviceTensor,
    sin_cache: DeviceTensor,
    trans_mat: DeviceTensor,
    *,
    is_decode_mode: bool = False,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> torch.Tensor:
    """Rotation by a transformation matrix [1, 1, 32, 32], for decode one per core [1, 1, 32 B, 32].

    Prefill: [B, N, S, D] with tables [1, 1 or N, C, D]; tiles beyond row C become zero
    (writer_rotary_embedding_llama_interleaved_start_id.cpp). Decode: [1, B, N, D] with
    [1, B, 1, D], each user's row broadcast to all its heads.

    Raises:
        OutOfBounds: in decode mode, fewer matrices than cores.
    """
    turn, compute = _transformation(trans_mat), compute_of(compute_kernel_config)
    if is_decode_mode:
        copies = trans_mat.padded_shape[-2] // TILE  # a core without one takes what else it holds
        bounds.span(
            0, _cores(input_tensor), copies, op=launch.name, operand="trans_mat", unit="copy"
        )
        return _decode_pairs(launch, input_tensor, cos_cache.data, sin_cache.data, turn, compute)
    rows = min(input_tensor.padded_shape[-2], cos_cache.padded_shape[-2])
    cos, sin = cos_cache.data[..., :rows, :], sin_cache.data[..., :rows, :]
    x = input_tensor.data[..., :rows, :]
    rotated = launch.math.rotary_pairs(x, cos, sin, turn, compute=compute)
    return torch.nn.functional.pad(rotated, (0, 0, 0, input_tensor.padded_shape[-2] - rows))


def rotary_embedding_llama_fused_qk(
    launch: Launch,
    q_input_tensor: DeviceTensor,
    k_input_tensor: DeviceTensor,
    cos_cache: DeviceTensor,
    sin_cache: DeviceTensor,
    trans_mat: DeviceTensor,
    *,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> tuple[torch.Tensor, ...]:
    """`rotary_embedding_llama` in decode mode for q [1, B, N, D] and k [1, B, K, D] at once.

    The tables are [1, 2 B, 1 or 32, D]: the users' rows for q, then those for k; of 32 the first
    counts. The host side sees to it that each core has its row and its matrix.
    """
    turn, compute = _transformation(trans_mat), compute_of(compute_kernel_config)
    users = q_input_tensor.shape[1]
    return tuple(
        _decode_pairs(launch, x, cos_cache.data[:, part], sin_cache.data[:, part], turn, compute)
        for x, part in (
            (q_input_tensor, slice(0, users)),
            (k_input_tensor, slice(users, 2 * users)),
        )
    )


def _rotated(
    launch: Launch,
    x: DeviceTensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    table: str,
    compute: Compute | None = None,
) -> torch.Tensor:
    """Rotation by halves, each row by its own of the tables or all by a single one."""
    out = launch.output.dtype
    rotary = functools.partial(launch.math.rotary, table=table, out=out, compute=compute)
    return row_by_row(rotary, x.data, cos, sin, dtype=out)


def rotate_half(launch: Launch, input: DeviceTensor) -> torch.Tensor:
    """[..., D] -> the negated second half, then the first half."""
    return launch.math.rotate_half(input.data)


def _transformation(trans_mat: DeviceTensor) -> torch.Tensor:
    """The [32, 32] matrix of which every core has a copy."""
    copies = trans_mat.data.reshape(-1, TILE, TILE)
    if not (copies == copies[0]).all():
        raise NotEmulated(
            "The transformation matrices of rotary_embedding_llama differ between cores."
        )
    return copies[0]


def _cores(x: DeviceTensor) -> int:
    """How many cores hold the users of x [1, B, N, D]."""
    return x.shape[1] if x.shards is None else min(x.shape[1], x.shards[2])


def _decode_pairs(
    launch: Launch,
    x: DeviceTensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    turn: torch.Tensor,
    compute: Compute | None,
) -> torch.Tensor:
    cos, sin = cos[..., :1, :], sin[..., :1, :]
    rows = all_rows(x.data)
    rotated = launch.math.rotary_pairs(rows.values, cos, sin, turn, compute=compute)
    return rows.whole(rotated, x.dtype)


BINDINGS = {
    "ttnn.experimental.rotary_embedding": rotary_embedding,
    "ttnn.experimental.rotary_embedding_hf": rotary_embedding_hf,
    "ttnn.experimental.rotary_embedding_llama": rotary_embedding_llama,
    "ttnn.experimental.rotary_embedding_llama_fused_qk": rotary_embedding_llama_fused_qk,
    "ttnn.experimental.rotate_half": rotate_half,
}

"""Products of queries and caches of which each user has one: no sum over several blocks of K.

N query heads, K kv heads, B users, D head_dim, T positions.
"""

import torch
import ttnn

from ttnn_emulator.arithmetic.compute import Blocking, Compute, Product
from ttnn_emulator.arithmetic.formats import TILE, ceil_div
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.configs import compute_of

# What TTNN builds these programs with where the caller gives no compute config.
DEFAULT = Compute("LoFi", approximate=True)


def attn_matmul(
    launch: Launch,
    input_tensor_a: DeviceTensor,
    input_tensor_b: DeviceTensor,
    *,
    compute_with_storage_grid_size: ttnn.CoreCoord,
    dtype: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """[1, N, B, D] @ [B, 1, D, T] -> [1, N, B, T]: row b of each head with the matrix of user b."""
    matrices = input_tensor_b.logical
    return _by_user(launch, input_tensor_a, input_tensor_b, matrices, compute_kernel_config)


def attn_matmul_from_cache(
    launch: Launch,
    input_tensor_a: DeviceTensor,
    input_tensor_b: DeviceTensor,
    *,
    num_tokens: int,
    transpose_hw: bool,
    compute_with_storage_grid_size: ttnn.CoreCoord,
    dtype: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """`attn_matmul` with the first rows of a cache [B, 1, C, D], whole tiles of `num_tokens`.

    Transposed for scores [1, N, B, T], as they lie for weights [1, N, B, T] @ values.
    """
    rows = ceil_div(num_tokens, TILE) * TILE
    matrices = input_tensor_b.data[:, :, :rows, : input_tensor_b.shape[-1]]
    if transpose_hw:
        matrices = matrices.mT
    return _by_user(launch, input_tensor_a, input_tensor_b, matrices, compute_kernel_config)


def group_attn_matmul(
    launch: Launch,
    input_tensor_a: DeviceTensor,
    input_tensor_b: DeviceTensor,
    *,
    compute_with_storage_grid_size: ttnn.CoreCoord,
    dtype: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    optional_output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """[1, N, B, D] @ [B, K, D, T] -> [1, N, B, T], where N / K heads share a kv head."""
    matrices = input_tensor_b.logical
    return _by_user(launch, input_tensor_a, input_tensor_b, matrices, compute_kernel_config)


def _by_user(
    launch: Launch,
    a: DeviceTensor,
    b: DeviceTensor,
    matrices: torch.Tensor,
    config: ttnn.DeviceComputeKernelConfig | None,
) -> torch.Tensor:
    """[1, N, B, T] of [1, N, B, D] and [B, K, D, T].

    Sums are packed as bfloat16 before they are put into the rows of an output tile
    (transformer_attn_matmul.cpp).
    """
    users, heads = a.shape[2], matrices.shape[1]
    bounds.span(0, users, len(matrices), op=launch.name, operand="input_tensor_b", unit="user")
    rows = a.logical[0].transpose(0, 1)[..., : matrices.shape[-2]]  # [B, N, D]
    rows = rows.unflatten(1, (heads, -1))  # [B, K, N / K, D]
    depth, columns = matrices.shape[-2:]
    out = "float32" if launch.output.dtype == "float32" else "bfloat16"
    result = launch.math.matmul(
        rows.flatten(0, 1),
        matrices[:users].flatten(0, 1),
        product=Product(rows.shape[2], depth, columns, a.dtype, b.dtype, out),
        compute=compute_of(config) or DEFAULT,
        blocking=Blocking(cores=launch.cores, planned=True, k_block=ceil_div(depth, TILE)),
    )
    return result.unflatten(0, (users, heads)).flatten(1, 2).transpose(0, 1)[None]


BINDINGS = {
    "ttnn.experimental.attn_matmul": attn_matmul,
    "ttnn.experimental.attn_matmul_from_cache": attn_matmul_from_cache,
    "ttnn.experimental.group_attn_matmul": group_attn_matmul,
}

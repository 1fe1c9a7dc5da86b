"""A product with a sum, and products by kernels of their own.

M rows, K depth, N columns.
"""

from collections.abc import Sequence

import torch
import ttnn

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import Blocking, Compute, Product
from ttnn_emulator.arithmetic.formats import TILE
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor, Output
from ttnn_emulator.ops.common.attending import refuse
from ttnn_emulator.ops.common.configs import compute_of
from ttnn_emulator.ops.eltwise.eltwise_unary import Fusable, steps_of

OWN_BLOCKS = paths.approximation("blocks of K of a kernel of its own as those of a plain product")

# What TTNN builds minimal_matmul with where the caller gives no configuration.
MINIMAL, MINIMAL_K_BLOCK = Compute("HiFi2", fp32_dest_acc=True, packer_l1_acc=True), 8


def addmm(
    launch: Launch,
    input_tensor: DeviceTensor,
    mat1_tensor: DeviceTensor,
    mat2_tensor: DeviceTensor,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    dtype: object = None,
    program_config: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    core_grid: ttnn.CoreGrid | None = None,
    output_tile: object = None,
    optional_output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """beta * input [M, N] + alpha * ([M, K] @ [K, N]).

    Four operations, of which those with a factor of 1 are left out, and with a beta of 0 the sum
    (seen in the programs of ttnn.addmm). Each rounds to its output's format. Tiles of other sizes
    change no value of the product.
    """
    out = launch.output.dtype
    a, b = mat1_tensor.logical, mat2_tensor.logical
    value = launch.math.matmul(
        a,
        b,
        product=_product(mat1_tensor, mat2_tensor, launch.output, a, b),
        compute=compute_of(compute_kernel_config),
        blocking=Blocking(
            cores=launch.cores,
            core_grid=None if core_grid is None else (core_grid.x, core_grid.y),
            planned=program_config is not None,
            k_block=getattr(program_config, "in0_block_w", None),
        ),
    )
    value = _times(launch, value, alpha, out)
    if beta == 0:
        return value
    added = _times(launch, input_tensor.logical, beta, input_tensor.dtype)
    return launch.math.binary("add", value, added, dtypes=(out, input_tensor.dtype), out=out)


def _times(launch: Launch, values: torch.Tensor, factor: float, dtype: str) -> torch.Tensor:
    if factor == 1:
        return values
    scalar = torch.tensor(float(factor))
    product = launch.math.binary(
        "multiply", values, scalar, dtypes=(dtype, dtype), out=dtype, fast=False
    )
    return launch.math.stored(product, dtype)


def minimal_matmul(
    launch: Launch,
    input_tensor: DeviceTensor | Sequence[DeviceTensor],
    weight_tensor: DeviceTensor,
    *,
    bias_tensor: DeviceTensor | None = None,
    fused_activation: Fusable | None = None,
    config: object = None,
    dtype: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    fuse_swiglu: bool = False,
) -> torch.Tensor:
    """[..., M, K] @ [K, N] + bias [1, N], then the activation.

    Two inputs stand for one with their columns side by side, each in whole tiles.

    Raises:
        NotEmulated: `fuse_swiglu`.
    """
    refuse(launch, fuse_swiglu=fuse_swiglu)
    parts = [input_tensor] if isinstance(input_tensor, DeviceTensor) else list(input_tensor)
    whole = len(parts) > 1
    a = torch.cat([_columns(part, whole) for part in parts], -1)
    b = weight_tensor.data[..., : a.shape[-1], :] if whole else weight_tensor.logical
    return _minimal(
        launch, (parts[0], weight_tensor, bias_tensor), a, b, fused_activation, config,
        compute_kernel_config,
    )  # fmt: skip


def minimal_matmul_split(
    launch: Launch,
    input_tensor: DeviceTensor,
    weight_tensor: DeviceTensor,
    *,
    chunks: int = 1,
    dim: int = -1,
    bias_tensor: DeviceTensor | None = None,
    fused_activation: Fusable | None = None,
    config: object = None,
    dtype: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    fuse_swiglu: bool = False,
) -> tuple[torch.Tensor, ...]:
    """`minimal_matmul` whose columns are divided among `chunks` results [..., M, N / chunks]."""
    refuse(launch, fuse_swiglu=fuse_swiglu)
    value = _minimal(
        launch,
        (input_tensor, weight_tensor, bias_tensor),
        input_tensor.logical,
        weight_tensor.logical,
        fused_activation,
        config,
        compute_kernel_config,
    )
    return value.chunk(chunks, dim)


def _columns(part: DeviceTensor, whole_tiles: bool) -> torch.Tensor:
    return part.data[..., : part.shape[-2], :] if whole_tiles else part.logical


def _minimal(
    launch: Launch,
    operands: tuple[DeviceTensor, DeviceTensor, DeviceTensor | None],
    a: torch.Tensor,
    b: torch.Tensor,
    activation: Fusable | None,
    config: object,
    compute: ttnn.DeviceComputeKernelConfig | None,
) -> torch.Tensor:
    """The product by blocks of K that are summed in L1 (minimal_matmul's compute.cpp)."""
    paths.tell(OWN_BLOCKS)
    first, weight, bias = operands
    rows = None if bias is None else bias.logical.reshape(1, -1)
    k_block = getattr(config, "K_block_size", MINIMAL_K_BLOCK)
    missing = -a.shape[-1] % (k_block * TILE)  # blocks are filled up with zeros
    a = torch.nn.functional.pad(a, (0, missing))
    b = torch.nn.functional.pad(b.reshape(b.shape[-2:]), (0, 0, 0, missing))
    return launch.math.matmul(
        a,
        b,
        rows,
        product=_product(first, weight, launch.outputs[0], a, b, bias),
        compute=compute_of(compute) or MINIMAL,
        blocking=Blocking(
            cores=launch.cores,
            planned=True,
            k_block=k_block,
        ),
        fused=steps_of(() if activation is None else (activation,)),
    )


def matmul_decode(
    launch: Launch,
    input_tensor_a: DeviceTensor,
    input_tensor_b: DeviceTensor,
    *,
    partial_width_sharded: bool = False,
    dtype: object = None,
) -> torch.Tensor:
    """[..., M, K] @ [K, N] of operands whose columns lie on several cores.

    Raises:
        NotEmulated: `partial_width_sharded`, weights whose depth is divided, too.
    """
    divided = len(input_tensor_b.shape) > 2 and input_tensor_b.shape[-3] > 1
    if partial_width_sharded or divided:
        raise NotEmulated(f"{launch.name} of weights divided along their depth is not emulated.")
    paths.tell(OWN_BLOCKS)
    a, b = input_tensor_a.logical, input_tensor_b.logical
    return launch.math.matmul(
        a,
        b.reshape(b.shape[-2:]),
        product=_product(input_tensor_a, input_tensor_b, launch.output, a, b),
        blocking=Blocking(cores=launch.cores, planned=True, k_block=1),
    )


def _product(
    first: DeviceTensor,
    second: DeviceTensor,
    output: Output,
    a: torch.Tensor,
    b: torch.Tensor,
    bias: DeviceTensor | None = None,
) -> Product:
    return Product(
        *(a.shape[-2], a.shape[-1], b.shape[-1]),
        *(first.dtype, second.dtype, output.dtype),
        dram=all(x.in_dram for x in (first, second, output)),
        bias=None if bias is None else bias.dtype,
    )


BINDINGS = {
    "ttnn.addmm": addmm,
    "ttnn.experimental.matmul_decode": matmul_decode,
    "ttnn.experimental.minimal_matmul": minimal_matmul,
    "ttnn.experimental.minimal_matmul_split": minimal_matmul_split,
}

"""Products of which some are left out, as those of experts that no token has chosen.

E experts, M rows, K depth, N columns.
"""

import torch
import ttnn

from ttnn_emulator.arithmetic.compute import Blocking, Product
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.attending import refuse
from ttnn_emulator.ops.common.configs import compute_of
from ttnn_emulator.ops.eltwise.eltwise_unary import steps_of


def sparse_matmul(
    launch: Launch,
    input_tensor_a: DeviceTensor,
    input_tensor_b: DeviceTensor,
    *,
    sparsity: DeviceTensor,
    program_config: object = None,
    nnz: int | None = None,
    is_input_a_sparse: bool = False,
    is_input_b_sparse: bool = True,
    dtype: object = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    core_grid: ttnn.CoreGrid | None = None,
    output_tile: object = None,
    optional_output_tensor: DeviceTensor | None = None,
    global_cb: object = None,
    sub_device_id: object = None,
    indices: DeviceTensor | None = None,
    bias: DeviceTensor | None = None,
) -> torch.Tensor:
    """[A, B, M, K] @ [1, E, K, N] -> [A, B, 1, E, M, N] where `sparsity` [A, B, 1, E] is not zero.

    With `is_input_a_sparse` the first operand is [G, E, M, K], the result [G, E, M, N]. Products
    that are left out are zero. An output [1, nnz, M, N] has the others alone. With `indices` their
    experts are computed, whatever the sparsity is, each with its row of `bias` [E, 32, N].

    Raises:
        NotEmulated: `nnz` that does not count the products, for which the kernel waits forever.
        OutOfBounds: an index beyond the experts.
    """
    refuse(launch, global_cb=global_cb)
    a, b = input_tensor_a.logical, input_tensor_b.logical
    *_, experts, depth, columns = b.shape
    rows = a.shape[-2]
    groups = a if is_input_a_sparse else a.reshape(-1, 1, rows, depth).expand(-1, experts, -1, -1)
    if indices is None:
        active = _active(launch, sparsity, len(groups), experts)
        chosen = torch.arange(experts)
        _check_count(launch, nnz, int(active.sum()))
    else:
        chosen = indices.logical.flatten().long()
        bounds.within(chosen, experts, op=launch.name, operand="input_tensor_b", unit="expert")
        active = torch.ones(len(groups), len(chosen), dtype=torch.bool)
    result = torch.zeros(len(groups), len(chosen), rows, columns)
    for place, expert in enumerate(chosen.tolist()):
        used = torch.nonzero(active[:, place]).flatten()
        if len(used):
            result[used, place] = launch.math.matmul(
                groups[used, expert],
                b.reshape(-1, depth, columns)[expert],
                None if bias is None else bias.data[..., expert, :1, :columns].reshape(1, 1, -1),
                product=Product(
                    *(rows, depth, columns),
                    *(input_tensor_a.dtype, input_tensor_b.dtype, launch.output.dtype),
                    bias=None if bias is None else bias.dtype,
                ),
                compute=compute_of(compute_kernel_config),
                blocking=Blocking(
                    cores=launch.cores,
                    planned=True,
                    k_block=getattr(program_config, "in0_block_w", None),
                ),
                fused=_fused(program_config),
            ).float()
    if launch.output.shape == (1, int(active.sum()), rows, columns):
        return result[active][None]
    return result.reshape(launch.output.shape)


def _active(launch: Launch, sparsity: DeviceTensor, groups: int, experts: int) -> torch.Tensor:
    values = sparsity.logical
    if values.numel() % experts or values.numel() < groups * experts:
        raise NotEmulated(
            f"{launch.name}: a sparsity of shape {sparsity.shape} has no number for each of "
            f"{groups} x {experts} products."
        )
    return values.reshape(-1, experts)[:groups] != 0


def _check_count(launch: Launch, nnz: int | None, count: int) -> None:
    if nnz is not None and nnz != count:
        raise NotEmulated(
            f"{launch.name} with nnz={nnz}: the sparsity has {count} numbers that are not zero; "
            "the kernel would wait for the others forever."
        )


def _fused(program_config: object) -> tuple:
    activation = getattr(program_config, "fused_activation", None)
    return steps_of(() if activation is None else (activation,))


BINDINGS = {"ttnn.sparse_matmul": sparse_matmul}

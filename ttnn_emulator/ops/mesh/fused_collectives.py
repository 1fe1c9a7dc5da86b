"""Collectives in one program with a matrix product."""

import dataclasses
from typing import Any

import ttnn

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.dispatch import Binding, Launch, OnChips
from ttnn_emulator.memory import Contents, DeviceTensor
from ttnn_emulator.ops.matmul import linear
from ttnn_emulator.ops.mesh.collectives import gathered

ARRIVING_BLOCKS = paths.approximation(
    "blocks of K in order, where the kernel takes them as they arrive"
)


def all_gather_matmul_async(
    launch: Launch,
    input_tensor: DeviceTensor,
    weight_tensor: DeviceTensor,
    persistent_output_buffer: DeviceTensor | None = None,
    dim: int = -1,
    multi_device_global_semaphore: object = None,
    all_gather_core_grid_offset: object = None,
    *,
    bias: DeviceTensor | None = None,
    num_links: int = 1,
    topology: ttnn.Topology | None = None,
    memory_config_ag: object = None,
    memory_config_mm: object = None,
    barrier_semaphore: object = None,
    subdevice_id: object = None,
    chunks_per_sync: int | None = None,
    num_workers_per_link: int | None = None,
    num_buffers_per_channel: int | None = None,
    **product: Any,
) -> list[OnChips]:
    """The gathered input, and its product with the weight; `product` is as for ttnn.linear."""
    paths.tell(ARRIVING_BLOCKS)
    whole = gathered(launch, input_tensor, dim, None)
    gathered_output, product_output = launch.outputs
    of_product = dataclasses.replace(launch, outputs=(product_output,))
    shape = gathered_output.padded_shape
    results: OnChips = []
    for chip, values in enumerate(whole):
        operand = dataclasses.replace(
            input_tensor,
            shape=gathered_output.shape,
            padded_shape=shape,
            contents=Contents(values.contiguous(), shape),
        )
        added = None if bias is None else bias.on(chip)
        results.append(linear(of_product, operand, weight_tensor.on(chip), bias=added, **product))
    return [whole, results]


BINDINGS: dict[str, Binding] = {
    "ttnn.experimental.all_gather_matmul_async": all_gather_matmul_async,
}

"""Collectives that copy: gather, broadcast, send, partition.

Their bindings see the operands on all chips and return, for each output, a tensor for each chip.
The topology, the number of links and of workers decide by which way values travel, not what
arrives: each arrives unchanged, tiles with their padding.
"""

from collections.abc import Sequence

import torch
import ttnn

from ttnn_emulator.dispatch import Binding, Launch, NotEmulated, OnChips
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.lines import along, shards
from ttnn_emulator.ops.common.padding import undefined


def gathered(launch: Launch, tensor: DeviceTensor, dim: int, cluster_axis: int | None) -> OnChips:
    """The parts of a line's chips one after the other along `dim`, on each of its chips."""

    def on_line(line: list[int]) -> list[torch.Tensor]:
        parts, axis = shards(tensor, line, dim)
        return [torch.cat(parts, axis)] * len(line)

    return along(launch, cluster_axis, on_line)


def all_gather(
    launch: Launch,
    input_tensor: DeviceTensor,
    dim: int,
    *,
    cluster_axis: int | None = None,
    output_tensor: DeviceTensor | None = None,
    subdevice_id: object = None,
    num_links: int | None = None,
    topology: ttnn.Topology | None = None,
    chunks_per_sync: int | None = None,
    num_workers_per_link: int | None = None,
    num_buffers_per_channel: int | None = None,
    use_l1_small_for_semaphores: bool = False,
) -> list[OnChips]:
    return [gathered(launch, input_tensor, dim, cluster_axis)]


def all_gather_async(
    launch: Launch,
    input_tensor: DeviceTensor,
    *positional: object,
    persistent_output_buffer: DeviceTensor | None = None,
    persistent_output_tensor: DeviceTensor | None = None,
    dim: int | None = None,
    cluster_axis: int | None = None,
    mesh_device: ttnn.MeshDevice | None = None,
    topology: ttnn.Topology | None = None,
    multi_device_global_semaphore: object = None,
    barrier_semaphore: object = None,
    subdevice_id: object = None,
    num_links: int | None = None,
    chunks_per_sync: int | None = None,
    num_workers_per_link: int | None = None,
    num_buffers_per_channel: int | None = None,
    use_optimal_ccl_for_llama: bool = False,
    use_broadcast: bool = False,
) -> list[OnChips]:
    """`all_gather` in three forms, of which each takes other arguments by position.

    Of those, whole numbers are the dimension and then the axis; buffers, semaphores and the mesh
    say how and where to.
    """
    numbers = [value for value in positional if type(value) is int]
    if dim is None:
        dim, *numbers = numbers
    if cluster_axis is None and numbers:
        (cluster_axis,) = numbers
    return [gathered(launch, input_tensor, dim, cluster_axis)]


def all_broadcast(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    cluster_axis: int | None = None,
    subdevice_id: object = None,
    num_links: int | None = None,
    topology: ttnn.Topology | None = None,
    use_l1_small_for_semaphores: bool = False,
) -> list[OnChips]:
    """An output for each chip of a line: what that chip holds, on all of them."""

    def sent_by(place: int) -> OnChips:
        return along(
            launch, cluster_axis, lambda line: [input_tensor.on(line[place]).data] * len(line)
        )

    return [sent_by(place) for place in range(len(launch.outputs))]


def broadcast(
    launch: Launch,
    input_tensor: DeviceTensor,
    sender_coord: ttnn.MeshCoordinate,
    *,
    cluster_axis: int | None = None,
    num_links: int | None = None,
    topology: ttnn.Topology | None = None,
    subdevice_id: object = None,
) -> list[OnChips]:
    """What the sender holds, on the chips of its line; nothing is written on those of others."""
    sender = _number(launch, sender_coord)

    def sent(line: list[int]) -> list[torch.Tensor]:
        if sender in line:
            return [input_tensor.on(sender).data] * len(line)
        return [_unwritten(launch)] * len(line)

    return [along(launch, cluster_axis, sent)]


def point_to_point(
    launch: Launch,
    input_tensor: DeviceTensor,
    sender_coord: ttnn.MeshCoordinate,
    receiver_coord: ttnn.MeshCoordinate,
    *,
    output_tensor: DeviceTensor | None = None,
    intermediate_tensor: DeviceTensor | None = None,
    topology: ttnn.Topology | None = None,
) -> list[OnChips]:
    """What the sender holds, on the receiver; other chips keep what their buffer holds."""
    sender, receiver = (_number(launch, place) for place in (sender_coord, receiver_coord))
    count = launch.mesh[0] * launch.mesh[1]
    if output_tensor is None:
        received = [_unwritten(launch)] * count
    else:
        received = [output_tensor.on(chip).data for chip in range(count)]
    received[receiver] = input_tensor.on(sender).data
    return [received]


def _number(launch: Launch, place: Sequence[int]) -> int:
    row, column = place
    return row * launch.mesh[1] + column


def _unwritten(launch: Launch) -> torch.Tensor:
    return undefined(launch.outputs[0].padded_shape, launch.outputs[0].dtype)


def mesh_partition(
    launch: Launch, input_tensor: DeviceTensor, dim: int, cluster_axis: int | None = None
) -> list[OnChips] | None:
    """Of what each chip of a line holds, its own part along `dim`, padding among the rest.

    The kernel slices the padded shape (mesh_partition_program_factory.cpp). The result for a line
    of one chip is the tensor itself.
    """
    if launch.views_input:
        return None

    def partitioned(line: list[int]) -> list[torch.Tensor]:
        axis = dim % len(input_tensor.shape) - len(input_tensor.shape)
        parts = [input_tensor.on(chip).data for chip in line]
        size = parts[0].shape[axis] // len(line)
        return [part.narrow(axis, i * size, size) for i, part in enumerate(parts)]

    results = along(launch, cluster_axis, partitioned)
    if tuple(results[0].shape) not in (launch.output.shape, launch.output.padded_shape):
        raise NotEmulated(
            f"{launch.name} of {input_tensor.shape}, padded to {input_tensor.padded_shape}, along "
            f"{dim}: parts of whole tiles alone are emulated."
        )
    return [results]


BINDINGS: dict[str, Binding] = {
    "ttnn.all_broadcast": all_broadcast,
    "ttnn.all_gather": all_gather,
    "ttnn.broadcast": broadcast,
    "ttnn.experimental.all_gather_async": all_gather_async,
    "ttnn.mesh_partition": mesh_partition,
    "ttnn.point_to_point": point_to_point,
}

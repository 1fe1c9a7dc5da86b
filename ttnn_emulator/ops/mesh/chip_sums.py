"""Collectives that add up what chips hold: reduce_scatter, all_reduce and their async forms.

Their bindings see the operands on all chips and return, for each output, a tensor for each chip.
Which kernels run, TTNN decides by shapes, layout and fabric: reduce_scatter.cpp,
all_reduce_async.cpp and composite_common.cpp of its operations/ccl and operations/experimental/ccl.
"""

import dataclasses
import functools
from collections.abc import Sequence

import torch
import ttnn

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import Compute
from ttnn_emulator.arithmetic.formats import TILE
from ttnn_emulator.described_tensors import Shape
from ttnn_emulator.dispatch import Binding, Launch, NotEmulated, OnChips
from ttnn_emulator.machine.fabric import Fabric
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import padding
from ttnn_emulator.ops.common.chip_orders import Kernel, Way, scattered
from ttnn_emulator.ops.common.configs import compute_of
from ttnn_emulator.ops.common.idle_rows import row_by_row
from ttnn_emulator.ops.common.lines import lines

GATHERED = paths.Fact("gathered, then added")
IN_BUFFERS = paths.Fact("added in buffers of all")

# Largest operand, in bytes of a chip, whose parts are sent straight to their keepers
# (k_direct_rs_max_input_bytes of reduce_scatter.cpp).
MOST_BYTES_SENT_DIRECTLY = 512 << 10
BYTES_OF_TILE = {"bfloat16": 2048, "float32": 4096, "bfloat8_b": 1088, "bfloat4_b": 576}

# What moreh_sum computes with where the caller gives nothing (moreh_sum_device_operation.cpp).
MOREH_SUM = Compute("HiFi4")


@dataclasses.dataclass(frozen=True)
class MeshOperand:
    """A tensor on a mesh between the steps of a collective.

    Attributes:
        parts: of each chip, values of the logical or of the padded shape.
        shape: the logical shape.
        dtype, tiled: those of the operand.
    """

    parts: OnChips
    shape: Shape
    dtype: str
    tiled: bool

    @property
    def padded_shape(self) -> Shape:
        if not self.tiled:
            return self.shape
        *leading, height, width = self.shape
        return (*leading, -(-height // TILE) * TILE, -(-width // TILE) * TILE)

    @property
    def nbytes(self) -> int:
        """Bytes of a chip's buffer."""
        *leading, height, width = self.padded_shape
        tiles = torch.Size(leading).numel() * (height // TILE) * (width // TILE)
        return tiles * BYTES_OF_TILE[self.dtype]

    def with_padding(self, chip: int) -> torch.Tensor:
        """What a chip holds, of the padded shape; padding that it does not have is zero."""
        return padded(self.parts[chip], self.padded_shape)

    def without_padding(self, chip: int) -> torch.Tensor:
        """What a chip holds, of the logical shape."""
        return self.parts[chip][tuple(slice(0, size) for size in self.shape)]


def padded(values: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Values with zeros behind their rows and columns."""
    missing = [new - old for old, new in zip(values.shape, shape, strict=True)]
    return torch.nn.functional.pad(values, (0, missing[-1], 0, missing[-2]))


def _spread(launch: Launch, tensor: DeviceTensor) -> MeshOperand:
    count = launch.mesh[0] * launch.mesh[1]
    if tensor.dtype not in BYTES_OF_TILE or len(tensor.shape) < 2:
        raise NotEmulated(f"{launch.name} of a {tensor.dtype} tensor of shape {tensor.shape}.")
    parts = [tensor.on(chip).data for chip in range(count)]
    return MeshOperand(parts, tensor.shape, tensor.dtype, tensor.tiled)


def _fabric(launch: Launch) -> Fabric:
    assert launch.fabric is not None  # of a collective
    return launch.fabric


def _axes(launch: Launch, cluster_axis: int | None) -> list[int | None]:
    """The axes that are added along in turn: both, where none is named and the mesh has two."""
    return [0, 1] if cluster_axis is None and min(launch.mesh) > 1 else [cluster_axis]


def _fp32_dest(compute_kernel_config: object, dtype: str) -> bool:
    """Whether Dst has 32 bits (resolve_fp32_acc_compute_kernel_config of ccl_common.cpp)."""
    compute = compute_of(compute_kernel_config)
    return dtype == "float32" if compute is None else compute.fp32_dest_acc


# --- reduce_scatter ------------------------------------------------------------------------------


def _breaks_tiles(operand: MeshOperand, dim: int, count: int) -> bool:
    """Whether parts are padded one by one first: use_composite_reduce_scatter."""
    if operand.shape[dim] % count:
        return False
    inner = dim >= len(operand.shape) - 2
    return not operand.tiled or (inner and operand.shape[dim] // count % TILE != 0)


def _reduce_scatter(
    launch: Launch, operand: MeshOperand, dim: int, axis: int | None, kernel: Kernel
) -> MeshOperand:
    """The sum over a line's chips, of which each keeps its part along `dim`."""
    dim %= len(operand.shape)
    results: dict[int, torch.Tensor] = {}
    shape = list(operand.shape)
    for line in lines(launch, axis):
        shape[dim] = operand.shape[dim] // len(line)
        broken = _breaks_tiles(operand, dim, len(line))
        pieces: list[Sequence[torch.Tensor]] = []  # of each chip, the parts of all keepers
        for chip in line:
            if broken:
                whole = MeshOperand(
                    operand.parts, tuple(shape), operand.dtype, tiled=True
                ).padded_shape
                bare = operand.without_padding(chip).tensor_split(len(line), dim)
                pieces.append([_packed(launch, padded(p, whole), operand.dtype) for p in bare])
            else:
                pieces.append(operand.with_padding(chip).tensor_split(len(line), dim))
        sums = scattered(launch.math, pieces, dim, kernel)
        if broken:
            logical = tuple(slice(0, size) for size in shape)
            sums = [total[logical] for total in sums]
        results |= zip(line, sums, strict=True)
    parts = [results[chip] for chip in sorted(results)]
    return MeshOperand(parts, tuple(shape), operand.dtype, operand.tiled)


def _packed(launch: Launch, values: torch.Tensor, dtype: str) -> torch.Tensor:
    """A part in whole tiles of its own, in which blocks may begin elsewhere."""
    return launch.math.stored(values, dtype) if dtype.endswith("_b") else values


def _may_send_directly(operand: MeshOperand, dim: int, count: int) -> bool:
    """Whether whole tiles of a small operand are scattered."""
    dim %= len(operand.shape)
    tiles = operand.padded_shape[dim] // (TILE if dim >= len(operand.shape) - 2 else 1)
    aligned = operand.tiled and operand.padded_shape[dim] == operand.shape[dim]
    return aligned and tiles % count == 0 and operand.nbytes <= MOST_BYTES_SENT_DIRECTLY


def _count(launch: Launch, axis: int | None) -> int:
    return len(lines(launch, axis)[0])


def _summed(
    launch: Launch,
    operand: MeshOperand,
    dim: int,
    axis: int | None,
    topology: ttnn.Topology | None,
    *,
    config: object = None,
    plain: bool = True,
) -> MeshOperand:
    """ttnn.reduce_scatter along one axis; `plain` if no argument asks for the ring's kernel."""
    ring = _fabric(launch).takes_ring(topology, axis)
    count = _count(launch, axis)
    direct = (
        plain
        and ring
        and config is None
        and _fabric(launch).sends_directly(axis)
        and _may_send_directly(operand, dim, count)
    )
    way: Way = "direct" if direct else "ring" if ring else "line"
    kernel = Kernel(way, operand.dtype, _fp32_dest(config, operand.dtype))
    return _reduce_scatter(launch, operand, dim, axis, kernel)


def reduce_scatter(
    launch: Launch,
    input_tensor: DeviceTensor,
    dim: int,
    *,
    cluster_axis: int | None = None,
    topology: ttnn.Topology | None = None,
    output_tensor: DeviceTensor | None = None,
    subdevice_id: object = None,
    intermediate_memory_config: object = None,
    num_links: int | None = None,
    chunks_per_sync: int | None = None,
    num_workers_per_link: int | None = None,
    num_buffers_per_channel: int | None = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    use_l1_small_for_semaphores: bool = False,
) -> list[OnChips]:
    asked = (chunks_per_sync, num_workers_per_link, num_buffers_per_channel)
    plain = all(x is None for x in (*asked, intermediate_memory_config))
    plain &= not use_l1_small_for_semaphores
    total = _spread(launch, input_tensor)
    for axis in _axes(launch, cluster_axis):
        total = _summed(
            launch, total, dim, axis, topology, config=compute_kernel_config, plain=plain
        )
    return [total.parts]


def reduce_scatter_minimal_async(
    launch: Launch,
    input_tensor: DeviceTensor,
    persistent_output_buffers: Sequence[DeviceTensor] | None = None,
    dim: int = -1,
    multi_device_global_semaphore: object = None,
    *,
    barrier_semaphore: object = None,
    topology: ttnn.Topology = ttnn.Topology.Ring,
    cluster_axis: int | None = None,
    subdevice_id: object = None,
    intermediate_memory_config: object = None,
    num_links: int | None = None,
    chunks_per_sync: int | None = None,
    num_workers_per_link: int | None = None,
    num_buffers_per_channel: int | None = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> list[OnChips]:
    """`reduce_scatter` that never sends directly; what it writes into the first buffer is open."""
    total = _summed(
        launch,
        _spread(launch, input_tensor),
        dim,
        cluster_axis,
        topology,
        config=compute_kernel_config,
        plain=False,
    )
    return [total.parts]


# --- all_reduce ----------------------------------------------------------------------------------


def _scatter_dim(operand: MeshOperand, count: int) -> int | None:
    """The last dimension that has a multiple of `count` tiles, None without one.

    `finding_scatter_dim` of all_reduce_async.cpp.
    """
    sizes = list(operand.padded_shape)
    if operand.tiled:
        sizes[-2:] = [size // TILE for size in sizes[-2:]]
    for dim in reversed(range(len(sizes))):
        if sizes[dim] % count == 0:
            return dim
    return None


def _gathers_first(operand: MeshOperand, count: int, fabric: Fabric) -> bool:
    """Whether all parts are gathered and added on each chip: the conditions of all_reduce_async."""
    dim = _scatter_dim(operand, count)
    if dim is None or not operand.tiled or fabric.in_two_dimensions:
        return True
    inner = dim >= len(operand.shape) - 2
    return (inner and operand.shape[dim] % TILE != 0) or _breaks_tiles(operand, dim, count)


def _all_reduced(
    launch: Launch,
    operand: MeshOperand,
    axis: int | None,
    topology: ttnn.Topology | None,
    *,
    plain: bool = True,
) -> MeshOperand:
    """The sum over a line's chips on each of them; of rows that a chip never wrote, unwritten."""
    marks = [padding.undefined_rows(part) for part in operand.parts]
    found = [mark for mark in marks if mark is not None]
    if not found:
        return _all_reduced_rows(launch, operand, axis, topology, plain=plain)
    marked = torch.stack(found).any(0)
    written = [part.masked_fill(marked, 0.0) for part in operand.parts]
    operand = dataclasses.replace(operand, parts=written)
    total = _all_reduced_rows(launch, operand, axis, topology, plain=plain)
    distinct = {id(part): part for part in total.parts}
    sums = {
        key: padding.mark_undefined_rows(part, marked, operand.dtype)
        for key, part in distinct.items()
    }
    return dataclasses.replace(total, parts=[sums[id(part)] for part in total.parts])


def _all_reduced_rows(
    launch: Launch,
    operand: MeshOperand,
    axis: int | None,
    topology: ttnn.Topology | None,
    *,
    plain: bool,
) -> MeshOperand:
    count = _count(launch, axis)
    if _gathers_first(operand, count, _fabric(launch)):
        return _added_on_each(launch, operand, axis)
    dim = _scatter_dim(operand, count)
    assert dim is not None
    parts = _summed(launch, operand, dim, axis, topology, plain=plain)
    results: dict[int, torch.Tensor] = {}
    for line in lines(launch, axis):
        whole = torch.cat([parts.with_padding(chip) for chip in line], dim)
        results |= dict.fromkeys(line, whole)
    return dataclasses.replace(operand, parts=[results[chip] for chip in sorted(results)])


def _added_on_each(launch: Launch, operand: MeshOperand, axis: int | None) -> MeshOperand:
    """Gathered along a new first dimension, over which every chip then adds.

    local_sum and local_sum_float32 of all_reduce_async.cpp: moreh_sum, whose kernel
    moreh_sum_nc.cpp adds tile by tile in Dst as reduce_nc.cpp does, in bfloat16 where the operand
    is bfloat8_b; ttnn.sum for float32.
    """
    paths.tell(GATHERED)
    between = "float32" if operand.dtype == "float32" else "bfloat16"
    results: dict[int, torch.Tensor] = {}
    for line in lines(launch, axis):
        terms = torch.stack([operand.with_padding(chip) for chip in line])
        total = row_by_row(functools.partial(_added_up, launch, between), terms, dtype=between)
        total = launch.math.stored(total, between)
        if operand.dtype != between:
            total = launch.math.typecast(total, between, operand.dtype)
            total = launch.math.stored(total, operand.dtype)
        results |= dict.fromkeys(line, total)
    return dataclasses.replace(operand, parts=[results[chip] for chip in sorted(results)])


def _added_up(launch: Launch, dtype: str, terms: torch.Tensor) -> torch.Tensor:
    """The sum over the first dimension, in place by place."""
    compute = None if dtype == "float32" else MOREH_SUM
    (total,) = launch.math.reduce("sum", terms, (0,), compute=compute, dtype=dtype, out=dtype)
    return total


def all_reduce(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    cluster_axis: int | None = None,
    topology: ttnn.Topology | None = None,
    subdevice_id: object = None,
    num_links: int | None = None,
) -> list[OnChips]:
    total = _spread(launch, input_tensor)
    for axis in _axes(launch, cluster_axis):
        total = _all_reduced(launch, total, axis, topology)
    return [total.parts]


def all_reduce_async(
    launch: Launch,
    input_tensor: DeviceTensor,
    *positional: object,
    buffer_tensor: DeviceTensor | None = None,
    num_devices: int | None = None,
    cluster_axis: int | None = None,
    mesh_device: ttnn.MeshDevice | None = None,
    barrier_semaphores: Sequence[object] | None = None,
    rs_global_semaphores: Sequence[object] | None = None,
    ag_global_semaphores: Sequence[object] | None = None,
    multi_device_global_semaphore: object = None,
    math_op: object = None,  # all_reduce_async.cpp leaves it out: it is a sum whatever is asked for
    topology: ttnn.Topology = ttnn.Topology.Linear,
    dtype: ttnn.DataType | None = None,
    subdevice_id: object = None,
    num_links: int | None = None,
    use_noc1_only: bool = False,
    use_optimal_ccl_for_llama: bool = False,
    fp32_dest_acc: bool = False,
) -> list[OnChips]:
    """`all_reduce` in three forms, of which each takes other arguments by position.

    The first names the number of chips, the second an axis of a mesh; they reduce, scatter and
    gather. The third names a buffer, into which all chips write to each other.
    """
    operands = [value for value in positional if isinstance(value, DeviceTensor)]
    numbers = [value for value in positional if type(value) is int]
    names_mesh = any(isinstance(x, ttnn.MeshDevice) for x in (*positional, mesh_device))
    axis = numbers[0] if numbers and names_mesh else cluster_axis
    operand = _spread(launch, input_tensor)
    if operands or buffer_tensor is not None:
        return [_in_buffers(launch, operand, axis, fp32_dest_acc)]
    semaphores = [value for value in positional if isinstance(value, (list, tuple))]
    given = semaphores or (rs_global_semaphores is not None and barrier_semaphores is not None)
    return [_all_reduced(launch, operand, axis, topology, plain=not given).parts]


def _in_buffers(
    launch: Launch, operand: MeshOperand, axis: int | None, fp32_dest_acc: bool
) -> OnChips:
    """All chips' tensors, in their order in the buffer of each (worker_writer.cpp), are folded.

    Raises:
        NotEmulated: their number is odd; reduction.cpp leaves that to the future.
    """
    paths.tell(IN_BUFFERS)
    results: dict[int, torch.Tensor] = {}
    for line in lines(launch, axis):
        if len(line) % 2:
            raise NotEmulated(f"{launch.name} in a buffer for {len(line)} chips: an odd number.")
        terms = [operand.with_padding(chip) for chip in line]
        total = launch.math.chip_sum(*terms, dtype=launch.output.dtype, fp32_dest_acc=fp32_dest_acc)
        results |= dict.fromkeys(line, total)
    return [results[chip] for chip in sorted(results)]


BINDINGS: dict[str, Binding] = {
    "ttnn.all_reduce": all_reduce,
    "ttnn.experimental.all_reduce_async": all_reduce_async,
    "ttnn.experimental.reduce_scatter_minimal_async": reduce_scatter_minimal_async,
    "ttnn.reduce_scatter": reduce_scatter,
}

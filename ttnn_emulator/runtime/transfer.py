"""Transfers between host and device. Each takes the `Memory` and TTNN's own host call."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import torch
import ttnn

from ttnn_emulator.arithmetic import formats
from ttnn_emulator.described_tensors import describe, dtype_name, on_device
from ttnn_emulator.dispatch import NotEmulated
from ttnn_emulator.memory import Contents, DeviceTensor, Memory, Output, physical, trimmed
from ttnn_emulator.ops.common.padding import undefined

# TTNN's genuine function; what it takes beside tensors is handed on as it comes.
HostCall = Callable[..., Any]


def to_host(memory: Memory, tensor: ttnn.Tensor) -> ttnn.Tensor:
    """A real host tensor with the emulated contents of a device tensor: a part for each chip.

    It has the device tensor's specification, so that writing it back gives the same tensor, and
    what the padding holds, which the host keeps as well.
    """
    memory.refuse_in_capture("Reads are not supported")
    read = memory.read(tensor)
    parts: dict[int, ttnn.Tensor] = {}
    for chip, contents in enumerate(read.replicas):
        if id(contents) not in parts:
            parts[id(contents)] = _part_on_host(read.on(chip), tensor)
    each = [parts[id(contents)] for contents in read.replicas]
    if len(each) == 1:
        return each[0]
    host = ttnn.from_host_shards(each, tensor.device().shape)
    host.update_tensor_topology(tensor.tensor_topology())
    return host


def _part_on_host(read: DeviceTensor, tensor: ttnn.Tensor) -> ttnn.Tensor:
    """What one chip holds of a tensor, on the host."""
    bare = read.zero_padded or not _padding_of(read).any()
    part = ttnn.Tensor(
        tensor=(read.logical if bare else read.data).contiguous(),
        data_type=tensor.dtype,
        layout=tensor.layout,
        mem_config=tensor.memory_config(),
        tile=tensor.tile,
    )
    if bare:
        return part
    # on the host, a view of the whole
    return ttnn.reshape(part, ttnn.Shape(read.shape), ttnn.Shape(read.padded_shape))


def _padding_of(read: DeviceTensor) -> torch.Tensor:
    """The padded contents, with zeros in place of the logical ones; NaN is not zero."""
    padding = read.data.clone()
    trimmed(padding, read.shape).zero_()
    return padding


def to_device(memory: Memory, host_tensor: ttnn.Tensor, device_tensor: ttnn.Tensor) -> None:
    """Give a device tensor the contents of a host tensor, padding included.

    Each chip gets its part of a host tensor that is distributed over a mesh, or all the whole one.
    Equal parts are kept once, as those of zeros that fill a weight up.
    """
    memory.refuse_in_capture("Writes are not supported")
    parts = ttnn.get_device_tensors(host_tensor)
    chips = device_tensor.device().get_num_devices()
    if len(parts) == 1:
        memory.keep(device_tensor, (_stored(memory, host_tensor, device_tensor),) * chips)
        return
    kept: dict[object, Contents] = {}
    replicas = []
    for part, place in zip(parts, _places(host_tensor), strict=True):
        if place not in kept:
            kept[place] = _one_of(kept.values(), _stored(memory, part, device_tensor))
        replicas.append(kept[place])
    memory.keep(device_tensor, tuple(replicas))


def _one_of(kept: Iterable[Contents], contents: Contents) -> Contents:
    """Contents that are kept already and are the same, or these."""
    return next((same for same in kept if same.same_as(contents)), contents)


def _places(host_tensor: ttnn.Tensor) -> list[object]:
    """For each part of a distributed host tensor, where in the whole it is from: equal parts."""
    topology = host_tensor.tensor_topology()
    sharded = [not isinstance(p, ttnn.PlacementReplicate) for p in topology.placements()]
    sizes = list(topology.distribution_shape())
    axes = itertools.product(*map(range, sizes))
    return [tuple(i for i, shard in zip(at, sharded, strict=True) if shard) for at in axes]


def _stored(memory: Memory, host_tensor: ttnn.Tensor, device_tensor: ttnn.Tensor) -> Contents:
    """What the buffer of a chip holds when a host tensor, or a part of one, has been written."""
    if tuple(host_tensor.padded_shape) != tuple(device_tensor.padded_shape):
        return physical(host_tensor.to_torch(), Output(**describe(device_tensor)))
    # The host has encoded them; block formats come back as float32, exact in the storage dtype.
    storage = formats.STORAGE[dtype_name(device_tensor.dtype)]
    contents = host_tensor.to_torch_with_padded_shape()
    # A row-major host tensor lends its own memory, which an in-place kernel must not touch.
    shares = host_tensor.layout == ttnn.ROW_MAJOR_LAYOUT
    contents = contents.to(storage, copy=shares)
    if host_tensor.layout == ttnn.TILE_LAYOUT:
        contents = memory.settings.math.arranged(contents)
    return Contents(contents, contents.shape)


def constructor(memory: Memory) -> type:
    """A class in the place of `ttnn.Tensor`, whose instances are TTNN's own.

    It makes a tensor as TTNN does and, where that is on a device, once more on the host, for its
    contents. Attributes, `isinstance` and assignments are those of TTNN's class, whose constructor
    nanobind calls without looking for another `__init__`.
    """
    genuine = ttnn.Tensor

    class Constructor(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> ttnn.Tensor:
            result = genuine(*args, **kwargs)
            if on_device(result) and result not in memory:
                to_device(memory, _made_on_host(genuine, args, kwargs), result)
            return result

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, genuine)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, genuine)

        def __getattribute__(cls, name: str) -> Any:
            return getattr(genuine, name)

        def __setattr__(cls, name: str, value: Any) -> None:
            setattr(genuine, name, value)

    return Constructor("Tensor", (), {})


# What the constructor calls the places of a device tensor, of which a host tensor has none.
PLACES = ("device", "mem_config", "memory_config", "cq_id")


def _made_on_host(genuine: HostCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ttnn.Tensor:
    """The tensor that the constructor's arguments describe, but on the host."""
    if isinstance(args[0] if args else None, (list, tuple)):  # its forms without places are others
        by_position = [a for a in args if not isinstance(a, (ttnn.MeshDevice, ttnn.MemoryConfig))]
    else:
        placed = (ttnn.MeshDevice, ttnn.MemoryConfig)
        by_position = [None if isinstance(a, placed) else a for a in args]
    return genuine(*by_position, **{k: v for k, v in kwargs.items() if k not in PLACES})


def _from_torch(memory: Memory, host_call: HostCall, *args: Any, **kwargs: Any) -> ttnn.Tensor:
    """By TTNN's constructor, which is the emulated one."""
    return host_call(*args, **kwargs)


def _as_tensor(
    memory: Memory,
    host_call: HostCall,
    tensor: torch.Tensor,
    *args: Any,
    cache_file_name: str | None = None,
    **kwargs: Any,
) -> ttnn.Tensor:
    result = host_call(tensor, *args, cache_file_name=cache_file_name, **kwargs)
    if on_device(result) and result not in memory:  # it came straight from the cache file
        path = f"{cache_file_name}_dtype_{result.dtype.name}_layout_{result.layout.name}.tensorbin"
        to_device(memory, ttnn._ttnn.tensor.load_tensor_flatbuffer(path, device=None), result)
    return result


def _load_tensor(
    memory: Memory, host_call: HostCall, file_name: str, *, device: ttnn.MeshDevice | None = None
) -> ttnn.Tensor:
    result = host_call(file_name, device=device)
    if device is not None:
        to_device(memory, host_call(file_name, device=None), result)
    return result


def _dump_tensor(
    memory: Memory, host_call: HostCall, file_name: str, tensor: ttnn.Tensor, **kwargs: Any
) -> None:
    return host_call(file_name, to_host(memory, tensor) if on_device(tensor) else tensor, **kwargs)


def _from_buffer(
    memory: Memory,
    host_call: HostCall,
    buffer: list[Any],
    shape: ttnn.Shape,
    dtype: ttnn.DataType,
    device: ttnn.MeshDevice,
    layout: ttnn.Layout | None = None,
    memory_config: ttnn.MemoryConfig | None = None,
) -> ttnn.Tensor:
    result = host_call(buffer, shape, dtype, device, layout, memory_config)
    to_device(memory, ttnn.Tensor(buffer, list(shape), dtype, result.layout), result)
    return result


def _to_device(
    memory: Memory, host_call: HostCall, tensor: ttnn.Tensor, *args: Any, **kwargs: Any
) -> ttnn.Tensor:
    result = host_call(tensor, *args, **kwargs)
    if not on_device(tensor):
        to_device(memory, tensor, result)
    return result


def _from_device(
    memory: Memory,
    host_call: HostCall,
    tensor: ttnn.Tensor,
    blocking: bool = True,
    *,
    queue_id: int | None = None,
) -> ttnn.Tensor:
    # No genuine read: it has nothing to give, and the mock device hangs at about the 8,190th.
    return to_host(memory, tensor) if on_device(tensor) else host_call(tensor)


def _copy_host_to_device(
    memory: Memory,
    host_call: HostCall,
    host_tensor: ttnn.Tensor,
    device_tensor: ttnn.Tensor,
    *args: Any,
    **kwargs: Any,
) -> None:
    result = host_call(host_tensor, device_tensor, *args, **kwargs)
    to_device(memory, host_tensor, device_tensor)
    return result


def _copy_device_to_host(
    memory: Memory,
    host_call: HostCall,
    device_tensor: ttnn.Tensor,
    host_tensor: ttnn.Tensor,
    blocking: bool = True,
    cq_id: int | None = None,
) -> None:
    """Into the memory of a host tensor of the same specification."""
    host_call(device_tensor, host_tensor, blocking, cq_id)  # checks both
    source, target = to_host(memory, device_tensor).host_buffer(), host_tensor.host_buffer()
    for at in itertools.product(*map(range, target.shape())):
        place = ttnn.MeshCoordinate(*at)
        into = torch.from_dlpack(target.get_shard(place))
        into.copy_(torch.from_dlpack(source.get_shard(place)))


def _copy_host_to_device_partial(
    memory: Memory,
    host_call: HostCall,
    host_tensor: ttnn.Tensor,
    device_tensor: ttnn.Tensor,
    logical_core_filter: ttnn.CoreRangeSet,
    cq_id: int | None = None,
) -> None:
    """The shards of some cores; what lies on others stays as it is."""
    host_call(host_tensor, device_tensor, logical_core_filter, cq_id)
    regions = shard_regions(device_tensor, logical_core_filter)
    before = memory.read(device_tensor).replicas
    to_device(memory, host_tensor, device_tensor)
    mixed = []
    for old, new in zip(before, memory.read(device_tensor).replicas, strict=True):
        values = old.padded.clone()
        rows, written = (x.reshape(-1, x.shape[-1]) for x in (values, new.padded))
        for region in regions:
            rows[region] = written[region]
        mixed.append(Contents(values, tuple(device_tensor.padded_shape)))
    memory.keep(device_tensor, tuple(mixed))


def shard_regions(tensor: ttnn.Tensor, cores: ttnn.CoreRangeSet) -> list[tuple[slice, slice]]:
    """(rows, columns) of the shards on these cores, of the tensor as one matrix of all its rows.

    Raises:
        NotEmulated: shards of more than two dimensions.
    """
    place = tensor.memory_config()
    spec = place.shard_spec
    if spec is None:
        raise NotEmulated(f"copy_host_to_device_tensor_partial: {place} has no shards of a matrix.")
    height, width = spec.shape
    by_rows = spec.orientation == ttnn.ShardOrientation.ROW_MAJOR
    if place.memory_layout == ttnn.TensorMemoryLayout.BLOCK_SHARDED:
        box = spec.grid.bounding_box()
        at = [
            (core.y - box.start.y, core.x - box.start.x)[:: 1 if by_rows else -1]
            for core in ttnn.corerange_to_cores(cores, None, True)
        ]
    else:
        order = [(c.x, c.y) for c in ttnn.corerange_to_cores(spec.grid, None, by_rows)]
        numbers = [order.index((c.x, c.y)) for c in ttnn.corerange_to_cores(cores, None, by_rows)]
        tall = place.memory_layout == ttnn.TensorMemoryLayout.HEIGHT_SHARDED
        at = [(n, 0) if tall else (0, n) for n in numbers]
    return [
        (slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width))
        for row, column in at
    ]


def _allocate_on_device(
    memory: Memory, host_call: HostCall, *args: Any, **kwargs: Any
) -> ttnn.Tensor:
    result = host_call(*args, **kwargs)
    memory.write(result, undefined(tuple(result.padded_shape), dtype_name(result.dtype)))
    return result


TRANSFERS: dict[str, Callable[..., Any]] = {
    "ttnn.from_torch": _from_torch,
    "ttnn.as_tensor": _as_tensor,
    "ttnn.load_tensor": _load_tensor,
    "ttnn.dump_tensor": _dump_tensor,
    "ttnn.to_device": _to_device,
    "ttnn.from_device": _from_device,
    "ttnn.from_buffer": _from_buffer,
    "ttnn.copy_device_to_host_tensor": _copy_device_to_host,
    "ttnn.copy_host_to_device_tensor": _copy_host_to_device,
    "ttnn.copy_host_to_device_tensor_partial": _copy_host_to_device_partial,
    "ttnn.allocate_tensor_on_device": _allocate_on_device,
}


def _distribute_tensor(
    memory: Memory,
    host_call: HostCall,
    tensor: ttnn.Tensor,
    mapper: Any,  # nanobind's class of mappers, or one of Python
    mesh_device: ttnn.MeshDevice | None = None,
) -> ttnn.Tensor:
    result = host_call(tensor, mapper, mesh_device)
    if on_device(result):
        to_device(memory, host_call(tensor, mapper, None), result)
    return result


def _aggregate_tensor(
    memory: Memory, host_call: HostCall, tensor: ttnn.Tensor, composer: Any
) -> ttnn.Tensor:
    return host_call(to_host(memory, tensor) if on_device(tensor) else tensor, composer)


# Functions of the ttnn module that are no registered operations, and transfer.
FUNCTIONS_OF_TTNN: dict[str, Callable[..., Any]] = {
    "aggregate_tensor": _aggregate_tensor,
    "distribute_tensor": _distribute_tensor,
}

"""What TTNN says of a tensor on the mock device: its format, its buffer, the chips that hold it.

And which tensors are among the arguments and the results of a call.
"""

from collections.abc import Iterable
from typing import Any

import ttnn

Shape = tuple[int, ...]
# Place: (id of the mesh device, buffer type, address). Key: (place, unique id): one buffer.
Place = tuple[int, ttnn.BufferType, int]
Key = tuple[Place, int]

# Looked up once. `ttnn.Tensor` is another class, slower to ask, while something is emulated.
_DRAM, _TILE, _DEVICE = ttnn.BufferType.DRAM, ttnn.TILE_LAYOUT, ttnn.StorageType.DEVICE
_INTERLEAVED = ttnn.TensorMemoryLayout.INTERLEAVED
TENSOR = ttnn.Tensor
COMPLEX = ttnn._ttnn.operations.complex.ComplexTensor
_DTYPE_NAMES: dict[ttnn.DataType, str] = {}


def dtype_name(dtype: ttnn.DataType) -> str:
    """`ttnn.bfloat8_b` -> "bfloat8_b": the name that `arithmetic.formats` knows it by."""
    if dtype not in _DTYPE_NAMES:
        _DTYPE_NAMES[dtype] = dtype.name.lower()
    return _DTYPE_NAMES[dtype]


def sizes(shape: ttnn.Shape) -> Shape:
    """A ttnn.Shape as a tuple. Four times faster than iterating over it."""
    return tuple([shape[i] for i in range(shape.rank)])


def describe(tensor: ttnn.Tensor) -> dict[str, Any]:
    """The fields of `Output` that a ttnn tensor has."""
    place = tensor.memory_config()
    return {
        "shape": sizes(tensor.shape),
        "padded_shape": sizes(tensor.padded_shape),
        "dtype": dtype_name(tensor.dtype),
        "tiled": tensor.layout is _TILE,
        "in_dram": place.buffer_type is _DRAM,
        "sharded": place.memory_layout is not _INTERLEAVED,
        "shards": _shards(place),
    }


def _shards(place: ttnn.MemoryConfig) -> tuple[int, int, int] | None:
    if not place.is_sharded() or place.shard_spec is None:  # or not in two dimensions
        return None
    spec = place.shard_spec
    rows, columns = spec.shape
    return rows, columns, spec.grid.num_cores()


def chips_of(tensor: ttnn.Tensor) -> list[int]:
    """The numbers of the chips that hold a device tensor: all of its mesh, or one for a part."""
    columns = tensor.device().shape[1]
    return [row * columns + column for row, column in tensor.device_coords()]


def device_tensors(value: Any) -> list[ttnn.Tensor]:
    """All ttnn tensors on a device within nested lists, tuples and dicts of anything.

    A complex tensor is its real and its imaginary part.
    """
    tensors: list[ttnn.Tensor] = []
    _collect((value,), tensors)
    return tensors


def _collect(values: Iterable[Any], tensors: list[ttnn.Tensor]) -> None:
    for value in values:
        if isinstance(value, TENSOR):
            if on_device(value):
                tensors.append(value)
        elif isinstance(value, (list, tuple)):
            _collect(value, tensors)
        elif isinstance(value, dict):
            _collect(value.values(), tensors)
        elif isinstance(value, COMPLEX):
            _collect((value.real, value.imag), tensors)


def on_device(tensor: ttnn.Tensor) -> bool:
    """Whether the tensor's storage is a device's."""
    return tensor.storage_type() is _DEVICE


def key_of(tensor: ttnn.Tensor) -> Key:
    """((device, buffer type, address), unique id) of a ttnn device tensor's buffer."""
    if not tensor.is_allocated():  # TTNN dies of being asked for the buffer of a freed tensor
        raise RuntimeError(
            f"The {tensor.dtype.name} tensor {tuple(tensor.shape)} was deallocated and is used "
            "again."
        )
    place = tensor.device().id(), tensor.memory_config().buffer_type, tensor.buffer_address()
    return place, tensor.buffer_unique_id()

"""What the emulated device's buffers hold.

TTNN's mock device allocates buffers but keeps nothing in them; here each live buffer has a torch
tensor. Contents are physical, padded to tiles as on the device.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
import ttnn

from ttnn_emulator.arithmetic import formats

if TYPE_CHECKING:
    from ttnn_emulator.dispatch import ArithmeticSettings
    from ttnn_emulator.trace import Trace

Shape = tuple[int, ...]
# Place: (buffer type, address). Key: (place, unique id), which identifies one buffer.
Place = tuple[ttnn.BufferType, int]
Key = tuple[Place, int]

SWEEP_BYTES = 64 << 20  # of new contents after which TTNN is asked which buffers are live
SWEEP_BUFFERS = 1024

# Looked up once.
_DRAM, _TILE, _DEVICE = ttnn.BufferType.DRAM, ttnn.TILE_LAYOUT, ttnn.StorageType.DEVICE
_INTERLEAVED = ttnn.TensorMemoryLayout.INTERLEAVED
_DTYPE_NAMES: dict[ttnn.DataType, str] = {}


class UnknownContents(RuntimeError):
    """A buffer was read that nothing emulated has written."""


class Contents:
    """What a buffer holds, in its storage dtype: with its padding, or without while that is zero.

    Most padding is zero and stays so; it is made when somebody reads or writes it.
    """

    __slots__ = ("_padded_shape", "_values", "bare")

    def __init__(self, values: torch.Tensor, padded_shape: Shape) -> None:
        """`values` have the padded shape, or the logical one if all padding is zero."""
        is_padded = tuple(values.shape) == tuple(padded_shape)
        self._values = values
        self._padded_shape = padded_shape
        self.bare = None if is_padded else values

    @property
    def padded(self) -> torch.Tensor:
        """The contents with padding, which is stored from now on."""
        if self.bare is not None:
            self._values = torch.zeros(self._padded_shape, dtype=self.bare.dtype)
            trimmed(self._values, self.bare.shape).copy_(self.bare)
            self.bare = None
        return self._values

    @property
    def nbytes(self) -> int:
        """Bytes on the host."""
        return self._values.nbytes

    @property
    def pointer(self) -> int:
        """Their address on the host."""
        return self._values.untyped_storage().data_ptr()


@dataclasses.dataclass(frozen=True)
class DeviceTensor:
    """A tensor on the device as a binding sees it; `key` is its buffer's in the `Memory`.

    `shards` is as in `Output`.
    """

    shape: Shape
    padded_shape: Shape
    dtype: str
    tiled: bool
    in_dram: bool
    sharded: bool
    shards: tuple[int, int, int] | None
    contents: Contents
    key: Key

    @property
    def data(self) -> torch.Tensor:
        """The contents of the padded shape in the storage dtype (`formats.STORAGE`).

        They share memory with the buffer, so writing to them is writing in place.
        """
        padded = self.contents.padded
        return padded if padded.shape == self.padded_shape else padded.reshape(self.padded_shape)

    @property
    def logical(self) -> torch.Tensor:
        """The contents without padding, of shape `shape`; not to be written to."""
        bare = self.contents.bare
        if bare is not None and bare.shape[-2:] == self.shape[-2:]:
            return bare if bare.shape == self.shape else bare.reshape(self.shape)
        return trimmed(self.data, self.shape)

    @property
    def zero_padded(self) -> bool:
        """Whether all padding is zero, as far as is known without reading it."""
        bare = self.contents.bare
        if bare is None:
            return self.shape == self.padded_shape
        return bare.shape[-2:] == self.shape[-2:]


@dataclasses.dataclass(frozen=True)
class Output:
    """Where a kernel's result goes, as TTNN's host side planned it.

    `shards` is (rows, columns) of a core's part and the number of cores, None if interleaved.
    """

    shape: Shape
    padded_shape: Shape
    dtype: str
    tiled: bool
    in_dram: bool
    sharded: bool
    shards: tuple[int, int, int] | None


def dtype_name(dtype: ttnn.DataType) -> str:
    """`ttnn.bfloat8_b` -> "bfloat8_b": the name that `arithmetic.formats` knows it by."""
    if dtype not in _DTYPE_NAMES:
        _DTYPE_NAMES[dtype] = dtype.name.lower()
    return _DTYPE_NAMES[dtype]


def _sizes(shape: ttnn.Shape) -> Shape:
    """A ttnn.Shape as a tuple. Four times faster than iterating over it."""
    return tuple([shape[i] for i in range(shape.rank)])


def describe(tensor: ttnn.Tensor) -> dict[str, Any]:
    """The fields of `Output` that a ttnn tensor has."""
    place = tensor.memory_config()
    return {
        "shape": _sizes(tensor.shape),
        "padded_shape": _sizes(tensor.padded_shape),
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


class Memory:
    """Contents of a device's live buffers.

    Keyed by place (DRAM or L1, and address), because an address is reused as soon as its buffer is
    freed, which frees the old contents too; the buffer's unique id tells whose contents they are.

    Attributes:
        settings: says in which order contents lie that come from the host.
        recording: the `ttnn_emulator.trace.Trace` that is being captured, or None.
    """

    def __init__(self, settings: "ArithmeticSettings") -> None:
        self.settings = settings
        self.recording: Trace | None = None
        self._buffers: dict[Place, tuple[int, Contents]] = {}  # place -> (buffer id, contents)
        self._new_bytes = 0
        self._new_buffers = 0

    def __contains__(self, tensor: ttnn.Tensor) -> bool:
        return self.contents(key_of(tensor)) is not None

    def contents(self, key: Key) -> Contents | None:
        """The `Contents` of the buffer with that key, None when it has been freed or has none."""
        place, unique_id = key
        buffer = self._buffers.get(place)
        return buffer[1] if buffer is not None and buffer[0] == unique_id else None

    def replace(self, key: Key, contents: Contents) -> None:
        """Other contents for a buffer that has some."""
        place, unique_id = key
        self._buffers[place] = unique_id, contents

    def key_at(self, place: Place) -> Key | None:
        """The key of the buffer at (buffer type, address), None when it has no contents."""
        buffer = self._buffers.get(place)
        return None if buffer is None else (place, buffer[0])

    def refuse_in_capture(self, what: str) -> None:
        """Give up the trace that is being captured, if there is one.

        Raises:
            RuntimeError: there is one; `what` is told, in TTNN's words.
        """
        if self.recording is not None:
            self.recording = None
            raise RuntimeError(f"{what} during trace capture; the capture is given up.")

    def read(self, tensor: ttnn.Tensor) -> DeviceTensor:
        """The contents of a ttnn device tensor as a `DeviceTensor`; raises `UnknownContents`."""
        key = key_of(tensor)
        contents = self.contents(key)
        if contents is None:
            raise UnknownContents(
                f"Nothing emulated has written the {tensor.dtype.name} tensor "
                f"{tuple(tensor.shape)} at {tensor.buffer_address():#x}: it comes from a call that "
                "the emulation does not see. Make it by an operation of the ttnn module, such as "
                "ttnn.from_torch or ttnn.zeros."
            )
        return DeviceTensor(**describe(tensor), contents=contents, key=key)

    def write(self, tensor: ttnn.Tensor, values: torch.Tensor) -> None:
        """Make `values` the contents of a ttnn device tensor.

        Args:
            tensor: the ttnn tensor.
            values: torch tensor of the tensor's logical or padded shape. It is rounded once to the
                tensor's dtype. Padding that it does not have becomes zero.
        """
        self.keep(tensor, physical(values, Output(**describe(tensor))))

    def keep(self, tensor: ttnn.Tensor, contents: Contents) -> None:
        """Like `write`, for `Contents`."""
        self.replace(key_of(tensor), contents)
        self._new_bytes += contents.nbytes
        self._new_buffers += 1
        if self._new_bytes > SWEEP_BYTES or self._new_buffers > SWEEP_BUFFERS:
            self.sweep(tensor.device())

    def sweep(self, device: ttnn.MeshDevice) -> None:
        """Drop the contents of buffers that TTNN has freed."""
        live = {
            (buffer.buffer_type, buffer.address)
            for buffer in ttnn._ttnn.reports.get_buffers(device)
        }
        self._buffers = {place: entry for place, entry in self._buffers.items() if place in live}
        self._new_bytes = self._new_buffers = 0

    def clear(self) -> None:
        """Forget everything, as when the device closes."""
        self._buffers.clear()
        self._new_bytes = self._new_buffers = 0
        self.recording = None

    @property
    def nbytes(self) -> int:
        """Bytes of contents held, the not yet swept ones included."""
        return sum(contents.nbytes for _, contents in self._buffers.values())


def physical(
    values: torch.Tensor,
    output: Output,
    stored: Callable[[torch.Tensor, str], torch.Tensor] = formats.encode,
) -> Contents:
    """`values` of an output's logical or padded shape, rounded to its dtype, as `Contents`.

    `stored(values, dtype)` rounds: the host's way unless a kernel's arithmetic says otherwise.
    """
    shape = tuple(values.shape)
    if shape not in (output.shape, output.padded_shape):
        raise ValueError(
            f"A binding computed {shape} where TTNN planned {output.shape}, padded "
            f"{output.padded_shape}."
        )
    if output.dtype in formats.BLOCK_FORMAT_BITS and shape[-1:] != output.padded_shape[-1:]:
        padded = torch.zeros(output.padded_shape, dtype=values.dtype)  # blocks are cut from it
        trimmed(padded, shape).copy_(values)
        values = padded
    return Contents(stored(values, output.dtype).contiguous(), output.padded_shape)


def trimmed(padded: torch.Tensor, shape: Shape) -> torch.Tensor:
    """The part of padded contents that has the logical `shape`: a view.

    A tensor of rank 0 or 1 in tile layout is padded to a whole 32x32 tile; it is the first row.
    """
    extra = padded.dim() - len(shape)
    return padded[(0,) * extra + tuple(slice(0, n) for n in shape)]


def device_tensors(value: Any) -> list[ttnn.Tensor]:
    """All ttnn tensors on a device within nested lists, tuples and dicts of anything."""
    tensors: list[ttnn.Tensor] = []
    _collect((value,), tensors)
    return tensors


def _collect(values: Iterable[Any], tensors: list[ttnn.Tensor]) -> None:
    for value in values:
        if isinstance(value, ttnn.Tensor):
            if on_device(value):
                tensors.append(value)
        elif isinstance(value, (list, tuple)):
            _collect(value, tensors)
        elif isinstance(value, dict):
            _collect(value.values(), tensors)


def on_device(tensor: ttnn.Tensor) -> bool:
    """Whether the tensor's storage is a device's."""
    return tensor.storage_type() is _DEVICE


def key_of(tensor: ttnn.Tensor) -> Key:
    """((buffer type, address), unique id) of a ttnn device tensor's buffer."""
    if not tensor.is_allocated():  # TTNN dies of being asked for the buffer of a freed tensor
        raise RuntimeError(
            f"The {tensor.dtype.name} tensor {tuple(tensor.shape)} was deallocated and is used "
            "again."
        )
    place = tensor.memory_config().buffer_type, tensor.buffer_address()
    return place, tensor.buffer_unique_id()

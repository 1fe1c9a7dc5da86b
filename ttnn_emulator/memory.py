"""What the emulated chips' buffers hold.

TTNN's mock device allocates buffers but keeps nothing in them; here each live buffer has a torch
tensor for each chip of its mesh. Contents are physical, padded to tiles as on the device. Chips
that hold the same share one tensor: a replicated one is kept once.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
import ttnn

from ttnn_emulator.arithmetic import formats
from ttnn_emulator.described_tensors import (
    Key,
    Place,
    Shape,
    chips_of,
    describe,
    dtype_name,
    key_of,
    sizes,
)
from ttnn_emulator.machine.buffer_parts import BufferParts

if TYPE_CHECKING:
    from ttnn_emulator.dispatch import ArithmeticSettings
    from ttnn_emulator.runtime.trace import Trace

SWEEP_BYTES = 64 << 20  # of new contents after which TTNN is asked which buffers are live
SWEEP_BUFFERS = 1024

STRETCH_BYTES = 1 << 20  # of contents that are copied, or left out since they are zero
SAME_WIDTH = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


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

    def copied(self) -> "Contents":
        """A copy. What is zero in it takes no memory before it is written."""
        values = self.padded
        copy = untouched_zeros(self._padded_shape, values.dtype)
        for begin, end in _nonzero_stretches(values):
            copy.view(-1)[begin:end] = values.reshape(-1)[begin:end]
        return Contents(copy, self._padded_shape)

    def same_as(self, other: "Contents") -> bool:
        """Whether another has the same bits, padding included."""
        a, b = self.padded, other.padded
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        bits = SAME_WIDTH[a.dtype.itemsize]  # NaN and -0.0 are values as any other
        return torch.equal(a.view(bits), b.view(bits))

    @property
    def nbytes(self) -> int:
        """Bytes on the host."""
        return self._values.nbytes

    @property
    def pointer(self) -> int:
        """Their address on the host."""
        return self._values.untyped_storage().data_ptr()


# The contents of a buffer on each chip of its mesh, in row-major order of their coordinates.
Replicas = tuple[Contents, ...]


@dataclasses.dataclass(frozen=True)
class DeviceTensor:
    """A tensor on a chip as a binding sees it; `key` is its buffer's in the `Memory`.

    `contents` are the chip's own, `replicas` those of all chips. `shards` is as in `Output`.
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
    replicas: Replicas

    def on(self, chip: int) -> "DeviceTensor":
        """The tensor as the chip of that number has it."""
        contents = self.replicas[chip]
        return self if contents is self.contents else dataclasses.replace(self, contents=contents)

    @property
    def data(self) -> torch.Tensor:
        """The contents of the padded shape in the storage dtype (`formats.STORAGE`).

        They share memory with the buffer, so writing to them is writing in place.
        """
        padded = self.contents.padded
        same = padded.shape == self.padded_shape
        return padded if same else formats.viewed(padded, self.padded_shape)

    @property
    def logical(self) -> torch.Tensor:
        """The contents without padding, of shape `shape`; not to be written to."""
        bare = self.contents.bare
        if bare is not None and bare.shape[-2:] == self.shape[-2:]:
            return bare if bare.shape == self.shape else formats.viewed(bare, self.shape)
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


class Memory:
    """Contents of a device's live buffers.

    Keyed by place (DRAM or L1, and address), because an address is reused as soon as its buffer is
    freed, which frees the old contents too; the buffer's unique id tells whose contents they are.

    Attributes:
        settings: says in which order contents lie that come from the host.
        recording: the `ttnn_emulator.runtime.trace.Trace` that is being captured, or None.
        parts: the tensors that are a part of a buffer.
    """

    def __init__(self, settings: "ArithmeticSettings") -> None:
        self.settings = settings
        self.recording: Trace | None = None
        self.parts = BufferParts()
        self._buffers: dict[Place, tuple[int, Replicas]] = {}  # place -> (buffer id, contents)
        self._new_bytes = 0
        self._new_buffers = 0

    def __contains__(self, tensor: ttnn.Tensor) -> bool:
        return self.contents(self.key(tensor)) is not None or is_nothing(tensor)

    def key(self, tensor: ttnn.Tensor) -> Key:
        """The key of a device tensor's contents: its buffer's, or one of its own for a part."""
        key = key_of(tensor)
        return key if not self.parts else self.parts.key(tensor) or key

    def contents(self, key: Key) -> Replicas | None:
        """What the buffer with that key holds, None when it has been freed or holds nothing."""
        place, unique_id = key
        if part := self.parts.get(key):
            whole = self.contents(part.whole)
            return None if whole is None else tuple([_whole(part.of(c.padded)) for c in whole])
        buffer = self._buffers.get(place)
        return buffer[1] if buffer is not None and buffer[0] == unique_id else None

    def replace(self, key: Key, replicas: Replicas) -> None:
        """Other contents for a buffer that has some."""
        place, unique_id = key
        if self.parts.get(key):
            for own, new in zip(self.contents(key) or (), replicas, strict=True):
                own.padded.copy_(formats.viewed(new.padded, tuple(own.padded.shape)))
            return
        self._buffers[place] = unique_id, replicas

    def key_at(self, place: Place) -> Key | None:
        """The key of the buffer at that place, None when it has no contents."""
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
        """The contents of a ttnn device tensor as its first chip has them.

        Raises:
            UnknownContents: nothing emulated has written it.
        """
        key = self.key(tensor)
        replicas = self.contents(key)
        if replicas is None and is_nothing(tensor):
            replicas = _of_nothing(tensor)
        if replicas is None:
            raise UnknownContents(
                f"Nothing emulated has written the {tensor.dtype.name} tensor "
                f"{tuple(tensor.shape)} at {tensor.buffer_address():#x}: it comes from a call that "
                "the emulation does not see. Make it by an operation of the ttnn module, such as "
                "ttnn.from_torch or ttnn.zeros."
            )
        if len(replicas) > 1:
            replicas = tuple([replicas[chip] for chip in chips_of(tensor)])
        return DeviceTensor(**describe(tensor), contents=replicas[0], key=key, replicas=replicas)

    def write(self, tensor: ttnn.Tensor, values: torch.Tensor) -> None:
        """Make `values` the contents of a ttnn device tensor, on all of its chips.

        Args:
            tensor: the ttnn tensor.
            values: torch tensor of the tensor's logical or padded shape. It is rounded once to the
                tensor's dtype. Padding that it does not have becomes zero.
        """
        contents = physical(values, Output(**describe(tensor)))
        self.keep(tensor, (contents,) * tensor.device().get_num_devices())

    def keep(self, tensor: ttnn.Tensor, replicas: Replicas) -> None:
        """Like `write`, for the contents of each chip."""
        self.replace(self.key(tensor), replicas)
        self._new_bytes += nbytes_of(replicas)
        self._new_buffers += 1
        if self._new_bytes > SWEEP_BYTES or self._new_buffers > SWEEP_BUFFERS:
            self.sweep(tensor.device())

    def sweep(self, device: ttnn.MeshDevice) -> None:
        """Drop the contents of buffers of a device that TTNN has freed."""
        number = device.id()
        live = {
            (number, buffer.buffer_type, buffer.address)
            for buffer in ttnn._ttnn.reports.get_buffers(device)
        }
        self._buffers = {
            place: entry
            for place, entry in self._buffers.items()
            if place in live or place[0] != number
        }
        self._new_bytes = self._new_buffers = 0

    def clear(self) -> None:
        """Forget everything, as when the device closes."""
        self._buffers.clear()
        self.parts.clear()
        self.recording = None

    @property
    def nbytes(self) -> int:
        """Bytes of contents, the not yet swept ones included."""
        return sum(nbytes_of(replicas) for _, replicas in self._buffers.values())


def _whole(values: torch.Tensor) -> Contents:
    return Contents(values, tuple(values.shape))


def is_nothing(tensor: ttnn.Tensor) -> bool:
    """Whether a tensor has no elements. TTNN allocates all such at address 0."""
    return not math.prod(tensor.padded_shape)


def _of_nothing(tensor: ttnn.Tensor) -> Replicas:
    shape, dtype = sizes(tensor.padded_shape), formats.STORAGE[dtype_name(tensor.dtype)]
    return (Contents(torch.empty(shape, dtype=dtype), shape),) * tensor.device().get_num_devices()


def nbytes_of(replicas: Replicas) -> int:
    """Bytes on the host of what the chips hold, the same once."""
    if len(replicas) == 1:
        return replicas[0].nbytes
    return sum({id(contents): contents.nbytes for contents in replicas}.values())


def untouched_zeros(shape: Shape, dtype: torch.dtype) -> torch.Tensor:
    """Zeros whose memory the system allocates page by page when they are written.

    numpy asks the system for zeroed pages; torch writes the zeros itself and touches all of them.
    """
    size = math.prod(shape) * dtype.itemsize
    if not size:
        return torch.empty(shape, dtype=dtype)
    return torch.from_numpy(np.zeros(size, np.uint8)).view(dtype).reshape(shape)


def _nonzero_stretches(values: torch.Tensor) -> Iterator[tuple[int, int]]:
    """(first element, element after the last) of stretches that are not all zero."""
    length = STRETCH_BYTES // values.dtype.itemsize
    flat = values.reshape(-1).view(SAME_WIDTH[values.dtype.itemsize])  # bits: -0.0 is not zero
    for begin in range(0, flat.numel(), length):
        if flat[begin : begin + length].any():
            yield begin, min(begin + length, flat.numel())


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

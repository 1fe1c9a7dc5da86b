"""Host copies of device tensors, which are read again only after a write.

On a mesh a tensor has a part on each chip. Parts whose bits are equal are one copy.
"""

import collections
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import ttnn

from ttnn_verify.drift.observation import taps
from ttnn_verify.ops.expected import OnChips


def _capacity() -> int:
    """Bytes of host copies: a sixteenth of the memory, within limits."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(max(memory // 16, 512 << 20), 4 << 30)


CAPACITY = _capacity()


class Reader:
    """Reads device tensors through a cache.

    Buffer ids are never reused; each write to a buffer begins a new version.
    """

    def __init__(self) -> None:
        self._versions: collections.Counter[int] = collections.Counter()
        # (buffer's id, version, shape), with padding (..., padded shape) -> what the chips have
        self._copies: collections.OrderedDict[tuple, OnChips] = collections.OrderedDict()
        self._bytes = 0  # of the copies

    def read(self, tensor: ttnn.Tensor) -> torch.Tensor:
        """The logical values in float32 or int64, of a mesh its first chip's.

        The caller must not write to them.
        """
        return self.parts(tensor)[0]

    def parts(self, tensor: ttnn.Tensor) -> OnChips:
        """The same of each chip."""
        # the method, not ttnn.to_torch: a mock device hangs at the 8192nd of its own reads
        return self._kept(self._key(tensor), tensor, lambda part: _plain(part.to_torch()))

    def padded(self, tensor: ttnn.Tensor, chip: int = 0) -> torch.Tensor | None:
        """A chip's contents with padding, as `read` has them; None where all padding is zero."""
        if tuple(tensor.shape) == tuple(tensor.padded_shape):
            return None

        def read(part: ttnn.Tensor) -> torch.Tensor:
            contents = _plain(part.to_torch_with_padded_shape())
            padding = contents.clone()
            padding[tuple(slice(0, size) for size in tensor.shape)] = 0
            return contents if padding.any() else contents.new_empty(0)

        key = (*self._key(tensor), tuple(tensor.padded_shape))
        contents = self._kept(key, tensor, read)[chip]
        return contents if contents.numel() else None

    def _kept(
        self, key: tuple, tensor: ttnn.Tensor, read: Callable[[ttnn.Tensor], torch.Tensor]
    ) -> OnChips:
        """The copy of that key, which is read part by part if there is none."""
        if key not in self._copies:
            parts = ttnn.get_device_tensors(tensor) if on_mesh(tensor) else [tensor]
            self._copies[key] = _shared([read(part) for part in parts])
            self._bytes += _nbytes(self._copies[key])
            while len(self._copies) > 1 and self._bytes > CAPACITY:
                self._bytes -= _nbytes(self._copies.popitem(last=False)[1])
        self._copies.move_to_end(key)
        return self._copies[key]

    def note_write(self, tensor: ttnn.Tensor) -> None:
        """Forget the tensor's contents: its buffer has been written to."""
        self._versions[tensor.buffer_unique_id()] += 1

    def write(self, tensor: ttnn.Tensor, *parts: torch.Tensor) -> None:
        """Write float values of its shape into a device tensor, rounded to its format.

        NaN becomes 0: it lies beside what is read of the tensor, in rows of idle users say, and
        would make nonsense of what is computed from it.

        Args:
            parts: of each chip, or what all of them get.
        """

        def on_host(values: torch.Tensor) -> ttnn.Tensor:
            values = values.masked_fill(values.isnan(), 0.0)
            return ttnn.from_torch(values, dtype=tensor.dtype, layout=tensor.layout)

        host = on_host(parts[0])
        if any(part is not parts[0] for part in parts):
            each = {id(part): on_host(part) for part in parts}
            host = ttnn.from_host_shards([each[id(part)] for part in parts], mesh_of(tensor))
        ttnn.copy_host_to_device_tensor(host, tensor)
        self.note_write(tensor)

    def in_torch(self, value: Any) -> Any:
        """An argument with torch tensors in place of ttnn's, within lists and tuples too.

        In place of one on a mesh of chips, its parts; of a complex tensor torch's complex numbers.
        """
        if isinstance(value, taps.ComplexTensor):
            return _complex(self.in_torch(value.real), self.in_torch(value.imag))
        if isinstance(value, ttnn.Tensor):
            if value.storage_type() == ttnn.StorageType.DEVICE:
                parts = self.parts(value)
                return parts if len(parts) > 1 else parts[0]
            host = ttnn.get_device_tensors(value)
            if len(host) > 1:
                return _shared([_plain(ttnn.to_torch(part)) for part in host])
            return _plain(ttnn.to_torch(value))
        if isinstance(value, (list, tuple)) and taps.device_tensors(value):
            return type(value)(self.in_torch(x) for x in value)
        return value

    def _key(self, tensor: ttnn.Tensor) -> tuple:
        buffer = tensor.buffer_unique_id()
        return buffer, self._versions[buffer], tuple(tensor.shape)


def _plain(values: torch.Tensor) -> torch.Tensor:
    """In float32 or int64."""
    return values.float() if values.is_floating_point() else values.long()


def _complex(real: Any, imag: Any) -> Any:
    """Complex numbers of their parts, which each chip has or one."""
    if isinstance(real, OnChips):
        return OnChips(map(torch.complex, real, imag))
    return torch.complex(real.float(), imag.float())


def on_mesh(tensor: ttnn.Tensor) -> bool:
    """Whether a device tensor is on several chips."""
    return tensor.device().get_num_devices() > 1


def mesh_of(tensor: ttnn.Tensor) -> ttnn.MeshShape:
    """The shape of the mesh that a device tensor is on."""
    return tensor.device().shape


def _shared(parts: Sequence[torch.Tensor]) -> OnChips:
    """Parts, of which those whose bits are equal are one."""
    distinct: list[torch.Tensor] = []
    each = []
    for part in parts:
        same = next((one for one in distinct if _same_bits(one, part)), part)
        if same is part:
            distinct.append(part)
        each.append(same)
    return OnChips(each)


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.is_floating_point():  # NaN is not equal to itself
        one, other = (x.contiguous().view(torch.int32) for x in (one, other))
    return torch.equal(one, other)


def _nbytes(parts: OnChips) -> int:
    return sum({id(part): part.nbytes for part in parts}.values())


def dtype_name(tensor: ttnn.Tensor) -> str:
    """The name that `ttnn_verify.numerics.metrics` knows a tensor's format by."""
    return tensor.dtype.name.lower()

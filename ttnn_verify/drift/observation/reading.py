"""Host copies of device tensors, which are read again only after a write."""

import collections
import os
from collections.abc import Callable
from typing import Any

import torch
import ttnn

from ttnn_verify.drift.observation import taps


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
        # (buffer's id, version, shape), with padding (..., padded shape) -> torch tensor
        self._copies: collections.OrderedDict[tuple, torch.Tensor] = collections.OrderedDict()
        self._bytes = 0  # of the copies

    def read(self, tensor: ttnn.Tensor) -> torch.Tensor:
        """The logical values in float32 or int64. The caller must not write to them."""
        # the method, not ttnn.to_torch: a mock device hangs at the 8192nd of its own reads
        return self._kept(self._key(tensor), lambda: _plain(tensor.to_torch()))

    def padded(self, tensor: ttnn.Tensor) -> torch.Tensor | None:
        """The contents with padding, as `read` has them; None where all padding is zero."""
        if tuple(tensor.shape) == tuple(tensor.padded_shape):
            return None

        def read() -> torch.Tensor:
            contents = _plain(tensor.to_torch_with_padded_shape())
            padding = contents.clone()
            padding[tuple(slice(0, size) for size in tensor.shape)] = 0
            return contents if padding.any() else contents.new_empty(0)

        contents = self._kept((*self._key(tensor), tuple(tensor.padded_shape)), read)
        return contents if contents.numel() else None

    def _kept(self, key: tuple, read: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The copy of that key, which is read if there is none."""
        if key not in self._copies:
            self._copies[key] = read()
            self._bytes += self._copies[key].nbytes
            while len(self._copies) > 1 and self._bytes > CAPACITY:
                self._bytes -= self._copies.popitem(last=False)[1].nbytes
        self._copies.move_to_end(key)
        return self._copies[key]

    def note_write(self, tensor: ttnn.Tensor) -> None:
        """Forget the tensor's contents: its buffer has been written to."""
        self._versions[tensor.buffer_unique_id()] += 1

    def write(self, tensor: ttnn.Tensor, values: torch.Tensor) -> None:
        """Write float values of its shape into a device tensor, rounded to its format.

        NaN becomes 0: it lies beside what is read of the tensor, in rows of idle users say, and
        would make nonsense of what is computed from it.
        """
        values = values.masked_fill(values.isnan(), 0.0)
        host = ttnn.from_torch(values, dtype=tensor.dtype, layout=tensor.layout)
        ttnn.copy_host_to_device_tensor(host, tensor)
        self.note_write(tensor)

    def in_torch(self, value: Any) -> Any:
        """An argument with torch tensors in place of ttnn's, within lists and tuples too."""
        if isinstance(value, ttnn.Tensor):
            if value.storage_type() == ttnn.StorageType.DEVICE:
                return self.read(value)
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


def dtype_name(tensor: ttnn.Tensor) -> str:
    """The name that `ttnn_verify.numerics.metrics` knows a tensor's format by."""
    return tensor.dtype.name.lower()

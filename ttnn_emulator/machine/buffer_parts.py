"""Tensors that are a part of another's buffer, as the host makes them of `ttnn.narrow`.

Such a tensor has the buffer of the whole, at another address or on fewer of its cores. What is
written to one is read from the other.
"""

import dataclasses
import math
from typing import TYPE_CHECKING

import torch
import ttnn

from ttnn_emulator.arithmetic import formats

if TYPE_CHECKING:
    from ttnn_emulator.described_tensors import Key

# (buffer's unique id, address, cores of the shards, elements): what tells a part from its whole
Mark = tuple[int, int, str, int]


@dataclasses.dataclass(frozen=True)
class BufferPart:
    """`length` of the whole's padded contents along `dim`, from `start`, counted in elements."""

    whole: "Key"
    whole_shape: tuple[int, ...]
    dim: int
    start: int
    length: int

    def of(self, padded: torch.Tensor) -> torch.Tensor:
        """The part of the whole's padded contents: a view."""
        whole = formats.viewed(padded, self.whole_shape)
        return whole.narrow(self.dim, self.start, self.length)


class BufferParts:
    """The parts of live buffers, each under a key of its own."""

    def __init__(self) -> None:
        self._keys: dict[Mark, Key] = {}
        self._parts: dict[Key, BufferPart] = {}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def hold(
        self, tensor: ttnn.Tensor, whole: ttnn.Tensor, key: "Key", start: int, dim: int
    ) -> None:
        """Take `tensor` for what begins at `start` along `dim` of `whole`, whose key is given."""
        mark = mark_of(tensor)
        if mark == mark_of(whole):
            return
        shape = tuple(whole.padded_shape)
        dim %= len(shape)
        part = BufferPart(key, shape, dim, start % shape[dim], tensor.padded_shape[dim])
        device, kind, _ = key[0]
        own = (device, kind, -1 - len(self._parts)), key[1]  # no buffer has such an address
        self._keys[mark], self._parts[own] = own, part

    def key(self, tensor: ttnn.Tensor) -> "Key | None":
        """The key of a tensor that is a part."""
        return self._keys.get(mark_of(tensor))

    def get(self, key: "Key") -> BufferPart | None:
        """The part of that key, if it is one's."""
        return self._parts.get(key)

    def clear(self) -> None:
        """Forget all."""
        self._keys.clear()
        self._parts.clear()


def mark_of(tensor: ttnn.Tensor) -> Mark:
    """The mark of a device tensor."""
    spec = tensor.memory_config().shard_spec
    cores = "" if spec is None else str(spec.grid)
    size = math.prod(tuple(tensor.padded_shape))
    return tensor.buffer_unique_id(), tensor.buffer_address(), cores, size

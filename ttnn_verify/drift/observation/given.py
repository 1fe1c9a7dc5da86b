"""A call's arguments as data, enough to make the call again once the device's tensors are gone."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
import ttnn

from ttnn_verify.drift.observation import reading, taps
from ttnn_verify.ops.expected import OnChips


@dataclasses.dataclass(frozen=True, eq=False)
class GivenTensor:
    """A ttnn tensor as a call was given it, without the device's buffer.

    Attributes:
        buffer: the buffer's id; None of a tensor on the host.
        values: logical values, float32 or int64.
        padded: the contents with padding; None where all padding is zero.
        memory_config: None of a tensor on the host.
        known: whether the values are those that it had.
        chips: of a mesh, (values, padded) of each chip; `values` are then the first one's.
    """

    buffer: int | None
    values: torch.Tensor
    padded: torch.Tensor | None
    padded_shape: tuple[int, ...]
    dtype: ttnn.DataType
    layout: ttnn.Layout
    tile: ttnn.Tile
    memory_config: ttnn.MemoryConfig | None
    known: bool = True
    chips: tuple[tuple[torch.Tensor, torch.Tensor | None], ...] = ()

    @property
    def empty(self) -> "GivenTensor":
        """The same tensor holding zeros, which take no room."""
        zeros = self.values.new_zeros(()).expand(self.values.shape)
        return dataclasses.replace(self, values=zeros, padded=None, known=False, chips=())

    def on(self, chip: int) -> "GivenTensor":
        """As a chip of a mesh was given it."""
        if not self.chips:
            return self
        values, padded = self.chips[chip]
        return dataclasses.replace(self, values=values, padded=padded, chips=())


@dataclasses.dataclass(frozen=True)
class GivenCall:
    """The arguments of a call, with a `GivenTensor` for each ttnn tensor."""

    args: tuple
    kwargs: Mapping[str, Any]

    def with_empty(self, buffers: Collection[int]) -> "GivenCall":
        """The same call on tensors that hold zeros, where they are in one of these buffers."""

        def emptied(tensor: GivenTensor) -> GivenTensor:
            return tensor.empty if tensor.buffer in buffers else tensor

        return GivenCall(*with_each((self.args, self.kwargs), GivenTensor, emptied))

    def on(self, chip: int) -> "GivenCall":
        """The call as a chip of a mesh makes it."""
        own: dict[GivenTensor, GivenTensor] = {}  # a tensor that is given twice is one

        def of_chip(tensor: GivenTensor) -> GivenTensor:
            return own.setdefault(tensor, tensor.on(chip))

        return GivenCall(*with_each((self.args, self.kwargs), GivenTensor, of_chip))

    def tensors(self) -> Iterator[tuple[str | int, list[GivenTensor]]]:
        """(name or place of an argument, the tensors in it), in their order."""
        arguments: list[tuple[str | int, Any]] = [*enumerate(self.args), *self.kwargs.items()]
        for name, value in arguments:
            found: list[GivenTensor] = []
            with_each(value, GivenTensor, found.append)
            yield name, found


def given(call: taps.TtnnCall, reader: reading.Reader) -> GivenCall:
    """The arguments of a call that is about to run."""
    seen: dict[tuple, GivenTensor] = {}  # a tensor that is given twice is one

    def copied(tensor: ttnn.Tensor) -> GivenTensor:
        one = _given(tensor, reader)
        place = id(tensor) if one.buffer is None else one.buffer
        return seen.setdefault((place, tuple(one.values.shape), one.dtype), one)

    return GivenCall(*with_each((call.args, call.kwargs), ttnn.Tensor, copied))


def _given(tensor: ttnn.Tensor, reader: reading.Reader) -> GivenTensor:
    on_device = tensor.storage_type() == ttnn.StorageType.DEVICE
    parts = OnChips(reader.parts(tensor) if on_device else [reader.in_torch(tensor)])
    several = range(len(parts)) if len(parts) > 1 else range(0)
    return GivenTensor(
        buffer=tensor.buffer_unique_id() if on_device else None,
        values=parts[0],
        padded=reader.padded(tensor) if on_device else None,
        padded_shape=tuple(tensor.padded_shape),
        dtype=tensor.dtype,
        layout=tensor.layout,
        tile=tensor.tile,
        memory_config=tensor.memory_config() if on_device else None,
        chips=tuple((parts[chip], reader.padded(tensor, chip)) for chip in several),
    )


def with_each(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """A value with `change(x)` for each x of a kind in it, within lists, tuples and dicts too."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, Mapping):
        return {name: with_each(one, kind, change) for name, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(with_each(one, kind, change) for one in value)
    return value

"""An operation on the chips of a mesh: computed once for all chips that hold the same operands."""

import dataclasses
import math
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import torch

from ttnn_emulator.described_tensors import Shape
from ttnn_emulator.memory import Contents, DeviceTensor, Output

# Elements of all operands on all chips, beyond which to compute takes longer than to call.
FEW = 1 << 20

Described = TypeVar("Described", DeviceTensor, Output)


def tensors_of(value: Any) -> list[DeviceTensor]:
    """All `DeviceTensor`s within nested lists, tuples and dicts."""
    if isinstance(value, DeviceTensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return []
    return [tensor for part in value for tensor in tensors_of(part)]


def mapped(value: Any, function: Callable[[DeviceTensor], DeviceTensor]) -> Any:
    """`value` with each `DeviceTensor` within nested lists, tuples and dicts replaced."""
    if isinstance(value, DeviceTensor):
        return function(value)
    if isinstance(value, (list, tuple)):
        return type(value)(mapped(part, function) for part in value)
    if isinstance(value, dict):
        return {name: mapped(part, function) for name, part in value.items()}
    return value


def on_chip(value: Any, chip: int) -> Any:
    """Operands as the chip of that number has them."""
    return mapped(value, lambda tensor: tensor.on(chip))


def alike(operands: Any, chips: Collection[int]) -> list[list[int]]:
    """Groups of the chips that hold the same operands."""
    tensors = tensors_of(operands)
    groups: dict[tuple[int, ...], list[int]] = {}
    for chip in chips:
        groups.setdefault(tuple([id(t.replicas[chip]) for t in tensors]), []).append(chip)
    return list(groups.values())


def unshared(tensor: DeviceTensor, groups: list[list[int]]) -> DeviceTensor:
    """The tensor with contents of their own for each group of chips, which is about to write them.

    Chips of a group go on sharing. Those of no group keep what they have.
    """
    replicas = list(tensor.replicas)
    outside = set(range(len(replicas))).difference(*groups)
    taken = {id(replicas[chip]) for chip in outside}
    for group in groups:
        contents = replicas[group[0]]
        if id(contents) in taken:
            contents = contents.copied()
            for chip in group:
                replicas[chip] = contents
        taken.add(id(contents))
    return dataclasses.replace(tensor, contents=replicas[0], replicas=tuple(replicas))


def in_one(
    operands: Any, groups: list[list[int]], outputs: tuple[Output, ...]
) -> tuple[Any, tuple[Output, ...]] | None:
    """Operands and outputs of one call for all groups of chips, which are a new first dimension.

    Operands that the groups share have 1 there. None where it would save nothing, or where an
    operand is not in tiles.
    """
    tensors = tensors_of(operands)
    described: list[DeviceTensor | Output] = [*tensors, *outputs]
    if len(groups) < 2 or not all(one.tiled for one in described):
        return None
    chips = [group[0] for group in groups]
    if sum(math.prod(tensor.shape) for tensor in tensors) * len(groups) > FEW:
        return None
    rank = max(len(one.shape) for one in described)
    wide = tuple([_widened(output, len(groups), rank) for output in outputs])
    return mapped(operands, lambda tensor: _joined(tensor, chips, rank)), wide


def apart(contents: Contents, output: Output, count: int) -> list[Contents]:
    """What `in_one` has made one of, for each group."""
    bare = contents.bare
    values, shape = (contents.padded, output.padded_shape) if bare is None else (bare, output.shape)
    return [Contents(values[i].reshape(shape).clone(), output.padded_shape) for i in range(count)]


def _joined(tensor: DeviceTensor, chips: list[int], rank: int) -> DeviceTensor:
    distinct = {id(tensor.replicas[chip]): tensor.on(chip) for chip in chips}
    each = [tensor.on(chip) for chip in chips] if len(distinct) > 1 else [tensor.on(chips[0])]
    wide = _widened(tensor, len(each), rank)
    bare = all(one.zero_padded for one in each)
    values = torch.stack([one.logical if bare else one.data for one in each])
    shape = wide.shape if bare else wide.padded_shape
    contents = Contents(values.reshape(shape), wide.padded_shape)
    return dataclasses.replace(wide, contents=contents, replicas=(contents,))


def _widened(tensor: Described, count: int, rank: int) -> Described:
    """The description with `count` in a new first dimension, of `rank` others."""
    leading: Shape = (count, *(1,) * (rank - len(tensor.shape)))
    padding: Shape = (count, *(1,) * (rank - len(tensor.padded_shape)))
    return dataclasses.replace(
        tensor,
        shape=(*leading, *tensor.shape),
        padded_shape=(*padding, *tensor.padded_shape),
    )

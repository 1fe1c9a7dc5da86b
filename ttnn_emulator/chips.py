"""An operation on the chips of a mesh: computed once for all chips that hold the same operands."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

from ttnn_emulator.memory import DeviceTensor


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

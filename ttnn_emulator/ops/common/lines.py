"""Lines of chips: those that take part in a collective together, along an axis of the mesh."""

from collections.abc import Callable, Sequence

import torch

from ttnn_emulator.dispatch import Launch, OnChips
from ttnn_emulator.memory import DeviceTensor


def lines(launch: Launch, cluster_axis: int | None) -> list[list[int]]:
    """The chips' numbers, line by line; without an axis all chips are one, row by row."""
    rows, columns = launch.mesh
    if cluster_axis is None:
        return [list(range(rows * columns))]
    if cluster_axis % 2:
        return [[row * columns + column for column in range(columns)] for row in range(rows)]
    return [[row * columns + column for row in range(rows)] for column in range(columns)]


def along(
    launch: Launch,
    cluster_axis: int | None,
    function: Callable[[list[int]], Sequence[torch.Tensor]],
) -> OnChips:
    """What `function` returns for each line: a tensor for each of its chips."""
    results: dict[int, torch.Tensor] = {}
    for line in lines(launch, cluster_axis):
        results |= zip(line, function(line), strict=True)
    return [results[chip] for chip in sorted(results)]


def shards(tensor: DeviceTensor, line: Sequence[int], dim: int) -> tuple[list[torch.Tensor], int]:
    """What the chips of a line hold, whole tiles where `dim` allows it; and `dim` from 0 on."""
    rank = len(tensor.shape)
    dim %= rank
    whole = len(tensor.padded_shape) == rank and tensor.padded_shape[dim] == tensor.shape[dim]
    return [tensor.on(c).data if whole else tensor.on(c).logical for c in line], dim

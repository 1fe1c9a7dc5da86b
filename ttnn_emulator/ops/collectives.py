"""Collectives: operations in which the chips of a mesh exchange what they hold.

Their bindings see the operands on all chips and return, for each output, a tensor for each chip.
A *line* is the chips that take part together, in their order along the cluster axis.
"""

from collections.abc import Callable, Sequence

import torch
import ttnn

from ttnn_emulator.dispatch import Binding, Launch, NotEmulated, OnChips
from ttnn_emulator.memory import DeviceTensor


def lines(launch: Launch, cluster_axis: int | None) -> list[list[int]]:
    """The chips' numbers, line by line.

    Raises:
        NotEmulated: no axis is named on a mesh of two dimensions.
    """
    rows, columns = launch.mesh
    if cluster_axis is None:
        if min(rows, columns) > 1:
            raise NotEmulated(f"{launch.name} without a cluster_axis on a {rows}x{columns} mesh.")
        return [list(range(rows * columns))]
    if cluster_axis % 2:
        return [[row * columns + column for column in range(columns)] for row in range(rows)]
    return [[row * columns + column for row in range(rows)] for column in range(columns)]


def _along(
    launch: Launch,
    cluster_axis: int | None,
    function: Callable[[list[int]], Sequence[torch.Tensor]],
) -> OnChips:
    """What `function` returns for each line: a tensor for each of its chips."""
    results: dict[int, torch.Tensor] = {}
    for line in lines(launch, cluster_axis):
        results |= zip(line, function(line), strict=True)
    return [results[chip] for chip in sorted(results)]


def _on(tensor: DeviceTensor, line: list[int], dim: int) -> tuple[list[torch.Tensor], int]:
    """What the chips of a line hold, whole tiles where `dim` allows it; and `dim` from 0 on."""
    rank = len(tensor.shape)
    dim %= rank
    padded = tensor.padded_shape[dim + len(tensor.padded_shape) - rank]
    whole = padded == tensor.shape[dim] and len(tensor.padded_shape) == rank
    return [tensor.on(c).data if whole else tensor.on(c).logical for c in line], dim


def all_gather(
    launch: Launch,
    input_tensor: DeviceTensor,
    dim: int,
    cluster_axis: int | None = None,
    *,
    output_tensor: DeviceTensor | None = None,
    **transport: object,
) -> list[OnChips]:
    """The parts of a line's chips one after the other along `dim`, on each of its chips."""

    def gathered(line: list[int]) -> list[torch.Tensor]:
        parts, axis = _on(input_tensor, line, dim)
        return [torch.cat(parts, axis)] * len(line)

    return [_along(launch, cluster_axis, gathered)]


def line_sum(launch: Launch, parts: list[torch.Tensor], keeper: int, dtype: str) -> torch.Tensor:
    """The sum of what chips of a line hold, as it arrives at the one that keeps it.

    From each end of the line the partial sums travel towards the keeper, which adds what comes from
    the start and then what comes from the end to its own. Recorded on lines of two and four chips.
    """

    def added(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return launch.math.chip_sum(a, b, dtype=dtype)

    total = parts[keeper]
    for side in (parts[:keeper], parts[:keeper:-1]):
        if side:
            passed = side[0]
            for part in side[1:]:
                passed = added(part, passed)
            total = added(total, passed)
    return total


def reduce_scatter(
    launch: Launch,
    input_tensor: DeviceTensor,
    dim: int,
    cluster_axis: int | None = None,
    *,
    topology: ttnn.Topology | None = None,
    output_tensor: DeviceTensor | None = None,
    **transport: object,
) -> list[OnChips]:
    """The sum over a line's chips, of which each keeps its part along `dim`."""

    def scattered(line: list[int]) -> list[torch.Tensor]:
        parts, axis = _on(input_tensor, line, dim)
        pieces = [part.tensor_split(len(line), axis) for part in parts]
        return [
            line_sum(launch, [piece[keeper] for piece in pieces], keeper, input_tensor.dtype)
            for keeper in range(len(line))
        ]

    return [_along(launch, cluster_axis, scattered)]


def all_reduce(
    launch: Launch,
    input_tensor: DeviceTensor,
    cluster_axis: int | None = None,
    *,
    topology: ttnn.Topology | None = None,
    **transport: object,
) -> list[OnChips]:
    """The sum over a line's chips on each of them: scattered over columns, then gathered."""

    def reduced(line: list[int]) -> list[torch.Tensor]:
        parts, axis = _on(input_tensor, line, -1)
        pieces = [part.tensor_split(len(line), axis) for part in parts]
        sums = [
            line_sum(launch, [piece[keeper] for piece in pieces], keeper, input_tensor.dtype)
            for keeper in range(len(line))
        ]
        return [torch.cat(sums, axis)] * len(line)

    return [_along(launch, cluster_axis, reduced)]


def all_broadcast(
    launch: Launch,
    input_tensor: DeviceTensor,
    cluster_axis: int | None = None,
    **transport: object,
) -> list[OnChips]:
    """An output for each chip of a line: what that chip holds, on all of them."""

    def sent_by(place: int) -> OnChips:
        return _along(
            launch, cluster_axis, lambda line: [input_tensor.on(line[place]).data] * len(line)
        )

    return [sent_by(place) for place in range(len(launch.outputs))]


def mesh_partition(
    launch: Launch, input_tensor: DeviceTensor, dim: int, cluster_axis: int | None = None
) -> list[OnChips]:
    """Of what each chip of a line holds, its own part along `dim`."""

    def partitioned(line: list[int]) -> list[torch.Tensor]:
        parts, axis = _on(input_tensor, line, dim)
        return [part.tensor_split(len(line), axis)[i] for i, part in enumerate(parts)]

    return [_along(launch, cluster_axis, partitioned)]


BINDINGS: dict[str, Binding] = {
    "ttnn.all_gather": all_gather,
    "ttnn.reduce_scatter": reduce_scatter,
    "ttnn.all_reduce": all_reduce,
    "ttnn.all_broadcast": all_broadcast,
    "ttnn.mesh_partition": mesh_partition,
}

"""Collectives: what chips of a mesh exchange. A golden sees what all of them have.

Data that only moves arrives unchanged; sums may be rounded at each addition. Links, topology,
buffers and semaphores say by which way values travel, not what arrives.
"""

from collections.abc import Sequence

import torch

from ttnn_verify.numerics import metrics, op_floors
from ttnn_verify.ops import products
from ttnn_verify.ops.expected import CallContext, Expected, OnChips
from ttnn_verify.ops.spec import OpSpec

ON_THE_WAY = frozenset(
    {
        "all_gather_core_grid_offset",
        "ag_global_semaphores",
        "barrier_semaphore",
        "barrier_semaphores",
        "buffer_tensor",
        "chunks_per_sync",
        "intermediate_memory_config",
        "intermediate_tensor",
        "memory_config_ag",
        "memory_config_mm",
        "mesh_device",
        "multi_device_global_semaphore",
        "num_buffers_per_channel",
        "num_devices",
        "num_links",
        "num_workers_per_link",
        "persistent_output_buffer",
        "persistent_output_buffers",
        "persistent_output_tensor",
        "rs_global_semaphores",
        "subdevice_id",
        "topology",
        "use_broadcast",
        "use_l1_small_for_semaphores",
        "use_noc1_only",
        "use_optimal_ccl_for_llama",
    }
)


def line(context: CallContext, cluster_axis: int | None) -> list[int]:
    """The chips that exchange with the context's, itself among them; without an axis all."""
    rows, columns = context.mesh
    chips = list(range(rows * columns))
    if cluster_axis is None:
        return chips
    if cluster_axis % 2:
        first = context.chip - context.chip % columns
        return chips[first : first + columns]
    return chips[context.chip % columns :: columns]


def parts(context: CallContext, tensor: OnChips | torch.Tensor) -> OnChips:
    """What each chip has; of a mesh of one chip the tensor itself."""
    rows, columns = context.mesh
    return tensor if isinstance(tensor, OnChips) else OnChips([tensor] * (rows * columns))


def _gathered(
    context: CallContext, tensor: OnChips, dim: int, cluster_axis: int | None
) -> torch.Tensor:
    each = parts(context, tensor)
    return torch.cat([each[chip] for chip in line(context, cluster_axis)], dim)


def all_gather(
    context: CallContext, input_tensor: OnChips, dim: int, *, cluster_axis: int | None = None
) -> Expected:
    """The parts of a line's chips one after the other along `dim`, on each."""
    return Expected(_gathered(context, input_tensor, dim, cluster_axis))


def all_gather_async(
    context: CallContext,
    input_tensor: OnChips,
    *positional: object,
    dim: int | None = None,
    cluster_axis: int | None = None,
) -> Expected:
    """The same in three forms: of what is given by position, numbers are `dim` and the axis."""
    numbers = [value for value in positional if type(value) is int]
    if dim is None:
        dim, *numbers = numbers
    if cluster_axis is None and numbers:
        cluster_axis = numbers[0]
    return all_gather(context, input_tensor, dim, cluster_axis=cluster_axis)


def all_broadcast(
    context: CallContext, input_tensor: OnChips, *, cluster_axis: int | None = None
) -> list[Expected]:
    """A result for each chip of a line: what that chip has."""
    each = parts(context, input_tensor)
    return [Expected(each[chip]) for chip in line(context, cluster_axis)]


def _number(context: CallContext, place: Sequence[int]) -> int:
    row, column = place
    return row * context.mesh[1] + column


def broadcast(
    context: CallContext,
    input_tensor: OnChips,
    sender_coord: Sequence[int],
    *,
    cluster_axis: int | None = None,
) -> Expected:
    """What the sender has, on the chips of its line; anything on others."""
    each, sender = parts(context, input_tensor), _number(context, sender_coord)
    if sender in line(context, cluster_axis):
        return Expected(each[sender])
    return _anything(each[sender])


def _anything(like: torch.Tensor) -> Expected:
    nothing = torch.zeros(like.shape, dtype=torch.bool)
    return Expected(like[nothing], None, nothing)


def point_to_point(
    context: CallContext,
    input_tensor: OnChips,
    sender_coord: Sequence[int],
    receiver_coord: Sequence[int],
) -> Expected:
    """What the sender has, on the receiver; anything on others."""
    each, sender = parts(context, input_tensor), _number(context, sender_coord)
    if context.chip == _number(context, receiver_coord):
        return Expected(each[sender])
    return _anything(each[sender])


def mesh_partition(
    context: CallContext, input_tensor: OnChips, dim: int, cluster_axis: int | None = None
) -> Expected:
    """Of what a chip has, its own part along `dim`."""
    chips = line(context, cluster_axis)
    own = parts(context, input_tensor)[context.chip]
    return Expected(own.tensor_split(len(chips), dim)[chips.index(context.chip)])


# --- sums ----------------------------------------------------------------------------------------


def _sum(terms: Sequence[torch.Tensor], dtype: str) -> Expected:
    """A sum in whatever order, rounded after each addition."""
    exact = [term.double() for term in terms]
    value = torch.stack(exact).sum(0)

    def floor() -> op_floors.Floor:
        orders = [_steps(order, dtype) for order in (exact, exact[::-1])]
        return max(orders, key=lambda one: one.worst_row)

    return Expected(value, floor)


def _steps(terms: Sequence[torch.Tensor], dtype: str) -> op_floors.Floor:
    """The roundings of the sums on the way, as shares of the last one."""
    total, value = terms[0], torch.stack(list(terms)).sum(0)
    variance = torch.zeros_like(value)
    for term in terms[1:]:
        total = total + term
        variance += (metrics.unit(total, dtype) ** 2) / 12
    return op_floors.of_errors(value, variance.sqrt())


def all_reduce(
    context: CallContext, input_tensor: OnChips, *, cluster_axis: int | None = None
) -> Expected:
    """The sum over a line's chips, on each."""
    each = parts(context, input_tensor)
    return _sum([each[chip] for chip in line(context, cluster_axis)], context.out)


def all_reduce_async(
    context: CallContext,
    input_tensor: OnChips,
    *positional: object,
    cluster_axis: int | None = None,
) -> Expected:
    """The same in three forms, of which the second names the axis by position, and the mesh."""
    numbers = [value for value in positional if type(value) is int]
    by_mesh = any(hasattr(value, "get_num_devices") for value in positional)
    axis = numbers[0] if numbers and by_mesh else cluster_axis
    return all_reduce(context, input_tensor, cluster_axis=axis)


def reduce_scatter(
    context: CallContext, input_tensor: OnChips, dim: int, *, cluster_axis: int | None = None
) -> Expected:
    """The sum over a line's chips, of which each keeps its part along `dim`.

    Over both axes of a mesh, a chip keeps of its row's part its column's.
    """
    each, chips = parts(context, input_tensor), line(context, cluster_axis)
    both = cluster_axis is None and min(context.mesh) > 1
    own = [each[chip] for chip in chips]
    for axis in (0, 1) if both else (cluster_axis,):
        along = line(context, axis)
        place = along.index(context.chip)
        own = [terms.tensor_split(len(along), dim)[place] for terms in own]
    return _sum(own, context.out)


def reduce_scatter_minimal_async(
    context: CallContext,
    input_tensor: OnChips,
    persistent_output_buffers: object = None,
    dim: int = -1,
    *semaphores: object,
    cluster_axis: int | None = None,
) -> Expected:
    """The same."""
    return reduce_scatter(context, input_tensor, dim, cluster_axis=cluster_axis)


def all_gather_matmul_async(
    context: CallContext,
    input_tensor: OnChips,
    weight_tensor: OnChips,
    persistent_output_buffer: object = None,
    dim: int = -1,
    *on_the_way: object,
    bias: OnChips | None = None,
    activation: object = None,
) -> list[Expected]:
    """The gathered input, and its product with a chip's own weight."""
    whole = _gathered(context, input_tensor, dim, None)
    weight = parts(context, weight_tensor)[context.chip]
    added = None if bias is None else parts(context, bias)[context.chip]
    product = products.linear(context, whole, weight, bias=added, activation=activation)
    return [Expected(whole), product]


SPECS = (
    *(
        OpSpec((golden.__name__,), golden, data="picks", spans_chips=True, ignored=ON_THE_WAY)
        for golden in (
            all_gather,
            all_gather_async,
            all_broadcast,
            broadcast,
            point_to_point,
            mesh_partition,
        )
    ),
    *(
        OpSpec((golden.__name__,), golden, spans_chips=True, ignored=ON_THE_WAY)
        for golden in (all_reduce, reduce_scatter, reduce_scatter_minimal_async)
    ),
    OpSpec(
        ("all_reduce_async",),
        all_reduce_async,
        spans_chips=True,
        ignored=ON_THE_WAY | {"math_op", "fp32_dest_acc"},
    ),
    OpSpec(
        ("all_gather_matmul_async",),
        all_gather_matmul_async,
        kind="product",
        family="products",
        spans_chips=True,
        ignored=ON_THE_WAY,
        neutral={"transpose_a": (False,), "transpose_b": (False,)},
    ),
)

"""Recorded calls on several chips, made again through ttnn on an emulated mesh."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import ttnn

from ttnn_emulator.fidelity.mesh_references import on_chips
from ttnn_emulator.fidelity.recorded_call import LAYOUTS, NotReplayable, RecordedCall
from ttnn_emulator.fidelity.recordings import Case

# Attributes that tell about the recording what the tensors or the mesh tell too.
REMARKS = ("only", "outputs", "statistics")


def replay_on_mesh(case: Case, mesh: ttnn.MeshDevice) -> Iterator[dict[str, torch.Tensor]]:
    """Make a recorded call again, or the several calls of one recording.

    Args:
        case: the recorded call.
        mesh: an open emulated mesh of its shape.

    Returns:
        of each call what it returned: output name -> torch tensor, float32 or int32, of the
        recorded shape.

    Raises:
        NotReplayable: the op or an attribute is not known, or TTNN's output is not of the recorded
            shape and dtype.
    """
    made_again = CALLS.get(case.op)
    if made_again is None:
        raise NotReplayable(f"{case}: no call on a mesh is known for {case.op!r}; add it to CALLS.")
    call = _MeshCall(case, mesh)
    number = 0
    for outputs in made_again(call):
        values: dict[str, torch.Tensor] = {}
        for output in outputs if isinstance(outputs, (list, tuple)) else [outputs]:
            values |= _values(case, f"out{number}", output)
            number += 1
        yield values
    call.finish()
    expected = {name.rpartition("_chip")[0] for name in case.tensors if name.startswith("out")}
    if number != len(expected):
        raise NotReplayable(f"{case}: {number} tensors were returned, recorded: {len(expected)}.")


def _values(case: Case, base: str, tensor: ttnn.Tensor) -> dict[str, torch.Tensor]:
    values = {}
    for chip, part in enumerate(ttnn.get_device_tensors(tensor)):
        name = f"{base}_chip{chip}"
        entry = case.tensors.get(name)
        made = (list(part.shape), part.dtype.name.lower())
        if entry is None or made != (list(entry["shape"]), entry["dtype"]):
            raise NotReplayable(f"{case}: TTNN made {name} as {made}, recorded is {entry}.")
        whole = ttnn.to_torch(part)
        values[name] = whole.float() if whole.dtype.is_floating_point else whole.to(torch.int32)
    return values


class _MeshCall(RecordedCall):
    """The inputs and arguments of one recorded call on several chips."""

    def __init__(self, case: Case, mesh: ttnn.MeshDevice) -> None:
        super().__init__(case, mesh)
        for remark in REMARKS:
            self._unused.pop(remark, None)

    def spread(self, base: str) -> ttnn.Tensor:
        """A recorded input, on each chip what that chip held."""
        entry = self.case.tensors[f"{base}_chip0"]
        dtype, layout = getattr(ttnn, entry["dtype"]), LAYOUTS[entry["layout"]]
        parts = [
            ttnn.from_torch(
                _upper_halves(part) if dtype == ttnn.bfloat16 else part, dtype=dtype, layout=layout
            )
            for part in on_chips(self.case, base)
        ]
        memory = ttnn.L1_MEMORY_CONFIG if entry.get("memory", "").endswith("L1") else None
        whole = ttnn.from_host_shards(parts, self.device.shape)
        return ttnn.to_device(whole, self.device, memory_config=memory or ttnn.DRAM_MEMORY_CONFIG)

    def transport(self) -> dict[str, Any]:
        """The recorded arguments of how and between which chips values travel."""
        options = self.arguments("cluster_axis", "num_links")
        if topology := self.argument("topology"):
            options["topology"] = getattr(ttnn.Topology, topology)
        return options

    def semaphores(self, count: int) -> list[Any]:
        """Global semaphores on all cores."""
        grid = self.device.compute_with_storage_grid_size()
        last = ttnn.CoreCoord(grid.x - 1, grid.y - 1)
        cores = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), last)})
        return [ttnn.create_global_semaphore(self.device, cores, 0) for _ in range(count)]


def _upper_halves(values: torch.Tensor) -> torch.Tensor:
    """bfloat16 values in float32 as they are, NaNs with their sign, which a conversion drops."""
    return (values.view(torch.int32) >> 16).to(torch.int16).view(torch.bfloat16)


def _plain(call: _MeshCall) -> Iterator[Any]:
    dim = call.arguments("dim")
    yield call.op(call.spread("in0"), *dim.values(), **call.transport(), **call.compute())


def _gather_async(call: _MeshCall) -> Iterator[Any]:
    yield call.op(
        call.spread("in0"),
        persistent_output_buffer=None,
        dim=call.argument("dim"),
        multi_device_global_semaphore=call.semaphores(2),
        **call.transport(),
    )


def _scatter_async(call: _MeshCall) -> Iterator[Any]:
    yield call.op(
        call.spread("in0"),
        None,
        call.argument("dim"),
        call.semaphores(3),
        **call.transport(),
        **call.compute(),
    )


def _reduce_async(call: _MeshCall) -> Iterator[Any]:
    options = call.transport()
    yield call.op(
        call.spread("in0"),
        cluster_axis=options.pop("cluster_axis", None),
        mesh_device=call.device,
        math_op=ttnn.ReduceType.Sum,
        **options,
    )


def _point_to_point(call: _MeshCall) -> Iterator[Any]:
    ends = [ttnn.MeshCoordinate(*call.argument(name)) for name in ("sender", "receiver")]
    yield call.op(call.spread("in0"), *ends, **call.transport())


def _broadcast(call: _MeshCall) -> Iterator[Any]:
    sender = ttnn.MeshCoordinate(*call.argument("sender"))
    yield call.op(call.spread("in0"), sender, **call.transport())


def _distributed_norm(call: _MeshCall) -> Iterator[Any]:
    """Statistics of each chip, all of them gathered, and the norm that they give."""
    norm = call.case.op.removeprefix("ttnn.").removesuffix("_post_all_gather")
    compute = call.compute()
    x = call.spread("in0")
    statistics = getattr(ttnn, f"{norm}_pre_all_gather")(x, dtype=ttnn.bfloat16, **compute)
    yield statistics
    statistics = ttnn.all_gather(statistics, 3, cluster_axis=1)
    yield statistics
    more = {name: call.spread(name) for name in ("weight", "bias") if f"{name}_chip0" in call.names}
    yield call.op(x, statistics, **call.arguments("epsilon"), **more, **compute)


# Op -> its call or calls again, of each the tensor or the tensors that it returns.
CALLS: dict[str, Callable[[_MeshCall], Iterator[Any]]] = {
    "ttnn.all_broadcast": _plain,
    "ttnn.all_gather": _plain,
    "ttnn.all_reduce": _plain,
    "ttnn.broadcast": _broadcast,
    "ttnn.experimental.all_gather_async": _gather_async,
    "ttnn.experimental.all_reduce_async": _reduce_async,
    "ttnn.experimental.reduce_scatter_minimal_async": _scatter_async,
    "ttnn.layer_norm_post_all_gather": _distributed_norm,
    "ttnn.mesh_partition": _plain,
    "ttnn.point_to_point": _point_to_point,
    "ttnn.reduce_scatter": _plain,
    "ttnn.rms_norm_post_all_gather": _distributed_norm,
}

"""Which kernels a collective takes, and what it needs: meshes that are opened for each test."""

import math

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.support import strategies
from tests.support.meshes import error, of_each, on_each


def kernels(call):
    """The device operations of a call in TTNN's own graph, and the sizes of its buffers."""
    ttnn.graph.begin_graph_capture(ttnn.graph.RunMode.NORMAL)
    try:
        call()
    finally:
        graph = ttnn.graph.end_graph_capture()
    names = [n["params"]["name"] for n in graph if n["node_type"] == "function_start"]
    sizes = [int(n["params"]["size"]) for n in graph if n["node_type"] == "buffer_allocate"]
    return [name for name in names if name.endswith("DeviceOperation")], sizes


SHAPES = [(1, 1, 37, 80), (1, 1, 32, 512), (1, 1, 512, 32), (1, 8, 32, 32), (8, 1, 32, 32)]
SHAPES += [(1, 1, 37, 512), (64, 512), (1, 1, 1024, 1024)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("fabric", ["FABRIC_1D", "FABRIC_1D_RING"])
def test_all_reduce_takes_the_kernels_that_ttnn_starts(opened, shape, fabric):
    with opened((1, 8), "kernel", fabric=getattr(ttnn.FabricConfig, fabric)) as mesh:
        values = torch.randn(8, *shape)
        tensor = on_each(mesh, values.flatten(0, 1))
        names, sizes = kernels(lambda: ttnn.all_reduce(tensor))
    setting = ttnn_emulator.last_evidence().setting
    ways = ("gathered, then added", "sent to each keeper", "around a ring", "along a line")
    (way,) = (way for way in ways if way in setting)
    doubled = 2 * math.prod(shape[:-2]) * -(-shape[-2] // 32) * -(-shape[-1] // 32) * 2048
    assert (
        way
        == {
            "AllBroadcastDeviceOperation": "gathered, then added",
            "ReduceScatterMinimalDirectDeviceOperation": "sent to each keeper",
            "ReduceScatterDeviceOperation": "along a line" if doubled in sizes else "around a ring",
        }[names[0]]
    )


def test_without_a_fabric_it_is_ttnns_error(opened):
    with opened((1, 2), fabric=ttnn.FabricConfig.DISABLED) as mesh:
        tensor = on_each(mesh, strategies.normal(0, 2, 1, 32, 64))
        for call in (lambda: ttnn.all_gather(tensor, 3), lambda: ttnn.all_reduce(tensor)):
            with pytest.raises(RuntimeError, match="un-initialized fabric context"):
                call()


def test_one_sub_device_is_all_there_is(opened):
    with opened((1, 2)) as mesh:
        cores = [
            ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, y), ttnn.CoreCoord(7, y))})
            for y in (0, 1)
        ]
        one, two = (
            mesh.create_sub_device_manager([ttnn.SubDevice([c]) for c in cores[:count]], 0)
            for count in (1, 2)
        )
        mesh.load_sub_device_manager(one)
        mesh.set_sub_device_stall_group([ttnn.SubDeviceId(0)])
        tensor = on_each(mesh, strategies.normal(0, 2, 1, 32, 64))
        ttnn.all_gather(tensor, 3, subdevice_id=ttnn.SubDeviceId(0))
        mesh.reset_sub_device_stall_group()
        mesh.clear_loaded_sub_device_manager()
        with pytest.raises(NotImplementedError, match="a manager of 2 sub-devices"):
            mesh.load_sub_device_manager(two)


def test_a_submesh_reduces_by_itself(opened):
    with opened((2, 4), "kernel") as mesh:
        part = mesh.create_submesh(ttnn.MeshShape(1, 4))
        values = strategies.normal(0, 4, 1, 32, 128).bfloat16()
        totals = of_each(ttnn.all_reduce(on_each(part, values)))
        expected = values.double().sum(0, keepdim=True)
        assert all(torch.equal(total, totals[0]) for total in totals)
        assert error(totals[0], expected) <= 2 * 2.0**-8 * math.sqrt(4)

"""Collectives on meshes: what any of them must keep to, and TTNN's own refusals."""

import math

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

import ttnn_emulator
from tests.support import strategies
from tests.support.meshes import error, of_each, on_each

# (mesh, axis); without an axis all chips of a mesh of one row are a line.
PLACES = [((1, 2), None), ((1, 4), 1), ((1, 8), None), ((8, 1), 0), ((2, 4), 0), ((2, 4), 1)]
DTYPES = (ttnn.bfloat16, ttnn.float32, ttnn.bfloat8_b)

# Of one rounding in each format: half a unit in the last place; the matrix unit keeps 11 bits of
# float32; the largest of a block of normal values is about twice their root mean square.
ROUNDING = {ttnn.bfloat16: 2.0**-8, ttnn.float32: 2.0**-11, ttnn.bfloat8_b: 2.0**-6}


@pytest.fixture(scope="module", params=PLACES, ids=lambda p: f"{p[0][0]}x{p[0][1]}-{p[1]}")
def place(request, opened):
    """(an open mesh, a cluster axis, the number of chips in a line)."""
    shape, axis = request.param
    with opened(shape, "kernel") as mesh:
        yield mesh, axis, math.prod(shape) if axis is None else shape[axis]


def lines(mesh, axis):
    rows, columns = mesh.shape
    chips = torch.arange(rows * columns).reshape(rows, columns)
    if axis is None:
        return [chips.flatten().tolist()]
    return (chips.T if axis == 0 else chips).tolist()


def random_tensor(mesh, seed, height, width, dtype):
    values = strategies.normal(seed, mesh.get_num_devices(), 1, height, width)
    return on_each(mesh, values, dtype)


SEEDS = st.integers(0, 2**16)
TILES = st.integers(1, 3)
FORMATS = st.sampled_from(DTYPES)


@given(seed=SEEDS, high=TILES, wide=TILES, dtype=FORMATS, dim=st.sampled_from([2, 3]))
def test_what_is_gathered_is_the_whole(place, seed, high, wide, dtype, dim):
    mesh, axis, _ = place
    tensor = random_tensor(mesh, seed, 32 * high, 32 * wide, dtype)
    parts = of_each(tensor)
    whole = of_each(ttnn.all_gather(tensor, dim, cluster_axis=axis))
    for line in lines(mesh, axis):
        expected = torch.cat([parts[chip] for chip in line], dim)
        assert all(torch.equal(whole[chip], expected) for chip in line)


@given(seed=SEEDS, high=TILES, wide=TILES, dtype=FORMATS)
def test_what_is_partitioned_and_gathered_is_as_before(place, seed, high, wide, dtype):
    mesh, axis, count = place
    values = strategies.normal(seed, 1, 1, 32 * high, 32 * wide * count)
    whole = ttnn.from_torch(values, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=mesh)
    parts = ttnn.mesh_partition(whole, 3, cluster_axis=axis)
    again = ttnn.all_gather(parts, 3, cluster_axis=axis)
    for before, after in zip(of_each(whole), of_each(again), strict=True):
        assert torch.equal(before, after)


@given(seed=SEEDS, high=TILES, wide=TILES, dtype=FORMATS)
def test_scattered_and_gathered_sums_are_those_of_all_reduce(place, seed, high, wide, dtype):
    mesh, axis, count = place
    tensor = random_tensor(mesh, seed, 32 * high, 32 * wide * count, dtype)
    scattered = ttnn.reduce_scatter(tensor, 3, cluster_axis=axis)
    gathered = of_each(ttnn.all_gather(scattered, 3, cluster_axis=axis))
    reduced = of_each(ttnn.all_reduce(tensor, cluster_axis=axis))
    for a, b in zip(gathered, reduced, strict=True):
        assert torch.equal(a, b)


@given(seed=SEEDS, high=st.integers(1, 70), wide=st.integers(1, 200), dtype=FORMATS)
def test_sums_are_near_those_of_float64_and_equal_on_all_chips(place, seed, high, wide, dtype):
    """Of any shape: those that break tiles are gathered and added on each chip."""
    mesh, axis, count = place
    tensor = random_tensor(mesh, seed, high, wide, dtype)
    parts = [part.double() for part in of_each(tensor)]
    totals = of_each(ttnn.all_reduce(tensor, cluster_axis=axis))
    for line in lines(mesh, axis):
        expected = sum(parts[chip] for chip in line)
        assert all(torch.equal(totals[chip], totals[line[0]]) for chip in line)
        floor = ROUNDING[dtype] * math.sqrt(count)
        assert error(totals[line[0]], expected) <= 2 * floor


@given(seed=SEEDS, high=st.integers(1, 40), wide=st.integers(1, 50), rows=st.booleans())
def test_parts_that_break_tiles_are_scattered_whole(place, seed, high, wide, rows):
    """In tiles or row-major: every part is padded by itself."""
    mesh, axis, count = place
    layout = ttnn.ROW_MAJOR_LAYOUT if rows else ttnn.TILE_LAYOUT
    values = strategies.normal(seed, mesh.get_num_devices(), 1, high, wide * count).bfloat16()
    sums = of_each(ttnn.reduce_scatter(on_each(mesh, values, layout=layout), 3, cluster_axis=axis))
    for line in lines(mesh, axis):
        whole = values[line].double().sum(0, keepdim=True).tensor_split(count, 3)
        for chip, expected in zip(line, whole, strict=True):
            floor = ROUNDING[ttnn.bfloat16] * math.sqrt(count)
            # few elements may all be unlucky
            assert error(sums[chip], expected) <= 2 * floor * (1 + 4 / math.sqrt(high * wide))


def test_the_padding_of_tiles_goes_with_them(place):
    mesh, axis, _ = place
    values = torch.ones(mesh.get_num_devices(), 1, 20, 64)
    mapper = ttnn.ShardTensorToMesh(mesh, dim=0)
    tensor = ttnn.from_torch(
        values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=mesh, mesh_mapper=mapper
    )
    tensor = ttnn.fill_implicit_tile_padding(tensor, 3.0)
    gathered = ttnn.all_gather(tensor, 3, cluster_axis=axis)
    contents = ttnn_emulator.contents(gathered, mesh.get_num_devices() - 1)
    assert (contents[..., :20, :] == 1).all()
    assert (contents[..., 20:, :] == 3).all()


def test_a_broadcast_is_what_the_sender_holds(place):
    mesh, axis, _ = place
    tensor = random_tensor(mesh, 0, 32, 64, ttnn.bfloat16)
    sender = ttnn.MeshCoordinate(0, mesh.shape[1] - 1)
    sent = of_each(ttnn.broadcast(tensor, sender, cluster_axis=axis))
    parts = of_each(tensor)
    for line in lines(mesh, axis):
        for chip in line:
            if mesh.shape[1] - 1 in line:
                assert torch.equal(sent[chip], parts[mesh.shape[1] - 1])
            else:
                assert sent[chip].isnan().all()


def test_a_tensor_is_sent_from_one_chip_to_another(place):
    mesh, _, _ = place
    rows, columns = mesh.shape
    tensor = random_tensor(mesh, 0, 32, 64, ttnn.bfloat16)
    ends = [ttnn.MeshCoordinate(0, 0), ttnn.MeshCoordinate(rows - 1, 0)]
    if rows == 1:
        ends[1] = ttnn.MeshCoordinate(0, columns - 1)
    receiver = (rows - 1) * columns if rows > 1 else columns - 1
    received = of_each(ttnn.point_to_point(tensor, *ends))
    for chip, values in enumerate(received):
        if chip == receiver:
            assert torch.equal(values, of_each(tensor)[0])
        else:
            assert values.isnan().all(), "what nothing wrote is no number"


def test_a_send_into_a_buffer_leaves_the_others_as_they_were(place):
    mesh, _, _ = place
    rows, columns = mesh.shape
    tensor = random_tensor(mesh, 0, 32, 64, ttnn.bfloat16)
    buffer = random_tensor(mesh, 1, 32, 64, ttnn.bfloat16)
    before = of_each(buffer)
    receiver = ttnn.MeshCoordinate(1, 0) if rows > 1 else ttnn.MeshCoordinate(0, 1)
    at = columns if rows > 1 else 1
    sent = ttnn.point_to_point(tensor, ttnn.MeshCoordinate(0, 0), receiver, output_tensor=buffer)
    assert sent.buffer_address() == buffer.buffer_address()
    before[at] = of_each(tensor)[0]
    assert all(torch.equal(a, b) for a, b in zip(before, of_each(buffer), strict=True))


# --- async forms ---------------------------------------------------------------------------------


@pytest.fixture
def semaphores(place):
    mesh, *_ = place
    grid = mesh.compute_with_storage_grid_size()
    last = ttnn.CoreCoord(grid.x - 1, grid.y - 1)
    cores = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), last)})

    def semaphores(count):
        return [ttnn.create_global_semaphore(mesh, cores, 0) for _ in range(count)]

    return semaphores


def test_async_forms_of_a_gather_give_what_it_gives(place, semaphores):
    mesh, axis, count = place
    tensor = random_tensor(mesh, 0, 32, 64, ttnn.bfloat16)
    buffer = ttnn.from_torch(
        torch.zeros(1, 1, 32, 64 * count),
        dtype=ttnn.bfloat16,
        layout=ttnn.TILE_LAYOUT,
        device=mesh,
    )
    expected = of_each(ttnn.all_gather(tensor, 3, cluster_axis=axis))
    gather, linear = ttnn.experimental.all_gather_async, {"topology": ttnn.Topology.Linear}
    named = {"multi_device_global_semaphore": semaphores(2), "cluster_axis": axis, "num_links": 1}
    results = [
        gather(tensor, persistent_output_buffer=None, dim=3, **named, **linear),
        gather(tensor, buffer, 3, semaphores(2), cluster_axis=axis, num_links=1, **linear),
    ]
    if axis is None:
        results.append(gather(tensor, 3, semaphores(2), num_links=1, **linear))
    else:
        topology = ttnn.Topology.Linear
        results.append(gather(tensor, 3, axis, mesh, topology, semaphores(2), num_links=1))
    assert results[1].buffer_address() == buffer.buffer_address()
    for result in results:
        assert all(torch.equal(a, b) for a, b in zip(of_each(result), expected, strict=True))


def test_async_forms_of_sums_give_what_these_give(place, semaphores):
    mesh, axis, count = place
    tensor = random_tensor(mesh, 0, 32, 32 * count, ttnn.bfloat16)
    options = {"cluster_axis": axis, "topology": ttnn.Topology.Linear, "num_links": 1}
    scattered = ttnn.experimental.reduce_scatter_minimal_async(
        tensor, None, 3, semaphores(3), barrier_semaphore=semaphores(1)[0], **options
    )
    expected = of_each(ttnn.reduce_scatter(tensor, 3, cluster_axis=axis))
    assert all(torch.equal(a, b) for a, b in zip(of_each(scattered), expected, strict=True))
    reduced = ttnn.experimental.all_reduce_async(
        tensor, mesh_device=mesh, math_op=ttnn.ReduceType.Sum, **options
    )
    expected = of_each(ttnn.all_reduce(tensor, cluster_axis=axis))
    assert all(torch.equal(a, b) for a, b in zip(of_each(reduced), expected, strict=True))


# --- refusals ------------------------------------------------------------------------------------


def test_an_axis_that_there_is_not_is_ttnns_error(place):
    mesh, *_ = place
    tensor = random_tensor(mesh, 0, 32, 64, ttnn.bfloat16)
    for call in (
        lambda: ttnn.all_gather(tensor, 3, cluster_axis=5),
        lambda: ttnn.reduce_scatter(tensor, 3, cluster_axis=2),
        lambda: ttnn.all_reduce(tensor, cluster_axis=2),
    ):
        with pytest.raises(RuntimeError, match=r"Invalid cluster axis 2|out of range"):
            call()

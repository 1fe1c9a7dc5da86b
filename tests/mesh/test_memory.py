"""What the chips of a mesh hold: parts, replicas, and replicas that become different."""

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.support.tensors import bf16_normal
from ttnn_emulator import memory

TILED = {"dtype": ttnn.bfloat16, "layout": ttnn.TILE_LAYOUT}


def sharded(values, mesh, dim=3, **options):
    mapper = ttnn.ShardTensorToMesh(mesh, dim=dim)
    return ttnn.from_torch(values, device=mesh, mesh_mapper=mapper, **TILED | options)


def replicated(values, mesh, **options):
    return ttnn.from_torch(values, device=mesh, **TILED | options)


def joined(tensor, mesh, dim=3):
    return ttnn.to_torch(tensor, mesh_composer=ttnn.ConcatMeshToTensor(mesh, dim=dim))


def distinct(tensor):
    """How many different contents the emulation keeps of a tensor."""
    count = len(ttnn.get_device_tensors(tensor))
    return len({ttnn_emulator.contents(tensor, chip).data_ptr() for chip in range(count)})


@pytest.fixture
def values():
    return bf16_normal(1, 1, 64, 512).bfloat16()


@pytest.mark.parametrize("dtype", [ttnn.bfloat16, ttnn.float32, ttnn.bfloat8_b])
@pytest.mark.parametrize("layout", [ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT])
def test_parts_come_back_joined(mesh, values, dtype, layout):
    if dtype == ttnn.bfloat8_b and layout == ttnn.ROW_MAJOR_LAYOUT:
        pytest.skip("TTNN has block formats in tiles alone")
    on_host = ttnn.from_torch(values, dtype=dtype, layout=layout)
    tensor = sharded(values, mesh, dtype=dtype, layout=layout)
    count = mesh.get_num_devices()
    assert tuple(tensor.shape) == (1, 1, 64, 512 // count)
    assert torch.equal(joined(tensor, mesh), ttnn.to_torch(on_host))
    assert distinct(tensor) == count


def test_each_part_can_be_read_by_itself(mesh, values):
    parts = ttnn.get_device_tensors(sharded(values, mesh))
    expected = values.tensor_split(mesh.get_num_devices(), 3)
    for part, chip in zip(parts, expected, strict=True):
        assert torch.equal(ttnn.to_torch(part), chip)


def test_what_is_replicated_is_kept_and_computed_once(mesh, values):
    tensor = replicated(values, mesh)
    before = ttnn_emulator.contents_bytes()
    total = ttnn.add(tensor, tensor)
    assert distinct(tensor) == distinct(total) == 1
    assert ttnn_emulator.contents_bytes() - before == values.nbytes
    for part in ttnn.get_device_tensors(total):
        assert torch.equal(ttnn.to_torch(part), values + values)


def test_parts_and_replicas_combine_chip_by_chip(mesh, values):
    count = mesh.get_num_devices()
    part = values[..., : 512 // count]
    result = ttnn.add(sharded(values, mesh), replicated(part, mesh))
    assert torch.equal(joined(result, mesh), values + part.repeat(1, 1, 1, count))


def test_a_part_read_whole_is_refused_by_ttnn(mesh, values):
    with pytest.raises(RuntimeError, match="Supply a mesh composer"):
        ttnn.to_torch(sharded(values, mesh))


def test_an_operation_on_a_part_is_refused(mesh, values):
    part = ttnn.get_device_tensors(sharded(values, mesh))[1]
    with pytest.raises(ttnn_emulator.NotEmulated, match="is on 1 of the mesh's chips"):
        ttnn.add(part, part)


def test_what_comes_to_the_host_goes_back_as_it_was(mesh, values):
    host = sharded(values, mesh).cpu()
    assert [p.dim for p in host.tensor_topology().placements()] == [3]
    assert torch.equal(joined(ttnn.to_device(host, mesh), mesh), values)


def test_a_file_keeps_the_parts(mesh, values, tmp_path):
    file = str(tmp_path / "tensor.tensorbin")
    ttnn.dump_tensor(file, sharded(values, mesh))
    assert torch.equal(joined(ttnn.load_tensor(file, device=mesh), mesh), values)


def test_a_cache_file_keeps_the_parts(mesh, values, tmp_path):
    mapper = ttnn.ShardTensorToMesh(mesh, dim=3)
    for _ in range(2):  # written, and read
        tensor = ttnn.as_tensor(
            values,
            device=mesh,
            mesh_mapper=mapper,
            cache_file_name=tmp_path / "weight",
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
            **TILED,
        )
        assert torch.equal(joined(tensor, mesh), values)


# --- writing in place ----------------------------------------------------------------------------


def test_replicas_differ_once_each_chip_writes_its_own(mesh):
    count = mesh.get_num_devices()
    cache = ttnn.zeros((1, 2, 96, 32), device=mesh, **TILED)
    assert distinct(cache) == 1
    rows = bf16_normal(1, 2 * count, 32, 32)
    ttnn.fill_cache(cache, sharded(rows, mesh, dim=1), 0)
    result = joined(cache, mesh, dim=1)
    assert torch.equal(result[:, :, :32], rows)
    assert not result[:, :, 32:].any()
    assert distinct(cache) == count


def test_replicas_stay_one_while_all_chips_write_the_same(mesh):
    cache = ttnn.zeros((1, 2, 96, 32), device=mesh, **TILED)
    ttnn.fill_cache(cache, replicated(bf16_normal(1, 2, 32, 32), mesh), 0)
    counter = replicated(torch.zeros(1, 32), mesh, dtype=ttnn.int32, layout=ttnn.ROW_MAJOR_LAYOUT)
    ttnn.plus_one(counter)
    assert distinct(cache) == distinct(counter) == 1


def test_what_is_copied_takes_no_memory_where_it_is_zero():
    shape = (1, 1, 4096, 4096)
    contents = memory.Contents(memory.untouched_zeros(shape, torch.bfloat16), shape)
    contents.padded[0, 0, 5, 7] = 3
    copy = contents.copied()
    assert torch.equal(copy.padded, contents.padded)
    assert copy.pointer != contents.pointer


def test_mesh_coords_say_which_chips_write(mesh):
    cache = ttnn.zeros((1, 1, 32, 32), device=mesh, **TILED)
    spec = ttnn.ShardSpec(
        ttnn.num_cores_to_corerangeset(1, ttnn.CoreCoord(8, 8), True),
        [32, 32],
        ttnn.ShardOrientation.ROW_MAJOR,
    )
    place = ttnn.MemoryConfig(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.BufferType.L1, spec)
    rows = bf16_normal(1, 1, 1, 32)
    tensor = replicated(rows, mesh, memory_config=place)
    first = ttnn.MeshCoordinate(0, 0)
    ttnn.experimental.paged_update_cache(cache, tensor, update_idxs=[3], mesh_coords={first})
    parts = [ttnn.to_torch(part) for part in ttnn.get_device_tensors(cache)]
    assert torch.equal(parts[0][0, 0, 3], rows[0, 0, 0])
    assert not any(part.any() for part in parts[1:])


# --- traces --------------------------------------------------------------------------------------


def test_a_trace_computes_on_every_chip(mesh, values):
    tensor = sharded(values, mesh)
    ttnn.add(tensor, tensor)
    trace = ttnn.begin_trace_capture(mesh)
    total = ttnn.add(tensor, tensor)
    ttnn.end_trace_capture(mesh, trace)
    ttnn.execute_trace(mesh, trace)
    assert torch.equal(joined(total, mesh), values + values)


# --- two axes, submeshes, systems ----------------------------------------------------------------


def test_one_axis_shards_and_the_other_replicates(opened, values):
    with opened((2, 4)) as mesh:
        mapper = ttnn.ShardTensor2dMesh(mesh, mesh_shape=(2, 4), dims=(None, 3))
        tensor = ttnn.from_torch(values, device=mesh, mesh_mapper=mapper, **TILED)
        composer = ttnn.ConcatMesh2dToTensor(mesh, mesh_shape=(2, 4), dims=(0, 3))
        assert torch.equal(ttnn.to_torch(tensor, mesh_composer=composer), values.repeat(2, 1, 1, 1))
        assert distinct(tensor) == 4


def test_a_mapper_of_placements(opened, values):
    with opened((2, 4)) as mesh:
        config = ttnn.MeshMapperConfig([ttnn.PlacementShard(2), ttnn.PlacementReplicate()])
        mapper = ttnn.create_mesh_mapper(mesh, config)
        tensor = ttnn.from_torch(values, device=mesh, mesh_mapper=mapper, **TILED)
        composer = ttnn.create_mesh_composer(mesh, ttnn.MeshComposerConfig([2, 0]))
        assert torch.equal(ttnn.to_torch(tensor, mesh_composer=composer), values.repeat(4, 1, 1, 1))
        assert distinct(tensor) == 2


def test_a_submesh_has_memory_of_its_own(opened, values):
    with opened((2, 4)) as mesh:
        whole = replicated(values, mesh)
        part = mesh.create_submesh(ttnn.MeshShape(1, 2), ttnn.MeshCoordinate(1, 0))
        tensor = sharded(values + 1, part)
        assert torch.equal(joined(tensor, part), values + 1)
        assert torch.equal(ttnn.to_torch(ttnn.get_device_tensors(whole)[5]), values)


def test_a_mesh_of_more_chips_than_there_are_is_refused_by_ttnn(opened):
    with pytest.raises(RuntimeError, match="requires 9 devices, but only 8"), opened((3, 3)):
        pass


def test_a_process_emulates_one_system(opened):
    with opened((1, 2)), pytest.raises(ValueError, match="already emulates a t3000"):
        ttnn_emulator.install(system="n300")
    with (
        pytest.raises(ttnn_emulator.OtherSystem, match="has emulated a t3000"),
        ttnn_emulator.open_device(),
    ):
        pass


def test_an_unknown_system():
    with pytest.raises(ValueError, match="there are n150, n300, t3000"):
        ttnn_emulator.install(system="galaxy")

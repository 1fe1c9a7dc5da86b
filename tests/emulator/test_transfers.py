"""Ways between host and device: each keeps values, padding and the tensor's specification."""

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.support.emulated import contents
from tests.support.tensors import on_tiles
from ttnn_emulator.memory import UnknownContents

TILE, ROWS = ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT
SHAPE = (1, 2, 5, 40)
FORMATS = {
    "bf16 tiles": (ttnn.bfloat16, TILE),
    "fp32 tiles": (ttnn.float32, TILE),
    "bfp8 tiles": (ttnn.bfloat8_b, TILE),
    "bf16 rows": (ttnn.bfloat16, ROWS),
    "u32 rows": (ttnn.uint32, ROWS),
}


def grid(columns, rows):
    return ttnn.CoreRangeSet(
        {ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(columns - 1, rows - 1))}
    )


def only(x, y):
    return ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(x, y), ttnn.CoreCoord(x, y))})


def sharded(scheme, columns, rows, shard):
    spec = ttnn.ShardSpec(grid(columns, rows), shard, ttnn.ShardOrientation.ROW_MAJOR)
    return ttnn.MemoryConfig(scheme, ttnn.BufferType.L1, spec)


HEIGHT = sharded(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, 1, 2, (32, 64))
WIDTH = sharded(ttnn.TensorMemoryLayout.WIDTH_SHARDED, 2, 1, (64, 32))
BLOCK = sharded(ttnn.TensorMemoryLayout.BLOCK_SHARDED, 2, 2, (32, 32))


# --- the constructor -----------------------------------------------------------------------------

NUMBERS = [float(i) for i in range(200)]
LIST = (NUMBERS, [1, 1, 5, 40], ttnn.float32)
ROW = torch.arange(200.0).reshape(1, 1, 5, 40)
MADE = {
    "list, device": lambda d: ttnn.Tensor(*LIST, TILE, d),
    "list, device, place": lambda d: ttnn.Tensor(*LIST, ROWS, d, ttnn.L1_MEMORY_CONFIG),
    "list, device, place, tile": lambda d: ttnn.Tensor(
        *LIST, TILE, d, ttnn.L1_MEMORY_CONFIG, ttnn.Tile((32, 32))
    ),
    "list by names": lambda d: ttnn.Tensor(
        data=NUMBERS,
        shape=[1, 1, 5, 40],
        data_type=ttnn.float32,
        layout=ROWS,
        device=d,
        memory_config=ttnn.DRAM_MEMORY_CONFIG,
    ),
    "integers": lambda d: ttnn.Tensor(list(range(200)), [1, 1, 5, 40], ttnn.int32, ROWS, d),
    "torch": lambda d: ttnn.Tensor(ROW, ttnn.float32, d, TILE, ttnn.L1_MEMORY_CONFIG),
    "numpy": lambda d: ttnn.Tensor(ROW.numpy(), ttnn.float32, d, TILE),
    "torch by names": lambda d: ttnn.Tensor(
        ROW, data_type=ttnn.float32, device=d, layout=TILE, tile=ttnn.Tile((16, 32))
    ),
    "of a device tensor": lambda d: ttnn.Tensor(ttnn.Tensor(ROW, ttnn.float32, d, TILE)),
    "from_buffer": lambda d: ttnn.from_buffer(
        NUMBERS, ttnn.Shape([1, 1, 5, 40]), ttnn.float32, d, TILE
    ),
    "from_buffer by names": lambda d: ttnn.from_buffer(
        buffer=list(range(200)),
        shape=ttnn.Shape([1, 1, 5, 40]),
        dtype=ttnn.int32,
        device=d,
        memory_config=ttnn.L1_MEMORY_CONFIG,
    ),
    "distribute_tensor": lambda d: ttnn.distribute_tensor(
        ttnn.from_torch(ROW), ttnn.replicate_tensor_to_mesh_mapper(d), d
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_a_tensor_is_made_on_the_device(name, device):
    assert torch.equal(ttnn.to_torch(MADE[name](device)).float(), ROW)


def test_the_constructor_fills_the_padding_as_it_is_told(device):
    tensor = ttnn.Tensor(ROW, data_type=ttnn.float32, device=device, layout=TILE, pad_value=3.0)
    assert (contents(tensor)[0, 0, 5:] == 3).all()


def test_what_the_constructor_makes_is_a_tensor_of_ttnn(device):
    tensor = ttnn.Tensor(ROW, ttnn.float32)
    assert isinstance(tensor, ttnn.Tensor)
    assert issubclass(type(tensor), ttnn.Tensor)
    assert type(tensor).__module__ == "ttnn._ttnn.tensor"
    assert ttnn.Tensor.reshape is type(tensor).reshape


# --- to the host and back ------------------------------------------------------------------------


def values(dtype):
    integers = dtype == ttnn.uint32
    return torch.randint(0, 2**31, SHAPE, dtype=torch.int32) if integers else torch.randn(SHAPE)


def made(device, name, place=ttnn.L1_MEMORY_CONFIG):
    dtype, layout = FORMATS[name]
    return ttnn.from_torch(
        values(dtype), dtype=dtype, layout=layout, device=device, memory_config=place
    )


def into_a_host_tensor(tensor):
    """By the function that writes into a tensor on the host that is there already."""
    host = ttnn.allocate_tensor_on_host(
        tensor.shape, tensor.dtype, tensor.layout, tensor.device(), tensor.memory_config()
    )
    ttnn.copy_device_to_host_tensor(tensor, host)
    return host


TO_HOST = {
    "cpu": lambda t: t.cpu(),
    "from_device": ttnn.from_device,
    "copy_device_to_host_tensor": into_a_host_tensor,
}


@pytest.mark.parametrize("way", TO_HOST)
@pytest.mark.parametrize("name", FORMATS)
def test_a_host_copy_has_the_specification_and_comes_back_the_same(name, way, device):
    tensor = made(device, name)
    host = TO_HOST[way](tensor)
    assert host.spec == tensor.spec
    back = host.to(device)
    assert back.memory_config() == tensor.memory_config()
    assert torch.equal(contents(back), contents(tensor))


@pytest.mark.parametrize("way", TO_HOST)
@pytest.mark.parametrize("name", [name for name in FORMATS if "tiles" in name])
def test_a_host_copy_keeps_what_the_padding_holds(name, way, device):
    tensor = ttnn.fill_implicit_tile_padding(made(device, name), 7.0)
    host = TO_HOST[way](tensor)
    assert torch.equal(host.to_torch_with_padded_shape().float(), contents(tensor).float())
    written = made(device, name)
    ttnn.copy_host_to_device_tensor(host, written)
    assert torch.equal(contents(written), contents(tensor))


@pytest.mark.parametrize("place", [HEIGHT, WIDTH, BLOCK], ids=["height", "width", "block"])
@pytest.mark.parametrize("layout", [TILE, ROWS], ids=["tiles", "rows"])
def test_a_sharded_tensor_comes_back_sharded(layout, place, device):
    x = torch.randn(1, 1, 64, 64)
    tensor = ttnn.from_torch(x, layout=layout, device=device, memory_config=place)
    back = tensor.cpu().to(device)
    assert back.memory_config() == place
    assert torch.equal(ttnn.to_torch(back), x)


# --- parts ---------------------------------------------------------------------------------------

PARTS = {
    "height": (HEIGHT, only(0, 1), (slice(32, 64), slice(0, 64))),
    "width": (WIDTH, only(1, 0), (slice(0, 64), slice(32, 64))),
    "block": (BLOCK, only(1, 0), (slice(0, 32), slice(32, 64))),
    "none": (HEIGHT, ttnn.CoreRangeSet([]), (slice(0, 0), slice(0, 0))),
}


@pytest.mark.parametrize("name", PARTS)
def test_the_shards_of_some_cores_are_written(name, device):
    place, cores, region = PARTS[name]
    before, written = torch.randn(64, 64), torch.randn(64, 64)
    tensor = ttnn.from_torch(before, layout=ROWS, device=device, memory_config=place)
    ttnn.copy_host_to_device_tensor_partial(ttnn.from_torch(written), tensor, cores)
    before[region] = written[region]
    assert torch.equal(ttnn.to_torch(tensor), before)


def test_a_host_tensor_stays_what_it_was_when_the_device_tensor_changes(device):
    tensor = on_tiles(device, torch.zeros(1, 1, 5, 40))
    host = tensor.cpu()
    contents(tensor).fill_(1.0)
    assert not ttnn.to_torch(host).any()


def test_an_address_used_again_is_not_taken_for_the_old_tensor(device):
    first = ttnn.Tensor(ROW, ttnn.float32, device, TILE)
    ttnn.deallocate(first)
    again = ttnn.Tensor(ROW + 1, ttnn.float32, device, TILE)
    assert torch.equal(ttnn.to_torch(again), ROW + 1)
    with pytest.raises((RuntimeError, UnknownContents)):
        ttnn_emulator.contents(first)

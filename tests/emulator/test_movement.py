"""Operations that move values: equal to torch's bit for bit, padding never among them."""

import pytest
import torch
import ttnn
from torch.nn import functional

from tests.support.emulated import contents, fill_padding
from tests.support.tensors import on_tiles

SHAPE = (2, 3, 37, 80)
TILE, ROWS = ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT

# (layout, dtype); values are made so that every bit of the dtype counts
KINDS = [(TILE, ttnn.bfloat16), (TILE, ttnn.int32), (ROWS, ttnn.float32), (ROWS, ttnn.uint32)]

# name -> (TTNN's call, torch's)
MOVES = {
    "reshape batch": (lambda t: ttnn.reshape(t, (6, 37, 80)), lambda x: x.reshape(6, 37, 80)),
    "reshape rows": (lambda t: ttnn.reshape(t, (2, 111, 80)), lambda x: x.reshape(2, 111, 80)),
    "reshape width": (lambda t: ttnn.reshape(t, (6, 80, -1)), lambda x: x.reshape(6, 80, 37)),
    "Tensor.reshape": (lambda t: t.reshape(6, 37, 80), lambda x: x.reshape(6, 37, 80)),
    "view": (lambda t: ttnn.view(t, (6, 37, 80)), lambda x: x.reshape(6, 37, 80)),
    "unsqueeze": (lambda t: ttnn.unsqueeze(t, 1), lambda x: x.unsqueeze(1)),
    "squeeze": (lambda t: ttnn.squeeze(ttnn.unsqueeze(t, 0), 0), torch.clone),
    "transpose": (lambda t: ttnn.transpose(t, -2, -1), lambda x: x.mT),
    "transpose heads": (lambda t: ttnn.transpose(t, 1, 2), lambda x: x.transpose(1, 2)),
    "permute": (lambda t: ttnn.permute(t, (3, 0, 2, 1)), lambda x: x.permute(3, 0, 2, 1)),
    "concat rows": (lambda t: ttnn.concat([t, t], 2), lambda x: torch.cat([x, x], 2)),
    "concat columns": (lambda t: ttnn.concat([t, t], dim=-1), lambda x: torch.cat([x, x], -1)),
    "stack": (lambda t: ttnn.stack([t, t], 0), lambda x: torch.stack([x, x])),
    "slice": (
        lambda t: ttnn.slice(t, [0, 1, 5, 16], [2, 3, 30, 77]),
        lambda x: x[:, 1:, 5:30, 16:77],
    ),
    "slice by names": (
        lambda t: ttnn.slice(t, slice_start=[1, 0, 0, 0], slice_end=[2, 3, 5, 80]),
        lambda x: x[1:, :, :5],
    ),
    "slice from the end": (
        lambda t: ttnn.slice(t, [0, 0, -5, 0], [2, -1, 37, 80]),
        lambda x: x[:, :-1, -5:],
    ),
    "slice by steps": (
        lambda t: ttnn.slice(t, [0, 0, 0, 0], [2, 3, 37, 80], [1, 2, 3, 4]),
        lambda x: x[:, ::2, ::3, ::4],
    ),
    "indexing": (lambda t: t[1:, ..., 16:32], lambda x: x[1:, ..., 16:32]),
    "split": (lambda t: ttnn.split(t, 32, 3)[2], lambda x: x.split(32, 3)[2]),
    "split by sizes": (lambda t: ttnn.split(t, [32, 48], 3)[1], lambda x: x.split([32, 48], 3)[1]),
    "chunk": (lambda t: ttnn.chunk(t, 2, 3)[1], lambda x: x.chunk(2, 3)[1]),
    "pad": (
        lambda t: ttnn.pad(t, [(0, 1), (0, 0), (0, 40), (0, 16)], 3),
        lambda x: functional.pad(x, (0, 16, 0, 40, 0, 0, 0, 1), value=3),
    ),
    "pad within the tiles": (
        lambda t: ttnn.pad(t, [(0, 27), (0, 16)], 3),
        lambda x: functional.pad(x, (0, 16, 0, 27), value=3),
    ),
    "pad to a shape": (
        lambda t: ttnn.pad(t, [2, 3, 96, 96], [0, 0, 0, 0], 3),
        lambda x: functional.pad(x, (0, 16, 0, 59), value=3),
    ),
    "repeat": (lambda t: ttnn.repeat(t, (1, 2, 1, 3)), lambda x: x.repeat(1, 2, 1, 3)),
    "repeat_interleave": (
        lambda t: ttnn.repeat_interleave(t, 2, 1),
        lambda x: x.repeat_interleave(2, 1),
    ),
    "expand": (
        lambda t: ttnn.expand(ttnn.slice(t, [0, 0, 0, 0], [1, 3, 37, 80]), (4, -1, -1, -1)),
        lambda x: x[:1].expand(4, -1, -1, -1),
    ),
    "to tiles": (lambda t: ttnn.to_layout(t, TILE), torch.clone),
    "to rows": (lambda t: ttnn.to_layout(t, ROWS), torch.clone),
    "Tensor.to": (lambda t: t.to(ROWS).to(TILE), torch.clone),
    "clone": (ttnn.clone, torch.clone),
    "to L1": (lambda t: ttnn.to_memory_config(t, ttnn.L1_MEMORY_CONFIG), torch.clone),
    "to L1 by name": (
        lambda t: ttnn.to_memory_config(
            tensor=t, memory_config=ttnn.L1_MEMORY_CONFIG, dtype=None, output_tensor=None
        ),
        torch.clone,
    ),
    "to_layout by names": (
        lambda t: ttnn.to_layout(
            tensor=t,
            layout=TILE,
            dtype=None,
            memory_config=None,
            sub_core_grids=None,
            pad_value=0.0,
        ),
        torch.clone,
    ),
    "reallocate by position": (
        lambda t: ttnn.reallocate(ttnn.clone(t), ttnn.L1_MEMORY_CONFIG),
        torch.clone,
    ),
    "assign by names": (
        lambda t: ttnn.assign(input_a=t, input_b=ttnn.clone(t)),
        torch.clone,
    ),
    "squeeze by name": (
        lambda t: ttnn.squeeze(input_tensor=ttnn.unsqueeze(input_tensor=t, dim=0), dim=0),
        torch.clone,
    ),
    "assign": (lambda t: ttnn.assign(t, memory_config=ttnn.L1_MEMORY_CONFIG), torch.clone),
    "move": (lambda t: ttnn.move(ttnn.clone(t)), torch.clone),
    "reallocate": (lambda t: ttnn.reallocate(ttnn.clone(t)), torch.clone),
}


def values(dtype):
    if dtype in (ttnn.int32, ttnn.uint32):
        return torch.randint(0, 2**31 - 1, SHAPE, dtype=torch.int32)
    return torch.randn(SHAPE, dtype=torch.bfloat16 if dtype == ttnn.bfloat16 else torch.float32)


def read(tensor, dtype):
    """What the host reads; unsigned as signed, since torch compares few unsigned dtypes."""
    host = ttnn.to_torch(tensor)
    return host.view(torch.int32) if dtype == ttnn.uint32 else host


@pytest.mark.parametrize(("layout", "dtype"), KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", MOVES)
def test_move_is_exact(name, layout, dtype, device):
    ours, theirs = MOVES[name]
    x = values(dtype)
    moved = ours(ttnn.from_torch(x, dtype=dtype, layout=layout, device=device))
    assert tuple(moved.shape) == tuple(theirs(x).shape)
    assert torch.equal(read(moved, dtype), theirs(x))


@pytest.mark.parametrize("name", ["reshape width", "transpose", "concat rows", "slice", "to rows"])
def test_padding_never_reaches_the_values(name, device):
    ours, theirs = MOVES[name]
    x = values(ttnn.bfloat16)
    tensor = on_tiles(device, x)
    fill_padding(float("nan"), tensor)
    assert torch.equal(ttnn.to_torch(ours(tensor)), theirs(x))


COPIES = {
    "clone": ttnn.clone,
    "to_memory_config": lambda t: ttnn.to_memory_config(t, ttnn.L1_MEMORY_CONFIG),
    "typecast": lambda t: ttnn.typecast(t, ttnn.bfloat16),
    "identity": ttnn.identity,
    "untilize": ttnn.untilize,
    "permute": lambda t: ttnn.permute(t, (1, 0, 2, 3)),
    "slice": lambda t: ttnn.slice(t, [0, 0, 0, 0], [1, 2, 32, 64]),
    "split": lambda t: ttnn.split(t, 1, 1)[0],
    "concat": lambda t: ttnn.concat([t], 0),
    "repeat": lambda t: ttnn.repeat(t, (1, 1, 1, 1)),
    "reshape": lambda t: ttnn.reshape(t, (2, 64, 32)),
}


@pytest.mark.parametrize("name", COPIES)
def test_another_buffer_has_other_contents(name, device):
    tensor = on_tiles(device, torch.ones(1, 2, 32, 64))
    result = COPIES[name](tensor)
    shares_buffer = result.buffer_unique_id() == tensor.buffer_unique_id()
    contents(tensor).fill_(5)
    assert (ttnn.to_torch(result) == (5 if shares_buffer else 1)).all()


@pytest.mark.parametrize("layout", [TILE, ROWS], ids=["tiles", "rows"])
@pytest.mark.parametrize("dtype", [ttnn.bfloat16, ttnn.int32], ids=lambda dtype: dtype.name)
def test_groups_of_shards_are_joined_in_turn(dtype, layout, device):
    def shards(columns):
        return ttnn.create_sharded_memory_config(
            (1, 1, 64, columns), ttnn.CoreGrid(x=2, y=1), ttnn.ShardStrategy.HEIGHT
        )

    wide, narrow = (torch.randint(0, 100, (1, 1, 64, n)).float() for n in (128, 64))
    operands = [
        ttnn.from_torch(x, dtype=dtype, layout=layout, device=device, memory_config=shards(n))
        for x, n in ((wide, 128), (narrow, 64))
    ]
    joined = ttnn.concat(operands, dim=3, memory_config=shards(192), groups=2)
    halves = [wide[..., :64], narrow[..., :32], wide[..., 64:], narrow[..., 32:]]
    assert torch.equal(ttnn.to_torch(joined).float(), torch.cat(halves, -1))


def test_broadcasting_takes_its_names(device):
    x = torch.randn(1, 1, 37, 80).bfloat16()
    wide = ttnn.experimental.broadcast_to(
        input=on_tiles(device, x),
        output_shape=ttnn.Shape([2, 3, 37, 80]),
        memory_config=None,
        output=None,
    )
    assert torch.equal(ttnn.to_torch(wide), x.expand(2, 3, -1, -1))


def test_view_sees_what_is_written_in_place(device):
    tensor = on_tiles(device, torch.ones(1, 2, 32, 64))
    view = ttnn.reshape(tensor, (2, 1, 32, 64))
    assert view.buffer_unique_id() == tensor.buffer_unique_id()
    ttnn.add_(tensor, 1.0)
    assert (ttnn.to_torch(view) == 2).all()


def test_copy_rounds_to_the_targets_dtype(device):
    x = torch.randn(1, 1, 37, 80)
    target = on_tiles(device, torch.zeros_like(x))
    ttnn.copy(on_tiles(device, x, ttnn.float32), target)
    assert torch.equal(ttnn.to_torch(target), x.bfloat16())


def test_slice_writes_into_a_given_tensor(device):
    x = torch.randn(1, 1, 64, 64).bfloat16()
    output = on_tiles(device, torch.zeros(1, 1, 32, 64))
    ttnn.slice(on_tiles(device, x), [0, 0, 32, 0], [1, 1, 64, 64], output_tensor=output)
    assert torch.equal(ttnn.to_torch(output), x[:, :, 32:])


PADDED = {
    "to_layout": lambda t: ttnn.to_layout(t, TILE, pad_value=3.0),
    "tilize_with_val_padding": lambda t: ttnn.tilize_with_val_padding(t, (1, 1, 64, 96), 3.0),
    "fill_implicit_tile_padding": lambda t: ttnn.fill_implicit_tile_padding(
        ttnn.to_layout(t, TILE), 3.0
    ),
}


@pytest.mark.parametrize("name", PADDED)
def test_tile_padding_holds_the_value_asked_for(name, device):
    x = torch.randn(1, 1, 37, 80).bfloat16()
    rows = ttnn.from_torch(x, dtype=ttnn.bfloat16, layout=ROWS, device=device)
    values = PADDED[name](rows).to_torch_with_padded_shape()
    assert torch.equal(values, functional.pad(x, (0, 16, 0, 27), value=3))


def test_untilize_with_unpadding_keeps_up_to_the_end_it_is_given(device):
    x = torch.randn(1, 1, 37, 80).bfloat16()
    rows = ttnn.untilize_with_unpadding(on_tiles(device, x), (0, 0, 30, 63))
    assert rows.layout == ROWS
    assert torch.equal(ttnn.to_torch(rows), x[:, :, :31, :64])


HEIGHT = ((1, 8, 32, 96), ttnn.CoreGrid(x=8, y=1), ttnn.ShardStrategy.HEIGHT)
WIDTH = ((1, 8, 32, 96), ttnn.CoreGrid(x=3, y=1), ttnn.ShardStrategy.WIDTH)
SHARDED = {
    "to_memory_config": lambda t, a, b: ttnn.to_memory_config(t, a),
    "other shards": lambda t, a, b: ttnn.to_memory_config(ttnn.to_memory_config(t, a), b),
    "same shards": lambda t, a, b: ttnn.to_memory_config(ttnn.to_memory_config(t, a), a),
    "reshard": lambda t, a, b: ttnn.reshard(ttnn.interleaved_to_sharded(t, a), b),
    "and back": lambda t, a, b: ttnn.sharded_to_interleaved(ttnn.interleaved_to_sharded(t, a)),
    "untilized": lambda t, a, b: ttnn.to_layout(ttnn.to_memory_config(t, a), ROWS),
}


@pytest.mark.parametrize("name", SHARDED)
def test_shards_hold_the_same_values(name, device):
    x = torch.randn(1, 8, 32, 96).bfloat16()
    by_height, by_width = (
        ttnn.create_sharded_memory_config(*arguments) for arguments in (HEIGHT, WIDTH)
    )
    assert torch.equal(ttnn.to_torch(SHARDED[name](on_tiles(device, x), by_height, by_width)), x)


def test_sharding_may_change_the_dtype(device):
    x = torch.randn(1, 8, 32, 96).bfloat16()
    config = ttnn.create_sharded_memory_config(*HEIGHT)
    sharded = ttnn.to_memory_config(on_tiles(device, x), config, ttnn.bfloat8_b)
    packed = ttnn.from_torch(x, dtype=ttnn.bfloat8_b, layout=TILE)
    assert torch.equal(ttnn.to_torch(sharded), ttnn.to_torch(packed))


# --- parts of a buffer ---------------------------------------------------------------------------

NARROWED = {  # shape, shard of a core or None, dim, start, length, layout
    "pages": ((1, 32, 168, 16), None, 1, 5, 8, ttnn.ROW_MAJOR_LAYOUT),
    "cores": ((1, 8, 64, 128), (32, 128), 1, 4, 4, ttnn.TILE_LAYOUT),
    "columns": ((1, 8, 64, 128), (32, 128), 3, 32, 32, ttnn.TILE_LAYOUT),
    "rows": ((1, 8, 128, 128), (64, 128), -2, 96, 32, ttnn.ROW_MAJOR_LAYOUT),
}


def narrowed(device, name):
    """A tensor, its values, and what narrows it."""
    shape, shard, *cut, layout = NARROWED[name]
    where = ttnn.DRAM_MEMORY_CONFIG
    if shard:
        cores = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(3, 3))})
        spec = ttnn.ShardSpec(cores, shard, ttnn.ShardOrientation.ROW_MAJOR)
        where = ttnn.MemoryConfig(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.BufferType.L1, spec)
    x = torch.randn(shape).bfloat16()
    tensor = ttnn.from_torch(x, layout=layout, device=device, memory_config=where)
    return tensor, x, cut


@pytest.mark.parametrize("name", NARROWED)
def test_a_narrowed_tensor_is_a_part_of_the_buffer(name, device):
    tensor, x, (dim, start, length) = narrowed(device, name)
    part = ttnn.narrow(tensor, dim, start, length)
    assert part.buffer_unique_id() == tensor.buffer_unique_id()
    assert ttnn.to_torch(part).equal(x.narrow(dim, start, length))
    assert ttnn.to_torch(tensor).equal(x)


@pytest.mark.parametrize("name", ["cores", "columns"])
def test_what_is_written_to_the_whole_is_in_the_part(name, device):
    tensor, x, (dim, start, length) = narrowed(device, name)
    part = ttnn.narrow(tensor, dim, start, length)
    ttnn.multiply_(tensor, 2)
    assert ttnn.to_torch(part).equal(2 * x.narrow(dim, start, length))


def test_what_is_written_to_a_part_is_in_the_whole(device):
    tensor, x, (dim, start, length) = narrowed(device, "cores")
    ttnn.multiply_(ttnn.narrow(tensor, dim, start, length), 2)
    x.narrow(dim, start, length).mul_(2)
    assert ttnn.to_torch(tensor).equal(x)


def test_a_part_goes_with_its_buffer(device):
    tensor, *_, (dim, start, length) = narrowed(device, "cores")
    part = ttnn.narrow(tensor, dim, start, length)
    ttnn.deallocate(tensor)
    with pytest.raises(RuntimeError, match="Nothing emulated"):
        ttnn.to_torch(part)

"""Operations that move or make values: equal to torch's, bit for bit."""

import pytest
import torch
import ttnn

LAYOUTS = [ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT]


def on(device, values, layout=ttnn.TILE_LAYOUT):
    return ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=layout, device=device)


MOVES = {
    "transpose": (lambda t: ttnn.transpose(t, -2, -1), lambda x: x.transpose(-2, -1)),
    "transpose_heads": (lambda t: ttnn.transpose(t, 1, 2), lambda x: x.transpose(1, 2)),
    "permute": (lambda t: ttnn.permute(t, (0, 2, 1, 3)), lambda x: x.permute(0, 2, 1, 3)),
    "slice": (
        lambda t: ttnn.slice(t, [0, 1, 3, 5], [2, 3, 30, 40]),
        lambda x: x[:, 1:3, 3:30, 5:40],
    ),
    "concat": (lambda t: ttnn.concat([t, t], dim=2), lambda x: torch.cat([x, x], 2)),
    "concat_last": (lambda t: ttnn.concat([t, t], dim=-1), lambda x: torch.cat([x, x], -1)),
    "reshape": (lambda t: ttnn.reshape(t, (2, 3 * 37, 1, 48)), lambda x: x.reshape(2, 111, 1, 48)),
    "reshape_heads": (lambda t: ttnn.reshape(t, (6, 37, 48)), lambda x: x.reshape(6, 37, 48)),
    "repeat": (lambda t: ttnn.repeat(t, (1, 2, 1, 1)), lambda x: x.repeat(1, 2, 1, 1)),
    "clone": (ttnn.clone, torch.clone),
}


@pytest.mark.parametrize("name", MOVES)
def test_moves_are_exact(name, device):
    x = torch.randn(2, 3, 37, 48).bfloat16()
    ours, theirs = MOVES[name]
    assert torch.equal(ttnn.to_torch(ours(on(device, x))), theirs(x))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_round_trip(layout, device):
    x = torch.randn(1, 2, 37, 48).bfloat16()
    other = ttnn.to_layout(on(device, x, layout), LAYOUTS[1 - LAYOUTS.index(layout)])
    assert torch.equal(ttnn.to_torch(other), x)
    assert torch.equal(ttnn.to_torch(ttnn.to_layout(other, layout)), x)


def test_pad_fills_with_its_value(device):
    x = torch.randn(1, 1, 32, 32).bfloat16()
    actual = ttnn.pad(on(device, x), [(0, 0), (0, 1), (0, 32), (0, 0)], 2.0)
    expected = torch.nn.functional.pad(x, (0, 0, 0, 32, 0, 1), value=2.0)
    assert torch.equal(ttnn.to_torch(actual), expected)


def test_sharding_round_trips(device):
    x = torch.randn(1, 1, 256, 64).bfloat16()
    config = ttnn.create_sharded_memory_config(
        (1, 1, 256, 64), ttnn.CoreGrid(y=1, x=8), ttnn.ShardStrategy.HEIGHT
    )
    sharded = ttnn.to_memory_config(on(device, x), config)
    assert torch.equal(ttnn.to_torch(sharded), x)
    back = ttnn.sharded_to_interleaved(sharded, ttnn.DRAM_MEMORY_CONFIG)
    assert torch.equal(ttnn.to_torch(back), x)


def test_creation(device):
    place = {"dtype": ttnn.bfloat16, "layout": ttnn.TILE_LAYOUT, "device": device}
    shape = (1, 2, 5, 33)
    assert (ttnn.to_torch(ttnn.zeros(shape, **place)) == 0).all()
    assert (ttnn.to_torch(ttnn.ones(shape, **place)) == 1).all()
    assert (ttnn.to_torch(ttnn.full(shape, 2.5, **place)) == 2.5).all()


@pytest.mark.parametrize("dtype", [ttnn.float32, ttnn.bfloat8_b])
def test_typecast_rounds_as_the_dtype_does(dtype, device):
    x = torch.randn(1, 1, 37, 80).bfloat16()
    actual = ttnn.typecast(on(device, x), dtype)
    assert actual.dtype == dtype
    due = ttnn.from_torch(x, dtype=dtype, layout=ttnn.TILE_LAYOUT).to_torch()
    assert torch.equal(ttnn.to_torch(actual), due)

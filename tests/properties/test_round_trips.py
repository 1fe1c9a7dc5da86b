"""What the host writes is what the host reads, whatever the shape, layout, dtype and memory."""

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.checks import assert_same, assert_same_bits
from tests.support.tensors import on_tiles, read

from .profiles import many

pytestmark = pytest.mark.usefixtures("device")  # TTNN's host tensors ask the device for alignments


@many()
@given(strategies.shapes(), strategies.exact_dtypes, strategies.layouts, strategies.seeds)
def test_a_host_tensor_keeps_every_bit(shape, dtype, layout, seed):
    values = strategies.any_bits(seed, *shape, dtype=strategies.EXACT_DTYPES[dtype])
    tensor = ttnn.from_torch(values, dtype=dtype, layout=layout)
    assert tuple(tensor.shape) == shape
    assert_same_bits(read(tensor), values)


@many()
@given(strategies.shapes(), strategies.layouts)
def test_the_padded_shape_is_the_tile_ceiling(shape, layout):
    tensor = ttnn.from_torch(torch.zeros(shape), dtype=ttnn.bfloat16, layout=layout)
    tiled = layout == ttnn.TILE_LAYOUT
    assert tuple(tensor.padded_shape) == (strategies.tile_ceiling(shape) if tiled else shape)


@many()
@given(strategies.shapes(2), strategies.seeds, st.sampled_from([0.0, -1.5, 3e38]))
def test_padding_holds_the_value_that_was_asked_for_and_is_not_read(shape, seed, pad_value):
    values = strategies.normal(seed, *shape)
    tensor = ttnn.from_torch(
        values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, pad_value=pad_value
    )
    padded = tensor.to_torch_with_padded_shape()
    logical = tuple(slice(0, n) for n in shape)
    assert_same(padded[logical], values)
    padded[logical] = torch.tensor(pad_value, dtype=padded.dtype)
    assert (padded == torch.tensor(pad_value, dtype=padded.dtype)).all()
    assert_same(read(tensor), values)


@many()
@given(strategies.shapes(), strategies.seeds)
def test_float32_is_rounded_to_the_nearest_even_bfloat16(shape, seed):
    values = strategies.any_bits(seed, *shape, dtype=torch.float32)
    stored = read(ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT))
    assert_same(stored, values.bfloat16())


@given(
    strategies.shapes(),
    strategies.exact_dtypes,
    strategies.layouts,
    strategies.interleaved,
    strategies.seeds,
)
def test_a_device_tensor_keeps_every_bit(device, shape, dtype, layout, memory, seed):
    values = strategies.any_bits(seed, *shape, dtype=strategies.EXACT_DTYPES[dtype])
    tensor = ttnn.from_torch(
        values, dtype=dtype, layout=layout, device=device, memory_config=memory
    )
    assert_same_bits(read(tensor), values)
    there_and_back = ttnn.from_device(ttnn.to_device(ttnn.from_device(tensor), device))
    assert_same_bits(read(there_and_back), values)


@given(st.data(), strategies.shapes(2, 4, leading=2), strategies.float_dtypes, strategies.seeds)
def test_shards_hold_what_was_cut_whether_they_divide_it_or_not(device, data, shape, dtype, seed):
    memory = data.draw(strategies.shards(shape), label="memory")
    values = strategies.wide_range(seed, *shape).to(strategies.EXACT_DTYPES[dtype])
    stored = on_tiles(device, values, dtype, memory)
    assert stored.is_sharded()
    assert_same(read(stored), values)
    moved = ttnn.to_memory_config(on_tiles(device, values, dtype), memory)
    assert moved.memory_config() == memory
    assert_same(read(moved), values)
    assert_same(read(ttnn.to_memory_config(moved, ttnn.DRAM_MEMORY_CONFIG)), values)


@given(st.data(), strategies.shapes(2, 4, leading=2), strategies.seeds)
def test_shards_may_be_cut_again(device, data, shape, seed):
    first, second = (data.draw(strategies.shards(shape), label=n) for n in ("from", "to"))
    values = strategies.wide_range(seed, *shape)
    moved = ttnn.to_memory_config(on_tiles(device, values, memory_config=first), second)
    assert moved.memory_config() == second
    assert_same(read(moved), values)

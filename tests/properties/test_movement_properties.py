"""Moves that undo each other leave every element where it was."""

import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.checks import assert_same, assert_same_bits
from tests.support.tensors import in_rows, on_tiles, read

from . import cases

SHAPES = strategies.shapes(4, 4, leading=2)
DTYPES = strategies.float_dtypes


def values_of(dtype, seed, shape):
    """Values of a dtype that no kernel on the way changes."""
    values = strategies.wide_range(seed, *shape).to(strategies.EXACT_DTYPES[dtype])
    if dtype == ttnn.float32:  # bits that bfloat16 does not have
        values = values * (1 + 2.0**-20)
    return values


@given(st.data(), strategies.shapes(2, 4, leading=2), DTYPES, strategies.layouts, strategies.seeds)
def test_a_slice_is_that_part_of_the_tensor(device, data, shape, dtype, layout, seed):
    starts, ends = data.draw(strategies.slices(shape), label="starts, ends")
    values = values_of(dtype, seed, shape)
    tensor = ttnn.from_torch(values, dtype=dtype, layout=layout, device=device)
    expected = values[tuple(slice(a, b) for a, b in zip(starts, ends, strict=True))]
    assert_same(read(ttnn.slice(tensor, starts, ends)), expected)


@given(st.data(), SHAPES, DTYPES, strategies.seeds)
def test_slices_of_a_concatenation_are_its_parts(device, data, shape, dtype, seed):
    dim = data.draw(st.integers(0, 3), label="dim")
    lengths = data.draw(st.lists(strategies.sizes(65), min_size=2, max_size=3), label="lengths")
    parts = [
        values_of(dtype, seed + i, (*shape[:dim], n, *shape[dim + 1 :]))
        for i, n in enumerate(lengths)
    ]
    joined = ttnn.concat([on_tiles(device, part, dtype) for part in parts], dim)
    starts, ends = [0] * 4, list(joined.shape)
    for part in parts:
        ends[dim] = starts[dim] + part.shape[dim]
        assert_same(read(ttnn.slice(joined, starts, ends)), part)
        starts[dim] = ends[dim]


@given(st.data(), SHAPES, DTYPES, strategies.seeds)
def test_a_concatenation_of_slices_is_the_tensor(device, data, shape, dtype, seed):
    dim = data.draw(st.integers(0, 3), label="dim")
    cut = data.draw(st.integers(0, shape[dim]), label="cut")
    values = values_of(dtype, seed, shape)
    tensor, parts = on_tiles(device, values, dtype), []
    for start, end in ((0, cut), (cut, shape[dim])):
        if start < end:
            starts, ends = [0] * 4, list(shape)
            starts[dim], ends[dim] = start, end
            parts.append(ttnn.slice(tensor, starts, ends))
    assert_same(read(ttnn.concat(parts, dim)), values)


@given(st.data(), strategies.shapes(2, 4, leading=2), DTYPES, strategies.seeds)
def test_transposing_twice_is_nothing(device, data, shape, dtype, seed):
    dims = st.integers(-len(shape), len(shape) - 1)
    first, second = data.draw(st.tuples(dims, dims), label="dims")
    values = values_of(dtype, seed, shape)
    once = ttnn.transpose(on_tiles(device, values, dtype), first, second)
    assert_same(read(once), values.transpose(first, second))
    assert_same(read(ttnn.transpose(once, first, second)), values)


@given(strategies.permutations(4), SHAPES, DTYPES, strategies.seeds)
def test_a_permutation_and_its_inverse_are_nothing(device, order, shape, dtype, seed):
    values = values_of(dtype, seed, shape)
    permuted = ttnn.permute(on_tiles(device, values, dtype), order)
    assert_same(read(permuted), values.permute(order))
    inverse = tuple(order.index(i) for i in range(4))
    assert_same(read(ttnn.permute(permuted, inverse)), values)


@given(strategies.permutations(4), strategies.permutations(4), SHAPES, strategies.seeds)
def test_two_permutations_are_one(device, first, second, shape, seed):
    tensor = on_tiles(device, strategies.wide_range(seed, *shape))
    composed = tuple(first[i] for i in second)
    assert_same(
        read(ttnn.permute(ttnn.permute(tensor, first), second)),
        read(ttnn.permute(tensor, composed)),
    )


@st.composite
def same_volume(draw):
    """Two shapes of the same number of elements."""
    factors = draw(st.lists(st.sampled_from([1, 2, 3, 5, 7, 11, 16, 32]), min_size=4, max_size=4))
    return tuple(factors), tuple(draw(st.permutations(factors)))


@given(same_volume(), DTYPES, strategies.layouts, strategies.seeds)
def test_reshaping_there_and_back_is_nothing(device, shapes, dtype, layout, seed):
    before, after = shapes
    values = values_of(dtype, seed, before)
    tensor = ttnn.from_torch(values, dtype=dtype, layout=layout, device=device)
    reshaped = ttnn.reshape(tensor, after)
    assert_same(read(reshaped), values.reshape(after))
    assert_same(read(ttnn.reshape(reshaped, before)), values)


@given(strategies.shapes(2, 4, leading=2), DTYPES, strategies.seeds)
def test_tiling_and_untiling_is_nothing(device, shape, dtype, seed):
    values = values_of(dtype, seed, shape)
    rows = in_rows(device, values, dtype)
    tiled = ttnn.to_layout(rows, ttnn.TILE_LAYOUT)
    assert tuple(tiled.padded_shape) == strategies.tile_ceiling(shape)
    assert_same(read(tiled), values)
    assert_same(read(ttnn.to_layout(tiled, ttnn.ROW_MAJOR_LAYOUT)), values)


@given(strategies.shapes(2, 4, leading=2), strategies.seeds)
def test_a_wider_dtype_and_back_is_nothing(device, shape, seed):
    values = strategies.wide_range(seed, *shape)
    widened = ttnn.typecast(on_tiles(device, values), ttnn.float32)
    assert_same(read(widened), values.float())
    assert_same(read(ttnn.typecast(widened, ttnn.bfloat16)), values)


@given(SHAPES, st.tuples(*[st.integers(0, 40)] * 2), st.sampled_from([0.0, -2.5]), strategies.seeds)
def test_a_padded_tensor_holds_the_tensor_and_the_value(device, shape, more, value, seed):
    values = strategies.wide_range(seed, *shape)
    padded = ttnn.pad(on_tiles(device, values), [(0, 0), (0, 0), *((0, n) for n in more)], value)
    expected = torch.nn.functional.pad(values, (0, more[1], 0, more[0]), value=value)
    assert_same(read(padded), expected)
    assert_same(read(ttnn.slice(padded, [0] * 4, list(shape))), values)


# --- heads ---------------------------------------------------------------------------------------


@given(strategies.head_shapes(), strategies.seeds)
def test_heads_that_are_created_and_joined_are_the_projection(device, shape, seed):
    batch, rows, heads, kv_heads, width = shape
    fused = strategies.any_bits(  # no kernel computes here: every bit is moved
        seed, batch, 1, rows, (heads + 2 * kv_heads) * width, dtype=torch.bfloat16
    )
    q, k, v = cases.create_heads(on_tiles(device, fused), heads, kv_heads)
    assert tuple(q.shape) == (batch, heads, rows, width)
    joined = [read(cases.concat_heads(t)) for t in (q, k, v)]
    assert_same_bits(torch.cat(joined, -1), fused)


@given(strategies.head_shapes(largest=65), strategies.seeds)
def test_transposed_keys_are_the_keys_transposed(device, shape, seed):
    batch, rows, heads, kv_heads, width = shape
    fused = on_tiles(
        device, strategies.wide_range(seed, batch, 1, rows, (heads + 2 * kv_heads) * width)
    )
    _, plain, _ = cases.create_heads(fused, heads, kv_heads)
    _, transposed, _ = cases.create_heads(fused, heads, kv_heads, transposed=True)
    assert_same(read(transposed), read(plain).mT)


@given(
    st.sampled_from([*range(1, 9), 16, 32]),  # the kernel wants its cores in one rectangle
    st.sampled_from([(1, 1), (4, 4), (6, 2), (32, 8)]),
    st.sampled_from([32, 64, 96]),
    strategies.seeds,
)
def test_decode_heads_that_are_created_and_joined_are_the_projection(
    device, users, counts, width, seed
):
    heads, kv_heads = counts
    fused = strategies.wide_range(seed, 1, 1, users, (heads + 2 * kv_heads) * width)
    q, k, v = cases.create_heads_decode(on_tiles(device, fused), heads, kv_heads)
    assert tuple(k.shape) == (1, users, kv_heads, width)
    joined = [read(cases.concat_heads_decode(t))[:, :, :users] for t in (q, k, v)]
    assert_same(torch.cat(joined, -1), fused)


@given(strategies.head_shapes(largest=65), strategies.seeds)
def test_repeated_kv_heads_lie_beside_each_other(device, shape, seed):
    """Grouped queries: head n belongs to kv head n // (N / K), as with repeat_interleave."""
    batch, rows, heads, kv_heads, width = shape
    values = strategies.wide_range(seed, batch, kv_heads, rows, width)
    repeated = ttnn.repeat_interleave(on_tiles(device, values), heads // kv_heads, 1)
    assert_same(read(repeated), values.repeat_interleave(heads // kv_heads, 1))


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([32, 64, 96]), strategies.seeds)
def test_an_embedding_is_the_rows_that_the_ids_name(device, length, vocabulary, width, seed):
    table = strategies.wide_range(seed, vocabulary, width)
    ids = strategies.integers(seed, 1, length, low=0, high=vocabulary - 1).int()
    rows = ttnn.embedding(
        in_rows(device, ids, ttnn.uint32),
        in_rows(device, table, ttnn.bfloat16),
        layout=ttnn.TILE_LAYOUT,
    )
    assert_same(read(rows), table[ids.long()])

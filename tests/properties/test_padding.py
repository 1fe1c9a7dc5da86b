"""Padding: tile contents beside a tensor's logical shape do not affect results.

A kernel works on whole tiles, so an operation reads what the previous one left in the padding.
"""

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.checks import assert_same
from tests.support.tensors import FACE, TILE, on_tiles, padded_with, read

from .cases import CASES, attended


@pytest.mark.parametrize("name", CASES)
@given(data=st.data(), seed=strategies.seeds)
def test_padding_never_reaches_a_result(device, name, data, seed):
    case = CASES[name]
    shapes = data.draw(case.shapes, label="shapes")
    fillings = data.draw(st.tuples(*(strategies.paddings for _ in shapes)), label="padding")
    operands = [case.make(seed + i, *shape) for i, shape in enumerate(shapes)]
    clean = [on_tiles(device, values) for values in operands]
    spoilt = [padded_with(f, device, v) for f, v in zip(fillings, operands, strict=True)]
    for expected, actual in zip(
        case.results(clean, shapes[0]), case.results(spoilt, shapes[0]), strict=True
    ):
        assert_same(actual, expected)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.grows is not None])
@given(data=st.data(), seed=strategies.seeds)
def test_a_padded_tensor_gives_a_part_of_what_whole_tiles_do(device, name, data, seed):
    case = CASES[name]
    shapes = data.draw(case.shapes, label="shapes")
    large_shapes = [grown(shape, dims) for shape, dims in zip(shapes, case.grows, strict=True)]
    large = [case.make(seed + i, *shape) for i, shape in enumerate(large_shapes)]
    small = [part(values, shape) for values, shape in zip(large, shapes, strict=True)]
    for expected, actual in zip(
        case.results([on_tiles(device, v) for v in large], large_shapes[0]),
        case.results([on_tiles(device, v) for v in small], shapes[0]),
        strict=True,
    ):
        assert_same(actual, part(expected, actual.shape))


def grown(shape, dims):
    """The shape with some dimensions in whole tiles."""
    return tuple(-(-n // TILE) * TILE if i - len(shape) in dims else n for i, n in enumerate(shape))


def part(values, shape):
    """The first elements along every dimension."""
    return values[tuple(slice(0, n) for n in shape)]


def filled_by_the_device(value, device, values, dtype):
    return ttnn.fill_implicit_tile_padding(on_tiles(device, values, dtype), value)


@pytest.mark.parametrize("fill", [padded_with, filled_by_the_device], ids=["host", "device"])
@given(
    strategies.shapes(2, 5, leading=2),
    strategies.float_dtypes,
    strategies.seeds,
    strategies.paddings,
)
def test_padding_is_filled_and_nothing_else(device, fill, shape, dtype, seed, padding):
    values = strategies.wide_range(seed, *shape).to(strategies.EXACT_DTYPES[dtype])
    tensor = fill(padding, device, values, dtype)
    assert_same(read(tensor), values)
    padded = tensor.to_torch_with_padded_shape()
    outside = torch.ones(padded.shape, dtype=torch.bool)
    part(outside, shape)[:] = False
    expected = torch.tensor(padding, dtype=padded.dtype)
    if expected.isnan():  # the packer makes an infinity of it
        assert (padded[outside].isinf() | padded[outside].isnan()).all()
    else:
        assert (padded[outside] == expected).all()


# --- what does read padding ----------------------------------------------------------------------


def causal_attention(*qkv):
    return read(ttnn.transformer.scaled_dot_product_attention(*qkv, is_causal=True))


@given(attended(), strategies.seeds, strategies.paddings, strategies.paddings)
def test_attention_reads_no_padding_of_queries_and_values(device, shapes, seed, beside_q, beside_v):
    q, k, v = (strategies.normal(seed + i, *shape) for i, shape in enumerate(shapes))
    clean = causal_attention(*(on_tiles(device, t) for t in (q, k, v)))
    spoilt = causal_attention(
        padded_with(beside_q, device, q), on_tiles(device, k), padded_with(beside_v, device, v)
    )
    assert_same(spoilt, clean)


@given(attended(), strategies.seeds, st.sampled_from([7.0, -1e4, 1e30]))
def test_keys_in_padding_are_hidden_while_their_scores_are_finite(device, shapes, seed, padding):
    """The causal mask adds -inf to every score, so that a finite one is gone (sdpa.cpp)."""
    q, k, v = (strategies.normal(seed + i, *shape) for i, shape in enumerate(shapes))
    clean = causal_attention(*(on_tiles(device, t) for t in (q, k, v)))
    spoilt = causal_attention(
        on_tiles(device, q), padded_with(padding, device, k), on_tiles(device, v)
    )
    assert_same(spoilt, clean)


@given(
    st.integers(1, 65).filter(lambda n: n % TILE), st.sampled_from([32, 64, 96]), strategies.seeds
)
def test_infinite_keys_in_padding_are_seen_by_the_queries_of_their_tile(
    device, length, width, seed
):
    """An infinite score plus the mask's infinity of the other sign is a NaN; nothing hides it."""
    q = strategies.positive(seed, 1, 2, length, width)
    k, v = (strategies.normal(seed + i, 1, 2, length, width) for i in (1, 2))
    clean = causal_attention(*(on_tiles(device, t) for t in (q, k, v)))
    spoilt = causal_attention(
        on_tiles(device, q), padded_with(float("inf"), device, k), on_tiles(device, v)
    )
    of_last_tile = slice(length // TILE * TILE, length)
    assert (spoilt != clean)[:, :, of_last_tile].any(-1).all()


@given(strategies.padded_shapes(largest=70, leading=2), strategies.seeds)
def test_softmax_hides_finite_padding(device, shape, seed):
    """It adds -inf to the padding columns of a row's last tile (softmax.cpp)."""
    values = strategies.normal(seed, *shape)
    clean = read(ttnn.softmax(on_tiles(device, values), dim=-1))
    for padding in (7.0, -1e4, 1e30):
        assert_same(read(ttnn.softmax(padded_with(padding, device, values), dim=-1)), clean)


@given(st.sampled_from([1, 31, 37, 65]), strategies.seeds)
def test_softmax_counts_padding_that_is_not_a_number(device, kernels, width, seed):
    """With it in a row's last tile the row is not what it would be, and may sum to zero."""
    values = strategies.normal(seed, 1, 1, 5, width)
    clean = read(ttnn.softmax(on_tiles(device, values), dim=-1))
    spoilt = read(ttnn.softmax(padded_with(float("nan"), device, values), dim=-1))
    assert (spoilt != clean).any(-1).all()


@given(
    strategies.shapes(2, 4, leading=2).filter(lambda s: s[-1] % FACE),
    strategies.block_formats,
    strategies.seeds,
)
def test_a_block_shares_its_exponent_with_the_padding_beside_it(device, shape, dtype, seed):
    """Packing to a block format rounds a row's last numbers to a step that the padding may set."""
    values = strategies.normal(seed, *shape)
    clean = read(ttnn.typecast(on_tiles(device, values), dtype))
    spoilt = read(ttnn.typecast(padded_with(1e30, device, values), dtype))
    full_blocks = shape[-1] // FACE * FACE
    assert_same(spoilt[..., :full_blocks], clean[..., :full_blocks])
    assert not spoilt[..., full_blocks:].any(), (
        "the step of a block with 1e30 is far more than a number"
    )


@given(
    st.integers(1, 95).filter(lambda n: n % TILE),
    st.integers(0, 1),
    strategies.seeds,
    st.sampled_from([7.0, -1e4, 1e30]),
)
def test_a_cache_is_filled_with_the_padding_rows_too(device, length, user, seed, padding):
    """fill_cache copies whole tiles: rows behind the prompt hold what its padding held."""
    before, prompt = (
        strategies.normal(seed, 2, 2, 96, 64),
        strategies.normal(seed, 1, 2, length, 64),
    )
    cache = on_tiles(device, before)
    ttnn.fill_cache(cache, padded_with(padding, device, prompt), user)
    expected = before.clone()
    expected[user, :, : -(-length // TILE) * TILE] = padding
    expected[user, :, :length] = prompt[0]
    assert_same(read(cache), expected)

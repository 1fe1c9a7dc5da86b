"""Products that only move numbers: what the matrix unit does to each one by itself.

One factor of the identity, or of a permutation, is 1 and all others are 0, so that every element of
the result is one number times one, and no sum rounds.
"""

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.checks import assert_same
from tests.support.tensors import ACCURATE, on_tiles, read

# The parts of a product are kept while their exponents are positive; the lowest bits of two
# numbers stand 20 below the highest, and so do those of tiny numbers.
EXPONENTS = (-60, 60)

SIZES = strategies.sizes(97)
WEIGHTS = st.sampled_from([ttnn.bfloat16, ttnn.bfloat8_b, ttnn.bfloat4_b])


@st.composite
def permutation_matrices(draw, size):
    """float32 [size, size], the identity or another order of its rows."""
    order = draw(st.one_of(st.just(list(range(size))), st.permutations(range(size))))
    return torch.eye(size)[list(order)]


def without_the_lowest_bit(values):
    """bfloat16 values cut to seven significant bits, towards zero."""
    return (values.view(torch.int16) & -2).view(torch.bfloat16)


@given(st.data(), SIZES, SIZES, WEIGHTS, strategies.seeds)
def test_a_permutation_from_the_right_moves_columns(device, data, rows, columns, weights, seed):
    matrix = data.draw(permutation_matrices(columns), label="permutation")
    values = strategies.wide_range(seed, 1, 1, rows, columns, exponents=EXPONENTS)
    product = ttnn.linear(
        on_tiles(device, values), on_tiles(device, matrix, weights), compute_kernel_config=ACCURATE
    )
    assert_same(read(product), values @ matrix.bfloat16())


@given(st.data(), SIZES, SIZES, strategies.seeds)
def test_a_permutation_from_the_left_moves_rows(device, data, rows, columns, seed):
    matrix = data.draw(permutation_matrices(rows), label="permutation")
    values = strategies.wide_range(seed, 1, 1, rows, columns, exponents=EXPONENTS)
    moved = matrix.bfloat16() @ values
    for config in (None, ACCURATE):  # the second operand keeps all its bits in HiFi2 too
        product = ttnn.matmul(
            on_tiles(device, matrix[None, None]),
            on_tiles(device, values),
            compute_kernel_config=config,
        )
        assert_same(read(product), moved)


@given(st.data(), SIZES, SIZES, WEIGHTS, strategies.seeds)
def test_by_default_the_activation_loses_at_most_its_lowest_bit(
    device, data, rows, columns, weights, seed
):
    """HiFi2 multiplies with seven of the eight significant bits of the first operand.

    TTNN takes it for ttnn.linear of bfloat16 activations when it is told nothing else.
    """
    matrix = data.draw(permutation_matrices(columns), label="permutation")
    values = strategies.wide_range(seed, 1, 1, rows, columns, exponents=EXPONENTS)
    product = read(ttnn.linear(on_tiles(device, values), on_tiles(device, matrix, weights)))
    exact = values @ matrix.bfloat16()
    shorter = without_the_lowest_bit(exact)
    unchanged, cut = product == exact, product == shorter
    assert (unchanged | cut).all(), "neither the number nor the number without its lowest bit"


@given(SIZES, SIZES, strategies.seeds)
def test_transposed_operands_are_operands_transposed(device, rows, inner, seed):
    a, b = strategies.normal(seed, rows, inner), strategies.normal(seed + 1, 33, inner)
    plain = ttnn.matmul(on_tiles(device, a), on_tiles(device, b.mT.contiguous()))
    assert_same(
        read(ttnn.matmul(on_tiles(device, a), on_tiles(device, b), transpose_b=True)), read(plain)
    )


@given(st.data(), strategies.seeds)
def test_rows_of_a_product_do_not_depend_on_each_other(device, data, seed):
    """Every row of a batch is multiplied like a row alone."""
    rows, inner, columns = (data.draw(SIZES, label=n) for n in ("rows", "inner", "columns"))
    a, b = strategies.normal(seed, 1, 1, rows, inner), strategies.normal(seed + 1, inner, columns)
    at = data.draw(st.integers(0, rows - 1), label="row")
    other = strategies.normal(seed + 2, 1, 1, rows, inner, scale=100.0)
    other[:, :, at] = a[:, :, at]
    weight = on_tiles(device, b)
    first, second = (read(ttnn.linear(on_tiles(device, t), weight)) for t in (a, other))
    assert_same(second[:, :, at], first[:, :, at])


@pytest.mark.parametrize("power", [-20, -1, 1, 20])
@given(SIZES, SIZES, SIZES, strategies.seeds)
def test_a_power_of_two_passes_through_a_product(device, power, rows, inner, columns, seed):
    """Exponents shift; no bit of a significand does."""
    a, b = strategies.normal(seed, rows, inner), strategies.normal(seed + 1, inner, columns)
    weight = on_tiles(device, b)
    scaled = ttnn.matmul(on_tiles(device, a * 2.0**power), weight)
    assert_same(read(scaled), read(ttnn.matmul(on_tiles(device, a), weight)) * 2.0**power)

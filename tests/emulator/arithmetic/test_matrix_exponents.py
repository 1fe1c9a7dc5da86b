"""Groups' largest exponents by bytes: their claims are true, and made of ordinary operands."""

import numpy as np
import pytest
from numba import njit

from ttnn_emulator.arithmetic.exact.matrix import matrix_exponents, matrix_operands

ROWS = 20


@njit
def _in_bytes(stage, exponents, below_weights, below, least, largest):
    weights = np.empty((4, 2, 32, 16), np.float32)
    in_window = np.empty((32, 64), np.int8)
    matrix_operands.decode(stage, 0, below_weights, weights, in_window)
    place = (0, 0, exponents.shape[2])
    return matrix_exponents.in_bytes(in_window, exponents, place, below, least, largest)


def row_exponents(rows, below):
    shape = (1, 2, rows.shape[1] // 16, rows.shape[0], 16)
    pieces, exponents = np.empty(shape, np.float32), np.empty(shape, np.int32)
    matrix_operands.split_rows(rows[None], pieces, exponents, below)
    return exponents[0]


def largest_sums(weights, rows, least=matrix_exponents.LOW):
    """Exponents of a tile's four groups by bytes and by definition, [4, M, 64], and two claims.

    These are that they are exact, and that they also are near and none below `least`. The largest
    of all is one of the claims, too, which holds where they are exact.
    """
    below = [
        matrix_operands.window_of(int(exponents_of(operand).max())) for operand in (weights, rows)
    ]
    largest = np.empty((4, 4, ROWS, 16), np.int32)
    exponents = row_exponents(rows, below[1])
    exact, large, near, highest = _in_bytes(
        weights.view(np.uint32), exponents, below[0], sum(below), least, largest
    )
    by_bytes = (largest >> 23).transpose(1, 2, 0, 3).reshape(4, ROWS, 64) + sum(below)
    ours, theirs = exponents_of(rows), exponents_of(weights)
    sums = ours[:, :, None] + theirs[None]
    sums = np.where((ours[:, :, None] > 0) & (theirs[None] > 0), sums, -1000)
    sums = sums.reshape(ROWS, 4, 8, 64).max(2).transpose(1, 0, 2)
    assert not exact or highest + sum(below) == sums.max()
    assert large == (exact and sums.min() >= least)
    return by_bytes, sums, exact, large and near


def exponents_of(values):
    return values.view(np.int32) >> 23 & 0xFF


def operands(seed, spread):
    """Values whose exponents are spread evenly over `spread` places below 1."""
    generator = np.random.default_rng(seed)
    shapes = (32, 64), (ROWS, 32)
    return [
        (generator.uniform(1, 2, shape) * 2.0 ** generator.integers(-spread, 1, shape)).astype(
            np.float32
        )
        for shape in shapes
    ]


@pytest.mark.parametrize("spread", [0, 4, 40, 126])
def test_what_is_claimed_to_be_exact_is(spread):
    for seed in range(5):
        by_bytes, true, exact, near = largest_sums(*operands(seed, spread))
        assert not near or exact
        if exact:
            np.testing.assert_array_equal(by_bytes, true)


def test_it_is_claimed_of_ordinary_operands():
    generator = np.random.default_rng(0)
    weights = generator.standard_normal((32, 64)).astype(np.float32) * np.float32(0.02)
    rows = generator.standard_normal((ROWS, 32)).astype(np.float32)
    rows[:, ::3] = 0
    by_bytes, true, exact, near = largest_sums(weights, rows)
    assert exact
    assert near
    np.testing.assert_array_equal(by_bytes, true)


@pytest.mark.parametrize("places", [60, 119, 120, 121, 126])
def test_a_group_below_the_window_is_not_claimed(places):
    """Exponents 127 - places beside one of 127: in the window while less than 120 places below."""
    weights, rows = np.ones((32, 64), np.float32), np.ones((ROWS, 32), np.float32)
    weights[8:16] = rows[:, 8:16] = 2.0 ** -(places / 2)
    weights[8:16, 5] = 2.0**-places
    rows[7, 8:16] = 1
    by_bytes, true, exact, near = largest_sums(weights, rows)
    lowest = true.min()
    assert exact == (lowest - 2 * (127 - matrix_operands.WINDOW) > matrix_operands.WINDOW)
    assert not near
    if exact:
        np.testing.assert_array_equal(by_bytes, true)


def test_a_group_without_products_is_not_claimed():
    weights, rows = np.ones((32, 64), np.float32), np.ones((ROWS, 32), np.float32)
    assert largest_sums(weights, rows)[2:] == (True, True)
    rows[3, 16:24] = 0
    assert largest_sums(weights, rows)[2:] == (False, False)


def test_near_means_within_the_steps_bound():
    weights, rows = np.ones((32, 64), np.float32), np.ones((ROWS, 32), np.float32)
    rows[4, 8:16] = 2.0**-matrix_exponents.NEAR
    assert largest_sums(weights, rows)[2:] == (True, True)
    rows[4, 8:16] /= 2
    assert largest_sums(weights, rows)[2:] == (True, False)


@pytest.mark.parametrize("least", [matrix_exponents.LOW, matrix_exponents.FLOOR_16])
def test_groups_of_the_fast_accumulations_are_not_tiny(least):
    """`accumulate32_near` inverts a destination's unit, `accumulate16_large` takes parts of it."""
    weights, rows = np.ones((32, 64), np.float32), np.ones((ROWS, 32), np.float32)
    rows *= np.float32(2.0 ** (least - 254))
    assert largest_sums(weights, rows, least)[2:] == (True, True)
    rows /= 2
    assert largest_sums(weights, rows, least)[2:] == (True, False)

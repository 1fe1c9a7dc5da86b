"""softmax and rms_norm: what their rows are whatever the numbers."""

import pytest
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.checks import assert_same
from tests.support.tensors import ACCURATE, on_tiles, read

SHAPES = strategies.shapes(4, 4, leading=2)

# A weight of softmax is rounded to bfloat16 (2^-8 of it at most, the smallest ones more) after the
# product with 1 / sum, of which the matrix unit reads eleven significant bits (2^-10). The sum is
# that of the rounded exponentials, so their own error cancels.
ROW_SUM_ERROR = 2.0**-8 + 2.0**-9


def softmax(device, values, **options):
    return read(ttnn.softmax(on_tiles(device, values), dim=-1, **options))


def multiples_of_a_sixteenth(seed, shape, limit=4):
    """Numbers of -limit .. limit that bfloat16 holds exactly, and so it does when shifted by 4."""
    return strategies.integers(seed, *shape, low=-16 * limit, high=16 * limit) / 16


@given(SHAPES, st.sampled_from([0.1, 1.0, 30.0]), strategies.seeds)
def test_rows_of_softmax_sum_to_one(device, shape, scale, seed):
    weights = softmax(device, strategies.normal(seed, *shape, scale=scale)).double()
    assert (weights >= 0).all()
    assert ((weights.sum(-1) - 1).abs() <= ROW_SUM_ERROR).all()


@given(SHAPES, st.integers(-4, 4), strategies.seeds)
def test_softmax_does_not_see_a_shift(device, shape, shift, seed):
    """Its maximum is subtracted from a row first; these differences are exact, so every bit is."""
    values = multiples_of_a_sixteenth(seed, shape)
    assert_same(softmax(device, values + shift), softmax(device, values))


@given(SHAPES, strategies.seeds)
def test_softmax_keeps_the_order_of_a_row(device, shape, seed):
    values = multiples_of_a_sixteenth(seed, shape).sort(-1).values
    weights = softmax(device, values).double()
    assert (weights.diff(dim=-1) >= 0).all()


@given(SHAPES, strategies.seeds)
def test_softmax_of_equal_numbers_is_one_over_their_count(device, shape, seed):
    values = strategies.normal(seed, *shape[:-1], 1).expand(shape).contiguous()
    weights = softmax(device, values).double()
    assert ((weights * shape[-1] - 1).abs() <= ROW_SUM_ERROR).all()


@given(st.data(), SHAPES, strategies.seeds)
def test_softmax_of_a_far_maximum_is_one(device, data, shape, seed):
    """e^-100 is nothing to a bfloat16."""
    values = multiples_of_a_sixteenth(seed, shape)
    at = data.draw(st.integers(0, shape[-1] - 1), label="column")
    values[..., at] = 104.0
    weights = softmax(device, values).double()
    assert ((weights[..., at] - 1).abs() <= ROW_SUM_ERROR).all()
    weights[..., at] = 0
    assert (weights <= 2.0**-100).all()


@pytest.mark.parametrize("config", [None, ACCURATE], ids=["default", "accurate"])
@given(strategies.shapes(4, 4, largest=130, leading=1), st.integers(-12, 12), strategies.seeds)
def test_rms_norm_does_not_see_a_power_of_two(device, config, shape, power, seed):
    """Squares scale by 4^k, and so does epsilon here: the root shifts its exponent by k."""
    values = strategies.normal(seed, *shape)
    weight = on_tiles(device, strategies.normal(seed + 1, 1, 1, 1, shape[-1]))

    def normed(scale):
        return read(
            ttnn.rms_norm(
                on_tiles(device, values * scale),
                weight=weight,
                epsilon=2.0**-16 * scale**2,
                compute_kernel_config=config,
            )
        )

    assert_same(normed(2.0**power), normed(1.0))


@given(st.data(), strategies.shapes(4, 4, largest=97, leading=1), strategies.seeds)
def test_rows_of_a_norm_do_not_depend_on_each_other(device, data, shape, seed):
    at = data.draw(st.integers(0, shape[-2] - 1), label="row")
    values = strategies.normal(seed, *shape)
    other = strategies.normal(seed + 1, *shape, scale=100.0)
    other[..., at, :] = values[..., at, :]
    first, second = (
        read(ttnn.rms_norm(on_tiles(device, t), epsilon=1e-5)) for t in (values, other)
    )
    assert_same(second[..., at, :], first[..., at, :])

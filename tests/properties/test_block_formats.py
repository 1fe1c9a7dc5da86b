"""bfloat8_b and bfloat4_b: sixteen neighbours of a row share the greatest one's exponent.

The error is bounded by that exponent. The host rounds to the nearest magnitude; the device's packer
rounds to seven bits, and for bfloat4_b cuts those to three.
"""

import pytest
import torch
import ttnn
from hypothesis import given

from tests.support import strategies
from tests.support.checks import assert_same
from tests.support.tensors import FACE, on_tiles, read

from .profiles import many

pytestmark = pytest.mark.usefixtures("device")

SHAPES = strategies.shapes(2, 4, leading=2)
EXPONENTS = (-12, 2)  # some elements of a block are far below its greatest one


def on_host(values, dtype):
    return read(ttnn.from_torch(values, dtype=dtype, layout=ttnn.TILE_LAYOUT)).double()


def on_device(device, values, dtype):
    """What the device's packer makes of bfloat16 values, float64."""
    packed = ttnn.typecast(on_tiles(device, values), dtype)
    return read(ttnn.typecast(packed, ttnn.bfloat16)).double()


def step_of_blocks(values, dtype):
    """For each element the distance of two neighbouring magnitudes of its block, float64."""
    width = values.shape[-1]
    blocks = torch.nn.functional.pad(values.double(), (0, -width % FACE)).unflatten(-1, (-1, FACE))
    _, exponents = torch.frexp(blocks.abs().amax(-1, keepdim=True))  # of mantissas below 1
    one_bit_before_the_point = exponents - strategies.BLOCK_FORMATS[dtype]
    steps = torch.exp2(one_bit_before_the_point.double())
    return steps.expand_as(blocks).flatten(-2)[..., :width]


@many()
@given(SHAPES, strategies.block_formats, strategies.seeds)
def test_the_host_rounds_to_the_nearest_magnitude(shape, dtype, seed):
    values = strategies.wide_range(seed, *shape, exponents=EXPONENTS)
    step = step_of_blocks(values, dtype)
    greatest = step * (2 ** strategies.BLOCK_FORMATS[dtype] - 1)  # more than that saturates
    nearest = values.double().clamp(-greatest, greatest)
    assert ((on_host(values, dtype) - nearest).abs() <= step / 2).all()


@many()
@given(SHAPES, strategies.block_formats, strategies.seeds)
def test_a_value_that_was_stored_once_is_stored_exactly(shape, dtype, seed):
    once = on_host(strategies.wide_range(seed, *shape, exponents=EXPONENTS), dtype)
    assert_same(on_host(once.float(), dtype), once)


@many()
@given(SHAPES, strategies.block_formats, strategies.seeds)
def test_the_order_within_a_block_is_kept(shape, dtype, seed):
    values = strategies.wide_range(seed, *shape[:-1], FACE, exponents=EXPONENTS)
    ascending = values.sort(-1).values
    stored = on_host(ascending, dtype)
    assert (stored.diff(dim=-1) >= 0).all()


@many()
@given(SHAPES, strategies.block_formats, strategies.seeds)
def test_a_negative_number_is_stored_as_its_opposite(shape, dtype, seed):
    values = strategies.wide_range(seed, *shape, exponents=EXPONENTS)
    assert_same(on_host(-values, dtype), -on_host(values, dtype))


@many()
@given(SHAPES, strategies.block_formats, strategies.seeds)
def test_a_block_does_not_see_its_neighbours(shape, dtype, seed):
    """Rows and other blocks of sixteen may hold anything."""
    values = strategies.wide_range(seed, *shape, exponents=EXPONENTS)
    louder = values.clone()
    louder[..., 1::2, :] *= 2.0**20
    louder[..., FACE:] *= 2.0**20
    assert_same(
        on_host(louder, dtype)[..., ::2, :FACE],
        on_host(values, dtype)[..., ::2, :FACE],
    )


@given(SHAPES, strategies.block_formats, strategies.seeds)
def test_the_device_errs_by_less_than_a_step_and_never_twice(device, shape, dtype, seed):
    values = strategies.wide_range(seed, *shape, exponents=EXPONENTS)
    once = on_device(device, values, dtype)
    # Two roundings to seven bits, half a step each at most, and their result cut off at three. The
    # first may lift the greatest element to the next power of two, and the exponent with it.
    lifted = values.double() * (1 + 2.0**-7)
    allowed = step_of_blocks(lifted, ttnn.bfloat8_b)
    if dtype == ttnn.bfloat4_b:
        allowed = allowed + step_of_blocks(lifted, dtype)
    assert ((once - values.double()).abs() <= allowed).all()
    assert_same(on_device(device, once.bfloat16(), dtype), once)


@given(SHAPES, strategies.block_formats, strategies.seeds)
def test_the_device_reads_what_the_host_stored(device, shape, dtype, seed):
    values = strategies.wide_range(seed, *shape, exponents=EXPONENTS)
    tensor = on_tiles(device, values, dtype)
    assert_same(read(tensor).double(), on_host(values, dtype))
    assert_same(read(ttnn.typecast(tensor, ttnn.bfloat16)).double(), on_host(values, dtype))

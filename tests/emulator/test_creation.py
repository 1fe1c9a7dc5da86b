"""Operations that make a tensor from its shape."""

import pytest
import torch
import ttnn

from tests.support.emulated import contents
from tests.support.tensors import on_tiles

SHAPE = (2, 3, 37, 50)
TILE, ROWS = ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT
CONSTANTS = {
    "zeros": (lambda **options: ttnn.zeros(SHAPE, **options), 0),
    "ones": (lambda **options: ttnn.ones(SHAPE, **options), 1),
    "full": (lambda **options: ttnn.full(SHAPE, 7, **options), 7),
    "full by names": (lambda **options: ttnn.full(shape=SHAPE, fill_value=7, **options), 7),
}
KINDS = [(TILE, ttnn.bfloat16), (TILE, ttnn.float32), (ROWS, ttnn.int32), (ROWS, ttnn.uint32)]


@pytest.mark.parametrize(("layout", "dtype"), KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", CONSTANTS)
def test_constant(name, layout, dtype, device):
    make, value = CONSTANTS[name]
    tensor = make(dtype=dtype, layout=layout, device=device)
    assert (tensor.dtype, tensor.layout, tuple(tensor.shape)) == (dtype, layout, SHAPE)
    assert (ttnn.to_torch(tensor).double() == value).all()


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (ttnn.zeros_like, 0),
        (ttnn.ones_like, 1),
        (lambda t: ttnn.full_like(t, 2.5), 2.5),
        (lambda t: ttnn.full_like(t, fill_value=2.5, dtype=ttnn.float32), 2.5),
        (lambda t: ttnn.moreh_full_like(t, 2.5), 2.5),
        (lambda t: ttnn.moreh_full_like(t, 7, dtype=ttnn.int32), 7),
        (lambda t: ttnn.moreh_full(list(SHAPE), 2.5, t.device(), layout=ROWS), 2.5),
    ],
)
def test_constant_like_another_tensor(make, value, device):
    tensor = make(on_tiles(device, torch.randn(SHAPE)))
    assert tuple(tensor.shape) == SHAPE
    assert (ttnn.to_torch(tensor) == value).all()


def test_a_whole_number_in_place_of_a_float_is_taken_by_its_bits(device):
    """writer_full.cpp gets the integer's bits, whose upper half bfloat16 is written from."""
    x = on_tiles(device, torch.randn(SHAPE))
    assert (ttnn.to_torch(ttnn.moreh_full_like(x, 7)) == 0).all()
    assert (ttnn.to_torch(ttnn.moreh_full_like(x, 0x40E00000)) == 7).all()


@pytest.mark.parametrize("dtype", [ttnn.bfloat16, ttnn.float32, ttnn.bfloat8_b, ttnn.uint32])
def test_unwritten_memory_does_not_pass_for_zeros(dtype, device):
    held = contents(ttnn.empty((1, 1, 32, 32), dtype, TILE, device))
    assert not (held.double() == 0).any()
    # NaN, or the integers' pattern: no index, position or id is as large. 24 November 2026.
    assert held.double().isnan().all() or (held.double().abs() > 1e8).all()


@pytest.mark.parametrize(
    ("arguments", "values"),
    [((5,), range(5)), ((2, 5), range(2, 5)), ((0, 10, 3), range(0, 10, 3))],
    ids=str,
)
def test_arange(arguments, values, device):
    numbers = ttnn.to_torch(ttnn.arange(*arguments, dtype=ttnn.int32, device=device))
    assert numbers.tolist() == list(values)


def test_arange_by_names(device):
    tensor = ttnn.arange(start=2, end=9, step=3, dtype=ttnn.int32, device=device)
    assert ttnn.to_torch(tensor).tolist() == [2, 5, 8]


def test_same_seed_same_numbers(device):
    first, repeated, another_seed = (
        ttnn.to_torch(ttnn.rand((64, 64), device, low=-1.0, high=3.0, seed=seed))
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, repeated)
    assert not torch.equal(first, another_seed)
    assert first.min() >= -1
    assert first.max() <= 3
    assert abs(first.float().mean() - 1) < 0.1  # six standard errors of 4096 numbers


@pytest.mark.parametrize("dtype", [ttnn.bfloat16, ttnn.float32], ids=str)
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.1, 9.0), (-5.1, 1.2), (-1.0, 0.0)])
def test_uniform_numbers_never_reach_the_upper_bound(low, high, dtype, device):
    """Of 262144 numbers some would be rounded to it."""
    tensor = ttnn.zeros((512, 512), dtype, ttnn.TILE_LAYOUT, device)
    ttnn.uniform(tensor, low, high, 3)
    made = ttnn.rand((512, 512), device, dtype=dtype, low=low, high=high, seed=3)
    for numbers in (ttnn.to_torch(tensor), ttnn.to_torch(made)):
        bounds = torch.tensor((low, high)).to(numbers.dtype)
        assert numbers.min() >= bounds[0]
        assert numbers.max() < bounds[1]
        assert abs(numbers.float().mean() - (low + high) / 2) < (high - low) / 100

"""Reductions over logical elements: float32 sums, one rounding, first of equal maxima."""

import pytest
import torch
import ttnn

from tests.support.checks import assert_rounded_once
from tests.support.emulated import fill_padding
from tests.support.tensors import in_rows, on_tiles

REFERENCES = {
    "sum": torch.sum,
    "mean": torch.mean,
    "max": torch.amax,
    "min": torch.amin,
    "std": torch.std,
    "var": torch.var,
}


@pytest.fixture
def x():
    return torch.randn(2, 3, 37, 80).bfloat16()


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [-1, -2, 1, (2, 3)], ids=str)
@pytest.mark.parametrize("name", REFERENCES)
def test_reduction(name, dim, keepdim, x, device):
    y = getattr(ttnn, name)(on_tiles(device, x), dim=dim, keepdim=keepdim)
    expected = REFERENCES[name](x.double(), dim, keepdim=keepdim)
    terms = x.double().abs().sum(dim, keepdim=keepdim)
    assert_rounded_once(y, expected, terms)


@pytest.mark.parametrize("name", ["sum", "mean", "max"])
def test_no_dimension_means_all(name, x, device):
    y = getattr(ttnn, name)(on_tiles(device, x))
    expected = REFERENCES[name](x.double(), (0, 1, 2, 3))
    assert_rounded_once(y, expected.reshape(tuple(y.shape)), x.double().abs().sum())


@pytest.mark.parametrize("name", REFERENCES)
def test_an_empty_list_of_dimensions_means_all(name, x, device):
    y = getattr(ttnn, name)(on_tiles(device, x), dim=[], keepdim=True)
    expected = REFERENCES[name](x.double(), (0, 1, 2, 3), keepdim=True)
    assert_rounded_once(y, expected, x.double().abs().sum())


@pytest.mark.parametrize("dtype", [ttnn.int32, ttnn.uint32], ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["max", "min"])
def test_extremes_of_integers_along_rows(name, dtype, device):
    x = torch.randint(3, 90, (2, 37, 50)).int()
    y = getattr(ttnn, name)(on_tiles(device, x, dtype), dim=-1, keepdim=True)
    assert torch.equal(ttnn.to_torch(y).int(), REFERENCES[name](x, -1, keepdim=True))


def test_scalar_multiplies_the_result(x, device):
    y = ttnn.sum(on_tiles(device, x), -1, scalar=0.5)
    assert_rounded_once(y, x.double().sum(-1) * 0.5, x.double().abs().sum(-1))


@pytest.mark.parametrize("name", ["sum", "max", "min", "mean"])
@pytest.mark.parametrize("padding", [7.0, float("nan")])
def test_padding_is_not_read(name, padding, x, device):
    tensor = on_tiles(device, x)
    fill_padding(padding, tensor)
    y = getattr(ttnn, name)(tensor, dim=-1, keepdim=True)
    expected = REFERENCES[name](x.double(), -1, keepdim=True)
    assert_rounded_once(y, expected, x.double().abs().sum(-1, keepdim=True))


@pytest.mark.parametrize("place", [on_tiles, in_rows])
def test_argmax_is_the_first_of_equals(place, device):
    x = torch.zeros(1, 1, 32, 64)
    x[..., 5] = x[..., 40] = 1
    position = ttnn.argmax(place(device, x, ttnn.bfloat16), dim=-1)
    assert position.dtype == ttnn.uint32
    assert (ttnn.to_torch(position).long() == 5).all()


def test_argmax_of_everything_counts_flat(x, device):
    position = ttnn.argmax(in_rows(device, x, ttnn.bfloat16))
    assert ttnn.to_torch(position).item() == x.flatten().argmax()


@pytest.mark.parametrize("largest", [True, False])
def test_topk_gives_values_and_where_they_are(largest, device):
    x = torch.randn(1, 1, 32, 128).bfloat16()
    values, positions = map(ttnn.to_torch, ttnn.topk(on_tiles(device, x), 32, -1, largest))
    assert torch.equal(values, x.topk(32, -1, largest).values)
    assert torch.equal(x.gather(-1, positions.long()), values)

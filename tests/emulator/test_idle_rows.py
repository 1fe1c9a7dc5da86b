"""Rows of a batch that are equal, of idle users say, are computed once: the same bits."""

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.support.checks import assert_same_bits
from tests.support.tensors import on_tiles
from ttnn_emulator.ops.common import padding


def product(device, x):
    weight = on_tiles(device, torch.randn(96, 64, generator=torch.Generator().manual_seed(1)))
    return ttnn.to_torch(ttnn.linear(x, weight))


def biased(device, x):
    generator = torch.Generator().manual_seed(1)
    weight, bias = (
        on_tiles(device, torch.randn(*shape, generator=generator)) for shape in ((96, 64), (1, 64))
    )
    return ttnn.to_torch(ttnn.linear(x, weight, bias=bias, activation="silu"))


def norm(device, x):
    return ttnn.to_torch(ttnn.rms_norm(x, epsilon=1e-5))


@pytest.fixture(params=["kernel", "rounded"])
def arithmetic(request, device):
    with ttnn_emulator.arithmetic_settings(request.param):
        yield request.param


@pytest.mark.parametrize("live", [0, 1, 5, 30])
@pytest.mark.parametrize("operation", [product, biased, norm])
def test_a_row_is_computed_as_by_itself(operation, live, arithmetic, device, monkeypatch):
    x = torch.randn(1, 1, 32, 96).bfloat16()
    x[..., live:, :] = x[..., live : live + 1, :].clone()
    together = operation(device, on_tiles(device, x))
    monkeypatch.setattr(padding, "distinct_rows", lambda values, marked: (values, None))
    assert_same_bits(together, operation(device, on_tiles(device, x)))


def test_rows_that_nothing_wrote_are_not_computed():
    x = torch.randn(1, 1, 4, 8)
    marked = torch.tensor([False, True, False, True])[None, None, :, None]
    needed, which = padding.distinct_rows(x, marked)
    assert torch.equal(needed, x[..., [0, 2], :])
    assert which.tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("shape", [(1, 1, 2, 8), (1, 2, 4, 8), (4, 8)])
def test_few_rows_and_several_matrices_are_taken_whole(shape):
    x = torch.ones(shape) if len(shape) == 4 else torch.randn(shape)
    values, which = padding.distinct_rows(x, None)
    assert which is None
    assert values is x

"""Rows of a batch that are equal, of idle users say, are computed once: the same bits."""

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.support.checks import assert_same_bits
from tests.support.tensors import on_tiles
from ttnn_emulator.ops.common import padding


def product(device, x):
    weight = on_tiles(device, torch.randn(128, 64, generator=torch.Generator().manual_seed(1)))
    return ttnn.to_torch(ttnn.linear(x, weight))


def biased(device, x):
    generator = torch.Generator().manual_seed(1)
    weight, bias = (
        on_tiles(device, torch.randn(*shape, generator=generator)) for shape in ((128, 64), (1, 64))
    )
    return ttnn.to_torch(ttnn.linear(x, weight, bias=bias, activation="silu"))


def norm(device, x):
    return ttnn.to_torch(ttnn.rms_norm(x, epsilon=1e-5))


def total(device, x):
    return ttnn.to_torch(ttnn.add(x, x))


def gated(device, x):
    row = on_tiles(device, torch.randn(1, 128, generator=torch.Generator().manual_seed(1)))
    return ttnn.to_torch(ttnn.multiply(x, row, input_tensor_a_activations=[ttnn.UnaryOpType.SILU]))


def rotated(device, x):
    heads = ttnn.concat([x, ttnn.multiply(x, 2.0)], dim=1)
    generator = torch.Generator().manual_seed(1)
    cos, sin = torch.randn(2, 1, 1, 32, 128, generator=generator)
    tables = [on_tiles(device, table.index_fill(-2, LAST_ROWS, 0.5)) for table in (cos, sin)]
    return ttnn.to_torch(ttnn.experimental.rotary_embedding(heads, *tables))


LAST_ROWS = torch.arange(4, 32)


@pytest.fixture(params=["kernel", "rounded"])
def arithmetic(request, device):
    with ttnn_emulator.arithmetic_settings(request.param):
        yield request.param


@pytest.mark.parametrize("live", [0, 1, 5, 30])
@pytest.mark.parametrize("operation", [product, biased, norm, total, gated, rotated])
def test_a_row_is_computed_as_by_itself(operation, live, arithmetic, device, monkeypatch):
    x = torch.randn(1, 1, 32, 128).bfloat16()
    x[..., live:, :] = x[..., live : live + 1, :].clone()
    together = operation(device, on_tiles(device, x))
    monkeypatch.setattr(padding, "_unlike_the_last", lambda values: None)
    assert_same_bits(together, operation(device, on_tiles(device, x)))


def test_rows_that_nothing_wrote_are_not_computed():
    x = torch.randn(1, 1, 4, 8)
    marked = torch.tensor([False, True, False, True])[None, None, :, None]
    needed, which = padding.distinct_rows(x, marked)
    assert torch.equal(needed, x[..., [0, 2], :])
    assert which.tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("shape", [(1, 1, 2, 8), (4, 8)])
def test_few_rows_and_other_ones_are_taken_whole(shape):
    x = torch.ones(shape) if len(shape) == 4 else torch.randn(shape)
    values, which = padding.distinct_rows(x, None)
    assert which is None
    assert values is x


def test_of_several_matrices_a_row_is_computed_that_one_of_them_needs():
    x = torch.ones(3, 1, 5, 8)
    x[0, 0, 1], x[2, 0, 2] = 2, 3
    needed, which = padding.distinct_rows(x, None)
    assert torch.equal(needed, x[..., [1, 2, 4], :])
    assert which.tolist() == [2, 0, 1, 2, 2]
    marked = torch.zeros(3, 1, 5, 1, dtype=torch.bool)
    marked[:, 0, 2:] = True
    marked[1, 0, 3] = False
    needed, which = padding.distinct_rows(x, marked)
    assert torch.equal(needed, x[..., [0, 1, 3], :])
    assert which.tolist() == [0, 1, 0, 2, 0]

"""Mamba's operations: what their arguments mean, what of them is padding, what is refused."""

import pytest
import torch
import ttnn

from tests.ops.operands import on
from tests.ops.state_space import CHANNELS, recurrence, scanned
from ttnn_emulator.dispatch import NotEmulated

X = ttnn.experimental


def operands(device, rows, width, a=None):
    a = torch.rand(1, 1, rows, width) if a is None else a
    values = [x.bfloat16() for x in (a, torch.randn(1, 1, rows, width))]
    row = torch.randn(1, 1, 1, width).bfloat16()
    tensors = [on(device, x) for x in values] + [on(device, row, layout=ttnn.ROW_MAJOR_LAYOUT)]
    return tensors, recurrence(*(x.double() for x in (*values, row)))


def assert_close(actual, expected):
    """Up to a few roundings to bfloat16."""
    torch.testing.assert_close(actual.double(), expected, rtol=0.02, atol=0.02)


def test_a_scan_goes_on_from_the_state_of_the_one_before(device):
    tensors, expected = operands(device, 64, 64)
    first, second = (
        [ttnn.slice(x, [0, 0, start, 0], [1, 1, start + 32, 64]) for x in tensors[:2]]
        for start in (0, 32)
    )
    h = tensors[2]
    results = []
    for part in (first, second):
        result, h = scanned(*part, h, 2, {})
        results.append(ttnn.to_torch(result))
    assert_close(torch.cat(results, 2), expected)
    assert torch.equal(ttnn.to_torch(h), results[1][:, :, -1:])


def test_rows_of_padding_end_the_state(device):
    tensors, expected = operands(device, 20, 32)
    a, bx = (ttnn.fill_implicit_tile_padding(x, 0) for x in tensors[:2])
    result, last = scanned(a, bx, tensors[2], 1, {})
    assert_close(ttnn.to_torch(result), expected)
    assert not ttnn.to_torch(last).any()


def test_no_other_dtype_than_the_operands(device):
    x = on(device, torch.randn(1, 1, 32, 1024))
    with pytest.raises(NotEmulated, match="writes the first operand's format"):
        X.hc_sum_reduce(x, dtype=ttnn.bfloat8_b)


def test_no_rows_on_several_cores(device):
    spec = ttnn.ShardSpec(
        ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(1, 0))}),
        [32, 64],
        ttnn.ShardOrientation.ROW_MAJOR,
    )
    place = ttnn.MemoryConfig(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.BufferType.L1, spec)
    (a, bx, h), _expected = operands(device, 64, 64)
    a, bx = (ttnn.to_memory_config(x, place) for x in (a, bx))
    _, h = scanned(*operands(device, 32, 64)[0], 1, {})
    with pytest.raises(NotEmulated, match="must have the same ones, of all rows"):
        X.prefix_scan(a, bx, h)


def test_a_product_has_a_dtype_of_its_own_and_latents_that_are_summed_again(device):
    a, b = torch.ones(1, 1, 32, 32), torch.randint(-8, 8, (1, 1, 32, CHANNELS)).float()
    product = X.repeat_and_interleave_eltwise_mul(
        on(device, a), on(device, b), dtype=ttnn.bfloat8_b
    )
    assert product.dtype == ttnn.bfloat8_b
    assert torch.equal(ttnn.to_torch(X.hc_sum_reduce(product)).float(), 32 * b)

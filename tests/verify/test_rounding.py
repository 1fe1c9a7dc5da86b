"""Roundings as the hardware documents them: of operands, destinations, exponentials."""

import math

import pytest
import torch

from ttnn_verify.numerics import rounding


@pytest.mark.parametrize("bits", [5, 7, 8, 11])
def test_cut_and_nearest_keep_significant_bits(bits):
    x = torch.randn(10_000)
    step = torch.ldexp(torch.ones_like(x), torch.frexp(x).exponent - bits)
    assert torch.equal(rounding.cut(x, bits), torch.trunc(x / step) * step)
    assert ((rounding.nearest(x, bits) - x).abs() <= step / 2).all()
    tie = torch.tensor([1 + 2.0**-bits, -1 - 2.0**-bits])
    assert (rounding.nearest(tie, bits).abs() > 1).all()  # away from zero


def test_a_16_bit_destination_adds_as_documented():
    """Ties go away from zero: 256 + 1 is 258, and 256 + 0.75 stays."""
    sums = {(256.0, 1.0): 258, (256.0, 0.75): 256, (256.0, -1.0): 255, (256.0, -0.5): 256}
    for terms, expected in sums.items():
        assert rounding.accumulate(*map(torch.tensor, terms), fp32_dest_acc=False) == expected


def test_the_line_of_the_exponential_errs_by_three_percent():
    x = torch.linspace(-20, 0, 100_000).double()
    error = rounding.line_exp(x.float()) / x.exp() - 1
    assert -0.032 < error.min() < -0.030
    assert 0.030 < error.max() < 0.032
    assert rounding.line_exp(torch.tensor([-100.0, -math.inf])).tolist() == [0, 0]


def test_rows_that_are_equal_have_one_error():
    rows = torch.randn(4, 32)
    assert rounding.independent_rows(rows) == 4
    assert rounding.independent_rows(rows[[0, 0, 0]]) == 1
    idle = rows[[0] + [1] * 7].reshape(8, 1, 1, 32)  # one user, and seven rows that idle
    assert rounding.independent_rows(idle) == pytest.approx(64 / 50)
    rows[2] = torch.nan  # of a row that nobody reads
    assert rounding.independent_rows(rows) == 3

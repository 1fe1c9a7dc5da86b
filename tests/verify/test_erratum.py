"""A result that is off by the matrix unit's erratum is told from other outliers."""

import pytest
import torch

from ttnn_verify.numerics import erratum, op_floors

M, K, N = 64, 128, 512
PLACE = (5, 7)


@pytest.fixture(scope="module")
def product():
    """(expected, honest result, its floor)."""
    torch.manual_seed(0)
    a, b = torch.randn(M, K).bfloat16(), torch.randn(K, N).bfloat16()
    expected = a.double() @ b.double()
    floor = op_floors.matmul(a, b, compute=op_floors.ComputeConfig("HiFi4", True))
    return expected, expected.bfloat16(), floor


def off_by(honest, error, *places):
    altered = honest.double().clone()
    for place in places:
        altered[place] += error
    return altered.bfloat16()


@pytest.mark.parametrize("power", range(4, 12))
def test_an_element_off_by_a_negative_power_of_two_is_masked(product, power):
    expected, honest, floor = product
    actual, places = erratum.mask_erratum(expected, off_by(honest, -(2.0**power), PLACE), floor)
    assert places == [PLACE]
    assert torch.equal(actual, honest)


@pytest.mark.parametrize("error", [64.0, -60.0, -24.0, -3.0, float("nan"), float("-inf")])
def test_another_error_is_not(product, error):
    expected, honest, floor = product
    result = off_by(honest, error, PLACE)
    actual, places = erratum.mask_erratum(expected, result, floor)
    assert places == []
    assert actual is result


def test_nor_are_many(product):
    expected, honest, floor = product
    result = off_by(honest, -64.0, PLACE, (9, 9))
    assert erratum.mask_erratum(expected, result, floor) == (result, [])


def test_nor_is_one_where_sums_have_16_bits(product):
    expected, honest, _ = product
    floor = op_floors.matmul(torch.ones(32, 32), torch.ones(32, 32))
    result = off_by(honest, -64.0, PLACE)
    assert erratum.mask_erratum(expected, result, floor) == (result, [])


def test_an_honest_result_is_left_alone(product):
    expected, honest, floor = product
    assert erratum.mask_erratum(expected, honest, floor) == (honest, [])

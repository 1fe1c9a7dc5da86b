"""A result that is off by the matrix unit's erratum is told from other outliers."""

import pytest
import torch
import ttnn

from ttnn_emulator.arithmetic.compute import Compute
from ttnn_emulator.arithmetic.exact.matrix import matrix_unit
from ttnn_verify.drift import finding
from ttnn_verify.drift.judgement import judging
from ttnn_verify.drift.observation.walk import ModelCall
from ttnn_verify.drift.observed import Observed, Operands, ReadTensor
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


def operands_that_meet_it():
    """(a [32, 64], b [64, 512]) of which one element's sum is -1 of the accumulator's units.

    31 products of -2^-23 and 2^-23 leave one of them, and 32 of ones and minus ones nothing.
    """
    torch.manual_seed(0)
    a, b = torch.randn(32, 64), torch.randn(64, 512)
    row, column = PLACE
    a[row, :32], b[:32, column] = 2.0**-12, 2.0**-11
    a[row, :32:2] *= -1
    a[row, 31] = 0
    a[row, 32:], b[32:, column] = 1, 1
    a[row, 32::2] = -1
    return a.bfloat16(), b.bfloat16()


def test_drift_accuses_no_call_of_it():
    a, b = operands_that_meet_it()
    result = matrix_unit.matmul(a, b, compute=Compute("HiFi4", fp32_dest_acc=True)).bfloat16()
    assert result[PLACE] == -16  # of 2^-23, exactly, which bfloat16 has
    config = ttnn.WormholeComputeKernelConfig(
        math_fidelity=ttnn.MathFidelity.HiFi4, fp32_dest_acc_en=True
    )
    operands = Operands((a, b), {"compute_kernel_config": config}, (), (), None)
    results = (ReadTensor(1, "bfloat16", result.float(), None),)
    call = Observed("ttnn.linear", ttnn.linear, ModelCall(0, 0, (0,), (32,)), 0, operands, results)
    own = judging.own_verdicts(call, accurate=False)
    assert own.status == finding.OK
    assert own.worst.errata == (PLACE,)
    assert own.note == "1 left out: off by the matrix unit's erratum"
    results[0].values[9, 9] = -16
    assert judging.own_verdicts(call, accurate=False).status == finding.WRONG

"""Groups of eight products that are all zero, as of padded heads and prompts, change nothing."""

import numpy as np
import pytest
import torch

from tests.emulator.arithmetic.integer_products import exact_product, operand
from tests.emulator.arithmetic.recorded import assert_same_bits
from ttnn_emulator.arithmetic.exact.matrix import matrix_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_kernels import Accumulation
from ttnn_emulator.arithmetic.formats import TILE


def exactly(activation, weight, phases, fp32_dest_acc):
    """Dst of activation [M, K] @ weight [K, N], float32 [M, N], the same as by the definition."""
    block = len(weight) // TILE
    prepared = matrix_unit.prepare_weight(weight)
    dst = matrix_unit._accumulate(activation, prepared, Accumulation(phases, fp32_dest_acc, block))
    computed = torch.from_numpy(dst[0])
    assert_same_bits(computed, exact_product(activation, weight, phases, fp32_dest_acc))
    return computed


@pytest.mark.parametrize("rows", [2, 9], ids=["few", "many"])
@pytest.mark.parametrize("fp32_dest_acc", [False, True], ids=["dst16", "dst32"])
@pytest.mark.parametrize("phases", [1, 2, 4])
@pytest.mark.parametrize(
    ("factor", "zero"),
    [
        (1.0, np.s_[:, 32:]),  # columns, as of padded heads
        (1.0, np.s_[40:64]),  # groups of K
        (1.0, np.s_[8:16, 5]),
        (2.0**-80, np.s_[40:64]),  # products above what may count as none
        (2.0**-104, np.s_[40:64]),  # and below
    ],
    ids=["columns", "groups", "one group", "small", "tiny"],
)
def test_groups_without_products_change_no_destination(factor, zero, phases, fp32_dest_acc, rows):
    generator = torch.Generator().manual_seed(phases)
    activation = operand(generator, (rows, 96), 1)
    activation[1:, 64:80] = 0
    weight = operand(generator, (96, 64), 1)
    weight *= factor
    weight[zero] = 0
    exactly(activation, weight, phases, fp32_dest_acc)


@pytest.mark.parametrize("rows", [1, 9], ids=["few", "many"])
@pytest.mark.parametrize("fp32_dest_acc", [False, True], ids=["dst16", "dst32"])
def test_products_far_below_the_rows_largest_are_not_taken_for_none(fp32_dest_acc, rows):
    weight = torch.zeros(32, 64)
    weight[0, :32] = 1
    weight[8:16, 32:] = 2.0**-110
    weight[16:] = 1
    activation = torch.zeros(rows, 32)
    activation[:, 0], activation[:, 8:16] = 2.0**30, 1
    computed = exactly(activation, weight, 1, fp32_dest_acc)
    assert computed[:, 32:].all()


@pytest.mark.parametrize("rows", [1, 9], ids=["few", "many"])
@pytest.mark.parametrize("fp32_dest_acc", [False, True], ids=["dst16", "dst32"])
def test_a_tiny_destination_is_not_rounded_beside_a_group_without_products(fp32_dest_acc, rows):
    weight = torch.zeros(64, 64)
    weight[0, :32] = torch.arange(1, 33) * 2.0**-105
    activation = torch.ones(rows, 64)
    computed = exactly(activation, weight, 1, fp32_dest_acc)
    assert computed[:, :32].all()

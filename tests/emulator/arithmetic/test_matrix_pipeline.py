"""The pipeline through a tile: the bits of the integer definition, the erratum's too."""

import numpy as np
import pytest
import torch

from tests.emulator.arithmetic.integer_products import exact_product
from tests.emulator.arithmetic.recorded import assert_same_bits
from ttnn_emulator.arithmetic.exact.matrix import matrix_kernels, matrix_pipeline, matrix_unit

PLACES = 23  # of float32's fraction


def _signs(generator, shape):
    return generator.choice(np.array([-1, 1], np.float32), shape)


def _operands_that_meet_the_erratum(rows):
    """A tile whose sums are small multiples of 2^-23, and one of ones, of which many sum to 0.

    Where the first comes to -2^-23 and the second to 0, the total is -1 of the accumulator's units.
    """
    generator = np.random.default_rng(rows)
    activation = _signs(generator, (rows, 64))
    weight = _signs(generator, (64, 64))
    activation[:, :32] *= np.float32(2.0**-12)
    weight[:32] *= np.float32(2.0**-11)
    activation[:, 31] = 0
    return torch.from_numpy(activation), torch.from_numpy(weight)


@pytest.mark.parametrize("phases", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [matrix_pipeline.STAGES, matrix_pipeline.STAGES + 1, 40])
def test_the_erratum_is_found(rows, phases):
    activation, weight = _operands_that_meet_the_erratum(rows)
    computed = matrix_unit._accumulate(
        activation,
        matrix_unit.prepare_weight(weight),
        matrix_kernels.Accumulation(phases, True, block=2),
    )
    exact = exact_product(activation, weight, phases, True)
    off = (exact.double() - activation.double() @ weight.double()) * 2**PLACES
    # The erratum, -1 taken for -2^27, must be among the operands that are made to meet it, in more
    # than a chance element: 26 November 2026.
    assert (off == 1 - 2**27).double().mean() > 0.01
    assert_same_bits(torch.from_numpy(computed[0]), exact)

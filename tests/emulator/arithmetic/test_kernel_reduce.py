"""Reductions: the recorded kernels bit for bit, roundings worked by hand, and float64."""

import math

import pytest
import torch

from tests.emulator.arithmetic.recorded import assert_same_bits
from ttnn_emulator.arithmetic.exact.reductions import reduce, standard_deviation, variance
from ttnn_emulator.fidelity import recordings

RECORDED = [case for case in recordings.cases("reduce") if case.op != "ttnn.argmax"]
TINY = 2.0**-24  # half of the last bit of 1.0 in float32

EVERY_DIMS = [-1, -2, 0, 1, (0, 1), (0, -1), (1, -2), (-2, -1), (1, -2, -1), None]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16().float()


def exact(operation, x, dims):
    dims = tuple(range(x.dim())) if dims is None else dims
    name = {"max": "amax", "min": "amin"}.get(operation, operation)
    return getattr(x.double(), name)(dims, keepdim=True)


@pytest.mark.parametrize("case", RECORDED, ids=str)
def test_reduction_equals_the_recorded_kernel(case):
    operation = case.op.removeprefix("ttnn.")
    assert_same_bits(reduce(operation, case.tensor("a"), -1), case.output())


@pytest.mark.parametrize("dims", EVERY_DIMS, ids=str)
@pytest.mark.parametrize("operation", ["max", "min"])
def test_extremes_are_exact(operation, dims):
    x = normal(2, 3, 40, 70)
    for dtype in ("bfloat16", "float32"):
        assert_same_bits(reduce(operation, x, dims, dtype=dtype), exact(operation, x, dims).float())


@pytest.mark.parametrize("dims", EVERY_DIMS, ids=str)
def test_float32_sums_have_float32_accuracy(dims):
    x = torch.randn(2, 3, 40, 70, generator=torch.Generator().manual_seed(1))
    for operation in ("sum", "mean"):
        y = reduce(operation, x, dims, dtype="float32", out="float32")
        # At most 15 additions follow one another in a term's way, each wrong by 2^-24 of a sum.
        limit = 2.0**-20 * exact(operation, x.abs(), dims)
        assert ((y - exact(operation, x, dims)).abs() <= limit).all()


@pytest.mark.parametrize("dims", EVERY_DIMS, ids=str)
def test_bfloat16_sums_lose_little_but_their_last_rounding(dims):
    x = normal(2, 3, 40, 70)
    y, expected = reduce("sum", x, dims), exact("sum", x, dims)
    # One rounding to 8 bits, two where all dimensions are reduced; and the matrix unit keeps ten
    # fraction bits of the largest of eight terms, so none of them loses more than 2^-11 of it.
    terms = x.numel() // y.numel()
    limit = 2 * 2.0**-9 * expected.abs() + 2.0**-11 * terms * x.abs().max()
    assert ((y - expected).abs() <= limit).all()


@pytest.mark.parametrize("dims", [-1, -2, (-2, -1)], ids=str)
def test_block_float_sums_are_within_a_step_of_their_block(dims):
    x = normal(2, 3, 64, 64).abs()
    y = reduce("sum", x, dims, dtype="bfloat8_b", out="bfloat8_b")
    expected = exact("sum", x, dims)
    # Two roundings each: 6 fraction bits, then 7 bits below the largest of the block; twice.
    torch.testing.assert_close(y.double(), expected, rtol=4 * 2.0**-7, atol=0.0)


def test_mean_has_its_reciprocal_cut_to_bfloat16():
    """1/3 becomes 0.33203125 (85/256) and three times that 255/256."""
    x = torch.ones(1, 3)
    assert reduce("mean", x, -1).item() == 255 / 256
    assert reduce("mean", x.T, -2).item() == 255 / 256


def test_float32_mean_has_a_float32_reciprocal():
    y = reduce("mean", torch.ones(1, 3), -1, dtype="float32", out="float32")
    # The reciprocal is rounded, and the product: half a unit each, 24 November 2026.
    assert y.item() == pytest.approx(1.0, rel=2.0**-23)


def test_scalar_of_a_sum_is_cut_to_bfloat16_and_of_an_extreme_is_not():
    third = 1 / 3
    assert reduce("sum", torch.full((1, 32), 3.0), -1, scalar=third).item() == 32 * 255 / 256
    assert reduce("max", torch.full((1, 32), 3.0), -1, scalar=third).item() == 1.0


def test_negative_scalar_turns_a_maximum():
    x = torch.tensor([[1.0, 2.0, 3.0]])
    assert reduce("max", x, -1, scalar=-2.0).item() == -2.0
    assert reduce("min", x, -1, scalar=-2.0).item() == -6.0


def rows_of_257_and_minus_256():
    x = torch.zeros(2, 64)
    x[0, 0], x[0, 1], x[1, 0] = 256.0, 1.0, -256.0
    return x


def test_sum_over_rows_and_columns_keeps_float32_between():
    """257, which bfloat16 does not have, stays until 256 is subtracted."""
    assert reduce("sum", rows_of_257_and_minus_256()).item() == 1.0


def test_bfloat8_sum_over_rows_and_columns_is_packed_between():
    """257 becomes 256, which has the 7 bits of bfloat8_b."""
    y = reduce("sum", rows_of_257_and_minus_256(), dtype="bfloat8_b", out="bfloat8_b")
    assert y.item() == 0.0


def test_mean_over_rows_and_columns_rounds_to_bfloat16_between():
    """257 becomes 258."""
    assert reduce("mean", rows_of_257_and_minus_256()).item() == 2 / 128


def test_sum_over_two_leading_dimensions_keeps_float32_between():
    x = torch.zeros(2, 2, 32, 32)
    x[0, 0], x[0, 1], x[1, 0] = 256.0, 1.0, -256.0
    assert reduce("sum", x, (0, 1)).unique().tolist() == [1.0]
    assert reduce("mean", x, (0, 1)).unique().tolist() == [0.25]


def test_sum_of_everything_rounds_leading_dimensions_to_bfloat16():
    """No dimension is left, so TTNN packs 257 as 258 before it adds up the tiles."""
    x = torch.zeros(1, 2, 64, 32)
    x[:, 0, 0, 0], x[:, 1, 0, 0], x[:, 0, 1, 0] = 256.0, 1.0, -256.0
    assert reduce("sum", x).item() == 2.0
    assert reduce("sum", x, (1, 2, 3)).item() == 1.0


def test_single_tile_sums_its_columns_in_bfloat16():
    """The sum of a column, 257, goes through SrcB, which cuts it to 256."""
    x = torch.tensor([[256.0], [1.0]])
    assert reduce("sum", x).item() == 256.0


def test_tall_columns_are_split_and_divided_in_float32():
    """640 rows in 20 slices; 608 rows are too few and meet 1/608 cut to bfloat16, 215 * 2^-17."""
    assert reduce("mean", torch.ones(640, 32), -2).unique().tolist() == [1.0]
    assert reduce("mean", torch.ones(608, 32), -2).unique().tolist() == [255 / 256]


def test_float32_row_is_added_in_the_order_of_the_lanes():
    """Columns 1 and 17 meet before they meet column 0; columns 2 and 8 do not."""
    together, apart = torch.zeros(1, 32), torch.zeros(1, 32)
    together[0, [0, 1, 17]] = torch.tensor([1.0, TINY, TINY])
    apart[0, [0, 2, 8]] = torch.tensor([1.0, TINY, TINY])
    assert reduce("sum", together, -1, dtype="float32", out="float32").item() == 1 + 2 * TINY
    assert reduce("sum", apart, -1, dtype="float32", out="float32").item() == 1.0


def test_float32_column_is_added_in_the_order_of_the_lanes():
    """Rows 4 and 8 meet before they meet row 0; rows 1 and 16 do not."""
    together, apart = torch.zeros(32, 1), torch.zeros(32, 1)
    together[[0, 4, 8], 0] = torch.tensor([1.0, TINY, TINY])
    apart[[0, 1, 16], 0] = torch.tensor([1.0, TINY, TINY])
    assert reduce("sum", together, -2, dtype="float32", out="float32").item() == 1 + 2 * TINY
    assert reduce("sum", apart, -2, dtype="float32", out="float32").item() == 1.0


def test_fast_float32_sum_is_cut_to_tf32():
    x = torch.full((1, 32), 1 + 2.0**-12)
    assert reduce("sum", x, -1, dtype="float32", out="float32").item() == 32 * (1 + 2.0**-12)
    fast = reduce("sum", x, -1, dtype="float32", out="float32", fast=True)
    assert fast.item() == 32.0


def test_ranks_below_two_are_reduced_too():
    assert reduce("sum", torch.ones(70)).tolist() == [70.0]
    assert reduce("sum", torch.tensor(3.0)).item() == 3.0


def test_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="prod"):
        reduce("prod", torch.ones(2, 2))


@pytest.mark.parametrize("dims", EVERY_DIMS, ids=str)
@pytest.mark.parametrize("correction", [True, False])
def test_variance_has_float32_accuracy(dims, correction):
    x = normal(4, 5, 40, 70) + 100.0  # an offset that one pass over the squares would suffer from
    over = tuple(range(4)) if dims is None else dims
    expected = x.double().var(over, correction=int(correction), keepdim=True)
    y = variance(x, dims, correction, out="float32")
    # 70 additions at most follow one another, each wrong by 2^-24, and likewise in the mean.
    torch.testing.assert_close(y.double(), expected, rtol=140 * 2.0**-24, atol=0.0)
    root = standard_deviation(x, dims, correction, out="float32")
    torch.testing.assert_close(root.double(), expected.sqrt(), rtol=140 * 2.0**-24, atol=0.0)


def test_variance_of_four_numbers():
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert variance(x, -1, False).item() == 1.25
    assert standard_deviation(x, -1, False, scalar=-2.0).item() == 2.234375  # 2 * sqrt(1.25)
    assert variance(x, -1, False, scalar=-2.0).item() == 5.0


def test_variance_of_one_number_is_undefined():
    assert math.isnan(variance(torch.ones(1, 1)).item())
    assert variance(torch.ones(1, 1), correction=False).item() == 0.0

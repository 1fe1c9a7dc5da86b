"""The metrics themselves: known values, and no kindness to NaN, constants, scale or outliers."""

import math

import pytest
import torch

from ttnn_verify.numerics import metrics


def test_pcc_is_correlation():
    x, y = torch.randn(1000), torch.randn(1000)
    expected = torch.corrcoef(torch.stack([x, x + y]).double())[0, 1].item()
    assert metrics.pcc(x, x + y) == pytest.approx(expected, abs=1e-12)


def test_pcc_does_not_see_scale_and_offset_but_relative_l2_does():
    x = torch.randn(1000)
    assert metrics.pcc(x, 2 * x + 3) == pytest.approx(1.0, abs=1e-6)
    assert metrics.relative_l2(x, 2 * x + 3) > 1


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_pcc_of_a_constant_is_1_if_equal_and_else_0_or_none(value):
    constant = torch.full((7, 9), value)
    assert metrics.pcc(constant, torch.randn(7, 9)) == 0
    assert metrics.pcc(torch.randn(7, 9), constant) == 0
    assert metrics.pcc(constant, constant + 1 + constant) == 0
    assert metrics.pcc(constant, constant.clone()) == 1
    assert metrics.compare(constant, constant.clone()).pcc == 1
    wrong = constant.clone()
    wrong[0, 0] += 1 + value
    assert metrics.compare(constant, wrong).pcc is None
    assert "undefined (a constant)" in str(metrics.compare(constant, wrong))


@pytest.mark.parametrize("scale", [1e-38, 1e38])
def test_pcc_holds_at_the_ends_of_float32(scale):
    x = torch.randn(1000).clamp(-3, 3)
    assert metrics.pcc(x, x * scale) == pytest.approx(1.0, abs=1e-6)


def test_relative_l2_is_the_ratio_of_norms():
    assert metrics.relative_l2(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])) == 0.1


def test_relative_l2_of_zeros():
    zero = torch.zeros(4)
    assert metrics.relative_l2(zero, zero) == 0
    assert metrics.relative_l2(zero, torch.ones(4)) == math.inf


def test_max_error_tells_where():
    expected = torch.zeros(2, 3, 4)
    actual = expected.clone()
    actual[1, 2, 0] = -5
    assert metrics.max_error(expected, actual) == metrics.MaxError(5.0, (1, 2, 0), 0.0, -5.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_bad_element_spoils_every_metric(bad):
    expected, actual = torch.randn(5, 6), torch.randn(5, 6)
    actual[2, 3] = bad
    result = metrics.compare(expected, actual)
    assert result.nonfinite_actual
    assert not result.nonfinite_expected
    assert math.isnan(result.pcc)
    assert not math.isfinite(result.relative_l2)
    assert result.max_error.index == (2, 3)
    assert "not finite" in str(result)


def test_equal_infinities_do_not_differ():
    mask = torch.tensor([0.0, -math.inf])
    assert metrics.max_error(mask, mask).value == 0


def test_different_shapes_do_not_compare():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        metrics.relative_l2(torch.zeros(3, 2), torch.zeros(2, 3))


def test_a_comparison_of_different_shapes_says_so_and_measures_nothing():
    result = metrics.compare(torch.zeros(3, 2), torch.zeros(2, 3))
    assert not result.shape_matches
    assert not result.equal
    assert str(result) == "shape (2, 3) for (3, 2)"
    assert math.isnan(result.relative_l2)
    assert result.worst_row is None


def test_worst_row_finds_a_wrong_token_among_large_ones():
    expected = torch.randn(2, 30, 64)
    expected[:, :3] *= 1000
    actual = expected.clone()
    actual[1, 17] = 0
    assert metrics.relative_l2(expected, actual) < 0.001
    assert metrics.worst_row(expected, actual) == metrics.WorstRow(1.0, (1, 17))


def test_worst_row_measures_a_row_of_zeros_by_the_others():
    expected = torch.ones(4, 16)
    expected[2] = 0
    actual = expected.clone()
    actual[2, 5] = 1
    size = math.sqrt(3 * 16 / 4)  # root mean square of the rows' norms
    assert metrics.worst_row(expected, actual) == metrics.WorstRow(1 / size, (2,))


def test_single_columns_are_no_rows():
    expected, actual = torch.tensor([[[1.0], [1e-9]]]), torch.tensor([[[1.0], [2e-9]]])
    assert metrics.worst_row(expected, actual).value == pytest.approx(1e-9)
    assert metrics.worst_row(torch.tensor(2.0), torch.tensor(3.0)) == metrics.WorstRow(0.5, ())


def test_max_error_names_tile_and_face():
    expected = torch.zeros(2, 100, 100)
    actual = expected.clone()
    actual[1, 50, 69] = 1
    worst = metrics.max_error(expected, actual)
    assert (worst.tile, worst.face) == ((1, 2), 2)


@pytest.mark.parametrize(
    ("dtype", "torch_dtype"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)]
)
def test_a_correct_rounding_errs_by_half_a_unit(dtype, torch_dtype):
    x = (1 + torch.rand(100_000, dtype=torch.float64)) * 2.0**-30  # of one binade, so of one unit
    ulps = metrics.ulps(x, x.to(torch_dtype), dtype)
    assert 0.499 < ulps.max < 0.501  # torch rounds to bfloat16 by way of float32
    assert ulps.p50 == pytest.approx(0.25, abs=0.01)
    following = torch.nextafter(x.to(torch_dtype), torch.tensor(math.inf, dtype=torch_dtype))
    assert metrics.ulps(x.to(torch_dtype), following, dtype).p50 == 1


def test_values_near_zero_are_held_to_the_units_of_their_tensor():
    """A sum that cancelled is off by as much as its terms are, whatever is left of it."""
    x = torch.randn(64, 128).double()
    x[0, :8] = torch.logspace(-30, -9, 8).double()
    error = 2.0**-8 * torch.randn(64, 128).double()  # about one unit of bfloat16 near 1
    noisy = metrics.ulps(x, x + error)
    assert 0.1 < noisy.p50 < 1
    assert noisy.max < 8
    assert metrics.ulps(x.to(torch.bfloat16), x).max <= 1


@pytest.mark.parametrize("scale", [2.0**-40, 1, 2.0**40])
def test_units_go_with_the_scale_of_a_tensor(scale):
    x, error = torch.randn(2, 64, 128).double()
    assert metrics.ulps(scale * x, scale * (x + error / 100)) == metrics.ulps(x, x + error / 100)


def test_a_difference_from_zeros_has_no_units():
    zeros = torch.zeros(4, 32)
    assert metrics.ulps(zeros, zeros + 1e-9) is None
    assert metrics.compare(zeros, zeros + 1e-9).ulps is None


def test_infinities_are_no_scale():
    x = torch.randn(64, 128).double()
    x[:, 0] = -math.inf  # as a mask has them
    assert metrics.ulps(x, x + 2.0**-8).p99 < 2


def test_a_unit_of_a_block_format_is_the_step_of_its_sixteen_columns():
    x = torch.full((1, 40), 2.0**-5)
    x[0, 3], x[0, 20] = 1.5, 8.0
    assert metrics.unit(x, "bfloat8_b")[0, [0, 15, 16, 31, 32]].tolist() == [
        *(2.0**-6, 2.0**-6),
        *(2.0**-3, 2.0**-3),
        2.0**-11,
    ]
    assert metrics.unit(x, "bfloat4_b")[0, 0] == 2.0**-2


def test_the_line_of_a_gain_and_an_offset_is_found():
    x = torch.randn(1000)
    result = metrics.compare(x, 1.01 * x + 0.5)
    assert result.slope == pytest.approx(1.01, abs=1e-6)
    assert result.intercept == pytest.approx(0.5, abs=1e-6)
    assert metrics.compare(x * 1e-30, x * 2e-30).slope == pytest.approx(2.0)
    assert metrics.compare(torch.ones(5), torch.randn(5)).slope is None


def test_spread_is_that_about_the_mean():
    x = torch.randn(100_000)
    assert metrics.compare(x, x + 1).spread == pytest.approx(1, abs=0.01)
    assert metrics.compare(x + 10, x).spread == pytest.approx(1 / math.sqrt(101), rel=0.02)
    assert metrics.compare(torch.ones(5), torch.zeros(5)).spread == 0


def test_equality_is_of_bits():
    zero, nan = torch.tensor([0.0, 1.0]), torch.tensor([math.nan, 1.0])
    assert metrics.compare(zero, zero).equal
    assert metrics.compare(nan, nan).equal
    assert metrics.compare(zero, -zero * torch.tensor([1.0, -1.0])).mismatches == 1
    assert metrics.compare(torch.tensor([3, 4]), torch.tensor([3, 5])).mismatches == 1


def test_what_is_not_finite_in_both_in_the_same_way_is_no_difference():
    expected = torch.tensor([math.inf, math.nan, 1.0])
    assert metrics.compare(expected, expected.clone()).nonfinite == 0
    assert metrics.compare(expected, torch.tensor([-math.inf, math.nan, 1.0])).nonfinite == 1
    assert metrics.compare(expected, torch.tensor([math.inf, 2.0, 1.0])).nonfinite == 1


@pytest.mark.parametrize(
    ("actual", "dtype", "matches"),
    [
        (torch.tensor([1.0]), None, True),
        (torch.tensor([1.0078125]), "bfloat16", True),
        (torch.tensor([1.0000001]), "bfloat16", False),
        (torch.tensor([1.0078125]).bfloat16(), "bfloat8_b", True),
        (torch.tensor([1.0]).bfloat16(), "float32", False),
        (torch.tensor([1.0]), "float32", True),
        (torch.tensor([math.nan]), "bfloat16", True),
        (torch.tensor([1.0]), "uint32", False),
        (torch.tensor([1]), "uint32", True),
    ],
)
def test_values_that_are_not_ones_of_the_format_are_seen(actual, dtype, matches):
    assert metrics.compare(actual.double(), actual, dtype).dtype_matches is matches


def test_integers_have_no_unit_in_the_last_place():
    result = metrics.compare(torch.tensor([1, 2]), torch.tensor([1, 3]), "int32")
    assert result.ulps is None
    assert result.mismatches == 1


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (2, 3, 4, 5, 6)])
def test_tensors_of_any_rank_compare_and_print(shape):
    x = torch.randn(shape)
    result = metrics.compare(x, x.bfloat16(), "bfloat16")
    assert str(result)
    assert metrics.compare(x, x).equal


def test_kl_is_zero_for_equal_distributions_and_ignores_an_offset():
    logits = torch.randn(4, 50)
    assert metrics.kl(logits, logits + 7).abs().max() < 1e-12


def test_kl_is_that_of_torch():
    x, y = torch.randn(4, 50).double(), torch.randn(4, 50).double()
    p, q = torch.log_softmax(x, -1), torch.log_softmax(y, -1)
    expected = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(metrics.kl(x, y), expected)


def test_kl_takes_a_forbidden_token_as_impossible():
    logits = torch.tensor([[0.0, 0.0, -math.inf]])
    assert metrics.kl(logits, logits).item() == 0


def test_kl_of_nan_is_nan():
    assert metrics.kl(torch.zeros(1, 3), torch.tensor([[0.0, math.nan, 0.0]])).isnan().all()


def test_rank_zero_is_the_greedy_choice_also_among_equals():
    logits = torch.randint(0, 4, (200, 10)).float()  # full of ties
    greedy = logits.argmax(-1)
    assert (metrics.rank(logits, greedy) == 0).all()
    ranks = torch.stack([metrics.rank(logits, torch.full((200,), t)) for t in range(10)], -1)
    assert (ranks.sort(-1).values == torch.arange(10)).all()


def test_rank_in_a_row_with_nan_is_last():
    logits = torch.tensor([[math.nan, 5.0, 1.0]])
    assert metrics.rank(logits, torch.tensor([1])).item() == 3


def test_a_histogram_counts_every_error_and_keeps_its_sign():
    expected = torch.zeros(1000, dtype=torch.float64)
    actual = expected.clone()
    actual[:10] = 1.0
    actual[10] = -1.0
    counts = metrics.histogram(expected, actual)
    # all are nearly ten times the root mean square away: beyond, in the outermost bins
    assert (counts[0], counts[-1], counts[metrics.HISTOGRAM_BINS // 2]) == (1, 10, 989)
    assert sum(counts) == 1000
    assert len(counts) == metrics.HISTOGRAM_BINS


@pytest.mark.parametrize("actual", [1.0, math.nan, math.inf])
def test_equal_and_non_finite_tensors_have_no_histogram(actual):
    assert metrics.histogram(torch.ones(3), torch.tensor([1.0, 1.0, actual])) is None

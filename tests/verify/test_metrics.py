"""The metrics themselves: known values, and no kindness to NaN, constants, scale or outliers."""

import math

import pytest
import torch

from verify import metrics


def test_pcc_is_correlation():
    x, y = torch.randn(1000), torch.randn(1000)
    expected = torch.corrcoef(torch.stack([x, x + y]).double())[0, 1].item()
    assert metrics.pcc(x, x + y) == pytest.approx(expected, abs=1e-12)


def test_pcc_does_not_see_scale_and_offset_but_relative_l2_does():
    x = torch.randn(1000)
    assert metrics.pcc(x, 2 * x + 3) == pytest.approx(1.0, abs=1e-6)
    assert metrics.relative_l2(x, 2 * x + 3) > 1


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_pcc_of_a_constant_is_undefined(value):
    constant = torch.full((7, 9), value)
    assert math.isnan(metrics.pcc(constant, torch.randn(7, 9)))
    assert math.isnan(metrics.pcc(torch.randn(7, 9), constant))
    assert "undefined" in str(metrics.compare(constant, constant))


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
    assert result.nonfinite_actual and not result.nonfinite_expected
    assert math.isnan(result.pcc)
    assert not math.isfinite(result.relative_l2)
    assert result.max_error.index == (2, 3)
    assert "not finite" in str(result)


def test_equal_infinities_do_not_differ():
    mask = torch.tensor([0.0, -math.inf])
    assert metrics.max_error(mask, mask).value == 0


def test_different_shapes_do_not_compare():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        metrics.compare(torch.zeros(3, 2), torch.zeros(2, 3))


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


def test_topk_agreement_counts_rows():
    logits = torch.arange(10.0).repeat(4, 1)  # the greatest is token 9
    tokens = torch.tensor([9, 8, 5, 0])
    assert metrics.topk_agreement(logits, tokens, 1) == 0.25
    assert metrics.topk_agreement(logits, tokens, 5) == 0.75

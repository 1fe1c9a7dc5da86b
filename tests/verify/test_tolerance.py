"""The thresholds hold for what they are derived from, and not for twice as much."""

import torch

from verify import metrics, tolerance


def rounded_in_a_row(x, n):
    """x times n random factors, each product rounded to bf16; and the same without rounding."""
    exact, rounded = x.double(), x
    for _ in range(n):
        factor = (torch.rand(x.shape) + 0.5).bfloat16()
        exact, rounded = exact * factor.double(), (rounded.float() * factor.float()).bfloat16()
    return exact, rounded


def test_roundings_in_a_row_stay_within_the_bound_and_use_it():
    x = torch.randn(100_000).bfloat16()
    for n in (1, 4, 16, 50):
        error = metrics.relative_l2(*rounded_in_a_row(x, n))
        bound = tolerance.bf16_relative_l2(n)
        assert 0.3 * bound < error < 0.6 * bound, n


def test_a_rounded_sum_stays_within_the_bound():
    a, b = torch.randn(64, 3072).bfloat16(), torch.randn(3072, 64).bfloat16()
    exact = a.double() @ b.double()
    bound = tolerance.bf16_sum_absolute(3072, a.double().abs() @ b.double().abs())
    result = (a.float() @ b.float()).bfloat16()
    assert ((result.double() - exact).abs() <= bound).all()


def test_pcc_floor_is_reached_by_the_worst_error_and_by_none_smaller():
    x, e = torch.randn(100_000).double(), torch.randn(100_000).double()
    x, e = x - x.mean(), e - e.mean()
    y = e - e.dot(x) / x.dot(x) * x  # upright on x
    for r in (0.01, 0.1, 0.5):
        # the error that turns x the farthest stands upright on x + error
        turned = x * (1 - r**2) + y / y.norm() * x.norm() * r * (1 - r**2) ** 0.5
        assert abs(metrics.relative_l2(x, turned) - r) < 1e-9
        assert abs(metrics.pcc(x, turned) - tolerance.pcc_floor(r)) < 1e-9
        assert metrics.pcc(x, x + e / e.norm() * x.norm() * r) >= tolerance.pcc_floor(r)

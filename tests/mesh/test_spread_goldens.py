"""Drift's goldens of norms and sums over chips: the kernels' results pass, wrong ones do not."""

import math

import pytest
import torch
import ttnn

from tests.support import strategies
from tests.support.meshes import of_each, on_each
from ttnn_verify.drift.judgement import judging
from ttnn_verify.ops import table
from ttnn_verify.ops.expected import CallContext, NoGolden, OnChips

LINES = [(1, 2), (1, 8)]
SUMS_16 = ttnn.WormholeComputeKernelConfig(math_fidelity=ttnn.MathFidelity.HiFi4)
SUMS_32 = ttnn.WormholeComputeKernelConfig(
    math_fidelity=ttnn.MathFidelity.HiFi4, fp32_dest_acc_en=True
)


def read(value):
    """What each chip has of a tensor, as drift reads it."""
    return OnChips(part.float() for part in of_each(value))


def verdicts(operation, result, *args, chips_see_all=False, **kwargs):
    """The verdicts on each chip's result of a call of an operation of TTNN's."""
    given = [read(x) if isinstance(x, ttnn.Tensor) else x for x in args]
    named = {k: read(x) if isinstance(x, ttnn.Tensor) else x for k, x in kwargs.items()}

    def seen(x, chip):
        return x[chip] if isinstance(x, OnChips) and not chips_see_all else x

    judged = []
    for chip, values in enumerate(read(result)):
        context = CallContext(
            ("bfloat16",), (tuple(values.shape),), mesh=tuple(result.device().shape), chip=chip
        )
        (golden,) = table.expected_results(
            operation.python_fully_qualified_name,
            operation,
            context,
            [seen(x, chip) for x in given],
            {name: seen(x, chip) for name, x in named.items()},
        )
        judged.append(judging.own_verdict(golden, values, "bfloat16"))
    return judged


def shifted_values(seed, chips, height, width, mean):
    values = strategies.normal(seed, chips, 1, height, width) + mean
    values[..., 3] *= 20.0  # a massive channel
    return values.bfloat16()


# --- norms ----------------------------------------------------------------------------------------


def normed(mesh, norm, x, weight, bias=None, wrong=lambda sums: sums, **config):
    """The verdicts on the statistics of each chip and on the norm; `wrong` changes statistics."""
    pre, post = (getattr(ttnn, f"{norm}_{which}_all_gather") for which in ("pre", "post"))
    sums = pre(x, **config)
    changed = wrong(sums)
    before = verdicts(pre, changed, x, **config)
    arguments = {"epsilon": 1e-5, "weight": weight, "bias": bias, **config}
    whole = ttnn.all_gather(sums, 3)
    y = post(x, ttnn.all_gather(changed, 3), **arguments)
    return before, verdicts(post, y, x, whole, **arguments)


@pytest.mark.parametrize("norm", ["rms_norm", "layer_norm"])
@pytest.mark.parametrize("shape", LINES, ids=str)
@pytest.mark.parametrize("compute", [None, SUMS_16, SUMS_32], ids=["default", "16 bits", "32 bits"])
@pytest.mark.parametrize(("height", "width"), [(32, 96), (1, 256), (70, 512), (32, 1024)])
@pytest.mark.parametrize("mean", [0.0, 5.0])
def test_a_norm_over_chips_passes(norm, shape, compute, height, width, mean, opened):
    with opened(shape, "kernel") as mesh:
        chips = math.prod(shape)
        x = on_each(mesh, shifted_values(7, chips, height, width, mean))
        weight, bias = (
            on_each(mesh, strategies.normal(seed, chips, 1, 1, width) + 1) for seed in (1, 2)
        )
        config = {} if compute is None else {"compute_kernel_config": compute}
        before, after = normed(mesh, norm, x, weight, bias, **config)
    for verdict in (*before, *after):
        assert verdict.passed, verdict.line


def test_a_residual_is_added_first(opened):
    with opened((1, 2), "kernel") as mesh:
        x, residual = (on_each(mesh, shifted_values(seed, 2, 32, 128, 1.0)) for seed in (1, 2))
        pre = ttnn.layer_norm_pre_all_gather
        sums = pre(x, residual_input_tensor=residual)
        assert all(one.passed for one in verdicts(pre, sums, x, residual_input_tensor=residual))
        assert not any(one.passed for one in verdicts(pre, sums, x))


def changed_column(column, factor):
    """Statistics of which one sum is multiplied."""

    def wrong(sums):
        factors = torch.ones(1, 1, 1, sums.shape[-1])
        factors[..., column] = factor
        device = sums.device()
        times = ttnn.from_torch(factors, ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device)
        return ttnn.multiply(sums, times)

    return wrong


@pytest.mark.parametrize("column", [0, 32], ids=["squares", "values"])
def test_a_wrong_sum_is_seen_in_statistics_and_norm(column, opened):
    with opened((1, 2), "kernel") as mesh:
        x = on_each(mesh, shifted_values(3, 2, 32, 256, 0.3))
        weight = on_each(mesh, strategies.normal(1, 2, 1, 1, 256) + 1)
        before, after = normed(
            mesh,
            "layer_norm",
            x,
            weight,
            wrong=changed_column(column, 1.1),
            compute_kernel_config=SUMS_32,
        )
    assert not any(verdict.passed for verdict in (*before, *after))


def test_epsilon_and_the_square_of_the_mean_count(opened):
    with opened((1, 2), "kernel") as mesh:
        x = on_each(mesh, strategies.normal(3, 2, 1, 32, 256) * 0.1 + 0.1)
        whole = ttnn.all_gather(ttnn.layer_norm_pre_all_gather(x), 3)
        post = ttnn.layer_norm_post_all_gather
        y = post(x, whole, epsilon=1e-3)
        assert all(one.passed for one in verdicts(post, y, x, whole, epsilon=1e-3))
        assert not any(one.passed for one in verdicts(post, y, x, whole, epsilon=2e-3))


def test_statistics_by_welford_have_no_golden(opened):
    with opened((1, 2)) as mesh:
        x = on_each(mesh, strategies.normal(3, 2, 1, 32, 64))
        with pytest.raises(NoGolden):
            verdicts(ttnn.layer_norm_pre_all_gather, x, x, recip_tensor=x)


# --- sums over both axes --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 2), (2, 4), (4, 2)], ids=str)
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("arithmetic", ["kernel", "rounded"])
def test_a_sum_that_is_scattered_over_both_axes_passes(shape, dim, arithmetic, opened):
    with opened(shape, arithmetic) as mesh:
        x = on_each(mesh, strategies.normal(4, math.prod(shape), 1, 256, 256).bfloat16())
        scatter = ttnn.reduce_scatter
        parts = scatter(x, dim)
        for verdict in verdicts(scatter, parts, x, dim, chips_see_all=True):
            assert verdict.passed, verdict.line
        whole = verdicts(scatter, parts, ttnn.multiply(x, 1.1), dim, chips_see_all=True)
        assert not any(verdict.passed for verdict in whole)


def test_each_chip_keeps_its_own_part(opened):
    """By what TTNN gathers again over both axes, one after the other."""
    with opened((2, 4), "kernel") as mesh:
        x = on_each(mesh, strategies.normal(4, 8, 1, 32, 256).bfloat16())
        parts = ttnn.reduce_scatter(x, 3)
        rows = ttnn.all_gather(parts, 3, cluster_axis=1)
        again = of_each(ttnn.all_gather(rows, 3, cluster_axis=0))
        totals = ttnn.all_reduce(x)
        judged, totals = verdicts(ttnn.all_reduce, totals, x, chips_see_all=True), of_each(totals)
    assert all(verdict.passed for verdict in judged)
    for one, total in zip(again, totals, strict=True):
        assert torch.allclose(one.float(), total.float(), rtol=0.05, atol=0.1)

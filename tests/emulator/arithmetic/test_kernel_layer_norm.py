"""layer_norm: cases worked by hand, its kernels against each other, and float64."""

import math

import pytest
import torch

from tests.emulator.arithmetic.recorded import assert_same_bits
from tests.support.tensors import TILE
from ttnn_emulator.arithmetic.compute import Compute, Formats
from ttnn_emulator.arithmetic.exact import layer_norms
from ttnn_emulator.arithmetic.exact.layer_norms import LAST_WIDTH_IN_L1, layer_norm

HIFI4, HIFI4_16 = (Compute("HiFi4", fp32_dest_acc=fp32_dest_acc) for fp32_dest_acc in (True, False))
SIGNS = torch.tensor([1.0, -1.0]).repeat(16)[None]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16().float()


def exact(x, weight=None, bias=None, epsilon=1e-5):
    operands = (None if p is None else p.double() for p in (weight, bias))
    return torch.nn.functional.layer_norm(x.double(), x.shape[-1:], *operands, epsilon)


def assert_accurate(y, expected):
    """Within what a 32-bit Dst leaves: relative to a value, and to the largest of its row.

    x - mean, the factor and what meets them are cut to tf32 (2^-10 each, four operands), the result
    is packed (2^-9), and x - mean is aligned to ten fraction bits of the larger of the two.
    """
    limit = 2.0**-7 * expected.abs() + 2.0**-10 * expected.abs().amax(-1, keepdim=True)
    assert ((y - expected).abs() <= limit).all()


@pytest.mark.parametrize("compute", [HIFI4, HIFI4_16], ids=["dst32", "dst16"])
@pytest.mark.parametrize("offset", [0.0, 128.0])
def test_alternating_signs_are_normalised_to_themselves(compute, offset):
    """Mean and variance are exact: the offset and 1."""
    assert_same_bits(layer_norm(SIGNS + offset, epsilon=1e-5, compute=compute), SIGNS)


def test_weight_multiplies_and_bias_is_added_last():
    weight, bias = torch.full((32,), 3.0), torch.full((32,), 2.0)
    y = layer_norm(SIGNS, weight, bias, epsilon=1e-5)
    assert_same_bits(y, SIGNS * 3.0 + 2.0)


def test_constant_row_becomes_the_bias():
    bias = normal(64)
    y = layer_norm(torch.full((2, 64), 3.0), None, bias, epsilon=1e-5)
    assert_same_bits(y, bias.expand(2, 64))


def test_epsilon_is_cut_to_bfloat16():
    """0.1 becomes 0.099609375: 1/sqrt(0.099609375) packs as 3.171875, 1/sqrt(0.1) as 3.15625."""
    x = SIGNS * 2.0**-60  # its variance counts for nothing beside epsilon
    y = layer_norm(x, torch.full((32,), 2.0**60), epsilon=0.1)
    assert_same_bits(y, SIGNS * 3.171875)


@pytest.mark.parametrize("width", [32, 96, 320])
def test_layer_norm_is_near_float64(width):
    x = normal(4, width) * 3 + 1
    assert_accurate(layer_norm(x, epsilon=1e-5), exact(x))


def test_weight_and_bias_cost_little_more():
    x, weight, bias = normal(4, 96), normal(96, seed=1), normal(96, seed=2)
    y, expected = layer_norm(x, weight, bias, epsilon=1e-5), exact(x, weight, bias)
    # As above, and the product and the bias in the sum are cut to tf32 and aligned again.
    parts = exact(x).abs() * weight.abs() + bias.abs()
    assert ((y - expected).abs() <= 2.0**-7 * parts + 2.0**-9 * parts.amax(-1, True)).all()


def test_float32_result_keeps_more_bits():
    x = normal(4, 96)
    in_float32 = (
        layer_norm(x, epsilon=1e-5, formats=Formats("float32", "float32")) - exact(x)
    ).norm()
    # What packing to bfloat16 costs is the larger part: 0.33 of it was left, 29 November 2026.
    assert in_float32 < 0.5 * (layer_norm(x, epsilon=1e-5) - exact(x)).norm()


def test_padding_takes_no_part_in_layer_norm():
    x = normal(2, 64)
    clean = x.clone()
    x[:, 40:], clean[:, 40:] = math.inf, 0.0
    y = layer_norm(x, epsilon=1e-5, width=40)[:, :40]
    assert_same_bits(y, layer_norm(clean, epsilon=1e-5, width=40)[:, :40])
    assert_accurate(y, exact(clean[:, :40]))


def test_residual_is_added_first():
    x, residual = SIGNS.clone(), torch.full((1, 32), 4.0)
    assert_same_bits(layer_norm(x, epsilon=1e-5, residual=residual), SIGNS)
    x, residual = normal(4, 96), normal(4, 96, seed=1)
    assert_accurate(layer_norm(x, epsilon=1e-5, residual=residual), exact(x + residual))


@pytest.mark.parametrize("has_residual", [False, True])
def test_rows_beyond_l1_are_normalised_too(has_residual):
    width = (LAST_WIDTH_IN_L1[True, False, 0, has_residual] + 1) * TILE
    x, residual = normal(1, width), normal(1, width, seed=1) if has_residual else None
    y = layer_norm(x, epsilon=1e-5, residual=residual)
    assert_accurate(y, exact(x if residual is None else x + residual))


@pytest.mark.parametrize("compute", [HIFI4, HIFI4_16], ids=["dst32", "dst16"])
def test_both_kernels_agree_where_squares_are_exact(compute, monkeypatch):
    """The kernel for long rows differs in its squares, and in how it adds a residual."""
    x = SIGNS.repeat(1, 4) * torch.tensor([1.0, 2.0]).repeat_interleave(64)
    residual = torch.full_like(x, 2.0)
    expected = layer_norm(x, epsilon=1e-5, residual=residual, compute=compute)
    monkeypatch.setattr(layer_norms, "LAST_WIDTH_IN_L1", dict.fromkeys(LAST_WIDTH_IN_L1, 0))
    long = layer_norm(x, epsilon=1e-5, residual=residual, compute=compute)
    assert_same_bits(long, expected)

"""rms_norm and softmax against the recorded kernels, bit for bit."""

import math
from dataclasses import replace

import pytest
import torch

from tests.emulator.arithmetic.recorded import (
    assert_reproduces,
    assert_same_bits,
    device_input,
    from_patterns,
)
from tests.support.tensors import TILE
from ttnn_emulator.arithmetic.compute import Compute, Formats
from ttnn_emulator.arithmetic.exact import norms
from ttnn_emulator.arithmetic.exact.norms import (
    LARGE_SOFTMAX_TILES,
    LAST_SOFTMAX_HEIGHT_IN_L1,
    LAST_WIDTH_IN_L1,
    ScaledMask,
    rms_norm,
    softmax,
    softmax_over_height,
    softmax_over_leading,
    softmax_over_width,
)
from ttnn_emulator.fidelity import recordings

ACCURATE = Compute("HiFi3", fp32_dest_acc=True)
FLOAT32_RESULT = Formats(out="float32")


def recorded_compute(case, default, **unset):
    """The compute kernel config a case was recorded with; None for the op's default."""
    names = {
        "math_fidelity": "fidelity",
        "fp32_dest_acc_en": "fp32_dest_acc",
        "math_approx_mode": "approximate",
    }
    settings = {names[k]: v for k, v in case.attributes.items() if k in names}
    return replace(default, **{**unset, **settings}) if settings else None


@pytest.mark.parametrize("case", recordings.cases("norm"), ids=str)
def test_rms_norm_equals_the_recorded_kernel(case):
    optional = {
        "weight": device_input(case, "w")[..., :1, :] if "w" in case.tensors else None,
        "residual": device_input(case, "r") if "r" in case.tensors else None,
    }
    compute = recorded_compute(case, norms.RMS_NORM, approximate=False)
    x = device_input(case, "a")
    width = case.tensors["a"]["shape"][-1]
    epsilon = case.attributes["epsilon"]
    y = rms_norm(x, epsilon=epsilon, width=width, compute=compute, **optional)
    assert_reproduces(case, y)


def test_rms_norm_of_a_long_row_sums_squares_in_bfloat16():
    """Worked by hand for W = 3072: the sum of squares comes out as 6144 and not as 6145.35."""
    k = torch.arange(3072, dtype=torch.float64)
    x = (2 * torch.sin(k + 1)).bfloat16().float()[None]
    weight = (1 + 0.1 * torch.cos(k)).bfloat16().float()
    y = rms_norm(x, weight, epsilon=1e-5)
    assert_same_bits(y[0, :4], from_patterns(0x3FA7, 0x3FAE, 0x3E45, 0xBF77))


def test_padding_takes_no_part_in_rms_norm():
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    clean = x.clone()
    x[:, 40:], clean[:, 40:] = math.inf, 0.0
    expected = rms_norm(clean, epsilon=1e-5, width=40)[:, :40]
    assert_same_bits(rms_norm(x, epsilon=1e-5, width=40)[:, :40], expected)


def test_rms_norm_bias_is_added_last():
    x = torch.ones(1, 32)
    bias = torch.full((32,), 2.0)
    assert_same_bits(rms_norm(x, bias=bias, epsilon=1e-5), torch.full((1, 32), 3.0))


@pytest.mark.parametrize("fp32_dest_acc", [False, True])
def test_rows_beyond_l1_are_normalised_too(fp32_dest_acc):
    """Their squares come from the vector unit, which rounds otherwise; the scale stays the same."""
    width = (LAST_WIDTH_IN_L1[fp32_dest_acc, False, False] + 1) * TILE
    x = torch.randn(1, width, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    y = rms_norm(x, epsilon=1e-5, compute=Compute("HiFi4", fp32_dest_acc=fp32_dest_acc))
    expected = torch.nn.functional.rms_norm(x, (width,), eps=1e-5)
    # A bfloat16 sum of 10^4 positive values loses up to half of what is smaller than its last unit:
    # off by 8.6 % here, and 20 % are allowed. Of 32 bits four operands are cut to tf32 (2^-10): off
    # by 0.08 %. Measured on 29 November 2026.
    limit = 4 * 2.0**-10 if fp32_dest_acc else 0.2
    torch.testing.assert_close(y, expected, rtol=limit, atol=0.0)


@pytest.mark.parametrize("case", recordings.cases("softmax"), ids=str)
def test_softmax_equals_the_recorded_kernel(case):
    compute = recorded_compute(case, norms.SOFTMAX)
    # The name tells of two recordings that numeric_stable was off.
    stable = case.attributes.get("numeric_stable", not case.name.endswith("_f"))
    width = case.tensors["a"]["shape"][-1]
    y = softmax(device_input(case, "a"), width=width, numeric_stable=stable, compute=compute)
    assert_reproduces(case, y)


def test_infinite_padding_leaks_into_softmax():
    """The mask adds minus infinity, which cancels plus infinity: the column counts as a 0."""
    x = torch.full((1, 32), math.inf)
    x[:, :16] = 0.0
    leaked = softmax(x, width=16)
    assert leaked[:, 0].tolist() == [1 / 32]


def test_float32_result_keeps_more_bits():
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    y = softmax(x, compute=ACCURATE, formats=FLOAT32_RESULT)
    # x - max, up to 8, keeps 10 fraction bits (2^-9); two operands are cut to tf32 (2^-10 each).
    torch.testing.assert_close(y, x.softmax(-1), rtol=2.0**-8, atol=0.0)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16().float()


@pytest.mark.parametrize("stable", [True, False])
def test_mask_of_zeros_and_scale_of_one_change_nothing(stable):
    x = normal(2, 4, 64, 96)
    y = softmax(x, scale=1.0, mask=torch.zeros(1, 1, 1, 96), numeric_stable=stable)
    assert_same_bits(y, softmax(x, numeric_stable=stable))


def test_scale_is_cut_to_bfloat16():
    x, mask = normal(1, 1, 32, 96), normal(1, 1, 1, 96, seed=1)
    cut = from_patterns(0x3DD1).item()  # 1/sqrt(96) is 0x3DD105EC
    assert_same_bits(softmax(x, scale=96**-0.5, mask=mask), softmax(x, scale=cut, mask=mask))


@pytest.mark.parametrize("stable", [True, False])
def test_scaled_and_masked_softmax_is_near_float64(stable):
    x, mask = normal(2, 2, 32, 96), normal(2, 1, 1, 96, seed=1)
    scaled = ScaledMask(mask, 0.125)
    y = softmax_over_width(x, scaled_mask=scaled, stable=stable, compute=ACCURATE)
    expected = (x.double() * 0.125 + mask).softmax(-1)
    # x * scale + mask, up to 4, is packed to 2^-7: in a term and in the sum of all. x * scale, up
    # to 1, and x - max are good to 2^-9, and so are what is multiplied and the product.
    torch.testing.assert_close(y.double(), expected, rtol=2 * 2.0**-7 + 4 * 2.0**-9, atol=0.0)


def test_masked_columns_get_nothing():
    """A causal mask: row r sees the columns up to r."""
    x = normal(1, 2, 64, 64)
    mask = torch.full((64, 64), -math.inf).triu(1)
    y = softmax(x, scale=0.125, mask=mask)
    assert not y[..., mask == -math.inf].any()
    # A bfloat16 row of 64 probabilities, rounded by 2^-9 each, and cut by 2^-10 in both operands.
    torch.testing.assert_close(y.sum(-1), torch.ones(1, 2, 64), rtol=2.0**-8, atol=0.0)


def test_padding_counts_for_nothing_beside_a_mask():
    x, mask = normal(1, 64), normal(1, 64, seed=1)
    y = softmax(x, scale=1.0, mask=mask[:, :40], width=40)
    assert not y[:, 40:].any()
    mask[:, 40:] = -math.inf
    assert_same_bits(y, softmax(x, scale=1.0, mask=mask))


def test_scale_without_a_mask_is_refused():
    with pytest.raises(ValueError, match="no mask"):
        softmax(torch.zeros(1, 32), scale=2.0)


@pytest.mark.parametrize("fp32_dest_acc", [True, False])
def test_long_rows_are_summed_in_parts(fp32_dest_acc, monkeypatch):
    """Three parts of equal values: every sum is a multiple of 2560 with few bits."""
    monkeypatch.setattr(norms, "SOFTMAX_BUFFER_BYTES", 0)
    width = 2 * LARGE_SOFTMAX_TILES * TILE + TILE * LARGE_SOFTMAX_TILES // 2
    compute = Compute("HiFi3", fp32_dest_acc=fp32_dest_acc)
    y = softmax_over_width(torch.full((1, width), 3.0), compute=compute)
    # 1/6400 in a 16-bit Dst after a sum in it, whose parts lose up to 2^-8 twice.
    torch.testing.assert_close(y, torch.full((1, width), 1 / width), rtol=2.0**-7, atol=0.0)


def test_rows_that_fit_are_those_ttnn_keeps_in_l1():
    """Widths observed in the programs of TTNN, in tiles: the last that fits and four more."""

    def fits(tiles, source, between, stable, masked, padded):
        buffers = norms._SoftmaxBuffers(source, source, between, True, stable, masked, padded)
        return norms._softmax_bytes(tiles, buffers) <= norms.SOFTMAX_BUFFER_BYTES

    observed = {
        ("bfloat16", "bfloat16", True, False, False): 320,
        ("bfloat16", "bfloat16", True, False, True): 316,
        ("bfloat16", "bfloat16", False, False, False): 636,
        ("bfloat16", "bfloat16", True, True, False): 156,
        ("bfloat16", "bfloat16", False, True, False): 208,
        ("bfloat16", "float32", True, True, False): 88,
        ("float32", "float32", True, False, False): 156,
        ("float32", "float32", True, True, False): 84,
        ("float32", "float32", False, False, False): 308,
        ("bfloat8_b", "bfloat16", True, False, False): 424,
    }
    for case, tiles in observed.items():
        assert fits(tiles, *case), (case, tiles)
        assert not fits(tiles + 4, *case), (case, tiles)


@pytest.mark.parametrize("rows", [64, 40])
def test_softmax_over_the_height_is_near_float64(rows):
    x = normal(2, rows, 48)
    y = softmax_over_height(x)
    # The reciprocal is low by up to 2^-13, four operands are cut to tf32 (2^-10), the result is
    # packed (2^-9), and x - max, up to 8, keeps 2^-9 and is cut to 2^-8.
    limit = 2.0**-13 + 4 * 2.0**-10 + 2 * 2.0**-9 + 2.0**-8
    torch.testing.assert_close(y.double(), x.double().softmax(-2), rtol=limit, atol=0.0)


def test_rows_of_padding_count_as_zero_in_the_maximum():
    """exp(-200 - 0) is 0 for all rows, and so is their share."""
    x = torch.full((40, 32), -200.0)
    assert not softmax_over_height(x).any()
    assert softmax_over_height(x[:32]).unique().tolist() == [1 / 32]


def test_tall_columns_are_added_tile_by_tile(monkeypatch):
    """Every tile that is added is aligned and what it is added to cut to tf32."""
    rows = (LAST_SOFTMAX_HEIGHT_IN_L1["bfloat16"] + 1) * TILE
    x = normal(rows, 32)
    y = softmax_over_height(x, compute=ACCURATE, formats=FLOAT32_RESULT)
    # As above; and each of 32 sums of tiles is cut by up to 2^-10 of itself, half of it on average.
    limit = 4 * 2.0**-10 + 2.0**-9 + 2.0**-8 + 16 * 2.0**-10
    torch.testing.assert_close(y.double(), x.double().softmax(-2), rtol=limit, atol=0.0)
    monkeypatch.setitem(LAST_SOFTMAX_HEIGHT_IN_L1, "bfloat16", rows // TILE)
    assert (softmax_over_height(x, compute=ACCURATE, formats=FLOAT32_RESULT) != y).any()


@pytest.mark.parametrize("dim", [0, 1])
def test_softmax_over_a_leading_dimension_is_near_float64(dim):
    x = normal(3, 4, 32, 48)
    y = softmax_over_leading(x, dim)
    # As over the height, and three sums are each aligned (2^-11) and cut (2^-10).
    limit = 2.0**-13 + 4 * 2.0**-10 + 2 * 2.0**-9 + 2.0**-8 + 3 * (2.0**-11 + 2.0**-10)
    torch.testing.assert_close(y.double(), x.double().softmax(dim), rtol=limit, atol=0.0)


def test_softmax_over_two_equal_terms_is_a_half():
    y = softmax_over_leading(torch.ones(2, 3, 4), 0, compute=ACCURATE)
    assert y.unique().tolist() == [0.5]

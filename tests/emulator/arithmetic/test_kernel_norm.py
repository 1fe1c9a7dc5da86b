"""rms_norm and softmax against the recorded kernels, bit for bit."""

import math

import pytest
import torch

from emulator import recordings
from emulator.arithmetic.kernel_norm import LAST_WIDTH_IN_L1, TILE, rms_norm, softmax
from tests.emulator.arithmetic.recorded import (
    assert_reproduces,
    assert_same_bits,
    device_input,
    from_patterns,
)


def compute_config(case):
    """The compute kernel config a case was recorded with; nothing for the op's default."""
    names = {
        "math_fidelity": "fidelity",
        "fp32_dest_acc_en": "fp32_dest",
        "math_approx_mode": "approximate",
    }
    return {names[k]: v for k, v in case.attributes.items() if k in names}


@pytest.mark.parametrize("case", recordings.cases("norm"), ids=str)
def test_rms_norm_equals_the_recorded_kernel(case):
    optional = {
        "weight": device_input(case, "w")[..., :1, :] if "w" in case.tensors else None,
        "residual": device_input(case, "r") if "r" in case.tensors else None,
    }
    config = compute_config(case)
    if config:
        config.setdefault("approximate", False)
    x = device_input(case, "a")
    width = case.tensors["a"]["shape"][-1]
    epsilon = case.attributes["epsilon"]
    assert_reproduces(case, rms_norm(x, epsilon=epsilon, width=width, **optional, **config))


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


@pytest.mark.parametrize("fp32_dest", [False, True])
def test_rows_beyond_l1_are_normalised_too(fp32_dest):
    """Their squares come from the vector unit, which rounds otherwise; the scale stays the same."""
    width = (LAST_WIDTH_IN_L1[fp32_dest, False, False] + 1) * TILE
    x = torch.randn(1, width, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    y = rms_norm(x, epsilon=1e-5, approximate=False, fp32_dest=fp32_dest)
    expected = torch.nn.functional.rms_norm(x, (width,), eps=1e-5)
    # A bfloat16 sum of 10^4 positive values is off by up to 20 %, see the rounding of Dst.
    torch.testing.assert_close(y, expected, rtol=0.01 if fp32_dest else 0.2, atol=0.0)


@pytest.mark.parametrize("case", recordings.cases("softmax"), ids=str)
def test_softmax_equals_the_recorded_kernel(case):
    config = compute_config(case)
    if config:
        config["wide_exponentials"] = config["fp32_dest"]
    # The name tells of two recordings that numeric_stable was off.
    stable = case.attributes.get("numeric_stable", not case.name.endswith("_f"))
    width = case.tensors["a"]["shape"][-1]
    y = softmax(device_input(case, "a"), width=width, stable=stable, **config)
    assert_reproduces(case, y)


def test_infinite_padding_leaks_into_softmax():
    """The mask adds minus infinity, which cancels plus infinity: the column counts as a 0."""
    x = torch.full((1, 32), math.inf)
    x[:, :16] = 0.0
    leaked = softmax(x, width=16)
    torch.testing.assert_close(leaked[:, 0], torch.tensor([1 / 32]), rtol=0.01, atol=0.0)


def test_float32_result_keeps_more_bits():
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    wide = softmax(x, approximate=False, wide_exponentials=True, out="float32")
    # x - max, up to 8, keeps 10 fraction bits (2^-9), and two operands are cut to tf32 (2^-10 each).
    torch.testing.assert_close(wide, x.softmax(-1), rtol=2.0**-8, atol=0.0)

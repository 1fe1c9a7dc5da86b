"""Norms of rows that are split among cores: cases worked by hand, and float64."""

import pytest
import torch

from tests.emulator.arithmetic.recorded import assert_same_bits
from ttnn_emulator.arithmetic.compute import Compute, Formats, Split
from ttnn_emulator.arithmetic.exact.along.split_norms import (
    split_layer_norm,
    split_norm_from_statistics,
    split_rms_norm,
    split_statistics,
)
from ttnn_emulator.arithmetic.exact.norms import rms_norm

HIFI4, HIFI4_16 = (Compute("HiFi4", fp32_dest_acc=fp32_dest_acc) for fp32_dest_acc in (True, False))
SPLITS = (Split(256, 64, 4), Split(256, 32, 4, 2), Split(256, 32, 2, 4), Split(256, 256, 1))
SIGNS = torch.tensor([1.0, -1.0]).repeat(128).expand(32, 256)


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).bfloat16().float()


@pytest.mark.parametrize("compute", [HIFI4, HIFI4_16], ids=["dst32", "dst16"])
@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_alternating_signs_are_normalised_to_themselves(split, compute):
    """Means of cores, of lines and of the row are exact, and so is the variance of 1."""
    weight, bias = torch.full((256,), 3.0), torch.full((256,), 2.0)
    for norm, x in ((split_rms_norm, SIGNS), (split_layer_norm, SIGNS + 128)):
        y = norm(x, weight, bias, split=split, epsilon=1e-5, compute=compute)
        assert_same_bits(y, SIGNS * 3 + 2)


def test_a_residual_is_added_first():
    y = split_layer_norm(SIGNS * 0.5, None, None, SIGNS * 1.5, split=SPLITS[1], epsilon=1e-5)
    assert_same_bits(y, SIGNS)


def test_a_16_bit_dst_loses_less_by_parts():
    """One accumulation of 256 tiles stops growing where a term is half of Dst's last place."""
    x = torch.ones(1, 8192)
    by_parts = split_rms_norm(x, split=Split(8192, 128, 8, 8), epsilon=0.0, compute=HIFI4_16)
    at_once = rms_norm(x * 1.1, epsilon=0.0, compute=HIFI4_16)
    assert_same_bits(by_parts, x)
    assert (at_once - 1).abs().max() > 2**-8


def test_columns_beyond_the_width_are_not_read():
    x = torch.full((32, 64), 1e6)
    x[:, :40] = SIGNS[:, :40]
    for norm in (split_rms_norm, split_layer_norm):
        y = norm(x, split=Split(40, 32, 2), epsilon=1e-5, compute=HIFI4)
        torch.testing.assert_close(y[:, :40], SIGNS[:, :40], rtol=2**-6, atol=0)


def test_shards_that_the_row_does_not_fill():
    y = split_rms_norm(SIGNS[:, :224], split=Split(224, 64, 4), epsilon=1e-5, compute=HIFI4)
    torch.testing.assert_close(y, SIGNS[:, :224], rtol=2**-7, atol=0)


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_statistics_are_means_in_the_first_columns(split):
    x, residual = normal(2, 32, 256)
    statistics, added = split_statistics(x, residual, split=split, centred=True, compute=HIFI4)
    torch.testing.assert_close(added, x + residual, rtol=2**-8, atol=2**-9)
    expected = torch.stack([added.double().mean(-1), added.double().square().mean(-1)], -1)
    near = {"rtol": 2**-8, "atol": 2**-8}
    torch.testing.assert_close(statistics[:, [0, 32]].double(), expected, **near)
    assert (statistics[:, 1:32] == 0).all()
    squares, same = split_statistics(x, split=split, centred=False, compute=HIFI4)
    assert same is x
    torch.testing.assert_close(squares[:, 0].double(), x.double().square().mean(-1), **near)
    assert squares.shape == (32, 32)


@pytest.mark.parametrize("centred", [False, True])
def test_chips_means_are_averaged(centred):
    """Two chips of means 0 and 256, and of squares 1 and 65537: mean 128, variance 16385."""
    x, statistics = SIGNS[:, :64] * 128 + (128 if centred else 0), torch.zeros(32, 128)
    places = [32, 96] if centred else [0, 32]
    statistics[:, places] = torch.tensor([1.0, 65537.0] if centred else [16384.0, 16384.0])
    if centred:
        statistics[:, 64] = 256.0
    y = split_norm_from_statistics(
        x,
        statistics if centred else statistics[:, :64],
        centred=centred,
        epsilon=0.0,
        compute=HIFI4,
        formats=Formats("float32", "float32"),
    )
    torch.testing.assert_close(y, SIGNS[:, :64], rtol=2**-9, atol=0)

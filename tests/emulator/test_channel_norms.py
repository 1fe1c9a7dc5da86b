"""Norms over groups of channels and over a batch, against torch."""

import pytest
import torch
import ttnn
from torch.nn import functional

from tests.support.tensors import in_rows, on_tiles
from ttnn_emulator.arithmetic.compute import Compute
from ttnn_emulator.arithmetic.exact import exact
from ttnn_emulator.arithmetic.rounded import rounded
from ttnn_emulator.dispatch import NotEmulated

C, G = 320, 16
PLACES = 64


def close(got, expected, steps):
    """Whether each is off by at most so many roundings to bfloat16 of the largest value."""
    got = ttnn.to_torch(got).double() if isinstance(got, ttnn.Tensor) else got.double()
    assert (got - expected).abs().max() <= steps * 2.0**-9 * expected.abs().max()


@pytest.fixture
def x():
    return torch.rand(1, 1, PLACES, C).bfloat16()


def normalised(x, weight=None, bias=None, epsilon=1e-5):
    y = functional.group_norm(x.double().flatten(1, 2).mT, G, weight, bias, epsilon)
    return y.mT.reshape(x.shape)


def affine():
    return torch.rand(C).bfloat16(), torch.rand(C).bfloat16()


def in_gaps(device, values, cores):
    return in_rows(device, ttnn.create_group_norm_weight_bias_rm(values, C, cores), ttnn.bfloat16)


@pytest.mark.parametrize("welford", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cores", [2, 4])  # of which each has 160 channels, or 80 and a gap of 16
def test_group_norm_of_a_sharded_image(cores, masked, welford, x, device):
    spec = ttnn.ShardSpec(
        ttnn.CoreRangeSet({ttnn.CoreRange((0, 0), (cores - 1, 0))}),
        (PLACES, C // cores),
        ttnn.ShardOrientation.ROW_MAJOR,
    )
    place = ttnn.MemoryConfig(ttnn.TensorMemoryLayout.BLOCK_SHARDED, ttnn.BufferType.L1, spec)
    weight, bias = affine()
    mask = ttnn.create_group_norm_input_mask(C, G, cores, ttnn.bfloat8_b) if masked else None
    y = ttnn.group_norm(
        ttnn.to_memory_config(in_rows(device, x, ttnn.bfloat16), place),
        num_groups=G,
        epsilon=1e-5,
        input_mask=None if mask is None else ttnn.to_device(mask, device),
        weight=in_gaps(device, weight, cores),
        bias=in_gaps(device, bias, cores),
        memory_config=place,
        core_grid=ttnn.CoreGrid(x=cores, y=1),
        use_welford=welford,
    )
    got = ttnn.to_memory_config(y, ttnn.DRAM_MEMORY_CONFIG)
    close(got, normalised(x, *affine_of(weight, bias)), 8)


def affine_of(*rows):
    return [row.double() for row in rows]


def test_group_norm_refuses_another_mask(x, device):
    with pytest.raises(NotEmulated, match="groups have not 20 columns"):
        ttnn.group_norm(
            on_tiles(device, x),
            num_groups=G,
            input_mask=on_tiles(device, torch.ones(1, G, 32, 64)),
            core_grid=ttnn.CoreGrid(x=1, y=1),
            inplace=False,
        )


@pytest.mark.parametrize("arithmetic", [exact, rounded], ids=["exact", "rounded"])
@pytest.mark.parametrize("wide", [False, True])
def test_arithmetics_agree_on_group_norm(arithmetic, wide, x):
    weight, bias = affine()
    compute = Compute("HiFi4", fp32_dest_acc=wide)
    y = arithmetic.group_norm(x, G, weight, bias, epsilon=1e-5, compute=compute)
    close(y, normalised(x, *affine_of(weight, bias)), 8)


def test_fidelity_matters_to_group_norm(x):
    low, high = (
        exact.group_norm(x, G, epsilon=1e-5, compute=Compute(name)) for name in ("LoFi", "HiFi4")
    )
    expected = normalised(x)
    assert (high - expected).norm() < 0.5 * (low - expected).norm()


def channels(*numbers):
    return torch.tensor(numbers).view(1, -1, 1, 1)


@pytest.mark.parametrize("dtype", [ttnn.bfloat16, ttnn.float32], ids=lambda d: d.name)
def test_batch_norm_moves_the_running_statistics(dtype, device):
    x = (5 + torch.rand(3, 2, 23, 37)).bfloat16().float()
    mean, variance = channels(4.0, 7.0), channels(2.0, 1.0)
    running = [on_tiles(device, value, dtype) for value in (mean, variance)]
    y = ttnn.batch_norm(
        on_tiles(device, x, dtype),
        running_mean=running[0],
        running_var=running[1],
        training=True,
        momentum=0.25,
        eps=1.0,
    )
    moved = mean.flatten().clone(), variance.flatten().clone()
    expected = functional.batch_norm(x, *moved, training=True, momentum=0.25, eps=1.0)
    # The variance is a difference of means of squares, each rounded: 30 is off by 30 * 2^-9.
    tolerance = 0.13 if dtype == ttnn.bfloat16 else 1e-3
    for tensor, value in zip(running, moved, strict=True):
        assert (ttnn.to_torch(tensor).float().flatten() - value).abs().max() <= tolerance
    assert (ttnn.to_torch(y).float() - expected).abs().max() <= tolerance


def test_batch_norm_of_given_statistics_is_rounded_once(device):
    x, mean, variance = torch.randn(2, 3, 23, 37), channels(0.5, 0.0, -1.0), channels(1.0, 4.0, 9.0)
    weight, bias = channels(1.0, 2.0, 3.0), channels(-1.0, 0.0, 1.0)
    y = ttnn.batch_norm(
        on_tiles(device, x, ttnn.float32),
        running_mean=on_tiles(device, mean, ttnn.float32),
        running_var=on_tiles(device, variance, ttnn.float32),
        weight=on_tiles(device, weight, ttnn.float32),
        bias=on_tiles(device, bias, ttnn.float32),
    )
    rows = [row.flatten() for row in (mean, variance, weight, bias)]
    expected = functional.batch_norm(x, *rows)
    assert torch.allclose(ttnn.to_torch(y), expected, rtol=1e-5, atol=1e-5)


def test_batch_norm_with_a_16_bit_destination_is_refused(device):
    config = ttnn.WormholeComputeKernelConfig(fp32_dest_acc_en=False)
    x, one = on_tiles(device, torch.rand(1, 2, 32, 32)), on_tiles(device, channels(1.0, 1.0))
    with pytest.raises(NotEmulated, match="16-bit destination"):
        ttnn.batch_norm(x, running_mean=one, running_var=one, compute_kernel_config=config)

"""Quantization with scales and zero points that are tensors, in both arithmetics, against torch."""

import itertools

import pytest
import torch
import ttnn

from tests.support.tensors import on_tiles

BOUNDS = [(float, int), (float, torch.Tensor), (torch.Tensor, int), (torch.Tensor, torch.Tensor)]
FLOATS = {ttnn.float32: 1e-5, ttnn.bfloat16: 0.01}  # relative error of a store


def given(device, kind, value):
    """A number, or a tensor of one element that holds it."""
    if kind is not torch.Tensor:
        return value
    dtype = ttnn.int32 if isinstance(value, int) else ttnn.float32
    return ttnn.from_torch(
        torch.tensor([[value]]), dtype=dtype, layout=ttnn.TILE_LAYOUT, device=device
    )


def of_channels(device, values, dtype):
    """A vector with a number for each channel."""
    return ttnn.from_torch(
        torch.tensor(values), dtype=dtype, layout=ttnn.TILE_LAYOUT, device=device
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("kinds", BOUNDS, ids=lambda kinds: "-".join(k.__name__ for k in kinds))
def test_either_bound_may_be_a_tensor(kinds, dtype, kernel_device):
    x = (torch.randint(-100, 100, (37, 50)) / 4 + 0.0625).bfloat16().float()
    bounds = [given(kernel_device, kind, v) for kind, v in zip(kinds, (0.25, 3), strict=True)]
    steps = ttnn.quantize(on_tiles(kernel_device, x, dtype), *bounds)
    cast = kinds[1] is torch.Tensor  # divided, added and cast, which cuts the fraction off
    exact = (x / 0.25 + 3).trunc() if cast else (x / 0.25 + 3).round()
    rounded = cast and dtype == ttnn.bfloat16  # before the cast
    assert (ttnn.to_torch(steps) - exact).abs().max() <= rounded
    back = ttnn.to_torch(ttnn.dequantize(steps, *bounds, dtype=dtype)).double()
    expected = (ttnn.to_torch(steps).double() - 3) / 4
    assert torch.allclose(back, expected, rtol=FLOATS[dtype], atol=0)


@pytest.mark.parametrize("kinds", list(itertools.product(BOUNDS, BOUNDS)), ids=str)
def test_steps_of_one_scale_become_those_of_another(kinds, kernel_device):
    (a, b), (c, d) = kinds
    x = 2 * torch.randint(-30, 30, (37, 50)).int() + 1
    numbers = zip((a, b, c, d), (0.25, 3, 0.5, 1), strict=True)
    bounds = [given(kernel_device, kind, value) for kind, value in numbers]
    again = ttnn.to_torch(ttnn.requantize(on_tiles(kernel_device, x, ttnn.int32), *bounds))
    assert again.equal((x - 3) // 2 + 1)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_each_channel_has_its_scale(axis, kernel_device):
    x = torch.randint(-100, 100, (3, 3)) / 4 + 0.05
    scales, zeros = [0.25, 0.5, 1.0], [3, 0, -2]
    bounds = [
        of_channels(kernel_device, scales, ttnn.float32),
        of_channels(kernel_device, zeros, ttnn.int32),
    ]
    steps = ttnn.quantize(on_tiles(kernel_device, x, ttnn.float32), *bounds, axis=axis)
    along = (3, 1) if axis == 0 else (1, 3)
    scale, zero = torch.tensor(scales).reshape(along), torch.tensor(zeros).reshape(along)
    exact = (x / scale + zero).trunc()
    assert ttnn.to_torch(steps).equal(exact.int())
    back = ttnn.dequantize(steps, *bounds, axis=axis, dtype=ttnn.float32)
    assert torch.allclose(ttnn.to_torch(back), (exact - zero) * scale, rtol=1e-5)
    kept = ttnn.requantize(steps, *bounds, *bounds, axis=axis)
    assert ttnn.to_torch(kept).equal(exact.int())

"""Norms and softmax: float32 within, one rounding, padding as the kernels leave it."""

import pytest
import torch
import ttnn
from torch.nn import functional

from tests.support.checks import assert_rounded_once
from tests.support.emulated import contents, fill_padding
from tests.support.tensors import in_rows, on_tiles

WIDTH = 96


def rms(x, weight=None, epsilon=1e-5):
    return functional.rms_norm(x, x.shape[-1:], weight, epsilon)


def layer(x, weight=None, epsilon=1e-5):
    return functional.layer_norm(x, x.shape[-1:], weight, None, epsilon)


NORMS = {"rms_norm": rms, "layer_norm": layer}

WEIGHTS = {
    "[1, 1, 1, H]": lambda device, w: on_tiles(device, w.view(1, 1, 1, -1)),
    "[1, H]": lambda device, w: on_tiles(device, w.view(1, -1)),
    "[H]": on_tiles,
    "[1, 1, H/32, 32] in rows": lambda device, w: in_rows(
        device, w.view(1, 1, -1, 32), ttnn.bfloat16
    ),
}


@pytest.fixture
def x():
    return torch.randn(1, 2, 37, WIDTH).bfloat16()


@pytest.fixture
def weight():
    return torch.rand(WIDTH).bfloat16()


@pytest.mark.parametrize("form", WEIGHTS)
@pytest.mark.parametrize("name", NORMS)
def test_weight_of_any_form(name, form, x, weight, device):
    y = getattr(ttnn, name)(on_tiles(device, x), weight=WEIGHTS[form](device, weight), epsilon=1e-5)
    expected = NORMS[name](x.double(), weight.double())
    assert_rounded_once(y, expected, torch.full_like(expected, 4.0))


@pytest.mark.parametrize("name", NORMS)
def test_residual_and_bias_join_unrounded(name, x, weight, device):
    residual, bias = torch.randn_like(x), torch.randn_like(weight)
    y = getattr(ttnn, name)(
        on_tiles(device, x),
        weight=on_tiles(device, weight),
        bias=on_tiles(device, bias),
        residual_input_tensor=on_tiles(device, residual),
        epsilon=1e-5,
    )
    expected = NORMS[name](x.double() + residual.double(), weight.double()) + bias.double()
    assert_rounded_once(y, expected, torch.full_like(expected, 4.0))


@pytest.mark.parametrize("name", NORMS)
def test_default_epsilon_is_ttnns(name, device):
    """1e-12 (layernorm_nanobind.cpp): values as small as its root tell it from any other."""
    x = (torch.randn(1, 1, 32, WIDTH) * 1e-6).bfloat16()
    expected = NORMS[name](x.double(), epsilon=1e-12)
    assert_rounded_once(
        getattr(ttnn, name)(on_tiles(device, x)), expected, torch.full_like(expected, 4.0)
    )


def test_norm_does_not_read_padding(x, device):
    tensor = on_tiles(device, x[..., :80])
    fill_padding(float("nan"), tensor)
    y = ttnn.rms_norm(tensor, epsilon=1e-5)
    assert_rounded_once(y, rms(x[..., :80].double()))


def test_zero_padding_stays_zero_in_a_norm(x, device):
    y = ttnn.rms_norm(on_tiles(device, x[..., :80]), epsilon=1e-5)
    assert (contents(y)[..., 37:, :] == 0).all()
    assert (contents(y)[..., 80:] == 0).all()


@pytest.mark.parametrize("dim", [-1, -2, 1])
def test_softmax_of_any_dimension(dim, x, device):
    assert_rounded_once(ttnn.softmax(on_tiles(device, x), dim), x.double().softmax(dim))


def test_softmax_in_place(x, device):
    tensor = on_tiles(device, x)
    ttnn.softmax_in_place(tensor)
    assert_rounded_once(tensor, x.double().softmax(-1))


@pytest.mark.parametrize(("numeric_stable", "finite"), [(True, True), (False, False)])
def test_only_the_stable_softmax_takes_large_values(numeric_stable, finite, device):
    x = torch.full((1, 1, 32, 32), 200.0)  # exp(200) is beyond float32
    y = ttnn.to_torch(ttnn.softmax(on_tiles(device, x), -1, numeric_stable=numeric_stable))
    assert y.isfinite().all() == finite


def test_softmax_leaves_its_mean_in_padding_rows_and_zero_in_columns(device):
    """As recorded for (1, 1, 37, 80): 1/80 in the rows of padding."""
    values = contents(ttnn.softmax(on_tiles(device, torch.randn(1, 1, 37, 80)), -1))
    assert (values[..., 37:, :80] == torch.tensor(1 / 80).bfloat16()).all()
    assert (values[..., 80:] == 0).all()


@pytest.mark.parametrize("rows", [1, 32])
@pytest.mark.parametrize("in_place", [False, True])
def test_scaled_softmax_reads_the_masks_first_row(in_place, rows, device):
    x = torch.randn(1, 2, 64, WIDTH).bfloat16()
    mask = torch.where(torch.rand(1, 1, rows, WIDTH) > 0.5, 0.0, -1e9).bfloat16()
    expected = (x.double() * 0.5 + mask[:, :, :1].double()).softmax(-1)
    call = ttnn.scale_mask_softmax_in_place if in_place else ttnn.scale_mask_softmax
    assert_rounded_once(call(on_tiles(device, x), 0.5, on_tiles(device, mask)), expected)


def test_attention_softmax_scales_by_the_heads_size(device):
    x = torch.randn(1, 2, 64, WIDTH).bfloat16()
    mask = torch.where(torch.rand(1, 1, 1, WIDTH) > 0.5, 0.0, -1e9).bfloat16()
    y = ttnn.transformer.attention_softmax(
        on_tiles(device, x), head_size=64, attention_mask=on_tiles(device, mask)
    )
    assert_rounded_once(y, (x.double() / 8 + mask.double()).softmax(-1))


def test_attention_softmax_scales_without_a_mask(device):
    x = torch.randn(1, 2, 64, WIDTH).bfloat16()
    y = ttnn.transformer.attention_softmax(on_tiles(device, x), head_size=64)
    assert_rounded_once(y, (x.double() / 8).softmax(-1))

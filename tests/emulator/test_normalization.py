"""Norms and softmax: float32 within, one rounding, padding as the kernels leave it."""

import pytest
import torch
import ttnn
from torch.nn import functional

from tests.support.checks import assert_rounded_once
from tests.support.emulated import contents, fill_padding
from tests.support.tensors import in_rows, on_tiles
from ttnn_emulator import NotEmulated

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


# --- on several cores -----------------------------------------------------------------------------


def on_grid(device, values, columns, rows):
    """[1, 1, S, W] with the columns W on a grid of cores, S rows on each."""
    grid = ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(columns - 1, rows - 1))
    part = [values.shape[-2], values.shape[-1] // (columns * rows)]
    shard = ttnn.ShardSpec(ttnn.CoreRangeSet({grid}), part, ttnn.ShardOrientation.ROW_MAJOR)
    memory = ttnn.MemoryConfig(ttnn.TensorMemoryLayout.WIDTH_SHARDED, ttnn.BufferType.L1, shard)
    config = ttnn.LayerNormShardedMultiCoreProgramConfig(
        compute_with_storage_grid_size=[columns, rows],
        subblock_w=1,
        block_h=part[0] // 32,
        block_w=part[1] // 32,
        inplace=False,
    )
    return on_tiles(device, values, memory_config=memory), {"program_config": config}


@pytest.mark.parametrize("grid", [(4, 1), (8, 2)], ids=str)
@pytest.mark.parametrize("name", NORMS)
def test_norm_of_rows_on_several_cores(name, grid, device):
    x, residual = torch.randn(2, 1, 1, 32, 1024).bfloat16()
    weight = torch.rand(1024).bfloat16()
    tensor, config = on_grid(device, x, *grid)
    y = getattr(ttnn, name)(
        tensor,
        weight=on_tiles(device, weight),
        residual_input_tensor=on_grid(device, residual, *grid)[0],
        epsilon=1e-5,
        memory_config=tensor.memory_config(),
        **config,
    )
    expected = NORMS[name](x.double() + residual.double(), weight.double())
    assert_rounded_once(y, expected, torch.full_like(expected, 4.0))


@pytest.mark.parametrize("with_residual", [False, True])
def test_statistics_of_rows_on_several_cores_are_means(with_residual, device):
    """Of the values and then of the squares; the sum with a residual takes the input's place."""
    x, residual = torch.randn(2, 1, 1, 32, 1024).bfloat16() + 0.5
    tensor, config = on_grid(device, x, 8, 2)
    if with_residual:
        config["residual_input_tensor"] = on_grid(device, residual, 8, 2)[0]
    statistics = ttnn.to_torch(ttnn.layer_norm_pre_all_gather(tensor, **config)).double()
    x = (x + residual).double() if with_residual else x.double()
    assert torch.equal(ttnn.to_torch(tensor).double(), x)
    torch.testing.assert_close(statistics[..., 0], x.mean(-1), rtol=2**-7, atol=0)
    torch.testing.assert_close(statistics[..., 32], x.square().mean(-1), rtol=2**-7, atol=0)
    assert (statistics[..., 1:32] == 0).all()


@pytest.mark.parametrize("name", NORMS)
def test_norm_by_means_of_rows_on_several_cores(name, device):
    x = torch.randn(1, 1, 32, 1024).bfloat16()
    tensor, config = on_grid(device, x, 8, 2)
    statistics = getattr(ttnn, f"{name}_pre_all_gather")(tensor, **config)
    y = getattr(ttnn, f"{name}_post_all_gather")(tensor, statistics, epsilon=1e-5, **config)
    expected = NORMS[name](x.double())
    assert (ttnn.to_torch(y).double() - expected).abs().max() < 2**-6 * expected.abs().max()


@pytest.mark.parametrize("name", NORMS)
def test_statistics_do_not_read_padding(name, device):
    """TTNN's host side fills the padding of the operands with zeros first."""
    x, residual = torch.randn(2, 1, 1, 32, 42).bfloat16()
    operands = [on_tiles(device, values) for values in (x, residual)]
    for operand in operands:
        fill_padding(100.0, operand)
    pre = getattr(ttnn, f"{name}_pre_all_gather")
    squares = ttnn.to_torch(pre(operands[0], residual_input_tensor=operands[1]))[..., 0]
    expected = (x.double() + residual.double()).square().sum(-1)
    torch.testing.assert_close(squares.double(), expected, rtol=2**-7, atol=0)


# --- masks of softmax -----------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 2])
def test_a_causal_masks_rows_are_added_again_and_again(heads, device):
    x = torch.randn(2, heads, 3 * WIDTH, WIDTH).bfloat16()
    mask = torch.where(torch.rand(2, 1, WIDTH, WIDTH) > 0.5, 0.0, -1e9).bfloat16()
    y = ttnn.scale_mask_softmax_in_place(
        on_tiles(device, x), 0.5, on_tiles(device, mask), is_causal_mask=True
    )
    repeated = mask.repeat(1, 1, 3, 1).double()
    assert_rounded_once(y, (x.double() * 0.5 + repeated).softmax(-1))


def test_a_causal_mask_that_is_not_square_is_read_beyond_its_end(device):
    x, mask = torch.randn(1, 3, 64, 128), torch.zeros(1, 1, 64, 128)
    with pytest.raises(NotEmulated, match="takes a causal mask to be square"):
        ttnn.scale_mask_softmax_in_place(
            on_tiles(device, x), 0.5, on_tiles(device, mask), is_causal_mask=True
        )


def test_a_mask_may_be_given_in_rows_of_32(device):
    x = torch.randn(2, 4, 32, WIDTH).bfloat16()
    mask = torch.where(torch.rand(2, 1, 1, WIDTH) > 0.5, 0.0, -1e9).bfloat16()
    heads = ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(3, 1))
    shard = ttnn.ShardSpec(ttnn.CoreRangeSet({heads}), [32, WIDTH], ttnn.ShardOrientation.ROW_MAJOR)
    memory = ttnn.MemoryConfig(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.BufferType.L1, shard)
    config = ttnn.SoftmaxShardedMultiCoreProgramConfig(
        compute_with_storage_grid_size=(4, 2), subblock_w=1, block_h=1, block_w=WIDTH // 32
    )
    y = ttnn.scale_mask_softmax_in_place(
        on_tiles(device, x, memory_config=memory),
        0.5,
        in_rows(device, mask.reshape(2, 1, -1, 32), ttnn.bfloat16),
        program_config=config,
    )
    assert_rounded_once(y, (x.double() * 0.5 + mask.double()).softmax(-1))

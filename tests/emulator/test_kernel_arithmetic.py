"""Operations in kernel arithmetic: which arithmetic an op takes, what padding and holes become."""

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.support.emulated import contents, fill_padding
from tests.support.tensors import on_cores, on_tiles
from ttnn_emulator.ops.common import padding


@pytest.fixture
def device(device):
    with ttnn_emulator.arithmetic_settings("kernel"):
        yield device


def config(fidelity="HiFi2", approximate=False, fp32_dest_acc=False, l1=True):
    return ttnn.WormholeComputeKernelConfig(
        math_fidelity=getattr(ttnn.MathFidelity, fidelity),
        math_approx_mode=approximate,
        fp32_dest_acc_en=fp32_dest_acc,
        packer_l1_acc=l1,
    )


def equal_contents(a, b):
    return torch.equal(contents(a), contents(b))


@pytest.fixture
def x(device):
    return on_tiles(device, torch.randn(1, 1, 64, 1024))


@pytest.fixture
def w(device):
    return on_tiles(device, torch.randn(1024, 256) * 0.03)


# --- which arithmetic a process has --------------------------------------------------------------


def test_an_unknown_arithmetic_is_refused(device):
    with (
        pytest.raises(ValueError, match=r"'exact'.*kernel, rounded"),
        ttnn_emulator.arithmetic_settings("exact"),
    ):
        pass


def test_another_arithmetic_than_the_installed_one_is_refused(device):
    with pytest.raises(ValueError, match=r"'rounded'.*already emulates with 'kernel'"):
        ttnn_emulator.install("rounded")


def test_arithmetic_settings_end_with_their_block(device):
    with ttnn_emulator.arithmetic_settings("rounded", cores=(8, 9)):
        assert ttnn_emulator.installed_arithmetic() == "rounded"
    assert ttnn_emulator.installed_arithmetic() == "kernel"


# --- which arithmetic an op takes ----------------------------------------------------------------


def test_linear_is_hifi2_summed_in_l1_by_default(x, w):
    assert equal_contents(ttnn.linear(x, w), ttnn.linear(x, w, compute_kernel_config=config()))
    assert not equal_contents(
        ttnn.linear(x, w), ttnn.linear(x, w, compute_kernel_config=config(l1=False))
    )


def test_linear_on_a_core_grid_is_lofi(x, w):
    grid = ttnn.CoreGrid(x=8, y=8)
    on_grid = ttnn.linear(x, w, core_grid=grid)
    lofi = ttnn.linear(x, w, core_grid=grid, compute_kernel_config=config("LoFi"))
    assert equal_contents(on_grid, lofi)
    assert not equal_contents(on_grid, ttnn.linear(x, w))


def test_a_config_that_names_no_fidelity_is_lofi(x, w):
    bare = ttnn.linear(x, w, compute_kernel_config=ttnn.WormholeComputeKernelConfig())
    assert equal_contents(bare, ttnn.linear(x, w, compute_kernel_config=config("LoFi", l1=False)))


def test_blocks_of_k_follow_the_grid(x, device):
    """K of a multiple of 9 tiles divides among 9 rows of cores and not among 8, or vice versa."""
    w = on_tiles(device, torch.randn(1024, 1024) * 0.03)
    x = on_tiles(device, torch.randn(1, 1, 1024, 1024))
    here = ttnn.linear(x, w)
    with ttnn_emulator.arithmetic_settings(cores=(7, 8)):
        elsewhere = ttnn.linear(x, w)
    assert not equal_contents(here, elsewhere)


def test_rms_norm_is_hifi4_in_16_bits_by_default(x):
    default = ttnn.rms_norm(x, epsilon=1e-5)
    explicit = config("HiFi4", approximate=True, l1=False)
    assert equal_contents(default, ttnn.rms_norm(x, epsilon=1e-5, compute_kernel_config=explicit))
    fp32_dest_acc = config("HiFi4", fp32_dest_acc=True, l1=False)
    assert not equal_contents(
        default, ttnn.rms_norm(x, epsilon=1e-5, compute_kernel_config=fp32_dest_acc)
    )


def test_rotary_embedding_ignores_its_config(device):
    x, cos, sin = (on_tiles(device, torch.randn(1, 1, 32, 64)) for _ in range(3))
    default = ttnn.experimental.rotary_embedding(x, cos, sin)
    lofi = ttnn.experimental.rotary_embedding(x, cos, sin, compute_kernel_config=config("LoFi"))
    assert equal_contents(default, lofi)


def test_addition_rounds_ties_away_and_multiplication_to_even(device):
    ones, half_ulp = (on_tiles(device, torch.full((32, 32), value)) for value in (1.0, 2.0**-8))
    assert contents(ones + half_ulp)[0, 0] == 1 + 2.0**-7  # nearest even would keep 1
    tie = on_tiles(device, torch.full((32, 32), 1 + 2.0**-7))
    exact = (1 + 2.0**-7) ** 2
    assert contents(tie * tie)[0, 0] == torch.tensor(exact).bfloat16()


def test_the_silu_of_a_linear_sees_rounded_sums(x, w):
    assert equal_contents(ttnn.linear(x, w, activation="silu"), ttnn.silu(ttnn.linear(x, w)))


# --- padding and what nothing wrote --------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "expected"),
    [(ttnn.exp, 1.0), (ttnn.sigmoid, 0.5), (lambda t: t + 1.0, 1.0), (ttnn.silu, 0.0)],
    ids=["exp", "sigmoid", "add 1", "silu"],
)
def test_padding_is_what_the_kernel_makes_of_zeros(operation, expected, device):
    y = contents(operation(on_tiles(device, torch.randn(1, 1, 37, 80))))
    assert (y[..., 37:, :] == expected).all()
    assert (y[..., 80:] == expected).all()


def test_padding_rows_are_computed_where_they_hold_something(w, device):
    x = fill_padding(7.0, on_tiles(device, torch.randn(1, 1, 37, 1024)))
    y = contents(ttnn.linear(x, w))
    clean = contents(ttnn.linear(on_tiles(device, torch.full((1, 1, 64, 1024), 7.0)), w))
    assert torch.equal(y[0, 0, 37:], clean[0, 0, :27])


def test_a_fused_bias_reaches_the_padding_rows(w, device):
    bias = torch.randn(1, 256).bfloat16()
    x = on_tiles(device, torch.randn(1, 1, 5, 1024))
    y = contents(ttnn.linear(x, w, bias=on_tiles(device, bias)))
    assert torch.equal(y[0, 0, 5:], bias.expand(27, -1))


def test_rows_that_nothing_wrote_stay_recognisable(w, device):
    """Through a projection, a norm, a residual and an activation, in rows that are logical."""
    heads = on_cores(device, torch.randn(1, 5, 32, 32))
    y = ttnn.experimental.nlp_concat_heads_decode(heads, num_heads=32)  # rows 5 to 31: not written
    y = ttnn.to_memory_config(y, ttnn.DRAM_MEMORY_CONFIG)
    for step in (
        lambda t: ttnn.linear(t, w),
        lambda t: ttnn.rms_norm(t, epsilon=1e-5),
        lambda t: ttnn.add(t, t),
        ttnn.silu,
    ):
        y = step(y)
        written, unwritten = contents(y)[0, 0, :5], contents(y)[0, 0, 5:]
        assert written.isfinite().all()
        assert (unwritten.view(torch.int16) == padding.UNDEFINED_BFLOAT16).all()


def test_attention_reads_padding_of_k_that_is_infinite(device):
    q, k, v = (on_tiles(device, torch.randn(1, 1, 37, 64)) for _ in range(3))
    clean = ttnn.transformer.scaled_dot_product_attention(q, k, v, is_causal=True)
    fill_padding(float("inf"), k)
    dirty = ttnn.transformer.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert not torch.equal(ttnn.to_torch(clean), ttnn.to_torch(dirty))


def test_tilize_loses_the_sign_of_zero(device):
    rows = ttnn.from_torch(torch.full((32, 32), -0.0), dtype=ttnn.bfloat16, device=device)
    assert not contents(ttnn.to_layout(rows, ttnn.TILE_LAYOUT)).signbit().any()


def test_a_padding_of_nan_becomes_infinity(device):
    x = on_tiles(device, torch.randn(1, 1, 37, 64))
    y = contents(ttnn.fill_implicit_tile_padding(x, float("nan")))
    assert (y[0, 0, 37:] == float("inf")).all()


def test_a_result_is_never_an_operand_s_own_memory(device):
    """A cache that is updated in place must not change what it was copied from."""
    x = on_tiles(device, torch.ones(1, 1, 64, 64))
    y = ttnn.typecast(x, ttnn.bfloat16) if x.dtype != ttnn.bfloat16 else ttnn.identity(x)
    contents(y).zero_()
    assert (contents(x) == 1).all()

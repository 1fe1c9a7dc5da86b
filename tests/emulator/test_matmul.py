"""Matrix products: float32 sums rounded once, operands of every format, bias and activation."""

import pytest
import torch
import ttnn
from torch.nn import functional

from tests.support.checks import FLOAT32_STEPS, HALF_ULP, assert_rounded_once
from tests.support.emulated import contents, fill_padding
from tests.support.tensors import on_tiles
from ttnn_emulator.arithmetic.compute import Product
from ttnn_emulator.arithmetic.rounded import rounded


def normal(*shape):
    return torch.randn(shape).bfloat16()


def exact(a, b):
    """Product and the sum of the terms' sizes, float64."""
    return a.double() @ b.double(), a.double().abs() @ b.double().abs()


@pytest.mark.parametrize("by_columns", [False, True])
@pytest.mark.parametrize("k", [96, 3072, 8192])
@pytest.mark.parametrize("m", [1, 8, 64])
def test_bf16_product_has_float32_sums(m, k, by_columns):
    """The library's bf16 product is the float64 one correctly rounded, but for near-ties.

    Float32 sums are off by about 2^-24 sqrt(K) of their size: less than a hundredth of a bf16 ulp,
    so fewer than one result in a hundred may land on the other side. bf16 sums would miss most.
    """
    a, b = normal(m, k), normal(k, 96)
    b = b.mT.contiguous().mT if by_columns else b
    expected, _ = exact(a, b)
    product = rounded.matmul(a, b, product=Product(m, k, 96))
    assert product.dtype == torch.bfloat16
    assert (product == expected.bfloat16()).double().mean() >= 0.99
    # A sum is sqrt(K) large; 256 additions in a row, each wrong by 2^-24 of it: 24 November 2026.
    assert (
        (product.double() - expected).abs() <= expected.abs() * 2.0**-8 + k**0.5 * 2.0**-16
    ).all()


@pytest.mark.parametrize("k", [96, 8192])
def test_bias_joins_before_the_rounding(k):
    a, b, bias = normal(8, k), normal(k, 96), normal(1, 96)
    expected = exact(a, b)[0] + bias.double()
    product = rounded.matmul(a, b, bias, product=Product(8, k, 96))
    # As above: fewer than one near-tie in a hundred, 24 November 2026.
    assert (product.bfloat16() == expected.bfloat16()).double().mean() >= 0.99


@pytest.mark.parametrize(
    "dtype", [ttnn.bfloat16, ttnn.bfloat8_b, ttnn.bfloat4_b, ttnn.float32], ids=lambda d: d.name
)
@pytest.mark.parametrize("mkn", [(1, 96, 64), (37, 80, 48), (64, 1024, 96)], ids=str)
def test_weight_of_any_format(mkn, dtype, device):
    m, k, n = mkn
    a, weight = normal(1, 1, m, k), on_tiles(device, torch.randn(k, n), dtype)
    y = ttnn.linear(on_tiles(device, a), weight, dtype=ttnn.bfloat16)
    assert_rounded_once(y, *exact(a, ttnn.to_torch(weight)))


@pytest.mark.parametrize("a_dtype", [ttnn.bfloat16, ttnn.float32], ids=lambda d: d.name)
def test_float32_result_of_many_columns(a_dtype, device):
    a, b = normal(1, 1, 5, 64), normal(64, 2 * rounded.COLUMN_CHUNK + 32)
    ta, tb = on_tiles(device, a, a_dtype), on_tiles(device, b)
    assert_rounded_once(ttnn.matmul(ta, tb, dtype=ttnn.float32), *exact(a, b))


SHAPES = {
    "batched": ((2, 3, 37, 64), (2, 3, 64, 50)),
    "one weight": ((2, 3, 37, 64), (64, 50)),
    "one weight of rank 4": ((2, 3, 37, 64), (1, 1, 64, 50)),
    "rank 3": ((3, 37, 64), (3, 64, 50)),
    "vector": ((37, 64), (64,)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_leading_dimensions(name, device):
    a, b = (normal(*shape) for shape in SHAPES[name])
    assert_rounded_once(ttnn.matmul(on_tiles(device, a), on_tiles(device, b)), *exact(a, b))


def test_transposed_operands(device):
    a, b = normal(1, 2, 37, 64), normal(1, 2, 64, 50)
    ta, tb = on_tiles(device, a), on_tiles(device, b)
    aT, bT = on_tiles(device, a.mT), on_tiles(device, b.mT)
    for y in (
        ttnn.matmul(aT, tb, transpose_a=True),
        ttnn.matmul(ta, bT, transpose_b=True),
        ttnn.linear(aT, bT, transpose_a=True, transpose_b=True),
        ta @ tb,
    ):
        assert_rounded_once(y, *exact(a, b))


@pytest.mark.parametrize("shape", [(1, 1, 1, 96), (1, 96), (96,)], ids=str)
def test_bias_is_added_to_every_row(shape, device):
    a, b, bias = normal(1, 1, 37, 64), normal(64, 96), normal(*shape)
    y = ttnn.linear(on_tiles(device, a), on_tiles(device, b), bias=on_tiles(device, bias))
    product, terms = exact(a, b)
    assert_rounded_once(y, product + bias.double(), terms)


def test_bias_of_one_tile_gives_its_first_row(device):
    """TTNN fuses a bias one tile high, and the fused kernel reads the tile's first row only."""
    a, b, bias = normal(1, 1, 5, 64), normal(64, 96), normal(1, 1, 5, 96)
    y = ttnn.linear(on_tiles(device, a), on_tiles(device, b), bias=on_tiles(device, bias))
    product, terms = exact(a, b)
    assert_rounded_once(y, product + bias[:, :, :1].double(), terms)


def test_bias_higher_than_a_tile_is_added_row_by_row(device):
    a, b, bias = normal(1, 1, 37, 64), normal(64, 96), normal(1, 1, 37, 96)
    y = ttnn.linear(on_tiles(device, a), on_tiles(device, b), bias=on_tiles(device, bias))
    product = ttnn.matmul(on_tiles(device, a), on_tiles(device, b))  # rounded, then added
    assert torch.equal(ttnn.to_torch(y), ttnn.to_torch(product) + bias)


@pytest.mark.parametrize("shape", [(1, 96), (5, 96), (1,)], ids=str)
def test_bias_of_a_product_in_l1_is_added_by_itself(shape, device):
    a, b, bias = normal(1, 1, 5, 64), normal(64, 96), normal(*shape)
    ta = ttnn.to_memory_config(on_tiles(device, a), ttnn.L1_MEMORY_CONFIG)
    y = ttnn.linear(ta, on_tiles(device, b), bias=on_tiles(device, bias))
    product = ttnn.to_torch(ttnn.matmul(ta, on_tiles(device, b)))  # rounded, then added
    assert torch.equal(ttnn.to_torch(y), product + bias)


def test_bias_of_a_product_with_a_vector(device):
    """Of one number it is fused; more are added to the vector that comes out."""
    a, b, bias = normal(37, 64), normal(64), normal(37)
    ta, tb = on_tiles(device, a), on_tiles(device, b)
    y = ttnn.linear(ta, tb, bias=on_tiles(device, bias))
    assert torch.equal(ttnn.to_torch(y), ttnn.to_torch(ttnn.matmul(ta, tb)) + bias)
    y = ttnn.linear(ta, tb, bias=on_tiles(device, bias[:1]))
    product, terms = exact(a, b)
    assert_rounded_once(y, product + bias[:1].double(), terms)


def test_bias_of_rank_0(device):
    a, b, bias = normal(64), normal(64), torch.tensor(1.5)
    y = ttnn.linear(on_tiles(device, a), on_tiles(device, b), bias=on_tiles(device, bias))
    product, terms = exact(a, b)
    assert_rounded_once(y, product + 1.5, terms)


@pytest.mark.parametrize(("rows", "columns"), [(16, 32), (32, 16), (16, 16)])
def test_tiles_of_other_sizes_change_no_value(rows, columns, device):
    a, b = normal(1, 2, 64, 96), normal(1, 2, 96, 64)
    config = ttnn.MatmulMultiCoreReuseProgramConfig(
        compute_with_storage_grid_size=(2, 1),
        in0_block_w=3,
        out_subblock_h=1,
        out_subblock_w=1,
        per_core_M=64 // rows,
        per_core_N=64 // columns,
    )
    y = ttnn.matmul(
        ttnn.from_torch(a, layout=ttnn.TILE_LAYOUT, tile=ttnn.Tile((rows, 32)), device=device),
        ttnn.from_torch(b, layout=ttnn.TILE_LAYOUT, tile=ttnn.Tile((32, columns)), device=device),
        program_config=config,
        output_tile=ttnn.Tile((rows, columns)),
    )
    assert list(y.tile.tile_shape) == [rows, columns]
    assert_rounded_once(y, *exact(a, b))


ACTIVATIONS = {
    "relu": torch.relu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_approx": functional.gelu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "square": torch.square,
    ttnn.UnaryWithParam(ttnn.UnaryOpType.SILU): functional.silu,
    ttnn.UnaryWithParam(ttnn.UnaryOpType.LEAKY_RELU, 0.25): lambda x: functional.leaky_relu(
        x, 0.25
    ),
}


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("call", [ttnn.matmul, ttnn.linear], ids=["matmul", "linear"])
def test_activation_sees_the_rounded_sums(call, activation, device):
    """The recorded kernels give the same bits for linear(activation=silu) and silu(linear)."""
    ta, tb = on_tiles(device, normal(1, 1, 37, 64)), on_tiles(device, normal(64, 96))
    product = ttnn.to_torch(call(ta, tb)).double()
    fused = call(ta, tb, activation=activation)
    assert_rounded_once(fused, ACTIVATIONS[activation](product), product.abs() + 1)


def test_activation_of_the_program_config(device):
    a, b = normal(1, 1, 37, 64), normal(64, 96)
    config = ttnn.MatmulMultiCoreReuseMultiCast1DProgramConfig(
        compute_with_storage_grid_size=(3, 1),
        in0_block_w=1,
        out_subblock_h=1,
        out_subblock_w=1,
        per_core_M=2,
        per_core_N=1,
        fuse_batch=True,
        fused_activation=ttnn.UnaryWithParam(ttnn.UnaryOpType.RELU),
        mcast_in0=True,
    )
    y = ttnn.linear(on_tiles(device, a), on_tiles(device, b), program_config=config)
    product, terms = exact(a, b)
    assert_rounded_once(y, product.relu(), terms)


def test_given_output_and_configs(device):
    a, b, output = normal(1, 1, 37, 64), normal(64, 96), on_tiles(device, torch.zeros(1, 1, 37, 96))
    config = ttnn.WormholeComputeKernelConfig(
        math_fidelity=ttnn.MathFidelity.HiFi4, fp32_dest_acc_en=True
    )
    ta, tb = on_tiles(device, a), on_tiles(device, b)
    ttnn.matmul(ta, tb, compute_kernel_config=config, optional_output_tensor=output)
    assert_rounded_once(output, *exact(a, b))
    y = ttnn.linear(ta, tb, core_grid=ttnn.CoreGrid(x=8, y=8), memory_config=ttnn.L1_MEMORY_CONFIG)
    assert_rounded_once(y, *exact(a, b))


def test_padding_of_operands_is_not_read(device):
    a, b = normal(1, 1, 37, 80), normal(80, 50)
    ta, tb = on_tiles(device, a), on_tiles(device, b)
    fill_padding(float("nan"), ta)
    fill_padding(float("nan"), tb)
    y = ttnn.matmul(ta, tb)
    assert_rounded_once(y, *exact(a, b))
    assert (contents(y)[..., 50:] == 0).all()


@pytest.mark.parametrize("padding", [0.0, 7.0])
def test_padding_rows_of_the_left_operand_give_rows(padding, device):
    a, b = normal(1, 1, 37, 96), normal(96, 64)
    y = ttnn.matmul(fill_padding(padding, on_tiles(device, a)), on_tiles(device, b))
    expected, terms = exact(torch.full((27, 96), padding), b)
    got = contents(y)[0, 0, 37:].double()
    assert (
        (got - expected).abs() <= expected.abs() * HALF_ULP[ttnn.bfloat16] + terms * FLOAT32_STEPS
    ).all()

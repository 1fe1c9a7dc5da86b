"""Elementwise operations, products, norms and reductions in rounded arithmetic against torch.

The result of torch in float32, rounded once as the output's dtype demands, is what is due.
"""

import pytest
import torch
import ttnn
from torch.nn import functional

SHAPES = [(1, 1, 37, 80), (32, 64), (2, 3, 5, 33)]

UNARY = {
    "relu": torch.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "sigmoid": torch.sigmoid,
    "exp": torch.exp,
    "log": lambda x: x.abs().log(),
    "sqrt": lambda x: x.abs().sqrt(),
    "rsqrt": lambda x: x.abs().rsqrt(),
    "reciprocal": torch.reciprocal,
    "neg": torch.neg,
    "abs": torch.abs,
    "square": torch.square,
    "tanh": torch.tanh,
    "sin": torch.sin,
    "cos": torch.cos,
}
OF_POSITIVES = {"log", "sqrt", "rsqrt"}

BINARY = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
}


def on(device, values, dtype=ttnn.bfloat16):
    return ttnn.from_torch(values, dtype=dtype, layout=ttnn.TILE_LAYOUT, device=device)


def assert_one_rounding(actual, expected):
    """bf16 `actual` is float32 `expected` rounded once; sums in another order may tip a tie."""
    expected = expected.float()
    error = (actual.float() - expected).abs()
    assert actual.shape == expected.shape
    assert (error <= expected.abs() * 2.0**-8 + 1e-6).all(), error.max()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", UNARY)
def test_unary(name, shape, device):
    x = torch.randn(shape).bfloat16()
    x = x.abs() + 0.5 if name in OF_POSITIVES else x
    actual = ttnn.to_torch(getattr(ttnn, name)(on(device, x)))
    assert_one_rounding(actual, UNARY[name](x.float()))


@pytest.mark.parametrize("other", [(1, 1, 37, 80), (1, 1, 1, 80), (1, 1, 37, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("name", BINARY)
def test_binary_broadcasts_logical_shapes(name, other, device):
    a, b = torch.randn(1, 1, 37, 80).bfloat16(), torch.randn(other).bfloat16()
    actual = ttnn.to_torch(getattr(ttnn, name)(on(device, a), on(device, b)))
    assert_one_rounding(actual, BINARY[name](a.float(), b.float()))


def test_operators_and_scalars(device):
    a, b = torch.randn(37, 80).bfloat16(), torch.randn(37, 80).bfloat16()
    ta, tb = on(device, a), on(device, b)
    assert_one_rounding(ttnn.to_torch(ta + tb), a.float() + b.float())
    assert_one_rounding(ttnn.to_torch(ta - tb), a.float() - b.float())
    assert_one_rounding(ttnn.to_torch(ta * 0.5), a.float() * 0.5)


def test_fused_activations(device):
    a, b = torch.randn(37, 80).bfloat16(), torch.randn(37, 80).bfloat16()
    ta, tb = on(device, a), on(device, b)
    gated = ttnn.multiply(ta, tb, input_tensor_a_activations=[ttnn.UnaryOpType.SILU])
    assert_one_rounding(ttnn.to_torch(gated), functional.silu(a.float()) * b.float())
    clipped = ttnn.add(ta, tb, activations=[ttnn.UnaryOpType.RELU])
    assert_one_rounding(ttnn.to_torch(clipped), torch.relu(a.float() + b.float()))


def test_exp_leaves_ones_in_the_padding(device):
    y = ttnn.exp(on(device, torch.randn(1, 1, 5, 7))).to_torch_with_padded_shape()
    assert (y[..., 5:, :] == 1).all() and (y[..., 7:] == 1).all()


@pytest.mark.parametrize("dtype", [ttnn.bfloat16, ttnn.bfloat8_b, ttnn.bfloat4_b, ttnn.float32])
@pytest.mark.parametrize("mkn", [(1, 96, 64), (37, 80, 48), (64, 1024, 96)], ids=str)
def test_linear(mkn, dtype, device):
    m, k, n = mkn
    x, bias = torch.randn(1, 1, m, k).bfloat16(), torch.randn(1, n).bfloat16()
    weight = on(device, torch.randn(k, n) / k**0.5, dtype)
    actual = ttnn.to_torch(
        ttnn.linear(on(device, x), weight, bias=on(device, bias), dtype=ttnn.bfloat16)
    )
    expected = x.float() @ ttnn.to_torch(weight).float() + bias.float()
    # a sum near zero keeps the float32 error of its terms
    assert ((actual.float() - expected).abs() <= expected.abs() * 2.0**-8 + k * 2.0**-22).all()


def test_matmul_transposes_and_batches(device):
    a, b = torch.randn(2, 3, 37, 64).bfloat16(), torch.randn(2, 3, 40, 64).bfloat16()
    actual = ttnn.to_torch(ttnn.matmul(on(device, a), on(device, b), transpose_b=True))
    expected = a.float() @ b.float().mT
    assert ((actual.float() - expected).abs() <= expected.abs() * 2.0**-8 + 1e-4).all()


@pytest.mark.parametrize("shape", [(1, 1, 37, 192), (1, 1, 1, 80), (2, 1, 64, 256)], ids=str)
def test_norms_and_softmax(shape, device):
    x, w = torch.randn(shape).bfloat16(), torch.rand(shape[-1]).bfloat16()
    tx, tw = on(device, x), on(device, w[None])
    xf, wf = x.float(), w.float()
    rms = ttnn.rms_norm(tx, weight=tw, epsilon=1e-5)
    assert_one_rounding(ttnn.to_torch(rms), functional.rms_norm(xf, shape[-1:], wf, 1e-5))
    layer = ttnn.to_torch(ttnn.layer_norm(tx, weight=tw, epsilon=1e-5)).float()
    expected = functional.layer_norm(xf, shape[-1:], wf, None, 1e-5)
    assert ((layer - expected).abs() <= expected.abs() * 2.0**-8 + 1e-5).all()
    assert_one_rounding(ttnn.to_torch(ttnn.softmax(tx, dim=-1)), torch.softmax(xf, -1))


@pytest.mark.parametrize("dim", [-1, -2])
def test_reductions_ignore_padding(dim, device):
    x = torch.rand(1, 1, 37, 80).bfloat16() + 1
    for name, expected in {
        "sum": x.float().sum(dim, keepdim=True),
        "mean": x.float().mean(dim, keepdim=True),
        "max": x.float().amax(dim, keepdim=True),
        "min": x.float().amin(dim, keepdim=True),
    }.items():
        actual = getattr(ttnn, name)(on(device, x), dim=dim, keepdim=True)
        assert_one_rounding(ttnn.to_torch(actual), expected)

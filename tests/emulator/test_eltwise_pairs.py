"""Elementwise operations of two and three operands, in both arithmetics, against torch."""

import math

import pytest
import torch
import ttnn
from torch.nn import functional

from tests.support.tensors import on_tiles
from ttnn_emulator import NotEmulated
from ttnn_emulator.ops.common.bounds import OutOfBounds

SHAPE = (2, 37, 64)


def numbers(*shape):
    return torch.randn(shape or SHAPE) * 2


def positive():
    return torch.rand(SHAPE) + 0.3


def _prelu(x, weight):
    return functional.prelu(x, weight.flatten())


# name -> call, reference in float64, operands, relative error that the steps of bfloat16 explain
OF_FLOATS = {
    "atan2": (ttnn.atan2, torch.atan2, (numbers, numbers), 0.02),
    "hypot": (ttnn.hypot, torch.hypot, (numbers, numbers), 0.01),
    "logaddexp": (ttnn.logaddexp, torch.logaddexp, (numbers, numbers), 0.01),
    "logaddexp2": (ttnn.logaddexp2, torch.logaddexp2, (numbers, numbers), 0.01),
    "xlogy": (ttnn.xlogy, torch.xlogy, (numbers, positive), 0.01),
    "ldexp": (ttnn.ldexp, lambda a, b: a * 2**b, (numbers, numbers), 0.02),
    "pow": (ttnn.pow, torch.pow, (positive, numbers), 0.01),
    "pow of a number": (lambda x: ttnn.pow(2.0, x), lambda x: 2.0**x, (numbers,), 0.01),
    "rpow": (lambda x: ttnn.rpow(x, 2.0), lambda x: 2.0**x, (numbers,), 0.01),
    "rdiv": (lambda x: ttnn.rdiv(x, 2.0), lambda x: 2 / x, (positive,), 0.01),
    "bias_gelu": (ttnn.bias_gelu, lambda a, b: functional.gelu(a + b), (numbers, numbers), 0.01),
    "bias_gelu of a number": (
        lambda x: ttnn.bias_gelu(x, 0.5),
        lambda x: functional.gelu(x + 0.5),
        (numbers,),
        0.01,
    ),
    "addalpha": (
        lambda a, b: ttnn.addalpha(a, b, 0.5),
        lambda a, b: a + b / 2,
        (numbers,) * 2,
        0.01,
    ),
    "subalpha": (
        lambda a, b: ttnn.subalpha(a, b, 0.5),
        lambda a, b: a - b / 2,
        (numbers,) * 2,
        0.01,
    ),
    "addcmul": (
        lambda a, b, c: ttnn.addcmul(a, b, c, value=0.5),
        lambda a, b, c: a + b * c / 2,
        (numbers,) * 3,
        0.01,
    ),
    "addcdiv": (
        lambda a, b, c: ttnn.addcdiv(a, b, c, value=0.5),
        lambda a, b, c: a + b / c / 2,
        (numbers, numbers, positive),
        0.01,
    ),
    "lerp": (ttnn.lerp, torch.lerp, (numbers,) * 3, 0.01),
    "lerp by a number": (
        lambda a, b: ttnn.lerp(a, b, 0.25),
        lambda a, b: torch.lerp(a, b, 0.25),
        (numbers,) * 2,
        0.01,
    ),
    "mac": (ttnn.mac, lambda a, b, c: a * b + c, (numbers,) * 3, 0.01),
    "mac with a product by a number": (
        lambda a, c: ttnn.mac(a, 0.5, c),
        lambda a, c: a / 2 + c,
        (numbers,) * 2,
        0.01,
    ),
    "mac with numbers": (lambda a: ttnn.mac(a, 0.5, 2.0), lambda a: a / 2 + 2, (numbers,), 0.01),
    "div_no_nan": (
        lambda a, b: ttnn.div_no_nan(a, ttnn.relu(b)),
        lambda a, b: torch.where(b > 0, a / b, 0.0),
        (numbers, positive),
        0.01,
    ),
    "floor_div by a number": (
        lambda a: ttnn.floor_div(a, 2.0),
        lambda a: torch.floor(a / 2),
        (numbers,),
        0.0,
    ),
    "polyval": (
        lambda x: ttnn.polyval(x, [1.0, 2.0, 3.0]),
        lambda x: x * x + 2 * x + 3,
        (numbers,),
        0.01,
    ),
    "prelu": (ttnn.prelu, _prelu, (numbers, lambda: numbers(37)), 0.01),
    "outer of vectors": (
        ttnn.outer,
        lambda a, b: torch.outer(a.flatten(), b.flatten()),
        (lambda: numbers(40), lambda: numbers(33)),
        0.01,
    ),
    "outer of rows": (
        ttnn.outer,
        lambda a, b: a[..., None] * b[..., None, :],
        (lambda: numbers(3, 40), lambda: numbers(3, 33)),
        0.01,
    ),
    "bcast": (
        lambda a, b: ttnn.bcast(a, b, ttnn.BcastOpMath.MUL, ttnn.BcastOpDim.W),
        torch.mul,
        (lambda: numbers(1, 2, 37, 64), lambda: numbers(1, 1, 37, 1)),
        0.01,
    ),
    "mse_loss": (ttnn.mse_loss, lambda a, b: (a - b) ** 2, (numbers,) * 2, 0.01),
    "snake_beta": (
        ttnn.snake_beta,
        lambda x, a, b: x + torch.sin(a * x) ** 2 / b,
        (numbers, positive, positive),
        0.01,
    ),
    "where": (
        lambda p, a: ttnn.where(ttnn.gtz(p), a, -1.0),
        lambda p, a: torch.where(p > 0, a, -1.0),
        (numbers,) * 2,
        0.0,
    ),
    "isclose": (
        lambda a, b: ttnn.isclose(a, b, rtol=0.5, atol=0.1),
        lambda a, b: torch.isclose(a, b, rtol=0.5, atol=0.1).double(),
        (numbers,) * 2,
        0.0,
    ),
}


def _judge(name, device, dtype, limit):
    call, reference, makers, tolerated = OF_FLOATS[name]
    operands = [on_tiles(device, make(), dtype) for make in makers]
    exact = [ttnn.to_torch(x).double() for x in operands]
    got, due = ttnn.to_torch(call(*operands)).double(), reference(*exact).double()
    assert got.shape == due.shape
    assert (got - due).norm() <= limit(tolerated) * due.norm()


@pytest.mark.parametrize("name", OF_FLOATS)
def test_a_function_of_bfloat16_is_torchs(kernel_device, name):
    torch.manual_seed(0)
    _judge(name, kernel_device, ttnn.bfloat16, lambda tolerated: tolerated)


@pytest.mark.parametrize("name", sorted(set(OF_FLOATS) - {"bcast", "xlogy"}))
def test_a_function_of_float32_is_torchs(kernel_device, name):
    """bcast leaves float32 to the matrix unit's 16 bits; xlogy's logarithm has 12."""
    torch.manual_seed(0)
    _judge(name, kernel_device, ttnn.float32, lambda _: 1e-5)


@pytest.mark.parametrize("name", OF_FLOATS)
def test_the_rounded_arithmetic_knows_the_function(device, name):
    torch.manual_seed(0)
    _judge(name, device, ttnn.bfloat16, lambda tolerated: max(tolerated, 0.003))


# --- integers ------------------------------------------------------------------------------------


def _wrapped(x):
    return (x + (1 << 31)) % (1 << 32) - (1 << 31)


INTEGERS = {
    "bitwise_and": torch.bitwise_and,
    "bitwise_or": torch.bitwise_or,
    "bitwise_xor": torch.bitwise_xor,
    "bitwise_left_shift": lambda a, b: _wrapped(a << b),
    "bitwise_right_shift": lambda a, b: a >> b,
    "logical_left_shift": lambda a, b: _wrapped(a << b),
    "logical_right_shift": lambda a, b: _wrapped((a & 0xFFFFFFFF) >> b),
    "fmod": torch.fmod,
    "gcd": torch.gcd,
    "lcm": torch.lcm,
    "mul": lambda a, b: _wrapped(a * b),
    "remainder": torch.remainder,
    "squared_difference": lambda a, b: _wrapped((a - b) ** 2),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_are_exact(kernel_device, name):
    torch.manual_seed(0)
    a = torch.randint(-30000, 30000, SHAPE, dtype=torch.int32)
    b = torch.randint(1, 31, SHAPE, dtype=torch.int32)
    operands = (on_tiles(kernel_device, x, ttnn.int32) for x in (a, b))
    got = ttnn.to_torch(getattr(ttnn, name)(*operands)).long()
    assert got.equal(INTEGERS[name](a.long(), b.long()))


@pytest.mark.parametrize("mode", ["floor", "trunc"])
def test_integers_are_divided_with_their_rounding(kernel_device, mode):
    a = torch.arange(-512, 512, dtype=torch.int32).reshape(32, 32)
    b = torch.full((32, 32), -7, dtype=torch.int32)
    operands = (on_tiles(kernel_device, x, ttnn.int32) for x in (a, b))
    got = ttnn.to_torch(ttnn.div(*operands, rounding_mode=mode))
    assert got.equal(torch.div(a, b, rounding_mode=mode))


def test_integers_beside_a_fraction_become_float32(kernel_device):
    x = on_tiles(kernel_device, torch.arange(1024, dtype=torch.int32).reshape(32, 32), ttnn.int32)
    product = ttnn.mul(x, 2.5)
    assert product.dtype == ttnn.float32
    assert ttnn.to_torch(product).flatten()[:3].tolist() == [0.0, 2.5, 5.0]


def test_quantized_values_come_back(kernel_device):
    x = torch.linspace(-5, 5, 1024).reshape(32, 32)
    quantized = ttnn.quantize(on_tiles(kernel_device, x, ttnn.float32), 0.1, 3)
    back = ttnn.to_torch(ttnn.dequantize(quantized, 0.1, 3, dtype=ttnn.float32))
    assert (back - x).abs().max() <= 0.0501


# --- arguments -----------------------------------------------------------------------------------


def test_a_number_beside_maximum_is_cut_by_the_store(kernel_device):
    """The unary kernel holds it in float32; a 16-bit Dst drops the rest (0.3 is 0.2988)."""
    x = on_tiles(kernel_device, torch.zeros(32, 32))
    assert ttnn.to_torch(ttnn.maximum(x, 0.3))[0, 0] == 0.298828125


def test_block_formats_are_multiplied_on_the_matrix_unit_unless_both_are_not(kernel_device):
    """The packer then sees what the matrix unit rounded, with either default or explicit mode."""
    a, b = numbers(32, 64), numbers(32, 64)
    mixed = on_tiles(kernel_device, a, ttnn.bfloat16), on_tiles(kernel_device, b, ttnn.bfloat8_b)
    given = ttnn.to_torch(ttnn.mul(*mixed, fast_and_approximate_mode=True))
    assert ttnn.to_torch(ttnn.mul(*mixed)).equal(given)


def test_a_float32_product_kept_in_bfloat16_is_rounded_to_even(kernel_device):
    x = on_tiles(kernel_device, torch.full((32, 32), 1 + 2.0**-8), ttnn.float32)
    kept = ttnn.mul(
        x, on_tiles(kernel_device, torch.ones(32, 32), ttnn.float32), dtype=ttnn.bfloat16
    )
    assert ttnn.to_torch(kept)[0, 0] == 1.0


def test_operands_go_by_either_of_ttnns_names(device):
    x, y = on_tiles(device, torch.ones(32, 32)), on_tiles(device, torch.ones(32, 32))
    ttnn.eq_(input_a=x, input_b=y)
    ttnn.add_(x, input_tensor_b=y)
    assert ttnn.to_torch(x).eq(2).all()


def test_seven_dimensions_do_not_share_the_sixth(device):
    """Its reader would step beyond the operand; six dimensions broadcast as they should."""
    wide = on_tiles(device, torch.ones(2, 3, 1, 1, 1, 2, 8))
    narrow = on_tiles(device, torch.ones(2, 1, 1, 1, 1, 2, 8))
    with pytest.raises(OutOfBounds, match="before the last five"):
        ttnn.add(narrow, wide)
    six = ttnn.add(
        on_tiles(device, torch.ones(2, 1, 1, 1, 2, 8)),
        on_tiles(device, torch.ones(2, 3, 1, 1, 2, 8)),
    )
    assert ttnn.to_torch(six).eq(2).all()


def test_division_by_zero_is_infinite_or_undefined(kernel_device):
    x = on_tiles(kernel_device, torch.tensor([[1.0, -1.0, 0.0]]))
    got = ttnn.to_torch(ttnn.floor_div(x, 0.0))[0].tolist()
    assert got[:2] == [math.inf, -math.inf]
    assert not math.isfinite(got[2])  # a NaN that the packer makes infinite


@pytest.mark.parametrize("dtype", [ttnn.int32, ttnn.uint32], ids=str)
def test_integers_are_divided_by_a_number_in_float32(dtype, device):
    x = torch.randint(0 if dtype == ttnn.uint32 else -1000, 1000, (32, 64), dtype=torch.int32)
    y = ttnn.floor_div(on_tiles(device, x, dtype), 8)
    assert y.dtype == ttnn.float32
    assert torch.equal(ttnn.to_torch(y), torch.floor(x / 8))


def test_integers_divided_by_a_tensor_are_refused(device):
    x = on_tiles(device, torch.ones(32, 32), ttnn.int32)
    with pytest.raises(NotEmulated, match="between float32 and int32 values"):
        ttnn.floor_div(x, x)

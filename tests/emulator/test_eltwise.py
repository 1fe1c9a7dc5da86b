"""Elementwise operations: one rounding, logical broadcasting, fused activations, padding."""

import pytest
import torch
import ttnn
from torch.nn import functional

import ttnn_emulator
from tests.support.checks import assert_rounded_once
from tests.support.emulated import contents
from tests.support.packing import BLOCK_FORMATS, assert_is, packed
from tests.support.tensors import bf16_normal, in_rows, on_tiles
from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.arithmetic.rounded import rounded_eltwise
from ttnn_emulator.ops.eltwise import eltwise_unary

SHAPE = (1, 2, 37, 80)

# name -> float64 reference
UNARY = {
    "abs": torch.abs,
    "cos": torch.cos,
    "exp": torch.exp,
    "gelu": functional.gelu,
    "identity": torch.clone,
    "neg": torch.neg,
    "reciprocal": torch.reciprocal,
    "relu": torch.relu,
    "relu6": functional.relu6,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "sin": torch.sin,
    "softplus": functional.softplus,
    "square": torch.square,
    "tanh": torch.tanh,
}
OF_POSITIVES = {"log": torch.log, "rsqrt": torch.rsqrt, "sqrt": torch.sqrt}

# call of TTNN's with arguments -> float64 reference
WITH_ARGUMENTS = {
    "pow": (lambda t: ttnn.pow(t, 3), lambda x: x**3),
    "clamp": (lambda t: ttnn.clamp(t, -1.0, 0.5), lambda x: x.clamp(-1, 0.5)),
    "clamp from below": (lambda t: ttnn.clamp(t, min=0.25), lambda x: x.clamp(min=0.25)),
    "clip": (lambda t: ttnn.clip(t, min=-0.5, max=0.5), lambda x: x.clamp(-0.5, 0.5)),
    "leaky_relu": (
        lambda t: ttnn.leaky_relu(t, 0.25),
        lambda x: functional.leaky_relu(x, 0.25),
    ),
    "gelu by tanh": (
        lambda t: ttnn.gelu(t, variant=ttnn.GeluVariant.Tanh),
        lambda x: functional.gelu(x, approximate="tanh"),
    ),
    "softplus": (
        lambda t: ttnn.softplus(t, beta=2.0, threshold=3.0),
        lambda x: functional.softplus(x, 2.0, 3.0),
    ),
    "scalar": (lambda t: t * 0.5 - 1.0, lambda x: x * 0.5 - 1),
    "scalar first": (lambda t: 2.0 - t, lambda x: 2 - x),
    "rsub": (lambda t: ttnn.rsub(t, 2.0), lambda x: 2 - x),
    "maximum": (lambda t: ttnn.maximum(t, 0.5), lambda x: x.clamp(min=0.5)),
    "where": (
        lambda t: ttnn.where(t > 0.0, t, -1.0),
        lambda x: torch.where(x > 0, x, -torch.ones_like(x)),
    ),
    "comparison": (lambda t: ttnn.le(t, 0.5), lambda x: (x <= 0.5).double()),
    "chain": (
        lambda t: ttnn.unary_chain(
            t,
            [ttnn.UnaryWithParam(ttnn.UnaryOpType.RELU), ttnn.UnaryWithParam(ttnn.UnaryOpType.NEG)],
        ),
        lambda x: -x.relu(),
    ),
}

BINARY = {
    "add": torch.add,
    "subtract": torch.subtract,
    "multiply": torch.multiply,
    "divide": torch.divide,
    "rsub": torch.rsub,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "lt": lambda a, b: (a < b).double(),
    "ge": lambda a, b: (a >= b).double(),
}


@pytest.fixture
def x():
    return torch.randn(SHAPE).bfloat16()


@pytest.mark.parametrize("dtype", [ttnn.bfloat16, ttnn.float32], ids=lambda d: d.name)
@pytest.mark.parametrize("name", [*UNARY, *OF_POSITIVES])
def test_unary_rounds_once(name, dtype, x, device):
    x = x.abs() + 0.5 if name in OF_POSITIVES else x
    reference = (UNARY | OF_POSITIVES)[name]
    y = getattr(ttnn, name)(on_tiles(device, x.float(), dtype))
    # cancellation inside gelu and softplus is float32's, hence terms of size one
    assert_rounded_once(y, reference(x.double()), reference(x.double()).abs() + 1)


@pytest.mark.parametrize("name", WITH_ARGUMENTS)
def test_arguments_are_heeded(name, x, device):
    ours, reference = WITH_ARGUMENTS[name]
    once = name != "scalar"  # two operations, two roundings
    exact = reference(x.double())
    terms = exact.abs() + 1 if once else (x.double().abs() + 1) * 2**12
    assert_rounded_once(ours(on_tiles(device, x)), exact, terms)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(
    "shape", [SHAPE, (1, 1, 37, 80), (1, 2, 1, 80), (1, 2, 37, 1), (1, 1, 1, 1), (37, 80), (80,)]
)
def test_binary_broadcasts_logical_shapes(name, shape, x, device):
    b = torch.randn(shape).bfloat16()
    y = getattr(ttnn, name)(on_tiles(device, x), on_tiles(device, b))
    exact = BINARY[name](x.double(), b.double())
    assert_rounded_once(y, exact, x.double().abs() + b.double().abs() + exact.abs())


def test_first_operand_broadcasts_too(x, device):
    row = torch.randn(1, 1, 1, 80).bfloat16()
    y = ttnn.subtract(on_tiles(device, row), on_tiles(device, x))
    assert_rounded_once(y, row.double() - x.double(), row.double().abs() + x.double().abs())


def test_operand_in_rows_meets_one_in_tiles(x, device):
    y = ttnn.multiply(on_tiles(device, x), in_rows(device, x, ttnn.bfloat16))
    assert_rounded_once(y, x.double() ** 2)


@pytest.mark.parametrize("operation", ["add", "multiply", "eq"])
def test_scalar_is_rounded_to_the_tensors_dtype(operation, x, device):
    scalar = torch.tensor(0.3).bfloat16()  # what the kernel gets of 0.3
    y = getattr(ttnn, operation)(on_tiles(device, x), 0.3)
    expected = getattr(torch, operation)(x, scalar).bfloat16()
    assert torch.equal(ttnn.to_torch(y), expected)


@pytest.mark.parametrize("dtype", [ttnn.int32, ttnn.uint32], ids=lambda d: d.name)
def test_integers_are_exact_beyond_float32(dtype, device):
    a = torch.randint(2**24, 2**30, SHAPE, dtype=torch.int32)
    ta = on_tiles(device, a, dtype)
    for y, expected in ((ttnn.add(ta, ta), a + a), (ttnn.subtract(ta, 1), a - 1)):
        assert torch.equal(ttnn.to_torch(y).to(torch.int64), expected.to(torch.int64))


FUSED = {
    "type": [ttnn.UnaryOpType.SILU],
    "with parameters": [ttnn.UnaryWithParam(ttnn.UnaryOpType.SILU)],
}


@pytest.mark.parametrize("form", FUSED)
def test_activation_is_fused_before_and_after(form, x, device):
    b = torch.randn(SHAPE).bfloat16()
    ta, tb, silu = on_tiles(device, x), on_tiles(device, b), functional.silu
    a64, b64 = x.double(), b.double()
    for name, exact in {
        "activations": silu(a64 * b64),
        "input_tensor_a_activations": silu(a64) * b64,
        "input_tensor_b_activations": a64 * silu(b64),
    }.items():
        y = ttnn.multiply(ta, tb, **{name: FUSED[form]})
        assert_rounded_once(y, exact, exact.abs() + 1e-3)


def test_activation_parameter_is_heeded(x, device):
    leaky = [ttnn.UnaryWithParam(ttnn.UnaryOpType.LEAKY_RELU, 0.25)]
    y = ttnn.add(on_tiles(device, x), 0.0, activations=leaky)
    assert_rounded_once(y, functional.leaky_relu(x.double(), 0.25))


def test_unknown_activation_is_refused(x, device):
    with pytest.raises(ttnn_emulator.NotEmulated, match="LGAMMA"):
        ttnn.add(on_tiles(device, x), 0.0, activations=[ttnn.UnaryOpType.LGAMMA])


def test_in_place_writes_the_first_operand(x, device):
    tensor = on_tiles(device, x)
    returned = ttnn.multiply_(tensor, 2.0, activations=[ttnn.UnaryOpType.RELU])
    assert returned.buffer_unique_id() == tensor.buffer_unique_id()
    assert torch.equal(ttnn.to_torch(tensor), (x * 2).relu())


@pytest.mark.parametrize("name", ["relu", "add"])
def test_output_tensor_gets_the_result(name, x, device):
    output, tensor = on_tiles(device, torch.zeros(SHAPE)), on_tiles(device, x)
    arguments = (tensor,) if name == "relu" else (tensor, tensor)
    getattr(ttnn, name)(*arguments, output_tensor=output)
    assert torch.equal(ttnn.to_torch(output), x.relu() if name == "relu" else x + x)


def test_dtype_decides_the_one_rounding(x, device):
    b = torch.randn(SHAPE).bfloat16()
    ta, tb = on_tiles(device, x), on_tiles(device, b)
    float32 = ttnn.to_torch(ttnn.add(ta, tb, dtype=ttnn.float32))
    assert torch.equal(float32, x.float() + b.float())
    block = ttnn.to_torch(ttnn.add(ta, tb, dtype=ttnn.bfloat8_b))
    assert torch.equal(block, ttnn.to_torch(ttnn.from_torch(float32, dtype=ttnn.bfloat8_b)))


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        (ttnn.float32, lambda x: x.float()),
        (ttnn.bfloat16, torch.clone),
        (ttnn.int32, lambda x: x.to(torch.int32)),
        (ttnn.uint32, lambda x: x.to(torch.int32)),
        (ttnn.uint16, lambda x: x.to(torch.int32)),
    ],
)
def test_typecast_of_positive_values(to, expected, x, device):
    x = x.abs() * 100
    y = ttnn.typecast(on_tiles(device, x), to)
    assert y.dtype == to
    assert torch.equal(ttnn.to_torch(y).to(expected(x).dtype), expected(x))
    back = ttnn.to_torch(ttnn.typecast(y, ttnn.bfloat16))
    assert torch.equal(back, expected(x).to(torch.bfloat16))


PADDING = {"exp": 1.0, "sigmoid": 0.5, "relu": 0.0, "cos": 1.0}


@pytest.mark.parametrize("name", PADDING)
def test_kernel_runs_over_the_padding(name, x, device):
    values = getattr(ttnn, name)(on_tiles(device, x)).to_torch_with_padded_shape()
    assert (values[..., 37:, :] == PADDING[name]).all()
    assert (values[..., 80:] == PADDING[name]).all()


def test_adding_a_scalar_leaves_it_in_the_padding(x, device):
    held = ttnn.add(on_tiles(device, x), 1.0).to_torch_with_padded_shape()
    assert (held[..., 37:, :] == 1).all()
    assert (held[..., 80:] == 1).all()


# --- block formats -------------------------------------------------------------------------------

SUMS = list(BINARY)[:3]  # of block formats the matrix unit's
NO_BLOCKS = {"bitwise_not", "lgamma"}  # TTNN takes no block formats
WITHIN_ONE = {"acos", "asin", "atanh", "erfinv"}  # what is beyond is not a number


@pytest.mark.parametrize(
    ("name", "to"),
    [(name, ttnn.bfloat8_b) for name in eltwise_unary.PLAIN if name not in NO_BLOCKS]
    + [("exp", ttnn.bfloat4_b)],
)
def test_a_function_of_a_block_format_is_that_of_bfloat16_packed(kernel_device, name, to):
    values = bf16_normal(64, 64).abs()
    values = values % 0.9 if name in WITHIN_ONE else values + 1
    x = on_tiles(kernel_device, values, to)
    widened = on_tiles(kernel_device, ttnn.to_torch(x))
    function = getattr(ttnn, name)
    assert_is(function(x), packed(ttnn.to_torch(function(widened)), to))


@pytest.mark.parametrize("to", BLOCK_FORMATS, ids=str)
@pytest.mark.parametrize("name", [*SUMS, "divide", "maximum", "where"])
def test_two_operands_give_a_block_format_that_is_packed(kernel_device, name, to):
    a, b = (
        on_tiles(kernel_device, bf16_normal(64, 64), to),
        on_tiles(kernel_device, bf16_normal(64, 64).abs() + 2, to),
    )
    wide_a, wide_b = (on_tiles(kernel_device, ttnn.to_torch(t)) for t in (a, b))
    if name == "where":
        got, exact = ttnn.where(a, a, b), ttnn.where(wide_a, wide_a, wide_b)
    elif name in SUMS:
        function = getattr(ttnn, name)
        got = function(a, b)
        exact = function(wide_a, wide_b, fast_and_approximate_mode=True)
    else:
        function = getattr(ttnn, name)
        got, exact = function(a, b), function(wide_a, wide_b)
    assert_is(got, packed(ttnn.to_torch(exact), to))


def test_a_fused_activation_leaves_its_operand_in_the_operand_s_format(kernel_device):
    a, b = (on_tiles(kernel_device, bf16_normal(64, 64), ttnn.bfloat8_b) for _ in range(2))
    silu = [ttnn.UnaryOpType.SILU]
    fused = ttnn.multiply(a, b, input_tensor_b_activations=silu)
    assert torch.equal(contents(fused), contents(ttnn.multiply(a, ttnn.silu(b))))


def test_padding_shares_its_exponent_with_the_columns_of_its_block(kernel_device):
    """exp makes ones of zero padding; beside them exp(-6) is nothing in bfloat8_b."""
    x = on_tiles(kernel_device, torch.full((32, 40), -6.0), ttnn.bfloat8_b)
    result = ttnn.to_torch(ttnn.exp(x))
    assert (result[:, :32] > 0).all()
    assert (result[:, 32:] == 0).all()


def test_a_function_that_is_missing_is_told_with_the_place_for_it():
    with pytest.raises(LookupError, match=r"no function 'celus': enter it in UNARY of .*\.py"):
        rounded_eltwise.unary(torch.ones(2), FusedOp("celus"))


# number that a fused activation has -> what it does
OF_A_NUMBER = {
    "ADD_UNARY_SFPU": lambda x: x + 4,
    "SUB_UNARY_SFPU": lambda x: x - 4,
    "MUL_UNARY_SFPU": lambda x: x * 4,
    "DIV_UNARY_SFPU": lambda x: x / 4,
}


@pytest.mark.parametrize("name", OF_A_NUMBER)
def test_an_activation_may_be_a_pair_with_its_number(name, device):
    x = torch.randint(-16, 16, SHAPE).bfloat16()  # so that nothing needs rounding
    pair = (getattr(ttnn.UnaryOpType, name), 4.0)
    y = ttnn.add(on_tiles(device, x), on_tiles(device, x), activations=[pair])
    assert torch.equal(ttnn.to_torch(y), OF_A_NUMBER[name](x + x))


@pytest.mark.parametrize("eps", [0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("dtype", [ttnn.bfloat16, ttnn.float32], ids=lambda d: d.name)
def test_logit_is_bounded_by_eps_and_one_less_it_the_smaller_first(eps, dtype, device):
    x = torch.linspace(-0.5, 1.5, 1024).reshape(32, 32).bfloat16()
    y = ttnn.to_torch(ttnn.logit(on_tiles(device, x.float(), dtype), eps=eps)).float()
    bounded = x.double().clamp(min(eps, 1 - eps), max(eps, 1 - eps))
    expected = torch.log(bounded / (1 - bounded)).float()
    assert torch.allclose(y, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("dtype", [*BLOCK_FORMATS, ttnn.float32], ids=lambda d: d.name)
def test_a_turn_of_complex_numbers_is_exact(dtype, x, device):
    tensor = on_tiles(device, x.float(), dtype)
    real, imaginary = ttnn.to_torch(tensor).unflatten(-1, (-1, 2)).unbind(-1)
    turned = ttnn.to_torch(ttnn.alt_complex_rotate90(tensor))
    assert torch.equal(turned, torch.stack([-imaginary, real], -1).flatten(-2))


@pytest.mark.parametrize("operation", [ttnn.exp, ttnn.square, lambda t: ttnn.add(t, t)])
def test_tensors_of_no_elements_are_tensors(operation, device):
    empty, other = (on_tiles(device, torch.zeros(shape).bfloat16()) for shape in ((0, 3), (0,)))
    assert ttnn.to_torch(operation(empty)).shape == (0, 3)
    assert ttnn.to_torch(operation(other)).shape == (0,)


def test_an_exponent_may_be_a_number(x, device):
    y = ttnn.ldexp(on_tiles(device, x), 3)
    assert torch.equal(ttnn.to_torch(y), x * 8)

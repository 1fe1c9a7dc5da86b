"""Comparisons, quotients and other functions of two values, and the forms that write in place."""

import torch
import ttnn
from torch.nn import functional

from ttnn_verify.numerics import floors, op_floors

from .eltwise import BF16, FP32, positive
from .eltwise_pairs import CALLS, of_integers, of_three, rounded
from .entries import entry
from .movement import moved
from .operands import on
from .opinfo import Op, Operand, Refused, Sample, plain


def same(x):
    return x


def of_pair(name, golden, floor=None, first=same, second=same, call=None, calls=CALLS[1:4]):
    """An entry for `ttnn.<name>` of two tensors; `first` and `second` map normal values.

    Without a floor the values are exact; results of comparisons are numbers.
    """
    operation = getattr(ttnn, name)
    call = call or operation

    def sample(shape, dtype=BF16, memory="dram", other=None, note=""):
        def make():
            b = Operand(second(plain(*(other or shape))), dtype, memory=memory)
            return Operand(first(plain(*shape)), dtype, memory=memory), b

        return Sample(shape, make, dtype, memory, note, {"dtype": dtype})

    return Op(
        name,
        call=lambda a, b, dtype: call(a, b),
        golden=lambda a, b, dtype: golden(a, b).to(a.dtype),
        floor=floor,
        samples=(
            *(sample(*how) for how in calls),
            sample((1, 2, 37, 80), other=(1, 1, 1, 80), note="row"),
        ),
        references=(sample((1, 1, 128, 1024)),),
        errors=(
            Refused(
                "host",
                lambda device: call(on(device, plain(32, 32)), plain(32, 32)),
                "incompatible",
            ),
        ),
    )


def of_shape(name, call, golden, floor, *shapes, domain=same):
    """An entry of bfloat16 operands whose shapes differ: a list of them for each sample."""

    def sample(own):
        def make():
            return tuple(Operand(domain(plain(*shape))) for shape in own)

        note = "with-" + "x".join(map(str, own[1]))
        return Sample(own[0], make, note=note, kwargs={"dtype": BF16})

    *small, large = shapes
    return Op(
        name,
        call=lambda a, b, dtype: call(a, b),
        golden=lambda a, b, dtype: golden(a, b),
        floor=floor,
        samples=tuple(sample(own) for own in small),
        references=(sample(large),),
        errors=(Refused("host", lambda device: call(plain(8, 32), plain(8, 32)), "incompatible"),),
    )


def few(x):
    """Halves and integers near zero, so that many are equal."""
    return (2 * x).round() / 2


def wholes(x):
    return (20 * x).round()


def divisors(x):
    """Integers from 1 to 9."""
    return (3 * x.abs()).round().clamp(max=8) + 1


def power_floor(golden, base, by, dtype):
    """An exponential of the power times a logarithm, which the power makes as many times as wrong.

    In 16 bits a cubic that is off by 0.00196, and a parabola (ckernel_sfpu_binary_pow.h).
    """
    off = (0.00196 if dtype == BF16 else 1.5 * 2.0**-24) * (golden * by).abs() / 3**0.5
    parts = [floors.of_errors(golden, off), rounded(1)(golden, dtype=dtype)]
    return floors.chain(*parts, *([op_floors.PARABOLA] if dtype == BF16 else []))


def logarithm_floor(golden, a, b, dtype):
    """A cubic that is off by 0.00044; a 16-bit destination cuts it, and the product."""
    series = floors.of_errors(golden, 0.000442 * a.abs().expand(golden.shape) / 3**0.5)
    return floors.chain(series, rounded(7 if dtype == BF16 else 2)(golden, dtype=dtype))


def scaled_floor(golden, a, b, dtype):
    """A power of two by a parabola, stored, and a product in four phases that are rounded."""
    if dtype == FP32:
        return rounded(2)(golden, dtype=dtype)
    return floors.chain(op_floors.PARABOLA, rounded(4)(golden, dtype=dtype))


def either(name, *arguments, **domains):
    """Entries for an operation and for the one that writes into its first operand."""
    return [of_pair(form, *arguments, **domains) for form in (name, f"{name}_")]


def squared_difference(a, b):
    return (a - b) ** 2


def biased_gelu(a, b):
    return functional.gelu(a + b)


def zero_where_zero(a, b):
    return torch.where(b == 0, 0.0, a / torch.where(b == 0, 1.0, b))


COMPARISONS = {
    "eq": torch.eq,
    "ne": torch.ne,
    "lt": torch.lt,
    "le": torch.le,
    "gt": torch.gt,
    "ge": torch.ge,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
}

EXACT = [
    op
    for name, golden in COMPARISONS.items()
    for op in either(name, golden, None, first=few, second=few)
] + [
    of_pair(
        "isclose",
        lambda a, b: torch.isclose(a, b, rtol=0.5, atol=0.125),
        first=few,
        second=few,
        call=lambda a, b: ttnn.isclose(a, b, rtol=0.5, atol=0.125),
    ),
    of_pair("fmod", torch.fmod, rounded(0), wholes, divisors),
    of_pair("remainder", torch.remainder, rounded(0), wholes, divisors),
    of_pair("nextafter", torch.nextafter),
]

SUMS = [
    of_pair("rsub", torch.rsub, rounded(0)),
    of_pair("rsub_", torch.rsub, rounded(0)),
    of_pair("add_", torch.add, rounded(0)),
    of_pair("subtract_", torch.sub, rounded(0)),
    of_pair("multiply_", torch.mul, rounded(0)),
    *either("squared_difference", squared_difference, rounded(2)),
    of_pair(
        "addalpha",
        lambda a, b: torch.add(a, b, alpha=0.5),
        rounded(0),
        call=lambda a, b: ttnn.addalpha(a, b, 0.5),
    ),
    of_pair(
        "subalpha",
        lambda a, b: torch.sub(a, b, alpha=0.5),
        rounded(0),
        call=lambda a, b: ttnn.subalpha(a, b, 0.5),
    ),
    of_pair("l1_loss", lambda a, b: (a - b).abs(), rounded(1)),
    of_pair("mse_loss", squared_difference, rounded(2)),
]

QUOTIENTS = [
    of_pair("div", torch.div, rounded(2), second=positive),
    of_pair("divide", torch.div, rounded(2), second=positive),
    of_pair("divide_", torch.div, rounded(2), second=positive),
    of_pair("div_no_nan", zero_where_zero, rounded(2), second=few),
    of_pair("floor_div", torch.floor_divide, rounded(0), lambda x: wholes(x) + 0.5, divisors),
]

POWERS = [
    of_pair("pow", torch.pow, power_floor, positive),
    of_pair("xlogy", torch.xlogy, logarithm_floor, second=lambda x: 2 + x.abs()),
    *either("ldexp", lambda a, b: torch.ldexp(a, b), scaled_floor),
    of_pair("logaddexp_", torch.logaddexp, rounded(2), positive, positive),
    of_pair("logaddexp2_", torch.logaddexp2, rounded(2), positive, positive),
    *either("bias_gelu", biased_gelu, rounded(4)),
]

THREE = [
    of_three(
        "where",
        lambda a, b, c: ttnn.where(c, a, b),
        lambda a, b, c: torch.where(c != 0, a, b),
        0,
        lambda x: (x > 0).float(),
    ),
    of_pair(
        "snake_beta",
        lambda x, rate: x + torch.sin(rate * x) ** 2 / rate,
        rounded(2),
        second=lambda x: 1 + x.abs(),
        call=lambda x, rate: ttnn.snake_beta(x, rate, rate),
    ),
]

SHAPES = [
    of_shape(
        "bcast",
        lambda a, b: ttnn.bcast(a, b, ttnn.BcastOpMath.MUL, ttnn.BcastOpDim.H),
        torch.mul,
        rounded(1),
        ((1, 1, 32, 64), (1, 1, 1, 64)),
        ((1, 3, 37, 80), (1, 1, 1, 80)),
        ((1, 1, 128, 1024), (1, 1, 1, 1024)),
    ),
    of_shape(
        "outer",
        ttnn.outer,
        torch.outer,
        lambda golden, a, b, dtype: op_floors.matmul(a[:, None], b[None]),
        ((40,), (33,)),
        ((64,), (32,)),
        ((512,), (96,)),
    ),
]

INTEGERS = [
    of_integers("bitwise_or", torch.bitwise_or),
    of_integers("lcm", torch.lcm),
    of_integers("bitwise_left_shift", torch.bitwise_left_shift, lambda x: x.abs() % 17),
    of_integers("logical_left_shift", torch.bitwise_left_shift, lambda x: x.abs() % 17),
    of_integers(
        "logical_right_shift",
        lambda a, b: (a % 2**32) >> b,
        lambda x: x.abs() % 30 + 1,
    ),
    entry(
        "bitwise_not",
        ttnn.bitwise_not,
        torch.bitwise_not,
        (moved((32, 32), ttnn.int32), moved((1, 2, 37, 80), ttnn.int32)),
        (moved((1, 1, 128, 512), ttnn.int32),),
    ),
]

OPS = [*EXACT, *SUMS, *QUOTIENTS, *POWERS, *THREE, *SHAPES, *INTEGERS]

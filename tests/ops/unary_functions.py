"""Functions of one value that no activation is: powers, angles, signs, tests, with numbers."""

import torch
import ttnn
from torch.nn import functional

from ttnn_verify.numerics import floors, metrics, op_floors

from .eltwise import BF16, BFP8, FP32, SMALL, by_function, positive
from .opinfo import PLAIN, Op, Operand, Refused, Sample, extreme, massive, plain

# (shape, dtype, memory) of functions that round; those that do not have no block format, whose
# results share exponents that their operands do not
ROUNDED = [
    (SMALL, BF16, "dram"),
    (SMALL, FP32, "dram"),
    ((2, 3, 1, 33), BF16, "l1"),
    (SMALL, BFP8, "dram"),
]
EXACT = [call for call in ROUNDED if call[1] != BFP8]


def of_one(name, golden, floor=None, domain=lambda x: x, low=-100, high=100, call=None, calls=None):
    """An entry for `ttnn.<name>`, or `call` of it with numbers; see `eltwise.unary`."""
    operation = getattr(ttnn, name)
    call = call or operation
    calls = calls or (ROUNDED if floor else EXACT)

    def sample(shape, dtype=BF16, memory="dram", values=plain):
        def make():
            x = extreme(*shape, low=low, high=high) if values is extreme else values(*shape)
            return (Operand(domain(x), dtype, memory=memory),)

        return Sample(shape, make, dtype, memory, PLAIN[values], {"dtype": dtype})

    return Op(
        name,
        call=lambda x, dtype: call(x),
        golden=lambda x, dtype: golden(x).to(x.dtype),
        floor=floor,
        samples=tuple(sample(*how) for how in calls),
        references=(
            sample((1, 1, 32, 1024), values=massive),
            sample((1, 1, 64, 96), values=extreme),
        ),
        errors=(
            Refused("torch", lambda device: call(plain(32, 32)), "incompatible"),
            Refused("nothing", lambda device: operation(), "incompatible function arguments"),
        ),
    )


def function(name, golden, domain=lambda x: x, known_as="", **limits):
    """Of a floor by its published bound."""
    return of_one(name, golden, by_function(known_as or name), domain, **limits)


def numbers(name, golden, *given, floor=None, **how):
    """`ttnn.<name>(x, *given)` against `golden(x, *given)`."""

    def call(x):
        return getattr(ttnn, name)(x, *given)

    return of_one(name, lambda x: golden(x, *given), floor, call=call, **how)


def named(name, golden, floor=None, domain=lambda x: x, limits=(-100, 100), **given):
    """`ttnn.<name>(x, **given)` against `golden(x, **given)`, whose names are the same."""

    def call(x):
        return getattr(ttnn, name)(x, **given)

    return of_one(name, lambda x: golden(x, **given), floor, domain, *limits, call=call)


def within(least, most):
    return lambda x: x.clamp(least, most)


def above_one(x):
    return 1.125 + x.abs().clamp(max=2.0**60)  # from there on few bits are left of its root


def inside_one(x):
    return 0.98 * torch.tanh(x)


def with_specials(x):
    """Values among which infinities of both signs and zeros are."""
    x = x.clone()
    flat = x.flatten()
    flat[0::7], flat[1::7], flat[2::7] = torch.inf, -torch.inf, 0.0
    return flat.reshape(x.shape)


def halves(x):
    """Halves and integers from 1 on, where functions jump; zeros made of fractions lose signs."""
    return ((4 * x.abs().clamp(max=2.0**20)).round() / 2 + 1).copysign(x)


def away_from_half(x):
    """Chances; near a half their logits cancel."""
    return torch.sigmoid((x.abs().clamp(max=2) + 1).copysign(x))


def xielu(x):
    """Huang and Schlag (2024), with both slopes 0.8 and beta 1/2."""
    return torch.where(x > 0, 0.8 * x * x, 0.8 * (torch.expm1(x) - x)) + 0.5 * x


def turned(x):
    """i times complex numbers, of which a column is the real part and the next the imaginary."""
    return torch.view_as_real(1j * torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))).flatten(
        -2
    )


def product(golden, x, dtype):
    """A product with a number, in Dst and then in the output."""
    steps = [op_floors.output(golden, "float32" if dtype == FP32 else "bfloat16")] * 2
    return op_floors.chain(op_floors.output(golden, dtype.name.lower()), *steps)


def gamma_of_four(x):
    return torch.special.multigammaln(x, 4)


def bessel_floor(golden, x, dtype):
    """A power series, as far as the kernel takes it; a 16-bit destination cuts the sum."""
    series = floors.of_errors(golden, op_floors.bessel_errors(x))
    parts = [op_floors.output(golden, "float32" if dtype == FP32 else "bfloat16")] * 3
    return floors.chain(series, op_floors.output(golden, dtype.name.lower()), *parts)


def gamma_floor(golden, x, dtype):
    """Stirling's series, as far as the kernel takes it."""
    own = floors.of_errors(golden, op_floors.gamma_errors(x, dtype.name.lower()))
    return floors.chain(own, op_floors.output(golden, dtype.name.lower()))


def gammas_floor(golden, x, dtype):
    """Four of them, each stored, as are their sums: bfloat16 or float32."""
    name = dtype.name.lower()
    arguments = [x - less for less in (0.0, 0.5, 1.0, 1.5)]
    off = torch.stack([op_floors.gamma_errors(one, name) for one in arguments])
    terms = torch.stack([one.lgamma() for one in arguments])
    kept = torch.stack([metrics.unit(y, name) for y in (*terms, *terms.cumsum(0)[1:])])
    variance = off.square().sum(0) + kept.square().sum(0) / 12
    return floors.chain(floors.of_errors(golden, variance.sqrt()), op_floors.output(golden, name))


def from_two(x):
    return 2 + x.abs().clamp(max=30)


CHAIN = [ttnn.UnaryWithParam(one) for one in (ttnn.UnaryOpType.RELU, ttnn.UnaryOpType.SQRT)]

ANGLES = [
    function("sin", torch.sin, within(-50, 50)),
    function("cos", torch.cos, within(-50, 50)),
    function("tan", torch.tan, within(-1.25, 1.25)),
    function("asin", torch.asin, inside_one),
    function("acos", torch.acos, inside_one),
    function("atan", torch.atan),
    function("sinh", torch.sinh, within(-60, 60)),
    function("cosh", torch.cosh, within(-60, 60)),
    function("asinh", torch.asinh, high=60),
    function("acosh", torch.acosh, above_one, low=-3),
    function("atanh", torch.atanh, inside_one),
    of_one("deg2rad", torch.deg2rad, product),
    of_one("rad2deg", torch.rad2deg, product),
]

POWERS = [
    function("exp2", torch.exp2, within(-100, 100)),
    function("expm1", torch.expm1, within(-60, 60)),
    function("log2", torch.log2, positive),
    function("log10", torch.log10, positive),
    function("log1p", torch.log1p, positive),
    function("cbrt", lambda x: x.sign() * x.abs() ** (1 / 3)),
]

SPECIAL = [
    function("erfc", torch.erfc, within(-4, 4)),
    function("erfinv", torch.erfinv, inside_one),
    of_one("i0", torch.special.i0, bessel_floor, within(-8, 8)),
    function("i1", torch.special.i1, within(-30, 30)),
    function("digamma", torch.digamma, lambda x: 0.5 + x.abs().clamp(max=250)),
    of_one(
        "lgamma",
        torch.lgamma,
        gamma_floor,
        lambda x: 0.625 + x.abs().clamp(max=55),
        calls=EXACT,
    ),
]

SPECIAL += [
    of_one(
        "multigammaln",
        gamma_of_four,
        gammas_floor,
        lambda x: 5 + x.abs().clamp(max=50),
        calls=EXACT,
    ),
    numbers(
        "polygamma",
        lambda x, k: torch.polygamma(k, x),
        2,
        floor=by_function("polygamma"),
        domain=from_two,
    ),
    of_one(
        "polyval",
        lambda x: x * x + 2 * x + 3,
        product,
        positive,
        -20,
        20,
        call=lambda x: ttnn.polyval(x, [1.0, 2.0, 3.0]),
    ),
]

ACTIVATIONS = [
    function("log_sigmoid", functional.logsigmoid, within(-20, 20)),
    function("tanhshrink", functional.tanhshrink, within(-10, 10), low=-7),
    function("swish", functional.silu, known_as="silu"),
    function("sigmoid_accurate", torch.sigmoid, known_as="sigmoid"),
    function("hardmish", lambda x: x * (x + 2).clamp(0, 2) / 2),
    named("celu", functional.celu, by_function("celu"), alpha=0.5),
    named("softplus", functional.softplus, by_function("softplus"), beta=1.0, threshold=20.0),
    named("logit", torch.logit, by_function("logit"), away_from_half, (-1, 1), eps=0.03125),
    of_one("xielu", xielu, by_function("xielu"), within(-20, 20), low=-12),
    numbers("leaky_relu", functional.leaky_relu, 0.01, floor=by_function("leaky_relu")),
    numbers("prelu", lambda x, slope: torch.where(x < 0, slope * x, x), 0.3, floor=product),
    numbers("rdiv", lambda x, value: value / x, 2.0, floor=product, domain=positive),
    numbers("rpow", lambda x, base: base**x, 2.0, floor=by_function("exp2"), domain=within(-9, 9)),
]

CUT = [
    of_one("floor", torch.floor, domain=halves),
    of_one("ceil", torch.ceil, domain=halves),
    of_one("trunc", torch.trunc, domain=halves),
    of_one("frac", torch.frac, domain=halves),
    of_one("round", torch.round, domain=halves),
    named("hardtanh", functional.hardtanh, min_val=-0.5, max_val=0.75),
    named("hardshrink", functional.hardshrink, lambd=0.5),
    function("softshrink", functional.softshrink),
    named("clamp", torch.clamp, min=-0.5, max=0.75),
    named("clip", torch.clip, min=-0.5, max=0.75),
    numbers("threshold", functional.threshold, 0.25, -1.5),
    numbers("relu_max", lambda x, limit: functional.relu(x).clamp(max=limit), 1.5),
    numbers("relu_min", lambda x, limit: functional.threshold(x, limit, limit), -0.75),
    numbers("fill", torch.full_like, 2.5),
    of_one("alt_complex_rotate90", turned, calls=[((1, 1, 37, 96), BF16, "dram")]),
    of_one(
        "unary_chain",
        lambda x: functional.relu(x).sqrt(),
        by_function("sqrt"),
        call=lambda x: ttnn.unary_chain(x, CHAIN),
    ),
]

SIGNS = [
    of_one(name, golden, domain=with_specials)
    for name, golden in {
        "sign": torch.sign,
        "signbit": torch.signbit,
        "eqz": lambda x: torch.eq(x, 0),
        "nez": lambda x: torch.ne(x, 0),
        "gtz": lambda x: torch.gt(x, 0),
        "gez": lambda x: torch.ge(x, 0),
        "ltz": lambda x: torch.lt(x, 0),
        "lez": lambda x: torch.le(x, 0),
        "isfinite": torch.isfinite,
        "isinf": torch.isinf,
        "isnan": torch.isnan,
        "isposinf": torch.isposinf,
        "isneginf": torch.isneginf,
        "logical_not": torch.logical_not,
        "logical_not_": torch.logical_not,
    }.items()
] + [
    numbers("heaviside", lambda x, at: torch.heaviside(x, x.new_tensor(at)), 0.5, domain=halves),
    of_one("identity", torch.clone),
]

OPS = [*ANGLES, *POWERS, *SPECIAL, *ACTIVATIONS, *CUT, *SIGNS]

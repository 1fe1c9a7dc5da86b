"""The unary functions that are followed: as accurate as their kernels' sources say they are."""

import pytest
import torch
from torch.nn import functional

from ttnn_emulator.arithmetic.exact import elementwise
from ttnn_verify.numerics.kernel_floors import vector_floors

# Function -> its exact values, where it is used, and the float32 units in the last place by which
# a 32-bit Dst may be off: what the authors of the kernels state, or else twice what was measured on
# 30 November 2026.
ACCURATE = {
    "acos": (torch.acos, (-1.0, 1.0), 2),
    "acosh": (torch.acosh, (1.1, 1e4), 3),
    "asin": (torch.asin, (-1.0, 1.0), 3),
    "asinh": (torch.asinh, (-1e4, 1e4), 2),
    "atan": (torch.atan, (-50.0, 50.0), 3),
    "atanh": (torch.atanh, (-0.99, 0.99), 3),
    "cbrt": (lambda x: x.sign() * x.abs() ** (1 / 3), (-1e4, 1e4), 3),
    "celu": (functional.celu, (-20.0, 20.0), 2),
    "cosh": (torch.cosh, (-80.0, 80.0), 2),
    "elu": (functional.elu, (-20.0, 20.0), 2),
    "erf": (torch.erf, (-8.0, 8.0), 5),
    "exp2": (torch.exp2, (-100.0, 100.0), 2),
    "expm1": (torch.expm1, (-20.0, 80.0), 2),
    "log10": (torch.log10, (1.1, 1e6), 3),
    "log1p": (torch.log1p, (-0.9, 1e6), 2),
    "log2": (torch.log2, (1.1, 1e6), 3),
    "mish": (functional.mish, (-20.0, 20.0), 6),
    "sinh": (torch.sinh, (-80.0, 80.0), 3),
    "softsign": (functional.softsign, (-1e4, 1e4), 4),
    "tan": (torch.tan, (-1.5, 1.5), 3),
}

# Functions that store a term in a 16-bit Dst on the way, which cuts it -> units in the last place
# of bfloat16: one for the cut and those of the rest; measured 2.08 on 30 November 2026.
THROUGH_DST = {"atanh": 3}

# Functions that their kernels approximate by a series, whose error is known -> where they are used.
APPROXIMATE = {
    "digamma": (torch.digamma, (0.5, 300.0)),
    "erfc": (torch.erfc, (-4.0, 4.0)),
    "erfinv": (torch.erfinv, (-0.99, 0.99)),
    "i0": (torch.special.i0, (-8.0, 8.0)),
    "i1": (torch.special.i1, (-30.0, 30.0)),
    "lgamma": (torch.lgamma, (0.6, 60.0)),
    "log_sigmoid": (functional.logsigmoid, (-20.0, 20.0)),
    "softplus": (functional.softplus, (-20.0, 20.0)),
    "tanhshrink": (functional.tanhshrink, (-10.0, 10.0)),
}
# Float32 roundings of terms of size 1 at least that a 32-bit destination may show beside.
FLOAT32_STEPS = 8


def series_error(name, x, exact, fp32_dest_acc):
    """The largest error of the kernel's series, by its terms: uniform within it, it has `std`."""
    if name == "i0":
        std = vector_floors.bessel_errors(x)
    elif name == "lgamma":
        std = vector_floors.gamma_errors(x, "float32" if fp32_dest_acc else "bfloat16")
    else:
        std = vector_floors.SERIES[name][fp32_dest_acc].errors(exact)
    return std * 3**0.5


def pairs(table):
    return pytest.mark.parametrize("name", table)


@pairs(ACCURATE)
def test_32_bit_dst_is_accurate_to_a_few_ulp(name):
    exact_function, limits, bound = ACCURATE[name]
    x = torch.linspace(*limits, 20001)
    exact = exact_function(x.double())
    ulp = torch.exp2(torch.floor(torch.log2(exact.abs().clamp(min=2.0**-10))) - 23)
    error = (elementwise.FOLLOWED[name](x, fp32_dest_acc=True).double() - exact).abs() / ulp
    assert error.max() <= bound


@pairs(ACCURATE)
def test_16_bit_dst_is_accurate_to_a_few_ulp(name):
    exact_function, limits, _ = ACCURATE[name]
    x = torch.linspace(*limits, 20001).bfloat16().float()
    exact = exact_function(x.double())
    ulp = torch.exp2(torch.floor(torch.log2(exact.abs().clamp(min=2.0**-10))) - 7)
    error = (elementwise.FOLLOWED[name](x).double() - exact).abs() / ulp
    assert error.max() <= THROUGH_DST.get(name, 2)


@pairs(APPROXIMATE)
@pytest.mark.parametrize("fp32_dest_acc", [False, True], ids=["16_bit", "32_bit"])
def test_approximations_stay_within_their_error(name, fp32_dest_acc):
    exact_function, limits = APPROXIMATE[name]
    x = torch.linspace(*limits, 20001)
    x = x if fp32_dest_acc else x.bfloat16().float()
    exact = exact_function(x.double())
    result = elementwise.FOLLOWED[name](x, fp32_dest_acc=fp32_dest_acc).double()
    stored = FLOAT32_STEPS * 2.0**-24 * exact.abs().clamp(min=1)
    if not fp32_dest_acc:
        stored = 2.0**-7 * exact.abs() + stored  # cut, or else rounded
    assert ((result - exact).abs() <= series_error(name, x, exact, fp32_dest_acc) + stored).all()


@pytest.mark.parametrize("fp32_dest_acc", [False, True], ids=["16_bit", "32_bit"])
def test_gelu_by_tanh_stays_within_its_error(fp32_dest_acc):
    """Twice what was measured on 30 November 2026."""
    x = torch.linspace(-6, 6, 20001).bfloat16().float()
    exact = functional.gelu(x.double(), approximate="tanh")
    result = elementwise.FOLLOWED["gelu_tanh"](x, fp32_dest_acc=fp32_dest_acc).double()
    bound = 2.0**-20 if fp32_dest_acc else 2.0**-7
    assert ((result - exact).abs() / exact.abs().clamp(min=1)).max() <= bound


@pytest.mark.parametrize("name", ["asin", "acos", "atanh"])
def test_outside_their_domain_functions_are_not_a_number(name):
    outside = torch.tensor([1.5, -1.5, float("nan")])
    assert elementwise.FOLLOWED[name](outside, fp32_dest_acc=True).isnan().all()


@pytest.mark.parametrize("name", ["atan", "cbrt", "erf", "sinh", "softsign", "tanhshrink", "asinh"])
@pytest.mark.parametrize("fp32_dest_acc", [False, True], ids=["16_bit", "32_bit"])
def test_odd_functions_are_odd(name, fp32_dest_acc):
    x = torch.linspace(0.01, 20, 4001)
    function = elementwise.FOLLOWED[name]
    minus = function(-x, fp32_dest_acc=fp32_dest_acc)
    assert torch.equal(minus, -function(x, fp32_dest_acc=fp32_dest_acc))


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_small_powers_are_products(exponent):
    x = torch.linspace(-9, 9, 2001)
    expected = {0.0: torch.ones_like(x), 1.0: x, 2.0: x * x, 3.0: x * (x * x)}[exponent]
    assert torch.equal(elementwise.FOLLOWED["pow"](x, exponent, fp32_dest_acc=True), expected)


@pytest.mark.parametrize("exponent", [-1.5, 0.5, 2.5, 7.0])
def test_other_powers_are_as_accurate_as_their_logarithm(exponent):
    """Its error counts as often as the exponent says; 2**z is a parabola in 16 bits, rounded."""
    x = torch.linspace(0.1, 9, 20001)
    short = abs(exponent) * vector_floors.LN_OF_POWER + 0.0018 + 2.0**-8
    long = (1.5 * abs(exponent) + 4) * 2.0**-24
    for fp32_dest_acc, bound in ((True, long), (False, short)):
        values = x if fp32_dest_acc else x.bfloat16().float()
        exact = values.double() ** exponent
        result = elementwise.FOLLOWED["pow"](values, exponent, fp32_dest_acc=fp32_dest_acc)
        assert (result.double() / exact - 1).abs().max() <= bound


def test_a_16_bit_dst_cuts_the_numbers_of_comparisons():
    """No instruction rounds them: 0.3 as bfloat16 would be 0.30078125."""
    x = torch.tensor([9.0])
    cut = 0.298828125
    assert elementwise.FOLLOWED["relu_max"](x, 0.3).item() == cut
    assert elementwise.FOLLOWED["clamp"](x, None, 0.3).item() == cut
    assert elementwise.FOLLOWED["threshold"](x, 10.0, 0.3).item() == cut

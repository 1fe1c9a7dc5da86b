"""The noise floors of functions of the vector unit: their own steps, and the series they evaluate.

Sources are the kernels, `ckernel_sfpu_<function>.h`. A step is a rounding; a series is also off by
what it leaves out, which is computed here from its coefficients and not measured on any device.
"""

import dataclasses
import math

import torch

from ttnn_verify.numerics.floors import Floor, chain, of_errors, output

# Float32 operations one after the other in a vector function, the last of which rounds the result
# (ckernel_sfpu_exp.h, _recip.h, _silu.h, ...; of a power series those that still matter). They
# count only where the result is float32.
VECTOR_STEPS = {
    "abs": 1,
    "neg": 1,
    "relu": 1,
    "relu6": 1,
    "leaky_relu": 1,
    "square": 1,
    "exp": 2,
    "log": 2,
    "reciprocal": 2,
    "rsqrt": 2,
    "sqrt": 2,
    "cos": 3,
    "sin": 3,
    "tanh": 3,
    "sigmoid": 4,  # exponential, sum, inverse in two
    "silu": 5,  # and a product
    "elu": 3,
    "selu": 4,
    "softsign": 4,
    "hardsigmoid": 4,
    "erf": 8,  # two polynomials and an inverse in two
    "hardswish": 8,
    "mish": 8,
    "gelu": 7,  # thirteen powers of the argument by Horner's rule
    "hardmish": 3,  # counted: a product and a sum before the product
    "logit": 5,  # a clamp, an inverse in two, a product and a logarithm
    "polygamma": 16,  # of order 2: the cube of an inverse, which counts nine times, products, sums
    "softshrink": 1,
    "xielu": 5,
}
# Those whose kernels come with a bound: as many as units in the last place that it allows.
VECTOR_STEPS |= dict.fromkeys(("acos", "asinh", "cosh", "exp2", "expm1", "log1p"), 2)
VECTOR_STEPS |= dict.fromkeys(("acosh", "asin", "atan", "atanh", "cbrt", "celu"), 3)
VECTOR_STEPS |= dict.fromkeys(("log10", "log2", "sinh", "tan"), 3)

# Roundings to bfloat16 of a 16-bit result, where it is not one. A store that cuts counts as four:
# its error is twice that of a rounding (ckernel_sfpu_erf.h, _softsign.h, _activations.h, _relu.h,
# _hardmish.h; of atanh a term on the way, ckernel_sfpu_trigonometry.h). hardswish's gate
# is cut, and its product rounded in each of four phases (hardswish_kernel.cpp).
ROUNDINGS = {"hardswish": 8} | dict.fromkeys(
    ("atanh", "erf", "hardmish", "hardsigmoid", "leaky_relu", "softshrink", "softsign"), 4
)
# Of the series, those that nothing rounds.
ROUNDINGS |= dict.fromkeys(("digamma", "erfc", "erfinv", "log_sigmoid"), 4)

# Functions whose 16-bit results come from a parabola that is 2**z between two powers of two
# (ckernel_sfpu_exp.h, exp_21f; ckernel_sfpu_exp2.h): the best errs by up to 0.0017 of the value.
OF_A_PARABOLA = ("exp", "exp2")
PARABOLA = Floor(0.0012, 0.0012)  # the root mean square

# Relative error of the approximate variants, root mean square: the exponential's straight lines
# (mean 0.8 %, deviation 1.8 %), and the tables of six lines of the others, whose largest values
# count (measured on all bfloat16 arguments, November 2026).
VECTOR_RELATIVE = {
    "exp_approximate": 0.020,
    "gelu_approximate": 0.006,
    "tanh_approximate": 0.008,
}


# The largest errors of the cubics that are ln on [1, 2): of powers, digamma and lgamma
# (ckernel_sfpu_binary_pow.h; _calculate_log_body_no_init_), and of xlogy (_calculate_log_body_).
LN_OF_POWER, LN_OF_XLOGY = 0.00196, 0.000442
# Digamma's and lgamma's takes 0.692871 for ln(2), which is so much of the logarithm beside.
LN_TWO_SHORT = 4.0e-4


@dataclasses.dataclass(frozen=True)
class Series:
    """How far a kernel's series is from its function, at most: the smaller of two bounds.

    Attributes:
        absolute: the error.
        relative: to the value, or to `least` where that is larger.
        beyond: (value, relative error) of another series for greater values.
    """

    absolute: float = math.inf
    relative: float = math.inf
    least: float = 0.0
    beyond: tuple[float, float] = (math.inf, 0.0)

    def errors(self, exact: torch.Tensor) -> torch.Tensor:
        """The standard deviation of errors uniform within the bound."""
        size, (value, relative) = exact.abs(), self.beyond
        bound = (self.relative * size.clamp(min=self.least)).clamp(max=self.absolute)
        return torch.where(size > value, relative * size, bound) / math.sqrt(3)


# Beside a 16-bit destination and a 32-bit one: the largest distance of the series in each kernel's
# source from the function, computed in float64 from its coefficients where the kernel uses them.
SERIES = {
    # quotients of degrees 6 and 5, 10 and 9, from 0.01 up to 102; then the logarithm is a cubic
    "digamma": (
        Series(relative=1.2e-4, least=1.0, beyond=(4.62, LN_OF_POWER / 4.62 + LN_TWO_SHORT)),
        Series(relative=6.0e-6, least=1.0, beyond=(4.62, LN_OF_POWER / 4.62 + LN_TWO_SHORT)),
    ),
    # quotients of degrees 4 and 5 up to 2.5 and up to 5, where they meet worst
    "erfc": (Series(absolute=9.8e-5), Series(absolute=9.8e-5)),
    # Winitzki's formula (2008), which has that error itself; near zero it is the root of a
    # difference in float32, which is off by 4e-7
    "erfinv": (Series(relative=2.0e-3, least=0.32), Series(relative=2.0e-3, least=0.32)),
    # quotients of degrees 3 and 3, 6 and 7, the terms of whose denominator add up to 9.5 of it;
    # from 10 on an exponential, which in 16 bits is the parabola
    "i1": (
        Series(relative=1.5e-4, beyond=(2671.0, 1.9e-3)),
        Series(relative=9.5 * 2.0**-24),
    ),
    # degree 8 between -4 and 4, x below; above, an exponential that errs by 3.1 %
    "log_sigmoid": (Series(0.0182, 0.0092, least=0.08), Series(0.0182, 0.0092, least=0.08)),
    # degrees 6 and 8 up to 5; beyond nothing in 16 bits, whose exponential is left out
    "softplus": (Series(absolute=0.0068), Series(absolute=4.2e-5)),
    # x - tanh(x) from 1 on, by degree 3; in 32 bits what four roundings of tanh leave of x - tanh;
    # cubes of small numbers become zero
    "tanhshrink": (
        Series(relative=4.8e-3, least=2.0**-110),
        Series(relative=2.0**-20, least=2.0**-100),
    ),
}


def vector(exact: torch.Tensor, dtype: str, function: str) -> Floor:
    """A function of the vector unit: the rounding of its result and of its own steps.

    The authors of the kernels state an error below one unit of bfloat16 for each of `VECTOR_STEPS`.

    Args:
        exact: the result in float64, any shape.
        dtype: as of `output`.
        function: a name in `VECTOR_STEPS`, `SERIES` or `VECTOR_RELATIVE`.

    Raises:
        ValueError: nothing is known of the function.
    """
    if function in VECTOR_RELATIVE:
        off = VECTOR_RELATIVE[function]
        return chain(output(exact, dtype), Floor(off, off))
    if function not in VECTOR_STEPS and function not in SERIES:
        known = ", ".join([*VECTOR_STEPS, *SERIES, *VECTOR_RELATIVE])
        raise ValueError(f"function {function!r} has no noise floor; these have: {known}.")
    short = dtype != "float32"
    parts = [output(exact, "float32")] * (VECTOR_STEPS.get(function, OF_SERIES) - 1)
    if short:
        parts += [output(exact, "bfloat16")] * (ROUNDINGS.get(function, 1) - 1)
    if short and function in OF_A_PARABOLA:
        parts.append(PARABOLA)
    if function in SERIES:
        parts.append(of_errors(exact, SERIES[function][not short].errors(exact)))
    return chain(output(exact, dtype), *parts)


OF_SERIES = 3  # float32 steps that matter of a series' many, its last ones


def bessel_errors(x: torch.Tensor) -> torch.Tensor:
    """The standard deviation of each error of the series that is i0(x).

    Twelve terms of its power series are taken, and from the sixth on their coefficients have three
    digits, which are off by 1/300 at most (ckernel_sfpu_i0.h).
    """
    terms = torch.stack([(x.double() / 2) ** (2 * k) / math.factorial(k) ** 2 for k in range(12)])
    left_out = (torch.special.i0(x.double()) - terms.sum(0)).abs()
    return (left_out + terms[5:].sum(0) / 300) / math.sqrt(3)


def gamma_errors(x: torch.Tensor, dtype: str) -> torch.Tensor:
    """The standard deviation of each error of lgamma(x) but the rounding of the result.

    Stirling's series is off by the first of Bernoulli's terms that it leaves out, after two in a
    16-bit destination and four in a 32-bit one; there five terms of Taylor's are taken near 1 and
    2, and a constant from 0.49 to 0.51 (ckernel_sfpu_lgamma.h). The logarithm in it is a cubic in
    16 bits. Below 1/2 the function is reflected: terms are stored on the way.
    """
    short = dtype != "float32"
    z = torch.where(x < 0.5, 1 - x, x).double()
    first, last = (1 / 1260, 5) if short else (1 / 1188, 9)
    left_out = (first / z**last).clamp(max=0.052)  # the largest distance, at 0.51
    if short:
        logarithm = LN_OF_POWER + LN_TWO_SHORT * (z.log().abs() + 0.7)
        left_out = left_out + logarithm * (z - 0.5)
    else:
        nearest = torch.minimum((z - 1).abs(), (z - 2).abs())
        left_out = torch.where(nearest <= 0.25, nearest**6 / (1 - nearest) / 5.8, left_out)
    terms = (z - 0.5).abs() * z.log().abs() + z  # which cancel each other, in float32
    rounded = terms * 2.0**-23
    reflected = torch.log(torch.sin(math.pi * x.double()).abs()).abs() + torch.lgamma(z).abs() + 2
    stored = reflected * (2.0**-7 if short else 2.0**-22)
    rounded = rounded + torch.where(x < 0.5, stored, 0.0)
    return (left_out + rounded) / math.sqrt(3)

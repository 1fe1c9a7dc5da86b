"""How exactly the device computes: formats of weights and cache, fidelity and sums of each product.

A setting is a `Precision`; `PRECISIONS` names two. Another one is a named one with fields replaced:
`dataclasses.replace(PRECISIONS["accuracy"], cache=ttnn.bfloat8_b)`.
"""

from dataclasses import dataclass

import ttnn


@dataclass(frozen=True)
class Product:
    """A product with a weight: the weight's format, and how it is multiplied and summed.

    A default ttnn.linear (HiFi2, 16-bit sums) errs by 0.0105 at K = 3072; with float32 sums by
    0.0043 at HiFi2 and 0.0017 at HiFi3, as at HiFi4: its fourth phase is the product of both
    operands' lowest bits, 2^-14 of the whole, for a third more time.
    """

    weights: ttnn.DataType
    fidelity: ttnn.MathFidelity
    fp32_sums: bool = True


@dataclass(frozen=True)
class Attention:
    """TTNN's own exponential is off by up to 3.4 % in each weight of the sum, unless exact."""

    fidelity: ttnn.MathFidelity
    fp32_sums: bool
    exact_exp: bool


@dataclass(frozen=True)
class Precision:
    """Settings of every operation that has a choice; activations are bfloat16.

    Norms have none: TTNN's default sums squares in bfloat16, 1.7 % too small at a width of 3072.
    """

    qkv: Product
    o: Product
    gate_up: Product
    down: Product
    lm_head: Product
    attention: Attention
    cache: ttnn.DataType


def _alike(product: Product, attention: Attention, cache: ttnn.DataType) -> Precision:
    return Precision(product, product, product, product, product, attention, cache)


PRECISIONS = {
    "accuracy": _alike(
        Product(ttnn.bfloat16, ttnn.MathFidelity.HiFi3),
        Attention(ttnn.MathFidelity.HiFi4, fp32_sums=True, exact_exp=True),
        ttnn.bfloat16,
    ),
    "performance": _alike(
        Product(ttnn.bfloat8_b, ttnn.MathFidelity.HiFi2),
        Attention(ttnn.MathFidelity.HiFi2, fp32_sums=False, exact_exp=False),
        ttnn.bfloat8_b,
    ),
}


def named(precision: "str | Precision") -> Precision:
    """The setting of that name, or the one given. Raises ValueError for an unknown name."""
    if isinstance(precision, Precision):
        return precision
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision {precision!r}: it must be {' or '.join(map(repr, PRECISIONS))}, or a Precision."
        )
    return PRECISIONS[precision]


def kernel(fidelity: ttnn.MathFidelity, fp32_sums: bool = True):
    """A compute configuration. Sums of 16 bits are kept in L1, which errs least of their kinds."""
    return ttnn.WormholeComputeKernelConfig(
        math_fidelity=fidelity,
        math_approx_mode=False,
        fp32_dest_acc_en=fp32_sums,
        packer_l1_acc=not fp32_sums,
    )

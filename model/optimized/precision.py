"""How exactly the device computes: formats of weights and cache, fidelity and sums of each matmul.

A setting is a `Precision`; `PRECISIONS` has two by name. To make another, replace fields of one:
`dataclasses.replace(PRECISIONS["accuracy"], cache=ttnn.bfloat8_b)`.
"""

from dataclasses import dataclass

import ttnn


@dataclass(frozen=True)
class MatmulPrecision:
    """A matmul with a weight: the weight's format, and how it is multiplied and summed.

    A default ttnn.linear (HiFi2, 16-bit sums) errs by 0.0105 at K = 3072; with float32 sums by
    0.0043 at HiFi2 and 0.0017 at HiFi3, as at HiFi4: its fourth phase is the product of both
    operands' lowest bits, 2^-14 of the whole, for a third more time.
    """

    weights: ttnn.DataType
    fidelity: ttnn.MathFidelity
    fp32_dest_acc: bool = True


@dataclass(frozen=True)
class AttentionPrecision:
    """How attention computes; without `exact_exp` each exponential errs by up to 3.4 %."""

    fidelity: ttnn.MathFidelity
    fp32_dest_acc: bool
    exact_exp: bool


@dataclass(frozen=True)
class Precision:
    """The settings of every operation that has a choice; activations are bfloat16.

    Norms have no choice here: TTNN's default sums squares in bfloat16, 1.7 % low at width 3072.
    """

    qkv: MatmulPrecision
    o: MatmulPrecision
    gate_up: MatmulPrecision
    down: MatmulPrecision
    lm_head: MatmulPrecision
    attention: AttentionPrecision
    cache: ttnn.DataType


def _same_for_all(
    matmul: MatmulPrecision, attention: AttentionPrecision, cache: ttnn.DataType
) -> Precision:
    return Precision(matmul, matmul, matmul, matmul, matmul, attention, cache)


PRECISIONS = {
    "accuracy": _same_for_all(
        MatmulPrecision(ttnn.bfloat16, ttnn.MathFidelity.HiFi3),
        AttentionPrecision(ttnn.MathFidelity.HiFi4, fp32_dest_acc=True, exact_exp=True),
        ttnn.bfloat16,
    ),
    "performance": _same_for_all(
        MatmulPrecision(ttnn.bfloat8_b, ttnn.MathFidelity.HiFi2),
        AttentionPrecision(ttnn.MathFidelity.HiFi2, fp32_dest_acc=False, exact_exp=False),
        ttnn.bfloat8_b,
    ),
}


def named(precision: str | Precision) -> Precision:
    """The setting of that name; a Precision is itself. Raises ValueError for an unknown name."""
    if isinstance(precision, Precision):
        return precision
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision {precision!r}: it must be {' or '.join(map(repr, PRECISIONS))}, "
            "or a Precision."
        )
    return PRECISIONS[precision]


def compute_config(
    fidelity: ttnn.MathFidelity, fp32_dest_acc: bool = True
) -> ttnn.WormholeComputeKernelConfig:
    """16-bit sums accumulate in L1 (packer_l1_acc): the most accurate 16-bit option."""
    return ttnn.WormholeComputeKernelConfig(
        math_fidelity=fidelity,
        math_approx_mode=False,
        fp32_dest_acc_en=fp32_dest_acc,
        packer_l1_acc=not fp32_dest_acc,
    )

"""The tolerance policy: a result may be off by `K` times the noise floor of what computed it.

One rule judges operations, layers, the whole model, drift and the faults. Data that only
moves keeps its bits (`floors.EXACT`). Everything else may be off by `K` times its noise floor, the
error that number formats and compute config force on the very inputs, in the whole tensor and in
its worst row, both in relative L2. The floor of an operation is computed from its documented
roundings (`op_floors`), that of a module or a model is measured: Hugging Face's own module runs
once more with the roundings of a bfloat16 device (`ttnn_verify.huggingface.module_floors`). A floor
of PCC is printed beside, because the field speaks PCC; it follows from the relative L2 and never
decides.

Where no such pass of Hugging Face's modules is to be had, as in the quick search of drift, the
number of roundings in the model's table of steps is the stand-in: `stand_in_relative_l2`.

`eval.py` knows no steps of a model, and has a bfloat16 pass of Hugging Face's whole model for its
yardstick, with factors of its own: `ttnn_verify.huggingface.verdict`.

Constants that nothing measures stand here with their reasons. Those that belong to one module stand
there, likewise with reason and date:

- `floors.UNLUCKY`: how much luck a floor of few errors allows for
- `erratum.OUTLIER`, `erratum.RATE`: which elements the matrix unit's erratum may have hit
- `huggingface.accuracy.PLAUSIBLE`: the rank that no rounding gives a token
- `huggingface.verdict.FACTORS`, `huggingface.verdict.CHANCE`: how much a scored model may err
- `baseline.PCC_SLACK`, `baseline.ERROR_SLACK`: how much a case may lose against its baseline
- in `drift`: which values count as the same one, and what a host may round once more
"""

import dataclasses
import math
import textwrap
from collections.abc import Iterable
from typing import Protocol

import torch

from ttnn_verify.numerics import erratum, floors, metrics

# How many times its noise floor an error may be. The error of the emulated kernels was 0.6 to 1.4
# times the floor in 156 calls of matmul, rms_norm, softmax, attention, rotary, reductions and
# elementwise functions, in all formats and fidelities, with massive channels too (tests/verify/
# test_noise.py, November 2026); the rest, up to 2.0, is headroom for chance. With 32-bit sums,
# which the model asks for, twice the floor tells nine mutations of a product from a correct one.
# With 16-bit sums a gain of 1 % is as large as the error of the sums and is not seen
# (tests/verify/test_tolerance.py).
K = 2.0

# bfloat16 keeps 8 significant bits: the nearest one is at most 2^-8 of the value away.
BF16_ROUNDING = 2.0**-8

# Roundings to bfloat16 that a step of each kind makes one after the other, at most: rotary rounds
# two products and their sum, attention its scores and its weighted sum, a multiplication the
# activation before it. Read off TTNN's operations, November 2026.
ROUNDINGS = {
    "embedding": 0,
    "norm": 1,
    "product": 1,
    "heads": 0,
    "rope": 3,
    "attention": 2,
    "add": 1,
    "multiply": 2,
    "activation": 0,  # counted with the multiplication
}


WRAPPED = 76  # columns of a failure's details: pytest indents them, and a terminal has 80


class ComparisonFailed(AssertionError):
    """A result is not what it should be. The message's first line is the verdict."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What `judge` says of a comparison.

    Attributes:
        status: "ok", or why not: "shape", "dtype", "nonfinite", "differs" (data that only moves),
            "drift" (farther off than the arithmetic explains).
        used: share of the tolerance that was used, 1 for all of it; infinite where none is granted.
        needed_k: the smallest k that would have passed.
        pcc_floor: a PCC below it means drift for certain; None if the tolerance allows every PCC.
        line: the verdict in a line, without the operation's name.
        comparison: what was judged.
        allowed: relative L2 that the whole and the worst row may have; 0 for data that only moves.
        errata: indices of the elements left out, which the matrix unit's erratum has hit.
    """

    status: str
    used: float
    needed_k: float
    pcc_floor: float | None
    line: str
    comparison: metrics.Comparison
    allowed: tuple[float, float] = (0.0, 0.0)
    errata: tuple[tuple[int, ...], ...] = ()

    @property
    def passed(self) -> bool:
        return self.status == "ok"

    @property
    def headline(self) -> str:
        """The worst figure of what is allowed, and how many times that it is, in 50 columns or so:
        `relative L2 0.03 of 0.02, 1.5 x`. Where nothing was measured, what is wrong.
        """
        if self.status != "drift":
            return self.line.partition(";")[0]
        name, error, allowed = "relative L2", self.comparison.relative_l2, self.allowed[0]
        row = self.comparison.worst_row
        if row is not None and _share(row.value, self.allowed[1]) > _share(error, allowed):
            name, error, allowed = f"worst row {row.index}", row.value, self.allowed[1]
        return f"{name} {error:.3g} of {allowed:.3g}, {times(_share(error, allowed))}"

    def message(self, name: str) -> str:
        """A failure in lines: what failed and the headline first, then everything that is known."""
        return failure(f"{name}: {self.headline}", self.line, str(self.comparison))


def times(ratio: float) -> str:
    """How many times what is allowed an error is, in words: `1.5 x`."""
    if math.isinf(ratio):
        return "and none is allowed"
    return f"{ratio:.3g} x" if ratio < 100 else f"{ratio:,.0f} x"


def failure(headline: str, *details: str) -> str:
    """A failure's message: the headline on a line of its own, indented below it the details."""
    below = (
        textwrap.wrap(text, WRAPPED, initial_indent="  ", subsequent_indent="    ")
        for text in details
    )
    return "\n".join([headline, *(line for lines in below for line in lines)])


def judge_values(
    expected: torch.Tensor, actual: torch.Tensor, floor: floors.Floor, dtype: str | None = None
) -> Verdict:
    """`judge` of `metrics.compare`, without the elements that the matrix unit's erratum has hit."""
    values, errata = erratum.mask_erratum(expected, actual, floor)
    verdict = judge(metrics.compare(expected, values, dtype=dtype), floor)
    return dataclasses.replace(verdict, errata=tuple(errata)) if errata else verdict


def judge(comparison: metrics.Comparison, floor: floors.Floor, k: float = K) -> Verdict:
    """Whether an error is one that the arithmetic explains: at most k times the noise floor.

    A wrong shape or format, and a NaN or infinity that the reference does not have, fail before
    anything is measured.

    Args:
        comparison: of the result with its reference.
        floor: of the same operation on the same inputs; `floors.EXACT` for data that only moves.
    """
    refused = _refusal(comparison, floor)
    allowed = k * floor.relative_l2, k * floor.worst_row
    if refused:
        status, line = refused
        return Verdict(status, math.inf, math.inf, None, line, comparison, allowed)
    if comparison.equal:
        return Verdict("ok", 0.0, 0.0, None, "equal", comparison, allowed)
    worst_row = comparison.worst_row
    assert worst_row is not None  # tensors without elements are equal
    whole = _share(comparison.relative_l2, allowed[0])
    row = _share(worst_row.value, allowed[1])
    used = max(whole, row)
    least = _least_pcc(comparison, allowed[0])
    pcc = "undefined" if comparison.pcc is None else f"{comparison.pcc:.6f}"
    line = (
        f"relative L2 {comparison.relative_l2:.3g} of {allowed[0]:.3g} ({whole:.0%}), "
        f"worst row {worst_row.index} {worst_row.value:.3g} of "
        f"{allowed[1]:.3g} ({row:.0%}), PCC {pcc}"
        + ("" if least is None else f" of {least:.6f}")
        + f"; passes from k = {used * k:.3g}"
    )
    status = "ok" if used <= 1 else "drift"
    return Verdict(status, used, used * k, least, line, comparison, allowed)


def _refusal(comparison: metrics.Comparison, floor: floors.Floor) -> tuple[str, str] | None:
    """Why nothing is measured, as (status, line); None if nothing is against it."""
    expected_shape, shape = comparison.shapes
    if expected_shape != shape:
        return "shape", f"shape {shape}, the reference has {expected_shape}"
    if not comparison.dtype_matches:
        return "dtype", f"values that {comparison.dtype} cannot represent"
    if comparison.nonfinite:
        return "nonfinite", (
            f"{comparison.nonfinite_actual} in the result, {comparison.nonfinite_expected} in the "
            f"reference; {comparison.nonfinite} of {comparison.elements} elements differ in that, "
            f"one is {comparison.max_error}"
        )
    if floor == floors.EXACT and not comparison.equal:
        return "differs", (
            f"{comparison.mismatches} of {comparison.elements} elements differ and none may; "
            f"greatest difference {comparison.max_error}"
        )
    return None


def _share(error: float, allowed: float) -> float:
    if error == 0:
        return 0.0
    return error / allowed if allowed else math.inf


def _least_pcc(comparison: metrics.Comparison, relative_l2: float) -> float | None:
    """The smallest PCC that an error of `relative_l2` allows; None if it allows every PCC."""
    if not comparison.spread or relative_l2 >= comparison.spread:
        return None
    return pcc_floor(relative_l2 / comparison.spread)


def pcc_floor(relative_l2: float) -> float:
    """Smallest PCC of a tensor of zero mean whose relative L2 error is `relative_l2`, below 1.

    The angle between x and x + e is widest when e is perpendicular to x + e: its cosine is then
    sqrt(1 - (|e| / |x|)^2).
    """
    if not 0 <= relative_l2 < 1:
        raise ValueError(
            f"relative_l2 {relative_l2}: an error at least as large as the tensor allows every PCC."
        )
    return math.sqrt(1 - relative_l2**2)


class RoundingStep(Protocol):
    """A step of a model, as `roundings` reads it; drift's table of steps has these."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str:
        """A key of `ROUNDINGS`; any other rounds once."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the steps whose values it takes; other names count as exact."""


def roundings(steps: Iterable[RoundingStep]) -> dict[str, int]:
    """Step name -> roundings to bfloat16 behind its value, along the longest way to it.

    Args:
        steps: in an order in which each comes after its inputs.
    """
    counts: dict[str, int] = {}
    for step in steps:
        before = max((counts.get(name, 0) for name in step.inputs), default=0)
        counts[step.name] = before + ROUNDINGS.get(step.kind, 1)
    return counts


def bf16_relative_l2(n_roundings: int) -> float:
    """Bound on the relative L2 error of a tensor after `n_roundings` to bf16 one after the other.

    A rounding errs by at most `BF16_ROUNDING` of the value, and by 0.42 of that in the root mean
    square (uniform within half a unit in the last place, significands uniform in the logarithm).
    Independent errors add as squares, so the expected error is 0.42 * sqrt(n) * `BF16_ROUNDING`.
    The bound leaves out the 0.42: a factor of 2.4 for steps that amplify errors.
    """
    return BF16_ROUNDING * math.sqrt(n_roundings)


def stand_in_relative_l2(steps: Iterable[RoundingStep]) -> float:
    """Bound on the relative L2 error of a bf16 model's result where no floor is measured.

    It knows nothing of weights and inputs. For the four layers of the trained test checkpoint it is
    about twice what `K` times the measured floor allows (November 2026); random weights can amplify
    errors beyond it.

    Args:
        steps: the model's table of steps, as of `roundings`.
    """
    return bf16_relative_l2(max(roundings(steps).values()))


def near_tie(logits: torch.Tensor, relative_l2: float) -> float:
    """Largest margin between two of the reference's logits [V] that an allowed error can turn.

    Each logit is off by `relative_l2` of their root mean square, as one standard deviation; the
    difference of two by sqrt(2) of that, and by four times as much once in 16,000 steps.
    """
    return 4 * math.sqrt(2) * relative_l2 * float(logits.square().mean().sqrt())

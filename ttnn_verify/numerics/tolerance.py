"""Every threshold, in one place, with its reason.

One operation. Data movement rounds nothing: equal bits (`MOVEMENT`). Everything else may err by `K`
times its noise floor (`ttnn_verify.numerics.op_floors`), the error that its formats and compute config force on the very
inputs; as a whole and in its worst row, both in relative L2. Nothing is typed in by hand, and there is
nothing to loosen: an error beyond it has a cause that the arithmetic does not have. A floor of PCC is
printed beside, since the field speaks PCC; it follows from the relative L2 and never decides.

Parts of the model and the whole of it. The unit is the rounding to bfloat16, the format of weights,
activations and caches. A rounding errs by at most `BF16_ROUNDING` of the value and by 0.42 of that in
the root mean square (uniform within half a unit in the last place, mantissas uniform in the logarithm).
Independent errors add as squares, so n roundings in a row are expected at
0.42 * sqrt(n) * `BF16_ROUNDING`: a bound without the 0.42 leaves a factor of 2.4 for errors that a step
enlarges, and none for a wrong value.
"""

import dataclasses
import math

from ttnn_verify.numerics import metrics, op_floors

MOVEMENT = op_floors.EXACT

# How many times its noise floor an error may be. The kernels' own errors, step by step, were 0.6 to
# 1.4 times the floor in 156 calls of matmul, rms_norm, softmax, attention, rotary, reductions and
# elementwise functions, of all formats and fidelities, with massive channels too (tests/verify/
# test_noise.py on the emulated n150, November 2026): chance needs what is left. Twice the floor tells nine
# mutations of a product from an honest one where sums are kept in 32 bits, as the model asks; a gain of
# 1 % is as large as the error of 16-bit sums, and hides in it (tests/verify/test_tolerance.py).
K = 2.0

# bfloat16 keeps 8 significant bits: the nearest one is at most 2^-8 of the value away.
BF16_ROUNDING = 2.0**-8

# Sums of products are kept in float32 or better by the reference and by rounded arithmetic.
FP32_ROUNDING = 2.0**-24

# TTNN's attention takes e^x by a line through the exponent's bits unless told otherwise; the weights
# of the sum are off by -3.4 % to +3.1 % (ckernel_sfpu_exp.h, every bf16 score), 1.8 % in the root
# mean square. Like a rounding it is bounded by its greatest error.
APPROXIMATE_EXP = 0.034

# Values rounded to bf16 one after the other on the way through a part of Phi-3 (see `model/`).
# Branches that meet in a residual add count along the longer one.
ROUNDINGS_RMS_NORM = 1
ROUNDINGS_MLP = 4  # gate_up, activation, product, down
ROUNDINGS_ATTENTION = 7  # qkv, rotary's two products and sum, scores, weighted sum, o_proj
ROUNDINGS_DECODER_LAYER = 2 * ROUNDINGS_RMS_NORM + ROUNDINGS_MLP + ROUNDINGS_ATTENTION + 2
ROUNDINGS_HEAD = ROUNDINGS_RMS_NORM + 1  # final norm, lm_head

# Agreement with Hugging Face over 100 teacher-forced tokens, as shares: what the functional
# bring-up of Phi-3-mini-128k-instruct reached on an n150 with the published weights.
TOP1_AGREEMENT = 0.90
TOP5_AGREEMENT = 0.99


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What `judge` says of a comparison.

    Attributes:
        status: "ok", or why not: "shape", "dtype", "nonfinite", "differs" (data that only moved),
            "drift" (farther off than the arithmetic explains).
        used: share of the tolerance that was used, 1 for all of it; infinite where none is granted.
        needed_k: the smallest k that would have passed.
        pcc_floor: a PCC below it is certainly a drift; None if the tolerance allows every PCC.
        line: the verdict in a line, without the operation's name.
        comparison: what was judged, a `metrics.Comparison`.
    """

    status: str
    used: float
    needed_k: float
    pcc_floor: float | None
    line: str
    comparison: metrics.Comparison

    @property
    def passed(self):
        return self.status == "ok"

    def table(self):
        """The verdict, and one metric per line: a failure's message."""
        return f"{self.line}\n{self.comparison.table()}"


def judge(comparison, floor, k=K):
    """Whether an error is what the arithmetic explains: at most k times the noise floor.

    A wrong shape or format, and a NaN or infinity that the reference does not have, fail before
    anything else is looked at.

    Args:
        comparison: a `metrics.Comparison`.
        floor: a `noise.Floor` of the same operation on the same inputs, or `MOVEMENT`.
    """
    refused = _refusal(comparison, floor)
    if refused:
        status, line = refused
        return Verdict(status, math.inf, math.inf, None, line, comparison)
    if comparison.equal:
        return Verdict("ok", 0.0, 0.0, None, "equal", comparison)
    whole = _share(comparison.relative_l2, k * floor.relative_l2)
    row = _share(comparison.worst_row.value, k * floor.worst_row)
    used = max(whole, row)
    least = _least_pcc(comparison, k * floor.relative_l2)
    pcc = "undefined" if comparison.pcc is None else f"{comparison.pcc:.6f}"
    line = (
        f"relative L2 {comparison.relative_l2:.3g} of {k * floor.relative_l2:.3g} ({whole:.0%}), "
        f"worst row {comparison.worst_row.index} {comparison.worst_row.value:.3g} of "
        f"{k * floor.worst_row:.3g} ({row:.0%}), PCC {pcc}"
        + ("" if least is None else f" of {least:.6f}")
        + f"; passes from k = {used * k:.3g}"
    )
    status = "ok" if used <= 1 else "drift"
    return Verdict(status, used, used * k, least, line, comparison)


def _refusal(comparison, floor):
    """Why nothing is measured, as (status, line); None if nothing is against it."""
    wanted, got = comparison.shapes
    if wanted != got:
        return "shape", f"shape {got}, the reference has {wanted}"
    if not comparison.dtype_matches:
        return "dtype", f"values that are not ones of {comparison.dtype}"
    if comparison.nonfinite:
        return "nonfinite", (
            f"{comparison.nonfinite_actual} in the result, {comparison.nonfinite_expected} in the "
            f"reference; {comparison.nonfinite} of {comparison.elements} elements differ in that, one "
            f"is {comparison.max_error}"
        )
    if floor == MOVEMENT and not comparison.equal:
        return "differs", (
            f"{comparison.mismatches} of {comparison.elements} elements differ and none may; "
            f"greatest difference {comparison.max_error}"
        )
    return None


def _share(error, allowed):
    if error == 0:
        return 0.0
    return error / allowed if allowed else math.inf


def _least_pcc(comparison, relative_l2):
    """The PCC that an error of `relative_l2` leaves at least: of values about their mean."""
    if not comparison.spread or relative_l2 >= comparison.spread:
        return None
    return pcc_floor(relative_l2 / comparison.spread)


def pcc_floor(relative_l2):
    """Smallest PCC of a tensor of zero mean whose error is `relative_l2` of its size.

    The angle between x and x + e is widest when e stands upright on x + e: its cosine is then
    sqrt(1 - (|e| / |x|)^2).
    """
    if not 0 <= relative_l2 < 1:
        raise ValueError(
            f"relative_l2 {relative_l2}: only an error smaller than the tensor has one."
        )
    return math.sqrt(1 - relative_l2**2)


def bf16_relative_l2(n_roundings):
    """Largest relative L2 error of a tensor after `n_roundings` to bf16, one after the other."""
    return BF16_ROUNDING * math.sqrt(n_roundings)


def bf16_sum_absolute(length, magnitude):
    """Largest absolute error of a sum of `length` products, kept in float32, rounded once to bf16.

    Args:
        length: number of products, K of a matmul.
        magnitude: sum of the products' absolute values; a tensor or a number.
    """
    return magnitude * (BF16_ROUNDING + length * FP32_ROUNDING)


def attention_relative_l2(n_roundings):
    """Largest relative L2 error of attention with TTNN's default exponential, and roundings."""
    return math.hypot(bf16_relative_l2(n_roundings), APPROXIMATE_EXP)


def logits_relative_l2(n_layers):
    """Largest relative L2 error of a bf16 Phi-3's logits with `n_layers` decoder layers."""
    return bf16_relative_l2(n_layers * ROUNDINGS_DECODER_LAYER + ROUNDINGS_HEAD)


def near_tie(logits, relative_l2):
    """Largest margin between two of the reference's logits [V] that an allowed error can turn.

    Each logit errs by `relative_l2` of their root mean square, one standard deviation; the difference
    of two by sqrt(2) of that, and by four times as much once in 16,000 steps.
    """
    return 4 * math.sqrt(2) * relative_l2 * float(logits.square().mean().sqrt())

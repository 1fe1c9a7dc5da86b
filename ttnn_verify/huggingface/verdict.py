"""Whether a score is good enough: bounds measured on Hugging Face's own pass in bfloat16.

The *pass* computes a reference's prompt and continuation with every result rounded to bfloat16, in
any architecture. A model's logits may err by `FACTORS` times as much, in relative L2. What else is
bounded follows from this *explained* error, so that no number is chosen for a checkpoint:

- PCC: the smallest one of an error of that size (`tolerance.pcc_floor`).
- KL: a divergence is of second order in the error, so factor^2 times that of the pass; that of few
  steps is left to chance, so at least what independent errors of that size make of the reference's
  probabilities, sum of p (1 - p) error^2 / 2.
- Top-1 and top-5: independent errors of that size turn near-ties and nothing else. For each step
  the reference's margins say how probable another token is; as many steps may differ as those
  probabilities make once in 1 / `CHANCE` runs.
"""

import dataclasses
import math

import torch
import transformers

from ttnn_verify.huggingface import accuracy, bf16_pass, inputs, model_results
from ttnn_verify.numerics import floors, metrics, tolerance
from ttnn_verify.weights import upcast

# How many times the error of Hugging Face's pass in bfloat16 a correct device may show.
FACTORS = {
    # Every result is rounded to bfloat16 once, as in the pass: the same error again, and as much
    # for chance. The two stages of Phi-3: 0.95 times (November 2026).
    "rounded": tolerance.K,
    # The pass multiplies all bits of both factors and adds in float32; by TTNN's defaults a product
    # is HiFi2 and its sums have 16 bits (ttnn_verify/numerics/compute_config.py). Measured one at a
    # time in tests/bringups, the attention's kernel makes 2 to 3.4 times the error, the products
    # 1.8 to 2.6 times, all together 2.1 to 4.2, and 5.4 times with an MLP in LoFi; the stages of
    # Phi-3: functional 3.4, optimized 1.5 times. November 2026.
    "kernel": 6.0,
}

# How often the choices of a correct model may fall below the bound: once in 10,000 runs, as
# `floors.UNLUCKY`. November 2026.
CHANCE = 1e-4

DIGITS = 6  # of PCC and KL, as reports print them


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What a score must reach.

    Attributes:
        top1, top5: least shares of the steps, 0 to 1.
        pcc: least PCC of all logits.
        kl: greatest mean KL divergence, in nats.
    """

    top1: float
    top5: float
    pcc: float
    kl: float


PASSES = 2  # of a model, in which `explained` measures


@dataclasses.dataclass(frozen=True)
class ExplainedError:
    """The error of a model's logits that a device's arithmetic explains.

    Attributes:
        relative_l2: of the logits of all steps.
        kl: mean divergence, in nats, of such logits.
    """

    relative_l2: float
    kl: float


def bounds_of(
    hf_model: transformers.PreTrainedModel,
    reference: accuracy.Reference,
    arithmetic: str | None = None,
) -> Bounds:
    """What a correct model on a device reaches along a reference; in two passes of `hf_model`.

    Args:
        hf_model: what wrote the reference, of any architecture, in its dtype.
        arithmetic: of the emulated device, a key of `FACTORS`; None for a card, as for "kernel".

    Raises:
        inputs.Undetermined: the reference's logits, or those of the passes, are not finite.
    """
    factor = FACTORS[arithmetic or "kernel"]
    return bounds_by(explained(hf_model, reference, factor), reference)


def explained(
    hf_model: transformers.PreTrainedModel, reference: accuracy.Reference, factor: float
) -> ExplainedError:
    """The error that is explained along a reference, in two passes of `hf_model`.

    A reference that is not in float32 has an error of its own, as large as that of the pass; errors
    of both add as squares.

    Args:
        factor: how many times the error of its pass in bfloat16 a correct model may show.

    Raises:
        inputs.Undetermined: the reference's logits are not finite.
    """
    _check_finite(reference.logits)
    text = torch.cat((reference.prompt_ids, reference.tokens[None]), 1)[:, :-1]
    exact, rounded = bf16_pass.last_logits(hf_model, text, len(reference.tokens))
    _check_finite(exact, rounded)
    own = 0.0 if upcast.dtype_of(hf_model) == torch.float32 else 1.0
    return explained_by(exact, rounded, math.hypot(factor, own), reference)


def _check_finite(*logits: torch.Tensor) -> None:
    for wrong in filter(None, map(model_results.not_finite, logits)):
        raise inputs.Undetermined(wrong)


def explained_by(
    exact: torch.Tensor, rounded: torch.Tensor, factor: float, reference: accuracy.Reference
) -> ExplainedError:
    """The error that is explained by so many times that of another pass.

    Args:
        exact, rounded: `[T, V]`, a reference's logits and those of the other pass.
    """
    # the errors of a step's logits depend on each other: they count as one
    floor = floors.between(exact, rounded, count=len(exact)).relative_l2
    luck = floor / metrics.relative_l2(exact, rounded) if floor else 1.0
    relative_l2 = factor * floor
    measured = (factor * luck) ** 2 * float(metrics.kl(exact, rounded).mean())
    return ExplainedError(relative_l2, max(measured, _kl(reference, relative_l2)))


def bounds_by(error: ExplainedError, reference: accuracy.Reference) -> Bounds:
    """The bounds that an explained error of a reference's logits leaves."""
    logits = reference.logits.double()
    share = error.relative_l2 * float(logits.norm() / (logits - logits.mean()).norm())
    return Bounds(
        top1=_least_share(reference, error.relative_l2, 1),
        top5=_least_share(reference, error.relative_l2, 5),
        pcc=tolerance.pcc_floor(share) if share < 1 else -1.0,  # such an error allows every PCC
        kl=error.kl,
    )


def failures(score: accuracy.Score, bounds: Bounds) -> list[str]:
    """A sentence for each bound that a score misses; for logits that are not finite another one."""
    sentences = []
    if score.nonfinite:
        sentences.append(f"the logits are not finite: {score.nonfinite}")
    for name, value, least in (
        ("top-1", score.top1, bounds.top1),
        ("top-5", score.top5, bounds.top5),
    ):
        if value < least:
            sentences.append(_missed(name, 100 * value, "at least", 100 * least, 2, " %"))
    if score.nonfinite:
        return sentences  # PCC and KL are not defined
    if metrics.constant(score.logits) and not metrics.constant(score.reference.logits):
        sentences.append("PCC is undefined, because all logits are equal")
    elif score.pcc < bounds.pcc:
        sentences.append(_missed("PCC", score.pcc, "at least", bounds.pcc, DIGITS))
    kl = float(score.kl_steps.mean())
    if kl > bounds.kl:
        sentences.append(_missed("KL", kl, "at most", bounds.kl, DIGITS, " nats"))
    return sentences


def surprises(score: accuracy.Score, error: ExplainedError) -> list[str]:
    """A sentence for each single choice that an explained error does not turn.

    - another token than the reference's where the reference was sure
    - the reference's token not among the model's five, or the model's not among the reference's
      five, where the reference was sure of its five
    """
    reference = score.reference
    found = [f"the reference was sure: {one}" for one in score.defects(error.relative_l2)]
    for step in torch.nonzero((score.ranks >= 5) | (score.choice_ranks >= 5)).flatten().tolist():
        best = reference.choosable[step].topk(6).values
        if best[0] - best[5] > tolerance.near_tie(reference.logits[step], error.relative_l2):
            found.append(
                f"step {step}: the reference's token is the model's number "
                f"{int(score.ranks[step]) + 1}, the model's the reference's number "
                f"{int(score.choice_ranks[step]) + 1}"
            )
    return found


def _missed(name: str, value: float, most: str, bound: float, digits: int, unit: str = "") -> str:
    """The sentence of a missed bound, with as many digits as tell the two figures apart."""
    while digits < 17 and f"{value:.{digits}f}" == f"{bound:.{digits}f}":
        digits += 1
    return f"{name} is {value:.{digits}f}{unit}, {most} {bound:.{digits}f}{unit} is expected"


def _kl(reference: accuracy.Reference, relative_l2: float) -> float:
    """Mean divergence that independent errors of that size make: half the variance under p."""
    logits = reference.logits.double()
    variance = (relative_l2**2) * logits.square().mean(-1)  # of an error of each logit, [T]
    unsure = 1 - logits.softmax(-1).square().sum(-1)
    return float((variance * unsure).mean() / 2)


def _least_share(reference: accuracy.Reference, relative_l2: float, among: int) -> float:
    """The share of the steps in which a correct model has the reference's token among its first.

    The token leaves the first `among` only if one overtakes it that the reference ranks behind
    them. Each of these does so with the probability that the difference of two independent errors
    exceeds its margin; their sum is an upper bound for a step.
    """
    logits, own = reference.choosable.double(), reference.tokens[:, None]  # [T, V], [T, 1]
    deviation = relative_l2 * reference.logits.double().square().mean(-1, keepdim=True).sqrt()
    margins = logits.gather(-1, own) - logits
    overtakes = torch.erfc(margins / (2 * deviation.clamp(min=torch.finfo().tiny))) / 2
    first = logits.scatter(-1, own, torch.inf).topk(min(among, logits.shape[-1])).indices
    others = overtakes.scatter(-1, first, 0.0)
    steps = len(logits)
    return (steps - _most_of(others.sum(-1).clamp(max=1.0))) / steps


def _most_of(probabilities: torch.Tensor) -> int:
    """How many of independent events `[T]` happen at most, but for one in 1 / `CHANCE` times."""
    counts = torch.ones(1, dtype=torch.float64)  # probability of 0, 1, ... events so far
    for p in probabilities.double():
        missed, happened = counts * (1 - p), counts * p
        zero = counts.new_zeros(1)
        counts = torch.cat((missed, zero)) + torch.cat((zero, happened))
    more = 1 - counts.cumsum(0)
    return int(torch.nonzero(more < CHANCE)[0])

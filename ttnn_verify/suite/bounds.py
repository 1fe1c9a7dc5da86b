"""How far a whole model's logits may be from Hugging Face's.

The floor is the error that Hugging Face's own pass in bfloat16 makes of the same logits, times what
the model's own settings add to that (see `as_called`); the tolerance is `tolerance.K` times that.
"""

import dataclasses
from typing import Any

import torch

from ttnn_verify.huggingface import accuracy, bf16_pass
from ttnn_verify.numerics import floors, metrics, tolerance


@dataclasses.dataclass(frozen=True)
class BoundedLogits:
    """Hugging Face's logits of a text, and how far off the last rows of them may be.

    Attributes:
        exact, in_bfloat16: `[S, V]` float32, of the two passes.
        factor: by how much the floor is larger than the error of the pass in bfloat16.
    """

    exact: torch.Tensor
    in_bfloat16: torch.Tensor
    factor: float = 1.0

    def floor(self, rows: int) -> floors.Floor:
        """The floor of the last rows: at least that of the text, since theirs is small by chance.

        A row by itself may be the worst one of the text.
        """
        last, text = (
            floors.between(self.exact[-n:].double(), self.in_bfloat16[-n:].double())
            for n in (rows, len(self.exact))
        )
        worst_row = max(last.worst_row, text.worst_row)
        whole = worst_row if rows == 1 else max(last.relative_l2, text.relative_l2)
        return floors.Floor(self.factor * whole, self.factor * worst_row)


@torch.no_grad()
def bounded_logits(hf_model: Any, ids: torch.Tensor, factor: float = 1.0) -> BoundedLogits:
    """The logits of ids `[1, S]` and their bounds.

    Args:
        hf_model: a causal language model of transformers, in float32.
    """
    exact = hf_model(ids, use_cache=False).logits[0].float()
    with bf16_pass.rounded(hf_model):
        in_bfloat16 = hf_model(ids, use_cache=False).logits[0].float()
    return BoundedLogits(exact, in_bfloat16, factor)


def bounds_of(hf_model: Any, reference: accuracy.Reference, factor: float = 1.0) -> BoundedLogits:
    """The bounds of the logits by which a model is scored."""
    text = torch.cat((reference.prompt_ids, reference.tokens[None]), 1)[:, :-1]
    return bounded_logits(hf_model, text, factor)


def failures(score: accuracy.Score, bounds: BoundedLogits) -> list[str]:
    """What of a score no rounding explains, a sentence each; beside the distance of the logits.

    - top-1: another choice than the reference's where the reference was sure
    - top-5: the reference's token is not among the model's five, or the model's not among the
      reference's five, where the reference was sure of its five
    - KL: more than K squared times the mean of the pass in bfloat16, since KL grows with the square
      of an error
    """
    if score.nonfinite:
        return [f"the logits are not finite: {score.nonfinite}."]
    reference, steps = score.reference, len(score.logits)
    allowed = tolerance.K * bounds.floor(steps).relative_l2
    found = [f"the reference was sure: {one}" for one in score.defects(allowed)]
    for step in torch.nonzero((score.ranks >= 5) | (score.choice_ranks >= 5)).flatten().tolist():
        best = reference.choosable[step].topk(6).values
        if best[0] - best[5] > tolerance.near_tie(reference.logits[step], allowed):
            found.append(
                f"step {step}: the reference's token is number {int(score.ranks[step]) + 1} of the "
                f"model's, the model's number {int(score.choice_ranks[step]) + 1} of its."
            )
    kl, rounded = float(score.kl_steps.mean()), _rounded_kl(reference, bounds)
    if kl > tolerance.K**2 * rounded:
        found.append(f"KL {kl:.3g} nats where {tolerance.K**2 * rounded:.3g} is allowed.")
    return found


def _rounded_kl(reference: accuracy.Reference, bounds: BoundedLogits) -> float:
    """The mean KL divergence, in nats, that the floor of the logits explains.

    That of the pass in bfloat16, times the square of the share by which the floor is larger.
    """
    steps = len(reference.tokens)
    rounded = bounds.in_bfloat16[-steps:]
    share = bounds.floor(steps).relative_l2 / metrics.relative_l2(bounds.exact[-steps:], rounded)
    return float(metrics.kl(bounds.exact[-steps:], rounded).mean()) * share**2

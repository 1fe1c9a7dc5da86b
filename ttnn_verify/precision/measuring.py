"""How far a model's logits are from Hugging Face's, with how certain that is."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ttnn_verify.drift.observation import walk
from ttnn_verify.huggingface import accuracy
from ttnn_verify.numerics import metrics
from ttnn_verify.precision.texts import Text

BLOCK = 16  # neighbouring positions whose errors count as one observation: they have a context


@dataclasses.dataclass(frozen=True)
class Measured:
    """A model along a text.

    Attributes:
        kl: `[n]` float64, nats, of each position.
        same: `[n]` bool, whether the likeliest token is Hugging Face's.
        pcc: of all logits.
        digest: of the logits' bits.
    """

    kl: torch.Tensor
    same: torch.Tensor
    pcc: float
    digest: str

    @property
    def figures(self) -> dict[str, float]:
        """By `configuration.METRICS`."""
        kl, top1 = float(self.kl.mean()), float(self.same.double().mean())
        return {"kl": kl, "top1": top1, "pcc": self.pcc}

    @property
    def top1_interval(self) -> tuple[float, float]:
        """95 % interval of the share."""
        return accuracy.wilson(self.figures["top1"], len(self.same))

    @property
    def kl_interval(self) -> tuple[float, float]:
        """95 % interval of the mean."""
        mean, half = float(self.kl.mean()), uncertainty(self.kl)
        return max(mean - half, 0.0), mean + half

    def gain(self, base: "Measured") -> tuple[float, float]:
        """By how much its mean KL is more than another's on the same text, and to either side."""
        difference = self.kl - base.kl
        return float(difference.mean()), uncertainty(difference)


def uncertainty(values: torch.Tensor) -> float:
    """Half the 95 % interval of the mean of values `[n]`, of which `BLOCK` neighbours are one."""
    blocks = torch.stack([block.mean() for block in values.split(BLOCK)])
    if len(blocks) < 2:
        return math.inf
    return float(accuracy.NORMAL_95 * blocks.std() / math.sqrt(len(blocks)))


def measure(
    model: Callable[..., Any],
    text: Text,
    on_call: Callable[[], object] = lambda: None,
) -> Measured:
    """Lead a model along a text.

    Args:
        on_call: called after each call of the model.

    Raises:
        inputs.ModelFails: the model returns something else than logits and a cache.
    """
    logits = torch.zeros_like(text.logits)
    there = torch.zeros(text.ids.shape, dtype=torch.bool)

    def end(call: walk.ModelCall, actual: torch.Tensor) -> None:
        new = slice(call.ends[0] - actual.shape[1], call.ends[0])
        logits[call.sequence, new] = actual[0].float()
        there[call.sequence, new] = True
        on_call()

    walk.lead(model, text.sequences, end=end, vocab=text.logits.shape[-1])
    return compared(text.logits[there], logits[there])


def compared(expected: torch.Tensor, actual: torch.Tensor) -> Measured:
    """Logits `[n, V]` in float32 against Hugging Face's."""
    return Measured(
        kl=metrics.kl(expected, actual),
        same=expected.argmax(-1) == actual.argmax(-1),
        pcc=metrics.pcc(expected, actual),
        digest=hashlib.sha256(actual.contiguous().numpy().tobytes()).hexdigest(),
    )


def within(figures: Mapping[str, float], metric: str, bound: float) -> bool:
    """Whether figures are as good as a budget asks; NaN is not."""
    value = figures[metric]
    return value <= bound if metric == "kl" else value >= bound

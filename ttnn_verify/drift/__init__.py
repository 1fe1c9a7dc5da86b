"""Where a model on the device goes wrong first, and how its error grows from layer to layer.

`measure` runs a model along a prompt, tokens after it and a second sequence. It intercepts TTNN's
calls, not the model's, and compares their results with what Hugging Face's model computes on the
way: *cumulative*, on the model's own results; *isolated*, each operation on Hugging Face's values.
`python -m ttnn_verify.drift` is the command.
"""

import collections
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ttnn_verify import backend
from ttnn_verify.huggingface import module_floors
from ttnn_verify.numerics import tolerance

backend.quiet()  # before ttnn, which the modules below import

from ttnn_verify.drift import isolated
from ttnn_verify.drift.finding import DriftUndetermined, OpFinding
from ttnn_verify.drift.observation import walk
from ttnn_verify.drift.reference import Reference

__all__ = [
    "DriftResult",
    "DriftUndetermined",
    "OpFinding",
    "attribute",
    "halve",
    "locate",
    "measure",
]

Model = Callable[..., Any]  # called as Hugging Face models are


@dataclasses.dataclass(frozen=True)
class DriftResult:
    """How far a model drifts, and where it begins.

    Attributes:
        table: rows of the embedding, each layer, the norm and the logits.
        findings: of each operation, in their order.
        allowed: relative L2 error of the logits that the roundings of all layers explain.
    """

    table: tuple
    findings: tuple[OpFinding, ...]
    allowed: float

    @property
    def first(self) -> OpFinding | None:
        """The first bad operation, None if there is none."""
        return next((op_finding for op_finding in self.findings if op_finding.bad), None)

    @property
    def counts(self) -> dict[str, int]:
        """status -> how many calls."""
        return dict(collections.Counter(op_finding.status for op_finding in self.findings))

    @property
    def logits_off(self) -> bool:
        """Whether the logits are farther off than all layers' roundings explain."""
        last = self.table[-1]
        error = max((x for x in (last.prompt, last.tokens) if not math.isnan(x)), default=math.nan)
        return not error <= self.allowed

    @property
    def status(self) -> int:
        """As an exit status: 0 no drift, 1 drift, 2 could not tell."""
        if self.first or self.logits_off:
            return 1
        return 2 if not any(op_finding.step is not None for op_finding in self.findings) else 0

    @property
    def line(self) -> str:
        """The verdict in a line."""
        if self.first:
            return f"first bad op: {self.first.line}"
        if self.status == 2:
            return "could not tell: no call was compared with a step of Hugging Face's."
        if self.logits_off:
            last = self.table[-1]
            return (
                "drift, and no operation is to blame: the logits' relative L2 error is "
                f"{last.prompt:.2g} and {last.tokens:.2g}, {self.allowed:.2g} is explained."
            )
        return "no drift: every operation is as far off as its arithmetic explains."


def locate(
    model: Model, hf_model: Any, ids: torch.Tensor, decoded: int = 3, accurate: bool = False
) -> OpFinding | None:
    """The first bad operation, None if there is none; in one run, which it cuts short."""
    sequences, reference = _prepared(hf_model, ids, decoded)
    walked = isolated.run(model, sequences, reference, accurate, first=True)
    return next((op_finding for op_finding in walked.findings if op_finding.bad), None)


def _prepared(
    hf_model: Any, ids: torch.Tensor, decoded: int
) -> tuple[list[walk.TokenSequence], Reference]:
    if not 0 <= decoded < ids.shape[1]:
        raise ValueError(
            f"{decoded} tokens of {ids.shape[1]} after the prompt: at least one is the prompt's."
        )
    sequences = walk.sequences(ids, decoded)
    reference = Reference(hf_model)
    for sequence in sequences:
        for tokens in sequence.rows:
            reference.prepare(tokens)
    return sequences, reference

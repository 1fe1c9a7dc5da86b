"""Stretches of a sequence that the walk does not reach: far positions, beyond a page and a chunk.

To observe each operation there would take long. So the model runs along them unobserved, and only
a stretch whose logits are farther off than those of the walk's prompt is walked, which decides.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from ttnn_verify.drift import isolated
from ttnn_verify.drift.expected_values import ExpectedValues
from ttnn_verify.drift.finding import OpFinding
from ttnn_verify.drift.observation import taps, walk
from ttnn_verify.drift.progress import Run
from ttnn_verify.drift.session import Session
from ttnn_verify.huggingface import bf16_pass
from ttnn_verify.model_file import described

# Positions that a model is built for where nothing else is asked for: a chunk of 1024, and more.
LONGEST = 1152
# Positions times parameters; what is larger takes minutes on the emulated device.
QUICK = 1e11

# Single tokens from one position to another, over the ends of tiles and of pages.
DECODED = ((30, 35), (62, 70))
LAST = 3  # single tokens at the last positions
AROUND = 2  # single tokens before and after the length at which the rotary factors change

# How much farther off a stretch may be than the prompt before it is walked, each by the error of
# Hugging Face's own pass in bfloat16: as a whole, in the worst row. A suspicion costs time and
# accuses nobody.
WHOLE, WORST = 1.3, 2.0


@dataclasses.dataclass(frozen=True)
class Errors:
    """Relative L2 errors of the logits of some rows."""

    whole: float
    worst: float

    def exceed(self, usual: "Errors") -> bool:
        """Whether they are larger than usual; NaN is."""
        return not (self.whole <= WHOLE * usual.whole and self.worst <= WORST * usual.worst)

    def over(self, other: "Errors") -> "Errors":
        """How many times another's they are."""
        return Errors(self.whole / other.whole, self.worst / other.worst)


@dataclasses.dataclass(frozen=True)
class Stretches:
    """What was found along the stretches.

    Attributes:
        findings: of those that were walked.
        left_out: what was not run -> the reason.
        ran: labels of those that were run.
    """

    findings: tuple[OpFinding, ...] = ()
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    ran: tuple[str, ...] = ()

    @property
    def first(self) -> OpFinding | None:
        """The first bad operation, None if there is none."""
        return next((op_finding for op_finding in self.findings if op_finding.bad), None)

    def and_then(self, other: "Stretches") -> "Stretches":
        """Both."""
        left_out = self.left_out | other.left_out
        ran = self.ran + other.ran
        left_out = {label: reason for label, reason in left_out.items() if label not in ran}
        return Stretches(self.findings + other.findings, left_out, ran)


def too_large(hf_model: torch.nn.Module, positions: int) -> str:
    """Why a model is not run to so many positions unasked; "" if it is."""
    parameters = sum(parameter.numel() for parameter in hf_model.parameters())
    if positions * parameters <= QUICK:
        return ""
    return f"it would take long with {parameters:.1e} parameters; --thorough runs it"


def sequences(
    ids: torch.Tensor, positions: int, boundary: int | None = None
) -> list[walk.TokenSequence]:
    """The stretches of a model that is built for so many positions.

    Args:
        ids: `[1, S]`, whose tokens they are made of.
        boundary: length beyond which the rotary factors are others.
    """
    plans: list[tuple[str, tuple[int, ...]]] = []
    for first, last in DECODED:
        if positions >= last:
            plans.append((f"decoding to position {last - 1}", (first, *[1] * (last - first))))
    if boundary is not None and AROUND < boundary <= positions - AROUND:
        plans.append((f"across position {boundary}", (boundary - AROUND, *[1] * 2 * AROUND)))
    if positions > ids.shape[1] + LAST:
        plans.append((f"to position {positions - 1}", (positions - LAST, *[1] * LAST)))
    return [
        walk.TokenSequence(
            (_tokens(ids[0], sum(counts)),), tuple((n,) for n in counts), label, optional=True
        )
        for label, counts in plans
    ]


def _tokens(tokens: torch.Tensor, length: int) -> torch.Tensor:
    """So many tokens: these in ever other orders, so that no part of the text comes twice."""
    generator = torch.Generator().manual_seed(0)
    parts = [tokens]
    while sum(map(len, parts)) < length:
        parts.append(tokens[torch.randperm(len(tokens), generator=generator)])
    return torch.cat(parts)[:length]


Order = Callable[[Sequence[str]], Iterable[str]]  # of all labels, those that are to be run


def run(
    model: Callable[..., Any],
    reference: ExpectedValues,
    usual: walk.TokenSequence,
    stretches: Sequence[walk.TokenSequence],
    first: bool = False,
    session: Session = isolated.ALONE,
    order: Order = tuple,
) -> Stretches:
    """Run the model along stretches, and walk those that look off.

    Args:
        usual: the sequence whose errors are the measure.
        first, session: see `isolated.run`.
        order: which of the stretches, by their labels, in which order.
    """
    along = _Along(model, reference, usual, first, session)
    labelled = {stretch.label: stretch for stretch in stretches}
    found: dict[str, Stretches] = {}
    for label in order(tuple(labelled)):
        found[label] = along.of(labelled[label])
        if first and found[label].first:
            break
    in_place = (found[label] for label in labelled if label in found)
    return functools.reduce(Stretches.and_then, in_place, Stretches())


@dataclasses.dataclass(frozen=True)
class _Along:
    """What `run` is given."""

    model: Callable[..., Any]
    reference: ExpectedValues
    usual: walk.TokenSequence
    first: bool
    session: Session

    def of(self, stretch: walk.TokenSequence) -> Stretches:
        """What is found along a stretch."""
        if len(stretch.rows) == 1:  # several are short, and there is no measure for them
            logits, reason = _logits(self.model, stretch, self.session)
            if reason:
                return Stretches(left_out={stretch.label: reason})
            if not _is_suspicious(self.reference, stretch, logits, self._usual_errors):
                return Stretches(ran=(stretch.label,))
        walked = isolated.run(self.model, [stretch], self.reference, self.first, self.session)
        left_out = dict(walked.left_out)
        ran = () if stretch.label in left_out else (stretch.label,)
        return Stretches(tuple(walked.findings), left_out, ran)

    @functools.cached_property
    def _usual_errors(self) -> dict[bool, Errors]:
        logits, _ = _logits(self.model, self.usual, self.session)
        return _errors(self.reference, self.usual, logits, _recomputed)


def _is_suspicious(
    reference: ExpectedValues,
    stretch: walk.TokenSequence,
    logits: "CallLogits",
    usual: dict[bool, Errors],
) -> bool:
    """Whether logits are off, in whatever way Hugging Face's model may be called."""
    ways = (_recomputed, _continued)
    return all(_off(_errors(reference, stretch, logits, way), usual) for way in ways)


# Of each call of the model whether it is a prompt, and its logits `[n, V]`.
CallLogits = list[tuple[bool, torch.Tensor]]


def _logits(
    model: Callable[..., Any], sequence: walk.TokenSequence, session: Session
) -> tuple[CallLogits, str]:
    """The model's logits along a sequence, and the reason why it does not take it, if so."""
    rows: CallLogits = []
    reason = ""

    def end(call: walk.ModelCall, logits: torch.Tensor) -> None:
        rows.append((call.count > 1, logits[0]))

    def refused(call: walk.ModelCall, error: Exception) -> None:
        nonlocal reason
        reason = described(error)

    told = Run(session.progress, sequence.label, [sequence])
    begin = told.beginning(lambda call: None)
    with taps.intercept(told.observing(lambda call, run: run())):
        walk.lead(model, [sequence], begin, end, refused)
    return rows, reason


@torch.no_grad()
def _recomputed(reference: ExpectedValues, sequence: walk.TokenSequence) -> list[torch.Tensor]:
    """Hugging Face's logits of each call, as a pass over all tokens known then has them."""
    tokens = sequence.rows[0]
    passes: dict[int, torch.Tensor] = {}  # by their lengths
    rows = []
    for call in walk.model_calls([sequence]):
        end = call.ends[0]
        length = next(one for one in reference.regimes(len(tokens)) if end <= one)
        if length not in passes:
            ids = tokens[None, :length]
            passes[length] = reference.hf_model(ids, use_cache=False).logits[0]
        rows.append(passes[length][call.start : end])
    return rows


def _continued(reference: ExpectedValues, sequence: walk.TokenSequence) -> list[torch.Tensor]:
    """The same as Hugging Face's model continues from its own cache.

    It keeps keys that were rotated by the short factors, where a pass over all has the long ones.
    """
    rows: list[torch.Tensor] = []
    walk.lead(reference.hf_model, [sequence], end=lambda call, logits: rows.append(logits[0]))
    return rows


Way = Callable[[ExpectedValues, walk.TokenSequence], list[torch.Tensor]]


def _errors(
    reference: ExpectedValues, sequence: walk.TokenSequence, actual: CallLogits, way: Way
) -> dict[bool, Errors]:
    """Errors of a prompt's rows (True) and of single tokens (False), by those in bfloat16."""
    golden = way(reference, sequence)
    with bf16_pass.rounded(reference.hf_model):
        in_bfloat16 = way(reference, sequence)
    rows: dict[bool, list[tuple[torch.Tensor, ...]]] = {}
    for (prompt, logits), expected, rounded in zip(actual, golden, in_bfloat16, strict=True):
        count = len(logits)
        three = expected[-count:].double(), logits.double(), rounded[-count:].double()
        rows.setdefault(prompt, []).append(three)
    errors = {}
    for prompt, of_kind in rows.items():
        expected, logits, rounded = (torch.cat(tensors) for tensors in zip(*of_kind, strict=True))
        errors[prompt] = _between(expected, logits).over(_between(expected, rounded))
    return errors


def _between(golden: torch.Tensor, actual: torch.Tensor) -> Errors:
    error, size = (actual - golden).norm(dim=-1), golden.norm(dim=-1)
    worst = float((error / size).max())
    return Errors(float(error.norm() / size.norm()), worst if math.isfinite(worst) else math.nan)


def _off(errors: dict[bool, Errors], usual: dict[bool, Errors]) -> bool:
    """Whether any is larger than usual."""
    return any(errors[prompt].exceed(usual.get(prompt, usual[True])) for prompt in errors)

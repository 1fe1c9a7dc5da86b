"""Where a model on the device goes wrong first, and how its error grows from layer to layer.

`measure` runs a model along a prompt, tokens after it and a second sequence. It intercepts TTNN's
calls, not the model's, and compares their results with what Hugging Face's model computes on the
way: *cumulative*, on the model's own results; *isolated*, each operation on Hugging Face's values.
`python -m ttnn_verify.drift` is the command.
"""

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from ttnn_verify import backend

backend.spare_cores()  # before torch
backend.quiet()  # before ttnn

with backend.imports():
    import torch
    import transformers

    from ttnn_verify import cli
    from ttnn_verify.drift import (
        attribution,
        cumulative,
        isolated,
        low_precision,
        search,
        stretches,
    )
    from ttnn_verify.drift.expected_values import ExpectedValues
    from ttnn_verify.drift.finding import DriftUndetermined, OpFinding
    from ttnn_verify.drift.observation import walk
    from ttnn_verify.drift.session import Session
    from ttnn_verify.huggingface import as_called, bf16_pass, module_floors, verdict
    from ttnn_verify.huggingface.as_called import CalledProduct
    from ttnn_verify.numerics import tolerance
    from ttnn_verify.numerics.floors import larger

__all__ = [
    "DriftResult",
    "DriftUndetermined",
    "OpFinding",
    "Session",
    "attribute",
    "further",
    "halve",
    "locate",
    "measure",
]

# How many times the error of Hugging Face's pass in bfloat16 logits may show where no call is to
# blame. Each was judged by its own configuration before; LoFi alone makes 6 times. November 2026.
LOGITS = tolerance.K * verdict.FACTORS["kernel"]

Model = Callable[..., Any]  # called as Hugging Face models are
ALONE = Session()


@dataclasses.dataclass(frozen=True)
class DriftResult:
    """How far a model drifts, and where it begins.

    Attributes:
        table: rows of the embedding, each layer, the norm and the logits.
        findings: of each operation, in their order.
        allowed: relative L2 error of the logits that the roundings of all layers explain.
        left_out: sequence of tokens -> why the model was not run along it.
    """

    table: tuple[cumulative.DepthRow, ...]
    findings: tuple[OpFinding, ...]
    allowed: float
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def first(self) -> OpFinding | None:
        """The first bad operation, None if there is none."""
        return next((op_finding for op_finding in self.findings if op_finding.bad), None)

    @property
    def counts(self) -> dict[str, int]:
        """status -> how many calls."""
        return dict(collections.Counter(op_finding.status for op_finding in self.findings))

    @property
    def low_precision(self) -> list[low_precision.LowPrecision]:
        """The places whose declared precision costs much, which is no drift."""
        return low_precision.of(self.findings)

    @property
    def logits_off(self) -> bool:
        """Whether the logits are farther off than all layers' roundings explain."""
        last = self.table[-1]
        error = max((x for x in (last.prompt, last.tokens) if not math.isnan(x)), default=math.nan)
        return not error <= self.allowed

    @property
    def status(self) -> int:
        """As an exit status: 0 no drift, 1 drift, 125 could not tell."""
        if self.first or self.logits_off:
            return cli.SO
        known = any(op_finding.step is not None for op_finding in self.findings)
        return cli.FINE if known else cli.UNDETERMINED

    @property
    def line(self) -> str:
        """The verdict in a line."""
        if self.first:
            return f"first bad op: {self.first.line}"
        if self.status == cli.UNDETERMINED:
            return "could not tell: no call was compared with a step of Hugging Face's."
        if self.logits_off:
            last = self.table[-1]
            return (
                "drift, and no operation is to blame: the logits' relative L2 error is "
                f"{last.prompt:.2g} and {last.tokens:.2g}, {self.allowed:.2g} is explained."
            )
        return "no drift: every operation is as far off as its arithmetic explains."


def measure(
    model: Model,
    hf_model: Any,
    ids: torch.Tensor,
    decoded: int = 3,
    session: Session = ALONE,
) -> DriftResult:
    """How far a model drifts, in three runs of it.

    Args:
        model: called as Hugging Face models are, its calls are TTNN's.
        hf_model: a causal language model of transformers in float32, attn_implementation="eager".
        ids: `[1, S]`; the last `decoded` tokens are given one at a time, the rest as a prompt.
        session: how calls are judged, results of earlier runs, and who is told how far this one is.

    Raises:
        DriftUndetermined: the model makes no TTNN calls, or not the same ones in each run.
    """
    sequences, reference = _prepared(hf_model, ids, decoded, session)
    walked = isolated.run(model, sequences, reference, session=session)
    alone = cumulative.run(model, walked, isolate=True)
    table = cumulative.run(model, walked)
    allowed = LOGITS * _logits_floor(hf_model, ids, session)
    if walked.block_formats:  # which no pass in bfloat16 explains
        products = [CalledProduct(None, dtype) for dtype in walked.block_formats]
        allowed *= as_called.factor(hf_model, ids, products)
    findings = tuple(walked.findings)
    table = cumulative.with_isolated(table, alone, any(one.bad for one in findings))
    return DriftResult(tuple(table), findings, allowed, walked.left_out)


def with_further(drift: DriftResult, more: stretches.Stretches) -> DriftResult:
    """A result with what was found farther on."""
    findings = drift.findings + more.findings
    left_out = {**drift.left_out, **more.left_out}
    left_out = {label: reason for label, reason in left_out.items() if label not in more.ran}
    return dataclasses.replace(drift, findings=findings, left_out=left_out)


def locate(
    model: Model,
    hf_model: Any,
    ids: torch.Tensor,
    decoded: int = 3,
    session: Session = ALONE,
) -> OpFinding | None:
    """The first bad operation, None if there is none; in one run, which it cuts short."""
    sequences, reference = _prepared(hf_model, ids, decoded, session)
    walked = isolated.run(model, sequences, reference, first=True, session=session)
    return next((op_finding for op_finding in walked.findings if op_finding.bad), None)


def further(
    model: Model,
    hf_model: Any,
    ids: torch.Tensor,
    decoded: int = 3,
    positions: int = stretches.LONGEST,
    first: bool = False,
    session: Session = ALONE,
    order: stretches.Order = tuple,
) -> stretches.Stretches:
    """What goes wrong farther on than `ids` reach; see `stretches`.

    Args:
        positions: that the model is built for.
        first: stop at the first bad operation.
        order: of the labels of all stretches, those of the ones to run, in their order.
    """
    reference = ExpectedValues(hf_model, session.record)
    usual, *others = walk.sequences(ids, decoded)
    several = [sequence for sequence in others if len(sequence.rows) > 1]
    parts = [*several, *stretches.sequences(ids, positions, reference.boundary)]
    return stretches.run(model, reference, usual, parts, first, session, order)


def halve(
    model: Model,
    hf_model: Any,
    ids: torch.Tensor,
    decoded: int = 3,
    session: Session = ALONE,
) -> search.SearchResult:
    """The first bad operation by halving, in few runs that read a value each.

    Halving takes calls for steps by their order and kind. So what it suspects is walked before it
    is accused, once, up to the first bad operation.
    """
    sequences, reference = _prepared(hf_model, ids, decoded, session)
    sequences = [sequence for sequence in sequences if not sequence.optional]
    suspected = search.search(model, sequences, reference, session.progress)
    if suspected.step is None:
        return suspected
    walked = isolated.run(model, sequences, reference, first=True, session=session)
    evaluations = suspected.evaluations + 1
    found = next((op_finding for op_finding in walked.findings if op_finding.bad), None)
    if found is None:
        return dataclasses.replace(suspected, step=None, operation=None, evaluations=evaluations)
    known = (step for step in reference.steps if (step.layer, step.short) == found.value_place)
    step, operation = next(known, suspected.step), found.operation
    return dataclasses.replace(suspected, step=step, operation=operation, evaluations=evaluations)


def attribute(
    model: Model,
    hf_model: Any,
    ids: torch.Tensor,
    decoded: int = 3,
    session: Session = ALONE,
) -> list[attribution.Share]:
    """The share of the logits' error for each family of operations."""
    sequences, reference = _prepared(hf_model, ids, decoded, session)
    return attribution.run(model, sequences[0], reference, session.progress)


def _logits_floor(hf_model: Any, ids: torch.Tensor, session: Session) -> float:
    """Relative L2 error of the logits that a pass in bfloat16 explains."""
    measures = [bf16_pass.of_logits]
    if isinstance(hf_model, transformers.Phi3ForCausalLM):  # attention as the kernels compute it
        measures.append(module_floors.of_logits)
    floors = [session.floor(measure, hf_model, ids) for measure in measures]
    return larger(*floors).relative_l2


def _prepared(
    hf_model: Any, ids: torch.Tensor, decoded: int, session: Session
) -> tuple[list[walk.TokenSequence], ExpectedValues]:
    if not 0 <= decoded < ids.shape[1]:
        raise ValueError(
            f"{decoded} tokens of {ids.shape[1]} after the prompt: at least one is the prompt's."
        )
    sequences = walk.sequences(ids, decoded)
    reference = ExpectedValues(hf_model, session.record)
    rows = [tokens for sequence in sequences for tokens in sequence.rows]
    session.begin("Hugging Face's passes", [f"{len(tokens)} tokens" for tokens in rows])
    for number, tokens in enumerate(rows):
        session.call(number)
        reference.prepare(tokens)
    return sequences, reference

"""Each operation of a model on Hugging Face's own values, in one run.

After a call that computes one of Hugging Face's values, its result is compared with what Hugging
Face's step computes from the same inputs, then replaced on the device by Hugging Face's value, so
that later calls are not blamed for earlier errors. Every call, including those between, is also
compared with what is expected from its own operands. A call whose own result is right and whose
step is wrong was *used* wrongly: with a wrong constant, argument or operand.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import ttnn

from ttnn_verify.drift import finding, judging
from ttnn_verify.drift.blame import blame
from ttnn_verify.drift.caches import cache_finding
from ttnn_verify.drift.finding import OpFinding
from ttnn_verify.drift.observation import reading, taps, tracing, walk
from ttnn_verify.drift.observation.hf_values import HfValue
from ttnn_verify.drift.observed import (
    Observed,
    Origin,
    WalkPlan,
    WalkState,
    operands_of,
    read,
    where_of,
)
from ttnn_verify.numerics import metrics, op_floors, tolerance
from ttnn_verify.ops import table

# What the model returns are the device's logits; on the host they may be rounded once more.
RETURNED = 2.0**-7


class _Enough(Exception):
    """The first bad call has been found."""


def run(
    model: Callable[..., Any],
    sequences: Sequence[walk.TokenSequence],
    traced: Sequence[tracing.TracedCall],
    steps: Sequence[HfValue],
    accurate: bool = False,
    first: bool = False,
) -> list[OpFinding]:
    """Run the model once, every step on Hugging Face's values; one finding per call, in order.

    Args:
        traced: from `tracing.trace` on the same walk.
        accurate: see `ops.expected.CallContext`.
        first: stop at the first bad call.

    Raises:
        DriftUndetermined: the model's calls differ from the traced run's.
    """
    pairs = tracing.paired_heads(traced, steps)
    plan = WalkPlan(sequences, traced, {step.name: step for step in steps}, pairs, accurate)
    walked = _Walk(plan, first)
    with taps.intercept(walked.observe), contextlib.suppress(_Enough):
        walk.lead(model, sequences, walked.begin, walked.end)
    return sorted(walked.findings, key=lambda op_finding: op_finding.place)


class _Walk:
    """Has each call of a walk judged, and replaces results by Hugging Face's values."""

    def __init__(self, plan: WalkPlan, first: bool) -> None:
        self.plan, self.first = plan, first
        self.findings: list[OpFinding] = []
        self.memory = WalkState()
        self.reader = reading.Reader()
        self.model_call, self.traced = walk.model_calls(plan.sequences)[0], plan.traced[0]
        self.index = 0  # of the next operation in this call of the model

    def begin(self, model_call: walk.ModelCall) -> None:
        self.model_call, self.index = model_call, 0
        self.traced = self.plan.traced[model_call.number]
        self.memory.origins.clear()

    def end(self, model_call: walk.ModelCall, logits: torch.Tensor) -> None:
        count = len(self.traced.calls)
        if self.index != count:
            raise tracing.DriftUndetermined(
                f"{model_call}: {self.index} calls, {count} when it was traced."
            )
        if any(matched.call_of("logits") for matched in self.traced.passes):
            op_finding = returned_finding(self.plan, model_call, self.index, logits)
            if op_finding is not None:
                self._add(op_finding)

    def observe(self, call: taps.TtnnCall, run: Callable[[], Any]) -> Any:
        index, self.index = self.index, self.index + 1
        self.traced.check(self.model_call, index, call.name)
        if not table.spec_of(call.name).judged:
            result = run()
            for tensor in tracing.rewritten(call):
                self.reader.note_write(tensor)
            return result
        operands = operands_of(call, self.reader, self.memory.origins)
        caches = [cache for cache, _ in tracing.written_pairs(call)]
        result = run()
        outputs = taps.device_tensors([result])
        for tensor in (*caches, *outputs):
            self.reader.note_write(tensor)
        outputs = caches or outputs
        observed = Observed(
            call,
            self.model_call,
            index,
            self.traced.pass_of(index),
            operands,
            tuple(read(tensor, self.reader, self.memory.origins) for tensor in outputs),
        )
        for op_finding in self._findings(observed, outputs):
            self._add(op_finding)
        return result

    def _add(self, op_finding: OpFinding) -> None:
        self.findings.append(op_finding)
        if self.first and op_finding.bad:
            raise _Enough

    def _findings(self, observed: Observed, outputs: list[ttnn.Tensor]) -> Iterator[OpFinding]:
        """The findings on a call: of each cache and step, or else of the call itself."""
        own = judging.own_verdicts(observed, self.plan.accurate)
        if observed.operands.sources:
            for number in range(len(outputs)):
                yield cache_finding(self.plan, self.memory, observed, number, own)
            return
        source = next(iter(observed.operands.origins), None)
        for output, result in enumerate(observed.results):
            step = observed.steps.get(output)
            if step is None and result.origin and table.spec_of(observed.name).moves:
                continue  # a view
            if step is None:
                noise = math.hypot(observed.operands.noise, own.noise(output))
                origin = Origin(None, noise, (observed.index, observed.name), source)
            else:
                yield self._step_finding(observed, output, outputs[output], own)
                origin = Origin(step.name, 0.0, (observed.index, observed.name), source)
            self.memory.origins[result.buffer] = origin
        if not observed.steps:
            yield observed.finding(own.status, observed.nearby, own=own.worst, note=own.note)

    def _step_finding(
        self, observed: Observed, output: int, tensor: ttnn.Tensor, own: judging.OwnVerdicts
    ) -> OpFinding:
        """Compare a result with its step, and put Hugging Face's value in its place."""
        step, result = observed.steps[output], observed.results[output]
        on_step = judging.step_verdict(self.plan, self.memory, observed, output, own)
        where = where_of(step)
        if on_step.layout is None:
            note = (
                f"a result of shape {list(result.shape)} has no room for {list(step.shape)} a row"
            )
            return observed.finding(finding.TOOL_ERROR, where, own=own.worst, note=note)
        expected = self.plan.values(observed.model_call).bf16[step.name]
        expected = expected[observed.rows.start : observed.rows.stop]
        self.reader.write(tensor, on_step.layout.write(result.values, expected))
        if on_step.verdict is None:
            note = own.note or "it is given what an operation without a golden computed"
            status = finding.WRONG if own.wrong else own.unknown or finding.NO_GOLDEN
            return observed.finding(status, where, own=own.worst, note=note)
        if on_step.verdict.passed or own.wrong:
            return observed.finding(own.status, where, own=own.worst, step=on_step.verdict)
        return blame(self.plan, self.memory, observed, step, own.worst, on_step.verdict)


def returned_finding(
    plan: WalkPlan, model_call: walk.ModelCall, index: int, logits: torch.Tensor
) -> OpFinding | None:
    """The finding on what the model does to its logits on the host, after its last call.

    Args:
        index: number of operations in this call of the model.
        logits: `[1, S, V]` that it returns.
    """
    expected = plan.values(model_call).bf16["logits"]
    expected = expected[model_call.start : model_call.start + model_call.count]
    actual = logits[0].float()[-len(expected) :]
    expected = expected[-len(actual) :]
    comparison = metrics.compare(expected, actual)
    verdict = tolerance.judge(comparison, op_floors.Floor(RETURNED, RETURNED), k=1)
    if verdict.passed:
        return None
    return OpFinding(
        finding.UNEQUAL,
        model_call,
        index,
        "ttnn.to_torch",
        part="head",
        value="logits",
        step=verdict,
        note="the model returns other rows or values than its last operation made",
    )

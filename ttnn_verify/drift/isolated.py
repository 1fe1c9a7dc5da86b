"""Each operation of a model on Hugging Face's own values, in one run.

Every call is compared with what is expected from its own operands. A result that holds one of
Hugging Face's values, which `identification` decides by the values themselves, is also compared
with what Hugging Face's step computes, and then replaced on the device by Hugging Face's value, so
that later calls are not blamed for earlier errors. What no call computes matters only where the
logits are wrong: then `blame` asks where the model left Hugging Face's way.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from ttnn_verify.drift import finding
from ttnn_verify.drift.candidates import Candidates
from ttnn_verify.drift.expected_values import ExpectedValues
from ttnn_verify.drift.finding import DriftUndetermined, OpFinding
from ttnn_verify.drift.judgement import judging
from ttnn_verify.drift.judgement.blame import Blame
from ttnn_verify.drift.mesh import found_parts
from ttnn_verify.drift.observation import reading, taps, walk
from ttnn_verify.drift.observation.identification import Found
from ttnn_verify.drift.observed import (
    Observed,
    Origin,
    Where,
    operands_of,
    read,
    rewritten,
    where_of,
    written_pairs,
)
from ttnn_verify.drift.progress import Run
from ttnn_verify.drift.session import Session
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.model_file import described
from ttnn_verify.numerics import metrics, op_floors, tolerance
from ttnn_verify.ops import table

ALONE = Session()

# Relative L2 error of returned logits that no call has made as such, whatever is not known of them.
UNSEEN = 0.05
# What the model returns are the device's logits; on the host they may be rounded once more.
RETURNED = 2.0**-7


class _Enough(BaseException):
    """The first bad call has been found."""


class _ToolFails(BaseException):
    """Observing fails, which is no failure of the model; its cause is the error."""


def run(
    model: Callable[..., Any],
    sequences: Sequence[walk.TokenSequence],
    reference: ExpectedValues,
    first: bool = False,
    session: Session = ALONE,
) -> "Walked":
    """Run the model once, on Hugging Face's values wherever they are found.

    Args:
        first: stop at the first bad call.
        session: judges calls by their own operands, and is told of them.

    Raises:
        DriftUndetermined: the model calls no operation of TTNN.
    """
    reference = reference.along(tokens for sequence in sequences for tokens in sequence.rows)
    walked = Walked(sequences, reference, first, session)
    told = Run(session.progress, "isolated walk", sequences)
    begin, observe = told.beginning(walked.begin), told.observing(walked.observe)
    try:
        with taps.intercept(observe), contextlib.suppress(_Enough):
            vocab = reference.vocab
            walk.lead(model, sequences, begin, walked.end, walked.refused, vocab)
    except _ToolFails as failed:
        raise RuntimeError("drift itself fails") from failed.__cause__
    if not any(walked.names) and not walked.left_out:
        raise DriftUndetermined("the model calls no operation of TTNN.")
    walked.findings.sort(key=lambda op_finding: op_finding.place)
    return walked


class Walked:
    """A walk: judges each call, and replaces results by Hugging Face's values.

    Attributes:
        findings: one per call, and more where a call makes several values.
        left_out: label of a sequence that the model refuses -> its reason.
        places: per call of the model, (index, number of the result) -> the value that is found
            there and how it lies.
        block_formats: those of operands of products.
    """

    def __init__(
        self,
        sequences: Sequence[walk.TokenSequence],
        reference: ExpectedValues,
        first: bool,
        session: Session,
    ) -> None:
        self.sequences, self.reference = sequences, reference
        self.first, self.session = first, session
        self.findings: list[OpFinding] = []
        self.left_out: dict[str, str] = {}
        self.places: list[dict[tuple[int, int], Found]] = []
        self.names: list[list[str]] = []
        self.block_formats: set[str] = set()
        self.candidates = Candidates(sequences, reference)
        self.reader = reading.Reader()
        self.blame = Blame(reference, sequences, self.candidates.finder)
        self.model_call = walk.model_calls(sequences)[0]
        self.calls: list[Observed] = []
        self.origins: dict[int, Origin] = {}

    # --- the walk -------------------------------------------------------------------------------

    def begin(self, model_call: walk.ModelCall) -> None:
        self.model_call, self.calls = model_call, []
        self.origins.clear()
        self.candidates.begin(model_call)
        self.places.append({})
        self.names.append([])

    def observe(self, call: taps.TtnnCall, run: Callable[[], Any]) -> Any:
        """Run a call of the model, judge it and replace what it makes.

        Raises:
            Exception: what the call itself raises.
        """
        own: list[Exception] = []

        def run_noted() -> Any:
            try:
                return run()
            except Exception as error:
                own.append(error)
                raise

        try:
            return self._observed(call, run_noted)
        except Exception as error:
            if error in own:
                raise
            raise _ToolFails from error

    def _observed(self, call: taps.TtnnCall, run: Callable[[], Any]) -> Any:
        self.names[-1].append(call.name)
        index = len(self.names[-1]) - 1
        if not table.spec_of(call.name).judged:
            return self._unjudged(call, run)
        operands = operands_of(call, self.reader, self.origins, self.session.on_bad is not None)
        caches = [cache for cache, _ in written_pairs(call)]
        result = run()
        outputs = taps.device_tensors([result])
        for tensor in (*caches, *outputs):
            self.reader.note_write(tensor)
        outputs = caches or outputs
        results = tuple(read(tensor, self.reader, self.origins) for tensor in outputs)
        observed = Observed(call.name, call.operation, self.model_call, index, operands, results)
        self.calls.append(observed)
        self.block_formats |= observed.block_formats if observed.kind == "product" else set()
        own = self.session.own_verdicts(observed)
        observed.status, observed.wrong_on = own.status, own.wrong_on
        observed.noise = tuple(own.noise(n) for n in range(len(results)))
        if caches:
            self._add(observed.finding(own.status, self._nearby(), own=own.worst, note=own.note))
            self.blame.writes.note(observed)
            return result
        observed.paths = tuple(taps.paths(result))
        if not self._hold_values(observed, outputs, own):
            where = self._proposed(observed) if own.wrong else self._nearby()
            self._add(observed.finding(own.status, where, own=own.worst, note=own.note))
        observed.forget_weights()
        return result

    def _unjudged(self, call: taps.TtnnCall, run: Callable[[], Any]) -> Any:
        """Run a call that computes nothing on the device."""
        result = run()
        for tensor in rewritten(call):
            self.reader.note_write(tensor)
            self.origins.pop(tensor.buffer_unique_id(), None)
        return result

    def _hold_values(
        self, observed: Observed, outputs: Sequence[Any], own: judging.OwnVerdicts
    ) -> bool:
        """Judge and replace what results hold of Hugging Face's values; whether they hold any."""
        known = False
        for number, tensor in enumerate(outputs):
            op_finding = self._identified(observed, number, own)
            if op_finding is not None:
                known = True
                self._replace(observed, number, tensor)
                self._add(op_finding)
            self._set_origin(observed, number)
        return known

    def check(self, model_call: walk.ModelCall, index: int, name: str) -> None:
        """Compare an operation that is called in another run of the model with the one in this.

        Raises:
            DriftUndetermined: they differ.
        """
        names = self.names[model_call.number] if model_call.number < len(self.names) else []
        before = names[index] if index < len(names) else "none"
        if before != name:
            raise DriftUndetermined(
                f"{model_call}: call {index} is {name}, it was {before} in the first run."
            )

    def end(self, model_call: walk.ModelCall, logits: torch.Tensor) -> None:
        begun = any(f.bad and f.model_call.number == model_call.number for f in self.findings)
        op_finding = None if begun else self._on_returned(logits)
        if op_finding is not None:
            self._add(op_finding)

    def refused(self, model_call: walk.ModelCall, error: Exception) -> None:
        """Note that the model does not take a sequence; what it did of it proves nothing."""
        self.left_out[model_call.label] = described(error)
        self.findings = [f for f in self.findings if f.model_call.sequence != model_call.sequence]

    def observed_at(self, place: tuple[int, int]) -> Observed | None:
        """A call of this call of the model, or one that wrote to a cache; None of others."""
        return next(
            (op for op in (*self.calls, *self.blame.writes.calls) if op.place == place), None
        )

    def _add(self, op_finding: OpFinding) -> None:
        if op_finding.bad and self.session.on_bad is not None:
            self.session.on_bad(op_finding, self)
        self.findings.append(dataclasses.replace(op_finding, intended=None))
        if self.first and op_finding.bad:
            raise _Enough

    def _proposed(self, observed: Observed) -> Where:
        """The place of the value that a wrong result should be, by kind and operands."""
        done = {name for op in self.calls for name in op.names}
        given = observed.operands.names
        for step in self.reference.steps:
            fits = step.kind == observed.kind and step.within is None and step.name not in done
            if fits and (not step.inputs or any(name in given for name in step.inputs)):
                return where_of(step)
        return self._nearby()

    def _nearby(self) -> Where:
        """The place of the last value that was found, without its name."""
        found = [f for op in self.calls for one in op.found.values() for f in one[:1]]
        if not found:
            return Where(None, None, "embedding")
        step = self.blame.step(found[-1].name)
        return Where(step.layer, None, step.part)

    # --- a result -------------------------------------------------------------------------------

    def _identified(
        self, observed: Observed, number: int, own: judging.OwnVerdicts
    ) -> OpFinding | None:
        """The finding on a result as one of Hugging Face's values; None if it is none."""
        result = observed.results[number]
        if not result.values.is_floating_point() or result.values.dim() < 2:
            return None
        result, found = found_parts.find(
            result, lambda values: self.candidates.find(observed, values)
        )
        if not found:
            return None
        observed.results = tuple(
            result if place == number else one for place, one in enumerate(observed.results)
        )
        observed.found[number] = found
        self.candidates.note(observed, number)
        best = found[0]
        self.places[-1][observed.index, number] = best
        if observed.moves and best.name in observed.operands.names:
            where = where_of(self.blame.step(best.name))
            return observed.finding(own.status, where, own=own.worst, note=own.note)
        findings = [self._as_value(observed, number, one, own) for one in observed.held(number)]
        return next((one for one in findings if one.bad), findings[0])

    def _as_value(
        self, observed: Observed, number: int, found: Found, own: judging.OwnVerdicts
    ) -> OpFinding:
        """The finding on a result as the value that was found in it."""
        step = self.blame.step(found.name)
        given = set(observed.operands.names)
        found = _given_rows(observed, step, found)
        handed_on = self._handed_on(step, given)
        expected = self._expected_as(step, found, given, handed_on)
        absent = 0 if handed_on else sum(name not in given for name in step.inputs)
        verdict = judging.step_verdict(observed, number, found, expected, own, absent, step)
        if verdict is not None and not verdict.passed:
            result, allowed = observed.results[number], verdict.allowed[0]
            observed.off_on = found_parts.off(result, found, expected, allowed)
        other = "" if own.wrong else judging.other_constant(observed, step, found)
        where = where_of(step)
        if other:
            misused = observed.finding(
                finding.MISUSED, where, own=own.worst, step=verdict, note=other
            )
        elif verdict is None or verdict.passed or own.wrong:
            return observed.finding(own.status, where, own=own.worst, step=verdict, note=own.note)
        else:
            misused = self.blame.misused(self.calls[:-1], observed, step, own.worst, verdict)
        if verdict is None or misused.place != observed.place:
            return misused
        index = found.arrangement.index[found.rows]
        intended = finding.Intended((step.name,), number, expected, index, verdict.allowed)
        return dataclasses.replace(misused, intended=intended)

    def _expected_as(
        self, step: HfValue, found: Found, given: Collection[str], handed_on: bool
    ) -> torch.Tensor:
        """The rows that a call should make of what it is given."""
        if handed_on:
            return self.candidates.expected(step).rows[found.positions].bfloat16().float()
        # what is within it may have been replaced by Hugging Face's, which rounds nothing
        on_the_way = any(self.blame.step(name).within == step.name for name in given)
        return self.candidates.expected(step, not on_the_way).rows[found.positions]

    def _handed_on(self, step: HfValue, given: Collection[str]) -> bool:
        """Whether operands hold a value, or what it is a part of."""
        if step.name in given:
            return True
        return step.kind == "heads" and all(
            self._handed_on(self.blame.step(name), given) for name in step.inputs
        )

    def _replace(self, observed: Observed, number: int, tensor: Any) -> None:
        """Put Hugging Face's values in the place of a result."""
        result = observed.results[number]
        values, held = result.values, observed.held(number)
        for one in held:
            rows = self.candidates.expected(self.blame.step(one.name)).rows[one.positions]
            values = one.write(values, rows.bfloat16().float())
        self.reader.write(tensor, *found_parts.written(result, held[0], values))

    def _set_origin(self, observed: Observed, number: int) -> None:
        found = observed.held(number)
        result = observed.results[number]
        sources = observed.operands.origins
        # a multiple of a value in bfloat16 is rounded once more
        noise = judging.ROUNDING if any(one.factor != 1.0 for one in found) else 0.0
        if not found:
            noise = math.hypot(observed.operands.noise, observed.noise[number])
        self.origins[result.buffer] = Origin(found, noise, (observed.index, observed.name), sources)

    # --- what the model returns -----------------------------------------------------------------

    def _on_returned(self, logits: torch.Tensor) -> OpFinding | None:
        """The finding on the logits `[B, S, V]` that a call of the model returns."""
        step = self.blame.step("logits")
        expected = self.candidates.expected(step)
        golden, shown = zip(*expected.beside(logits), strict=True)
        positions: set[int] = set()
        for part, (_, end, _) in zip(shown, expected.runs(), strict=True):
            positions |= set(range(end - len(part), end))
        comparison = metrics.compare(torch.cat(golden).bfloat16().float(), torch.cat(shown))
        made = self._positions_of("logits")
        floor = op_floors.Floor(RETURNED, RETURNED)
        if not positions <= made:  # as one tensor: parts may have been joined on the host
            allowed = min(max(RETURNED, tolerance.K * self._noise_at_the_end()), UNSEEN)
            floor = op_floors.Floor(allowed, tolerance.K * allowed)
        verdict = tolerance.judge(comparison, floor, k=1)
        if verdict.passed:
            return None
        if positions <= made:
            return OpFinding(
                finding.UNEQUAL,
                self.model_call,
                len(self.names[-1]),
                "ttnn.to_torch",
                part="head",
                value="logits",
                step=verdict,
                note="the model returns other rows or values than its last operation made",
            )
        return self.blame.first(self.calls, self.model_call, verdict)

    def _positions_of(self, name: str) -> set[int]:
        """The positions at which results hold a value above all."""
        held = (found[0] for op in self.calls for found in op.found.values())
        return {position for one in held if one.name == name for position in one.positions.tolist()}

    def _noise_at_the_end(self) -> float:
        """Relative L2 error that the calls after the last value that was found explain."""
        last = max((op.index for op in self.calls if op.found), default=0)
        return math.hypot(*(n for op in self.calls if op.index > last for n in op.noise))


def _given_rows(observed: Observed, step: HfValue, found: Found) -> Found:
    """What was found, in the rows for which the operands hold the inputs of the step.

    In others an input was too far off to be found and replaced; its own call answers for that.
    """
    given = torch.ones(len(found.positions), dtype=torch.bool)
    for name in step.inputs:
        held = set().union(*(origin.positions(name) for origin in observed.operands.origins))
        if held:
            given &= torch.tensor([position in held for position in found.positions.tolist()])
    if given.all() or not given.any():
        return found
    return dataclasses.replace(found, rows=found.rows[given], positions=found.positions[given])

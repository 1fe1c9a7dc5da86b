"""Where a model whose logits are wrong left Hugging Face's way, though its calls compute rightly.

The first of Hugging Face's steps whose value no call makes, and nothing that follows from it
either, is where: the call that is given the inputs of that step, and makes something else of them,
is used wrongly; if there is none, the step is missing.
"""

import dataclasses
from collections.abc import Collection, Iterable, Sequence

from ttnn_verify.drift import finding
from ttnn_verify.drift.finding import OpFinding
from ttnn_verify.drift.observation.walk import ModelCall, TokenSequence
from ttnn_verify.drift.observed import Observed, Origin, Where, where_of
from ttnn_verify.drift.reference import Reference
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.numerics import tolerance

CONSTANT = "it computes rightly from what it is given: a constant or an argument is wrong"
OTHER_PART = "it takes other rows or columns of {} than are expected"


@dataclasses.dataclass(frozen=True)
class Write:
    """A call that wrote a cache."""

    observed: Observed
    number: int
    source: Origin | None


class Blame:
    """Asks which call is to blame, with what is known of the calls so far."""

    def __init__(self, reference: Reference, sequences: Sequence[TokenSequence]) -> None:
        self.reference, self.sequences = reference, sequences
        self.writes: dict[int, list[Write]] = {}

    def step(self, name: str) -> HfValue:
        """The step that computes a value."""
        return next(step for step in self.reference.steps if step.name == name)

    def note_write(self, observed: Observed) -> None:
        """Remember a call that writes caches."""
        for number, (cache, source) in enumerate(
            zip(observed.results, observed.operands.sources, strict=False)
        ):
            self.writes.setdefault(cache.buffer, []).append(Write(observed, number, source.origin))

    def end(self, calls: Sequence[Observed]) -> None:
        """A call of the model is over."""

    # --- a result that is nearly right ----------------------------------------------------------

    def misused(
        self,
        observed: Observed,
        step: HfValue,
        own: tolerance.Verdict | None,
        verdict: tolerance.Verdict,
    ) -> OpFinding:
        """The finding on a result that is right for its operands and not quite the step's value."""
        given = observed.operands.names
        note = CONSTANT
        absent = [name for name in step.inputs if name not in given]
        if given and absent and all(o.found for o in observed.operands.origins):
            note = f"it is given {', '.join(given)}; {', '.join(step.inputs)} are expected"
        return observed.finding(finding.MISUSED, where_of(step), own=own, step=verdict, note=note)

    # --- a value that is missing ----------------------------------------------------------------

    def first(
        self, calls: Sequence[Observed], model_call: ModelCall, verdict: tolerance.Verdict
    ) -> OpFinding:
        """The finding on the call where a model leaves Hugging Face's way."""
        graph = _Graph(calls)
        step = self._first_missing(graph)
        if step is None:
            return OpFinding(
                finding.UNEQUAL,
                model_call,
                len(calls),
                "ttnn.to_torch",
                None,
                "head",
                "logits",
                step=verdict,
                note="all values before them are Hugging Face's",
            )
        inner = self._first_inner(step, graph)
        for one in filter(None, (inner, step)):
            found = self._consumer(one, graph)
            if found is not None:
                where = Where(step.layer, step.short, step.part)
                if found.status in (finding.NO_GOLDEN, finding.TOOL_ERROR):
                    return found.finding(found.status, where, step=verdict)
                return self._on_consumer(found, one, step, graph, verdict)
        return self._missing(step, graph, calls, model_call, verdict)

    def _first_missing(self, graph: "_Graph") -> HfValue | None:
        """The first step whose value is not found, nor anything that follows from it."""
        followed = self._followed(graph)
        for step in self.reference.steps:
            if step.within is None and step.name not in followed:
                return step
        return None

    def _followed(self, graph: "_Graph") -> set[str]:
        """Names of the values that are found, and of those from which found ones follow."""
        followed = set(graph.found)
        for step in reversed(self.reference.steps):
            if step.name in followed and step.within is None:
                followed.update(step.inputs)
        return followed

    def _first_inner(self, step: HfValue, graph: "_Graph") -> HfValue | None:
        """The first inner step that is not found, of a step of which some are."""
        inner = [one for one in self.reference.steps if one.within == step.name]
        if not any(one.name in graph.found and one.kind != "heads" for one in inner):
            return None
        followed = {one.name for one in inner if one.name in graph.found}
        for one in reversed(inner):
            if one.name in followed:
                followed.update(one.inputs)
        return next((one for one in inner if one.name not in followed), None)

    def _consumer(self, step: HfValue, graph: "_Graph") -> Observed | None:
        """The unexplained call that is given a step's inputs, None if there is none."""
        carried = {name: graph.carriers(name) for name in step.inputs}
        moving = step.kind == "heads"
        best: tuple[int, bool, int] | None = None
        chosen = None
        inner = {one.name for one in self.reference.steps if one.within == step.name}
        for observed in graph.unexplained(inner):
            if observed.moves and not moving:
                continue
            given = sum(bool(graph.given(observed) & buffers) for buffers in carried.values())
            if not given and step.inputs:
                continue
            fits = observed.kind == step.kind
            if step.inputs and given < len([b for b in carried.values() if b]) and not fits:
                continue
            if not step.inputs and not fits:
                continue
            rank = (given, fits, -observed.index)
            if best is None or rank > best:
                best, chosen = rank, observed
        return chosen

    def _on_consumer(
        self,
        observed: Observed,
        step: HfValue,
        outer: HfValue,
        graph: "_Graph",
        verdict: tolerance.Verdict,
    ) -> OpFinding:
        where = Where(outer.layer, outer.short, outer.part)
        given = observed.operands.names
        note = CONSTANT
        if any(name not in given for name in step.inputs) and given:
            note = f"it is given {', '.join(given)}; {', '.join(step.inputs)} are expected"
        return observed.finding(finding.MISUSED, where, step=verdict, note=note)

    def _missing(
        self,
        step: HfValue,
        graph: "_Graph",
        calls: Sequence[Observed],
        model_call: ModelCall,
        verdict: tolerance.Verdict,
    ) -> OpFinding:
        buffers = set().union(*(graph.carriers(name) for name in step.inputs))
        after = next(
            (op for op in graph.unexplained() if graph.given(op) & buffers),
            calls[-1] if calls else None,
        )
        where = Where(step.layer, step.short, step.part)
        name = f"a call of kind {step.kind}"
        note = f"no call makes {step.name}; it is missed here"
        if after is None:
            return OpFinding(finding.MISSING, model_call, 0, name, *where, step=verdict, note=note)
        return after.finding(finding.MISSING, where, operation=name, step=verdict, note=note)


class _Graph:
    """How the calls of a call of the model hang together.

    Attributes:
        found: names of the values that some call's result holds as they are.
    """

    def __init__(self, calls: Sequence[Observed]) -> None:
        self.calls = calls
        self.found: set[str] = set()
        self._carriers: dict[str, set[int]] = {}
        for observed in calls:
            for number, all_found in observed.found.items():
                for one in all_found:
                    if one.factor == 1.0:
                        self.found.add(one.name)
                    self._carriers.setdefault(one.name, set()).add(observed.results[number].buffer)
        self._through = self._moved_through()

    def carriers(self, name: str) -> set[int]:
        """Buffers that hold a value."""
        return self._carriers.get(name, set())

    def unexplained(self, ignored: Collection[str] = ()) -> Iterable[Observed]:
        """The calls whose results are no values of Hugging Face's, nor lead to any.

        Args:
            ignored: names of values that explain no call.
        """
        explained = self._find_explained(ignored)
        return (op for op in self.calls if op.index not in explained)

    def given(self, observed: Observed) -> set[int]:
        """Buffers of a call's operands, and those that they were moved from."""
        direct = {tensor.buffer for tensor in observed.operands.tensors}
        return direct.union(*(self._through.get(buffer, set()) for buffer in direct))

    def _find_explained(self, ignored: Collection[str]) -> set[int]:
        explained: set[int] = set()
        needed: set[int] = set()
        for observed in reversed(self.calls):
            made = {result.buffer for result in observed.results}
            exact = any(
                one.factor == 1.0 and one.name not in ignored
                for found in observed.found.values()
                for one in found
            )
            if exact or made & needed:
                explained.add(observed.index)
                needed |= {tensor.buffer for tensor in observed.operands.tensors}
        return explained

    def _moved_through(self) -> dict[int, set[int]]:
        """Buffer -> buffers that its contents were moved from, by unexplained calls."""
        through: dict[int, set[int]] = {}
        for observed in self.calls:
            if not observed.moves or observed.found:
                continue
            before = {tensor.buffer for tensor in observed.operands.tensors}
            before = before.union(*(through.get(buffer, set()) for buffer in before))
            for result in observed.results:
                through.setdefault(result.buffer, set()).update(before)
        return through

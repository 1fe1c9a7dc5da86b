"""Where a model whose logits are wrong left Hugging Face's way, though its calls compute rightly.

The first of Hugging Face's steps whose value no call makes, and nothing that follows from it
either, is where: the call that is given the inputs of that step, and makes something else of them,
is used wrongly; if there is none, the step is missing.
"""

import dataclasses
from collections.abc import Iterator, Sequence

from ttnn_verify.drift import finding
from ttnn_verify.drift.expected_values import ExpectedRows, ExpectedValues
from ttnn_verify.drift.finding import OpFinding
from ttnn_verify.drift.judgement import judging
from ttnn_verify.drift.judgement.caches import CacheWrites
from ttnn_verify.drift.judgement.call_graph import CallGraph, Rank
from ttnn_verify.drift.mesh import chip_blame
from ttnn_verify.drift.observation import arrangements
from ttnn_verify.drift.observation.identification import Finder, Found
from ttnn_verify.drift.observation.walk import ModelCall, TokenSequence, model_calls
from ttnn_verify.drift.observed import Observed, where_of
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.numerics import tolerance

CONSTANT = "it computes rightly from what it is given: a constant or an argument is wrong"
OTHER_PART = "it takes other rows or columns of {} than are expected"

ACTIVATION = "activation"  # a kind of steps that no operation of TTNN is of alone
UNJUDGED = (finding.NO_GOLDEN, finding.TOOL_ERROR)


class Blame:
    """Asks which call is to blame, with what is known of the calls so far."""

    def __init__(
        self,
        reference: ExpectedValues,
        sequences: Sequence[TokenSequence],
        finder: Finder,
    ) -> None:
        self.reference, self.sequences, self.finder = reference, sequences, finder
        self.writes = CacheWrites(finder.orders)

    def _graph(self, calls: Sequence[Observed], model_call: ModelCall) -> CallGraph:
        return CallGraph(calls, model_call, self.reference.steps)

    def step(self, name: str) -> HfValue:
        """The step that computes a value."""
        return self.reference.step(name)

    # --- a result that is nearly right ----------------------------------------------------------

    def misused(
        self,
        before: Sequence[Observed],
        observed: Observed,
        step: HfValue,
        own: tolerance.Verdict | None,
        verdict: tolerance.Verdict,
    ) -> OpFinding:
        """The finding on a result that is right for its operands and not quite the step's value.

        Args:
            before: the calls before it. One of them is to blame where they do not make its input.
        """
        lost = chip_blame.lost(before, observed.off_on)
        if lost is not None:
            return self._on_chips(lost, verdict)
        if any(name not in observed.operands.names for name in step.inputs):
            missing = self._all_missing(self._graph(before, observed.model_call))
            missing = [one for one in missing if one.kind != "heads"]  # split otherwise, perhaps
            if missing and self._comes_before(missing[0], step):
                return self.first(before, observed.model_call, verdict)
            made = self._maker_of_input(before, observed, step)
            if made is not None:
                source, call = made
                note = self._note(call, source)
                return call.finding(finding.MISUSED, where_of(source), step=verdict, note=note)
        in_cache = None
        attends = step.kind == "attention"
        in_cache = self._in_cache(observed, step, verdict) if attends else None
        if in_cache is not None:
            return in_cache
        where, note = where_of(step), self._note(observed, step)
        return observed.finding(finding.MISUSED, where, own=own, step=verdict, note=note)

    def _maker_of_input(
        self, before: Sequence[Observed], observed: Observed, step: HfValue
    ) -> tuple[HfValue, Observed] | None:
        """An input of a step that a call is not given, and the call that made another one for it.

        It is of the input's kind, and what it makes is no value of Hugging Face's. An activation of
        something else may be multiplied with what the activation should be of.
        """
        absent = [self.step(name) for name in step.inputs if name not in observed.operands.names]
        absent += [step] if step.kind == ACTIVATION else []
        for op in _makers(before, observed):
            kind = op.kind or (ACTIVATION if len(op.operands.tensors) == 1 else None)
            source = next((one for one in absent if one.kind == kind), None)
            if source is not None and not op.found:
                return source, op
        return None

    def _comes_before(self, first: HfValue, second: HfValue) -> bool:
        names = [step.name for step in self.reference.steps]
        return names.index(first.name) < names.index(second.name)

    def _note(self, observed: Observed, step: HfValue) -> str:
        given = observed.operands.names
        cached = self.writes.names_in(observed.operands.tensors)
        if given and any(name not in cached and name not in given for name in step.inputs):
            given += [name for name in step.inputs if name in cached and name not in given]
            return f"it is given {', '.join(given)}; {', '.join(step.inputs)} are expected"
        return judging.constant_differs(observed, step) or CONSTANT

    # --- a value that is missing ----------------------------------------------------------------

    def first(
        self, calls: Sequence[Observed], model_call: ModelCall, verdict: tolerance.Verdict
    ) -> OpFinding:
        """The finding on the call where a model leaves Hugging Face's way."""
        graph = self._graph(calls, model_call)
        steps = self._all_missing(graph)
        on_chips = self._of_chips(graph, steps, model_call, verdict)
        if on_chips is not None:
            return on_chips
        if not steps:
            return self._returned_wrongly(graph, len(calls), model_call, verdict)
        for step in steps:
            for name in step.inputs:
                multiple = graph.multiple(name)
                if multiple is not None:
                    return self._on_multiple(*multiple, verdict)
            for one in (self._first_inner(step, graph, model_call), step):
                observed = None if one is None else self._consumer(one, graph)
                if one is not None and observed is not None:
                    return self._on_consumer(observed, (one, step), graph, verdict)
            if step.kind != "heads":  # which need not be split off as Hugging Face does
                break
        pick = graph.pick_of_others(step)
        if pick is not None:
            note = OTHER_PART.format(" or ".join(step.inputs))
            where, intended = where_of(step), finding.Intended(step.inputs)
            return pick.finding(finding.MISUSED, where, step=verdict, note=note, intended=intended)
        return self._missing(step, graph, model_call, verdict)

    def _of_chips(
        self,
        graph: CallGraph,
        steps: Sequence[HfValue],
        model_call: ModelCall,
        verdict: tolerance.Verdict,
    ) -> OpFinding | None:
        """The finding on what some chips of a mesh make, or all together; None if it is neither."""
        if all(observed.mesh == (1, 1) for observed in graph.calls):
            return None
        lost = chip_blame.lost(graph.calls)
        for step in steps:
            some = self._on_some(step, graph, model_call)
            if some is not None and (lost is None or some.observed.index < lost.observed.index):
                return self._on_chips(some, verdict, step)
            made = self._together(step, graph, model_call, verdict) if lost is None else None
            if made is not None:
                return made
            if step.kind != "heads":
                break
        return None if lost is None else self._on_chips(lost, verdict)

    def _on_some(
        self, step: HfValue, graph: CallGraph, model_call: ModelCall
    ) -> chip_blame.OnSomeChips | None:
        """The call that makes a value on some chips; not attention, which may read a cache."""
        if step.kind == "attention":
            return None
        return chip_blame.on_some(graph.calls, *self._pair(step, model_call), self.finder)

    def _pair(self, step: HfValue, model_call: ModelCall) -> tuple[HfValue, ExpectedRows]:
        """A value of the shape that it has at a call of the model, and its rows."""
        rows = self.sequences[model_call.sequence].rows
        expected = self.reference.expected(step, rows, model_call.starts, model_call.ends)
        return dataclasses.replace(step, shape=tuple(expected.rows.shape[1:])), expected

    def _together(
        self,
        step: HfValue,
        graph: CallGraph,
        model_call: ModelCall,
        verdict: tolerance.Verdict,
    ) -> OpFinding | None:
        """The finding on what chips make of a value together: in caches, or by sums."""
        pair = self._pair(step, model_call)
        if step.kind == "attention":
            attends = self._consumer(step, graph)
            in_cache = None if attends is None else self._in_cache(attends, step, verdict)
            some = chip_blame.on_some(graph.calls, *pair, self.finder)
            return in_cache or (some and self._on_chips(some, verdict, step))
        partial = chip_blame.sums(graph.calls, *pair, self.finder)
        if partial is not None:
            return self._on_sums(graph.calls, partial, step, verdict)
        some = self._weight_on_chips(step, graph)
        return some and self._on_chips(some, verdict, step)

    def _weight_on_chips(self, step: HfValue, graph: CallGraph) -> chip_blame.OnSomeChips | None:
        """The product with a wrong weight on some chips, whose sum would be a step's value."""
        product = self._consumer(step, graph) if step.kind == "product" else None
        if product is None:
            return None
        weights = dict(self.reference.hf_model.named_parameters())
        return chip_blame.of_weights(product, weights, step.layer)

    def _on_chips(
        self,
        some: chip_blame.OnSomeChips,
        verdict: tolerance.Verdict,
        step: HfValue | None = None,
    ) -> OpFinding:
        """The finding on a call that is wrong on some chips."""
        observed = some.observed
        observed.off_on = some.chips
        step = step or self.step(observed.names[0])
        return observed.finding(finding.MISUSED, where_of(step), step=verdict, note=some.note)

    def _on_sums(
        self,
        calls: Sequence[Observed],
        partial: chip_blame.PartialSums,
        step: HfValue,
        verdict: tolerance.Verdict,
    ) -> OpFinding:
        """The finding on partial sums that are not added up, or wrongly."""
        adds = chip_blame.adding(calls, partial)
        where, intended = where_of(step), finding.Intended((step.name,))
        if adds is not None:
            along = "" if partial.axis is None else f" along cluster axis {partial.axis}"
            note = chip_blame.ADDED_OTHERWISE.format(step.name, along)
            return adds.finding(finding.MISUSED, where, step=verdict, note=note, intended=intended)
        used = chip_blame.using(calls, partial)
        note = f"{chip_blame.NOT_ADDED.format(step.name)}; {used.name} is given them"
        return used.finding(
            finding.MISSING, where, operation="an all_reduce", step=verdict, note=note
        )

    def _returned_wrongly(
        self, graph: CallGraph, index: int, model_call: ModelCall, verdict: tolerance.Verdict
    ) -> OpFinding:
        """The finding on what a model returns, all of whose values are Hugging Face's."""
        where, pick = where_of(self.step("logits")), graph.pick_of_fewer()
        if pick is not None:  # of rows that are returned, too
            note = OTHER_PART.format(" or ".join(pick.names))
            return pick.finding(finding.MISUSED, where, step=verdict, note=note)
        op_finding = OpFinding(finding.UNEQUAL, model_call, index, "ttnn.to_torch", *where)
        return dataclasses.replace(
            op_finding, step=verdict, note="all values before are Hugging Face's"
        )

    def _on_multiple(
        self, observed: Observed, found: Found, verdict: tolerance.Verdict
    ) -> OpFinding:
        """The finding on a call that makes a multiple of a value."""
        note = f"its result is {found.factor:.4g} x {found.name}, and nothing makes up for that"
        step, call = self.step(found.name), observed.model_call
        sequences = self.sequences[call.sequence].rows
        expected = self.reference.expected(step, sequences, call.starts, call.ends, isolated=True)
        number = next(n for n, one in observed.found.items() if found in one)
        intended = finding.Intended(
            (step.name,),
            number,
            expected.rows[found.positions],
            found.arrangement.index[found.rows],
        )
        return observed.finding(
            finding.MISUSED, where_of(step), step=verdict, note=note, intended=intended
        )

    def _all_missing(self, graph: CallGraph) -> list[HfValue]:
        """The steps whose value is not found, nor anything that follows from it."""
        steps = [step for step in self.reference.steps if step.within is None]
        return _unfollowed(steps, graph.found)

    def _first_inner(
        self, step: HfValue, graph: CallGraph, model_call: ModelCall
    ) -> HfValue | None:
        """The first inner step that is not found, of a step of which some are."""
        inner = [one for one in self.reference.steps if one.within == step.name]
        if not any(one.name in graph.found and one.kind != "heads" for one in inner):
            return None
        same = self._equals(inner, graph.found, model_call)
        first = next(iter(_unfollowed(inner, graph.found | set(same))), None)
        if first is None:
            return None
        return dataclasses.replace(first, inputs=tuple(same.get(x, x) for x in first.inputs))

    def _equals(self, steps: Sequence[HfValue], found: set[str], call: ModelCall) -> dict[str, str]:
        """Of steps that are not found -> the found value that they equal, as where a mask hides."""
        same: dict[str, str] = {}
        for step in (one for one in steps if one.name not in found):
            for name in step.inputs:
                if (name in found or name in same) and self._are_equal(name, step, call):
                    same[step.name] = same.get(name, name)
        return same

    def _are_equal(self, name: str, step: HfValue, call: ModelCall) -> bool:
        """Whether a value is another one wherever it is known."""
        rows = self.sequences[call.sequence].rows
        first, second = (
            self.reference.expected(one, rows, call.starts, call.ends).rows
            for one in (self.step(name), step)
        )
        if first.shape != second.shape:
            return False
        return bool(((first == second) | first.isnan() | second.isnan()).all())

    def _consumer(self, step: HfValue, graph: CallGraph) -> Observed | None:
        """The unexplained call that is given a step's inputs, None if there is none."""
        inner = {one.name for one in self.reference.steps if one.within == step.name}

        def likelihood(pair: tuple[Rank, Observed]) -> tuple:
            (fits, given, early), op = pair
            holds = any(arrangements.of(result.shape, step.shape) for result in op.results)
            return fits, given, holds, early

        fitting = graph.fitting(step, inner)
        return max(fitting, key=likelihood)[1] if fitting else None

    def _on_consumer(
        self,
        observed: Observed,
        steps: tuple[HfValue, HfValue],
        graph: CallGraph,
        verdict: tolerance.Verdict,
    ) -> OpFinding:
        """The finding on the call that is given a step's inputs.

        Args:
            steps: the step, perhaps an inner one, and the one that it is within.
        """
        step, outer = steps
        where = where_of(outer)
        multiple = graph.multiple_given(observed)
        if multiple is not None and multiple[0].index != observed.index:
            return self._on_multiple(*multiple, verdict)
        if observed.status in UNJUDGED:
            note = "its result is not Hugging Face's, and it cannot be judged"
            return observed.finding(observed.status, where, step=verdict, note=note)
        if step.kind == "attention":
            in_cache = self._in_cache(observed, step, verdict)
            if in_cache is not None:
                return in_cache
        intended, note = finding.Intended((step.name,)), self._note(observed, step)
        made = self._maker_of_input(graph.calls, observed, step)
        if made is not None:
            source, call = made
            note = self._note(call, source)
            return call.finding(finding.MISUSED, where_of(source), step=verdict, note=note)
        pick = graph.pick_before(observed, step) or self._loser(graph, observed, step)
        if pick is not None:
            observed, intended = pick, finding.Intended(step.inputs)
            note = OTHER_PART.format(" or ".join(step.inputs))
        return observed.finding(finding.MISUSED, where, step=verdict, note=note, intended=intended)

    def _loser(self, graph: CallGraph, observed: Observed, step: HfValue) -> Observed | None:
        """The call that moves a step's input so that nothing of it is left; None if none."""
        if any(name in observed.operands.names for name in step.inputs):
            return None
        return graph.loses(observed, step.inputs)

    def _in_cache(
        self, observed: Observed, step: HfValue, verdict: tolerance.Verdict
    ) -> OpFinding | None:
        """The finding on what attention reads from its caches, if that is what is wrong."""
        call = observed.model_call
        rows = self.sequences[call.sequence].rows
        steps = [self.step(name) for name in step.inputs[1:]]
        values = [
            (one, self.reference.expected(one, rows, call.starts, call.ends)) for one in steps
        ]
        before = [
            one
            for one in model_calls(self.sequences)
            if one.sequence == call.sequence and one.number <= call.number
        ]
        reads_cache = any(self.writes.is_cache(tensor) for tensor in observed.operands.tensors)
        if len(before) == 1 and call.count > 1 and not reads_cache:
            return None  # a prompt's keys and values need not come from a cache
        return self.writes.to_blame(observed, values, before, verdict)

    def _missing(
        self,
        step: HfValue,
        graph: CallGraph,
        model_call: ModelCall,
        verdict: tolerance.Verdict,
    ) -> OpFinding:
        """The finding on a step that no call computes, at the first call that misses it."""
        buffers = set().union(*graph.carriers(step.inputs))
        unexplained = graph.unexplained()
        after = next((op for op in unexplained if graph.given(op) & buffers), None)
        after = after or next(iter([*unexplained, *graph.calls[-1:]]), None)
        name, note = f"a call of kind {step.kind}", f"no call makes {step.name}; it is missed here"
        index = 0 if after is None else after.index
        op_finding = OpFinding(finding.MISSING, model_call, index, name, *where_of(step))
        return dataclasses.replace(op_finding, step=verdict, note=note)


def _unfollowed(steps: Sequence[HfValue], found: set[str]) -> list[HfValue]:
    """The steps whose value is not found, nor anything that follows from it."""
    followed = set(found)
    for step in reversed(steps):
        if step.name in followed:
            followed.update(step.inputs)
    return [step for step in steps if step.name not in followed]


def _makers(calls: Sequence[Observed], observed: Observed) -> Iterator[Observed]:
    """The calls that made a call's operands, behind those that only moved them."""
    made = {op.index: op for op in calls if op.model_call == observed.model_call}
    for origin in observed.operands.origins:
        op = made.get(origin.call[0])
        if op is not None and op.index < observed.index:
            yield from _makers(calls, op) if op.moves else (op,)

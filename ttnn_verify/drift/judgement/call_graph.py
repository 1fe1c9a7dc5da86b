"""How the calls of a call of the model hang together, and which of them values explain."""

import itertools
from collections.abc import Collection, Iterable, Sequence

from ttnn_verify.drift.observation.identification import Found
from ttnn_verify.drift.observation.walk import ModelCall
from ttnn_verify.drift.observed import Observed
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.ops import table

# How well a call fits a step: whether it is of the step's kind, inputs it is given, how early.
Rank = tuple[bool, int, int]


# Kinds of operations that compute no part of a step of this kind, however it is written.
OTHERS = {
    "embedding": {"norm", "rope", "attention", "product"},
    "norm": {"embedding", "rope", "attention", "product"},
    "product": {"embedding", "norm", "rope", "attention"},
    "rope": {"embedding", "norm", "attention"},
    "attention": {"embedding", "norm", "rope"},
    "add": {"embedding", "norm", "rope", "attention"},
    "multiply": {"embedding", "norm", "rope", "attention", "product"},
}


# Kinds of operations that compute no other kind of step.
OWN = {"embedding", "norm", "rope", "attention"}


# Relative L2 error of a value that may differ from what a model computes on its own way: one that
# is farther off proves nothing of the values before. A rotation that is one position off in one
# layer makes 0.09 in the next. November 2026.
NEAR = 0.05


def _is_near(observed: Observed, found: Found) -> bool:
    """Whether a result is a value, as a format allows, and no multiple."""
    return found.factor == 1.0 and (found.error <= NEAR or bool(observed.block_formats))


class CallGraph:
    """Calls, linked by the buffers that they write and read.

    Attributes:
        found: names of the values that results hold as they are, at the last position of every
            sequence at least.
    """

    def __init__(
        self, calls: Sequence[Observed], model_call: ModelCall, steps: Iterable[HfValue]
    ) -> None:
        """Args are the calls of one call of the model, and Hugging Face's steps."""
        steps = tuple(steps)
        self.calls = calls
        self.kinds = {step.name: step.kind for step in steps}
        self.inputs = {step.name: step.inputs for step in steps}
        self._last = last = {end - 1 for end in itertools.accumulate(model_call.ends)}
        missed: dict[str, set[int]] = {}
        self._carriers: dict[str, set[int]] = {}
        for observed in calls:
            for number, all_found in observed.found.items():
                for one in all_found:
                    if _is_near(observed, one) and self._makes(observed, number, one):
                        missed.setdefault(one.name, set(last)).difference_update(
                            one.positions.tolist()
                        )
                    self._carriers.setdefault(one.name, set()).add(observed.results[number].buffer)
        self.found = {name for name, positions in missed.items() if not positions}
        self._through = self._moved_through()

    def _makes(self, observed: Observed, number: int, found: Found) -> bool:
        """Whether a result counts as a value, not only as an equal one.

        Attention to a single key, say, equals its v, but to split the heads off is not attention.
        """
        if found in observed.held(number) or observed.kind is None:
            return True
        return self.kinds.get(found.name) == observed.kind

    def _may_make(self, observed: Observed, found: Found) -> bool:
        """Whether an operation that serves one kind of step alone is of the value's kind."""
        return observed.kind not in OWN or self.kinds.get(found.name) == observed.kind

    def carriers(self, names: Iterable[str]) -> list[set[int]]:
        """For each of the values that is found at all, the buffers that hold it."""
        return [self._carriers[name] for name in names if name in self._carriers]

    def multiple(self, name: str) -> tuple[Observed, Found] | None:
        """The call that makes a multiple of a value, where none makes the value itself."""
        if name in self.found:
            return None
        made = ((op, one) for op in self.calls for found in op.found.values() for one in found)
        return next(((op, one) for op, one in made if one.name == name and one.factor != 1.0), None)

    def multiple_given(self, observed: Observed) -> tuple[Observed, Found] | None:
        """The call that made a multiple of a value for this one, and what it made; or None."""
        for origin in observed.operands.origins:
            for one in origin.found:
                if one.factor != 1.0:
                    made = (op for op in self.calls if op.index == origin.call[0])
                    return next(((op, one) for op in made), None)
        return None

    def unexplained(self, ignored: Collection[str] = ()) -> list[Observed]:
        """The calls whose results are no values of Hugging Face's, nor lead to any.

        Args:
            ignored: names of values that explain no call.
        """
        explained: set[int] = set()
        needed: set[int] = set()
        for observed in reversed(self.calls):
            held = self._held(observed) - set(ignored)
            new = held - set(observed.operands.names)
            only_hands_on = observed.kind in (None, "heads") and held and not new
            if only_hands_on:
                explained.add(observed.index)
            elif new or {result.buffer for result in observed.results} & needed:
                explained.add(observed.index)
                needed |= {tensor.buffer for tensor in observed.operands.tensors}
        return [op for op in self.calls if op.index not in explained]

    def _held(self, observed: Observed) -> set[str]:
        """Names of the values that a call's results hold as they are, if it can have made them."""
        return {
            one.name
            for found in observed.found.values()
            for one in found
            if _is_near(observed, one) and self._may_make(observed, one)
        }

    def given(self, observed: Observed) -> set[int]:
        """Buffers of a call's operands, and those that they were moved from."""
        direct = {tensor.buffer for tensor in observed.operands.tensors}
        return direct.union(*(self._through.get(buffer, set()) for buffer in direct))

    def fitting(self, step: HfValue, ignored: Collection[str]) -> list[tuple[Rank, Observed]]:
        """The unexplained calls that fit a step, of one within another those given its inputs.

        Args:
            ignored: see `unexplained`.
        """
        ranks = [(self.rank(op, step), op) for op in self.unexplained(ignored)]
        fitting = [(rank, op) for rank, op in ranks if rank is not None]
        given = [(rank, op) for rank, op in fitting if rank[1]]
        return given if given and step.within is not None else fitting

    def rank(self, observed: Observed, step: HfValue) -> Rank | None:
        """How well a call fits a step; None where it does not."""
        if (observed.moves and step.kind != "heads") or table.spec_of(observed.name).writes:
            return None
        if observed.kind in OTHERS.get(step.kind, ()):
            return None
        carriers = self.carriers(step.inputs)
        given = sum(bool(self.given(observed) & buffers) for buffers in carriers)
        fits = observed.kind == step.kind
        if fits:  # given all, some, or another value that is known
            return (fits, given, -observed.index) if given or self._knows(observed, step) else None
        return (fits, given, -observed.index) if given == len(carriers) > 0 else None

    def _knows(self, observed: Observed, step: HfValue) -> bool:
        """Whether a call is given values of Hugging Face's, if a step is given any.

        Or what comes of those that the step's inputs come of, where no call makes the inputs.
        """
        if not step.inputs or observed.operands.names:
            return True
        missing = set(step.inputs) - set(self._carriers)
        roots = {root for name in missing for root in self.inputs.get(name, ())}
        return any(roots & origin.nearest for origin in observed.operands.origins)

    def pick_before(self, observed: Observed, step: HfValue) -> Observed | None:
        """The unexplained call that takes a part of an input on its way to a call; None if none."""
        direct = {tensor.buffer for tensor in observed.operands.tensors}
        inputs = set().union(*self.carriers(step.inputs))
        for pick in self.calls:
            if table.spec_of(pick.name).data != "picks" or pick.found:
                continue
            made = {result.buffer for result in pick.results}
            reaches = any(made & (self._through.get(buffer, set()) | {buffer}) for buffer in direct)
            if reaches and self.given(pick) & inputs:
                return pick
        return None

    def loses(self, observed: Observed, names: Collection[str]) -> Observed | None:
        """The call on the way to another that moves one of values, and nothing is found then."""
        reached = self.given(observed)
        for mover in self.calls:
            made = {result.buffer for result in mover.results}
            lost = mover.moves and not mover.found and set(names) & set(mover.operands.names)
            if lost and made & reached:
                return mover
        return None

    def pick_of_others(self, step: HfValue) -> Observed | None:
        """The call that takes rows of an input of a step, and not the last ones; None if none."""
        for pick in self.calls:
            if table.spec_of(pick.name).data != "picks":
                continue
            given = [one for origin in pick.operands.origins for one in origin.found]
            taken = [one for found in pick.found.values() for one in found]
            for name in step.inputs:
                taken_wrongly = name in pick.names and not self._have_last(taken, name)
                if taken_wrongly and self._have_last(given, name):
                    return pick
        return None

    def pick_of_fewer(self) -> Observed | None:
        """The last call that takes some rows of a value and leaves others; None if none."""
        for pick in reversed(self.calls):
            if table.spec_of(pick.name).data != "picks":
                continue
            taken = [one for found in pick.found.values() for one in found]
            given = [one for origin in pick.operands.origins for one in origin.found]
            for one in taken:
                before = (len(other.rows) for other in given if other.name == one.name)
                if len(one.rows) < max(before, default=0):
                    return pick
        return None

    def _have_last(self, found: Iterable[Found], name: str) -> bool:
        """Whether a value is among what is found, at the last position of every sequence."""
        return any(one.name == name and self._last <= set(one.positions.tolist()) for one in found)

    def _moved_through(self) -> dict[int, set[int]]:
        """Buffer -> buffers that its contents were moved from, by calls that make no value."""
        through: dict[int, set[int]] = {}
        for observed in self.calls:
            moved = observed.operands.sources
            if observed.moves and not observed.found:
                moved = observed.operands.tensors
            before = {tensor.buffer for tensor in moved}
            before = before.union(*(through.get(buffer, set()) for buffer in before))
            for result in observed.results if before else ():
                through.setdefault(result.buffer, set()).update(before)
        return through

"""How the calls of a call of the model hang together, and which of them values explain."""

import itertools
from collections.abc import Collection, Iterable, Sequence

from ttnn_verify.drift.observation.walk import ModelCall
from ttnn_verify.drift.observed import Observed
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.ops import table

# How well a call fits a step: inputs it is given, whether it is of the step's kind, how early.
Rank = tuple[int, bool, int]


class CallGraph:
    """Calls, linked by the buffers that they write and read.

    Attributes:
        found: names of the values that results hold as they are, at the last position of every
            sequence at least.
    """

    def __init__(self, calls: Sequence[Observed], model_call: ModelCall) -> None:
        self.calls = calls
        last = {end - 1 for end in itertools.accumulate(model_call.ends)}
        missed: dict[str, set[int]] = {}
        self._carriers: dict[str, set[int]] = {}
        for observed in calls:
            for number, all_found in observed.found.items():
                for one in all_found:
                    if one.factor == 1.0:
                        missed.setdefault(one.name, set(last)).difference_update(
                            one.positions.tolist()
                        )
                    self._carriers.setdefault(one.name, set()).add(observed.results[number].buffer)
        self.found = {name for name, positions in missed.items() if not positions}
        self._through = self._moved_through()

    def carriers(self, names: Iterable[str]) -> list[set[int]]:
        """For each of the values that is found at all, the buffers that hold it."""
        return [self._carriers[name] for name in names if name in self._carriers]

    def multiple(self, name: str) -> Observed | None:
        """The call that makes a multiple of a value, where none makes the value itself."""
        if name in self.found:
            return None
        return next((op for op in self.calls if name in op.names), None)

    def unexplained(self, ignored: Collection[str] = ()) -> list[Observed]:
        """The calls whose results are no values of Hugging Face's, nor lead to any.

        Args:
            ignored: names of values that explain no call.
        """
        explained: set[int] = set()
        needed: set[int] = set()
        for observed in reversed(self.calls):
            made = {result.buffer for result in observed.results}
            if made & needed or any(
                one.factor == 1.0 and one.name not in ignored
                for found in observed.found.values()
                for one in found
            ):
                explained.add(observed.index)
                needed |= {tensor.buffer for tensor in observed.operands.tensors}
        return [op for op in self.calls if op.index not in explained]

    def given(self, observed: Observed) -> set[int]:
        """Buffers of a call's operands, and those that they were moved from."""
        direct = {tensor.buffer for tensor in observed.operands.tensors}
        return direct.union(*(self._through.get(buffer, set()) for buffer in direct))

    def rank(self, observed: Observed, step: HfValue) -> Rank | None:
        """How well a call fits a step; None where it does not."""
        if observed.moves and step.kind != "heads":
            return None
        carriers = self.carriers(step.inputs)
        given = sum(bool(self.given(observed) & buffers) for buffers in carriers)
        fits = observed.kind == step.kind
        complete = given == len(carriers) > 0
        if not complete and not (fits and (given or not step.inputs)):
            return None
        return given, fits, -observed.index

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

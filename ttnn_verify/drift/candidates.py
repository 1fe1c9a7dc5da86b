"""Which of Hugging Face's values the results of a call of the model may hold, and which they do."""

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence

import torch

from ttnn_verify.drift.expected_values import ExpectedRows, ExpectedValues, over_keys
from ttnn_verify.drift.observation import walk
from ttnn_verify.drift.observation.identification import Finder, Found
from ttnn_verify.drift.observation.pool import Pool
from ttnn_verify.drift.observed import Observed
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.ops import table

LOGITS = "logits"  # the name of the value; nothing reorders its columns

# Fewer numbers than this are found by chance.
FEWEST_NUMBERS = 32


class Candidates:
    """Hugging Face's values at the calls of a model, those about the present layer first.

    Attributes:
        finder: finds them; it remembers how the model keeps rows and columns.
    """

    def __init__(self, sequences: Sequence[walk.TokenSequence], reference: ExpectedValues) -> None:
        self.sequences, self.reference = sequences, reference
        self.finder = Finder()
        self._model_call = walk.model_calls(sequences)[0]
        self._layer = 0  # the last one of which a value was found
        self._expectations: dict[tuple[int, str, bool], ExpectedRows] = {}
        self._pools: dict[int, Pool] = {}  # by layer, of this call of the model
        self._done: set[str] = set()  # values that were found in this call of the model

    def begin(self, model_call: walk.ModelCall) -> None:
        """A call of the model begins."""
        self._model_call, self._layer = model_call, 0
        self._expectations.clear()
        self._pools.clear()
        self._done.clear()
        self.finder.begin()

    def note(self, observed: Observed, number: int) -> None:
        """Remember what was found in a result."""
        self._done.update(one.name for one in observed.held(number))
        step = self.reference.step(observed.found[number][0].name)
        if step.layer is not None:
            self._layer = step.layer
        elif step.part == "embedding":  # the model begins with other tokens: the next chunk, say
            self._layer = 0
            self._done.clear()

    def expected(
        self, step: HfValue, isolated: bool = False, call: walk.ModelCall | None = None
    ) -> ExpectedRows:
        """The rows of a value that are known at a call of the model, by default this one."""
        call = call or self._model_call
        key = call.number, step.name, isolated
        if key not in self._expectations:
            rows = self.sequences[call.sequence].rows
            self._expectations[key] = self.reference.expected(
                step, rows, call.starts, call.ends, isolated
            )
        return self._expectations[key]

    def find(self, observed: Observed, values: torch.Tensor) -> tuple[Found, ...]:
        """What a result holds of Hugging Face's values."""
        pool = self._pool()
        order = self._order(observed, pool)
        found = self.finder.find(values, pool, order, self._meant(observed, pool))
        if not found and observed.kind == "product":
            products = [pool.pairs[number] for number in order]
            found = self.finder.find_parts(values, filter(_may_be_part, products))
        if observed.kind == "product" and observed.block_formats:  # not in the few rows that agree
            computed = self._computed_from(observed.operands.names)
            found = self.finder.find_nearest(values, computed) or found
        if not found and not observed.moves:
            multiple = self.finder.find_multiple(values, pool, order)
            found = () if multiple is None else (multiple,)
        return found

    def _meant(self, observed: Observed, pool: Pool) -> Callable[[HfValue], bool]:
        """Which of several equal values a call makes: of its kind, or those that it is given."""
        if observed.kind is not None and not observed.moves:
            return lambda value: value.kind == observed.kind
        kept, named = set(observed.operands.names), table.short_name(observed.name)
        # a function of torch's may have the same name
        same = {one.name for one, _ in pool.pairs if one.kind == named and kept & set(one.inputs)}
        return lambda value: value.name in (same or kept)

    def _computed_from(self, given: Collection[str]) -> list[tuple[HfValue, ExpectedRows]]:
        """The products of a pool whose inputs are all given."""
        return [
            (step, expected)
            for step, expected in self._pool().pairs
            if step.kind == "product" and step.inputs and set(step.inputs) <= set(given)
        ]

    def _pool(self) -> Pool:
        """The values of the layers about the present one."""
        layer = self._layer
        if layer not in self._pools:
            layers = (None, layer - 1, layer, layer + 1)
            pairs = []
            for step in self.reference.steps:
                if step.layer in layers and not self._is_left_out(step):
                    expected = self.expected(step)
                    shape = tuple(expected.rows.shape[1:])
                    pairs.append((dataclasses.replace(step, shape=shape), expected))
            self._pools[layer] = Pool(pairs)
        return self._pools[layer]

    def _is_left_out(self, step: HfValue) -> bool:
        """Whether a value is not looked for among what the calls make.

        Columns of keys of several sequences with a prompt each lie beside each other in no tensor.
        A few of them are no evidence: the softmax over a single key is 1, as much else.
        """
        if not over_keys(step):
            return False
        call = self._model_call
        if call.count > 1 and len(call.starts) > 1:
            return True
        return call.count * math.prod(step.shape[:-1]) * max(call.ends) < FEWEST_NUMBERS

    def _order(self, observed: Observed, pool: Pool) -> list[int]:
        """The values of a pool that a call may compute, the likeliest first."""
        kept, layer = observed.operands.names, self._layer

        def unlikely(number: int) -> tuple:
            step = pool.pairs[number][0]
            mismatch = step.name not in kept if observed.moves else step.kind != observed.kind
            distance = 0 if step.layer in (None, layer) else 1
            return mismatch, step.within is not None, step.name in self._done, distance

        possible = (n for n, (step, _) in enumerate(pool.pairs) if self._may_come_of(kept, step))
        return sorted(possible, key=unlikely)

    def _may_come_of(self, given: Collection[str], step: HfValue) -> bool:
        """Whether a call may make a value of what it is given, rather than one like it by chance.

        What is within another value comes of that one's inputs, or of others within.
        """
        if step.within is None:
            return True
        outer = {*self.reference.step(step.within).inputs, *step.inputs}
        return any(n in outer or self.reference.step(n).within == step.within for n in given)


def _may_be_part(pair: tuple[HfValue, ExpectedRows]) -> bool:
    """Whether a value may lie beside others, in any order of columns."""
    step = pair[0]
    return step.kind in ("product", "heads") and step.within is None and step.name != LOGITS

"""The first bad step by bisection: few runs of the model, each of which reads one value back.

For slow devices. In each run at most one value is read back and at most one replaced by Hugging
Face's; on a mesh, as it lies over the chips. Small errors stay within the bound for a whole layer:
this finds what is plainly wrong, `isolated` finds the rest.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
import ttnn

from ttnn_verify.drift.expected_values import ExpectedRows, ExpectedValues
from ttnn_verify.drift.finding import DriftUndetermined
from ttnn_verify.drift.mesh import found_parts
from ttnn_verify.drift.observation import arrangements, reading, taps, tracing, walk
from ttnn_verify.drift.observation.identification import Finder, Found
from ttnn_verify.drift.observation.matching import Matched
from ttnn_verify.drift.observation.pool import Pool
from ttnn_verify.drift.observed import ReadTensor
from ttnn_verify.drift.observed import read as read_tensor
from ttnn_verify.drift.progress import Progress, Run
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.numerics import metrics, tolerance


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """The first bad step and the operation that computes it, None if there is none.

    Attributes:
        error, allowed: relative L2 of the step's value.
        evaluations: how many runs of the model it took.
    """

    step: HfValue | None
    operation: str | None
    error: float
    allowed: float
    evaluations: int

    @property
    def line(self) -> str:
        """The result in a line."""
        if self.step is None:
            return (
                "no drift beyond what the layers' roundings explain "
                f"({self.evaluations} evaluations)"
            )
        layer = "" if self.step.layer is None else f"layer {self.step.layer}, "
        return (
            f"first bad op: {layer}{self.step.part}, {self.operation} ({self.step.short}): "
            f"relative L2 {self.error:.2g} where {self.allowed:.2g} is explained "
            f"({self.evaluations} evaluations)"
        )


def search(
    model: Callable[..., Any],
    sequences: Sequence[walk.TokenSequence],
    reference: ExpectedValues,
    progress: Progress | None = None,
) -> SearchResult:
    """Bisect the layers, then the steps of the first bad one.

    At most 1 + log2(layers) + log2(steps of a layer) evaluations. The embedding belongs to the
    first layer, the norm and the logits to the last.
    """
    steps = _outer(reference)
    logits: list[tuple[walk.ModelCall, torch.Tensor]] = []
    traced = tracing.trace(
        *(model, sequences, steps),
        lambda call, values: logits.append((call, values[0].float())),
        progress,
    )
    state = _Search(model, _taken(sequences, len(traced)), traced, reference, progress)
    layers = max((step.layer for step in steps if step.layer is not None), default=0) + 1
    if not state.logits_off(logits):
        return SearchResult(None, None, 0.0, 0.0, state.evaluations)
    ends = [step for step in steps if step.short == "output"]
    bad = _first(layers, lambda i: state.off(ends[i], None, i + 1))
    before = ends[bad - 1] if bad else None
    inside = [step for step in steps if _group(step, layers) == bad and state.computed(step)]
    if not inside:
        return state.result(ends[bad])
    return state.result(inside[_first(len(inside), lambda i: state.off(inside[i], before, 2))])


def _taken(sequences: Sequence[walk.TokenSequence], traced: int) -> list[walk.TokenSequence]:
    """The sequences whose calls were traced; a model may refuse the last one."""
    count = len(sequences)
    while len(walk.model_calls(sequences[:count])) > traced:
        count -= 1
    return list(sequences[:count])


def _outer(reference: ExpectedValues) -> list[HfValue]:
    """The steps that are not within another one. Raises DriftUndetermined without layers."""
    steps = [step for step in reference.steps if step.within is None]
    if all(step.layer is None for step in steps):
        raise DriftUndetermined("the model has no layers, and there is nothing to halve over.")
    return steps


def _group(step: HfValue, layers: int) -> int:
    """The layer that a step belongs to."""
    if step.layer is not None:
        return step.layer
    return 0 if step.part == "embedding" else layers - 1


def _first(count: int, off: Callable[[int], bool]) -> int:
    """The first of `count` places that is off, as all after it are; the last is not checked."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        if off(middle):
            high = middle
        else:
            low = middle + 1
    return low


class _Search:
    """Evaluations of the model, each of which reads one value."""

    def __init__(
        self,
        model: Callable[..., Any],
        sequences: Sequence[walk.TokenSequence],
        traced: Sequence[tracing.TracedCall],
        reference: ExpectedValues,
        progress: Progress | None,
    ) -> None:
        self.model, self.sequences, self.traced = model, sequences, traced
        self.reference, self.progress = reference, progress
        self.steps = steps = _outer(reference)
        # roundings between the input of a layer and its output
        counts = tolerance.roundings(steps)
        self.layer = tolerance.bf16_relative_l2(counts["layers.0.output"] - counts["embedding"])
        self.finder = Finder()
        self.evaluations = 1  # the traced run
        self.errors: dict[str, tuple[float, float]] = {}  # name -> error, allowed

    def computed(self, step: HfValue) -> bool:
        """Whether a call computes a step's value; splitting into heads computes nothing."""
        return step.kind != "heads" and any(
            matched.call_of(step.name) for call in self.traced for matched in call.passes
        )

    def logits_off(self, logits: Sequence[tuple[walk.ModelCall, torch.Tensor]]) -> bool:
        """Whether any logits [S, V] of the traced run are off."""
        last, errors = self.steps[-1], []
        for call, values in logits:
            golden = self._expected(call, last)[call.start :][-len(values) :]
            errors.append(metrics.relative_l2(golden, values))
        allowed = tolerance.stand_in_relative_l2(self.steps)
        self.errors[last.name] = max(errors), allowed
        return not max(errors) <= allowed

    def off(self, step: HfValue, replaced: HfValue | None, layers: int) -> bool:
        """Whether a step's value is farther off than the roundings of `layers` layers explain.

        Args:
            replaced: a step whose value is replaced by Hugging Face's, or None.
        """
        self.evaluations += 1
        allowed = self.layer * max(layers, 1) ** 0.5
        error = self._error(step, replaced)
        self.errors[step.name] = error, allowed
        return not error <= allowed

    def result(self, step: HfValue) -> SearchResult:
        names = set()
        for traced in self.traced:
            for matched in traced.passes:
                place = matched.call_of(step.name)
                if place:
                    names.add(traced.calls[place[0]].name)
        error, allowed = self.errors.get(step.name, (float("nan"), float("nan")))
        return SearchResult(
            step, " or ".join(sorted(names)) or None, error, allowed, self.evaluations
        )

    def _error(self, read: HfValue, replaced: HfValue | None) -> float:
        """The greatest relative L2 error of a value in one walk, infinite where it is missing."""
        reader = reading.Reader()
        errors: list[float] = []
        model_call, index = walk.model_calls(self.sequences)[0], 0

        def begin(call: walk.ModelCall) -> None:
            nonlocal model_call, index
            model_call, index = call, 0
            if not any(matched.call_of(read.name) for matched in self.traced[call.number].passes):
                errors.append(float("inf"))

        def observe(call: taps.TtnnCall, run: Callable[[], Any]) -> Any:
            nonlocal index
            at, index = index, index + 1
            result = run()
            outputs = taps.device_tensors([result])
            for matched in self.traced[model_call.number].passes:
                tensor = _output(matched, read, at, outputs)
                if tensor is not None:
                    errors.append(self._error_at(reader, model_call, matched, read, tensor))
                tensor = replaced and _output(matched, replaced, at, outputs)
                if replaced is not None and tensor is not None:
                    errors.extend(self._give(reader, model_call, matched, replaced, tensor))
            return result

        told = Run(self.progress, f"run {self.evaluations}", self.sequences)
        with taps.intercept(told.observing(observe)):
            walk.lead(self.model, self.sequences, told.beginning(begin))
        return max(errors, default=float("inf"))

    def _expected(self, call: walk.ModelCall, step: HfValue) -> torch.Tensor:
        """Hugging Face's rows of a value from position 0 on."""
        rows = self.sequences[call.sequence].rows
        return self.reference.expected(step, rows, call.starts, call.ends).rows

    def _error_at(
        self,
        reader: reading.Reader,
        model_call: walk.ModelCall,
        matched: Matched,
        step: HfValue,
        tensor: ttnn.Tensor,
    ) -> float:
        """The relative L2 error of a step's value in a tensor, infinite where it is not in it.

        On a mesh that of the chips that are farthest off; infinite where some have another value.
        """
        golden = self._expected(model_call, step)[matched.rows.start : matched.rows.stop]
        held, found = self._found(reader, step, golden, tensor)
        if not found or found[0].spread.others:
            return float("inf")
        best = found[0]
        expected = golden[best.positions] * best.factor
        _, *others = found_parts.replicas(held, best)
        return max([best.error, *(metrics.relative_l2(expected, best.read(x)) for x in others)])

    def _found(
        self, reader: reading.Reader, step: HfValue, golden: torch.Tensor, tensor: ttnn.Tensor
    ) -> tuple[ReadTensor, tuple[Found, ...]]:
        """A tensor as a value lies in it, and where; the value's rows are in their order."""
        reader.note_write(tensor)
        candidates = [(step, ExpectedRows(golden, (len(golden),), (0,)))]

        def find(values: torch.Tensor) -> tuple[Found, ...]:
            self.finder.rows = _FirstRows(len(golden))
            found = self.finder.find(values, Pool(candidates), preferred=lambda value: True)
            parts = not found and step.kind == "product"
            return self.finder.find_parts(values, candidates) if parts else found

        return found_parts.find(read_tensor(tensor, reader, {}), find)

    def _give(
        self,
        reader: reading.Reader,
        model_call: walk.ModelCall,
        matched: Matched,
        step: HfValue,
        tensor: ttnn.Tensor,
    ) -> list[float]:
        """Put Hugging Face's value into a tensor; an infinite error where it has no room."""
        golden = self._expected(model_call, step)[matched.rows.start : matched.rows.stop]
        if reading.on_mesh(tensor):
            return self._give_to_chips(reader, step, golden, tensor)
        reader.note_write(tensor)
        values = reader.read(tensor)
        for where in arrangements.of(tuple(values.shape), step.shape):
            if len(where.index) >= len(golden):
                flat = values.flatten().clone()
                flat[where.index[: len(golden)]] = golden.bfloat16().float()
                reader.write(tensor, flat.reshape(values.shape))
                return []
        return [float("inf")]

    def _give_to_chips(
        self, reader: reading.Reader, step: HfValue, golden: torch.Tensor, tensor: ttnn.Tensor
    ) -> list[float]:
        """The same on a mesh, where the value is to be found to know how it lies over chips."""
        held, found = self._found(reader, step, golden, tensor)
        if not found or found[0].spread.others:
            return [float("inf")]
        values = found[0].write(held.values, golden[found[0].positions].bfloat16().float())
        reader.write(tensor, *found_parts.written(held, found[0], values))
        return []


class _FirstRows(dict[int, tuple[torch.Tensor, torch.Tensor]]):
    """The rows of any tensor: the first ones are the expected ones, in their order."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._rows = torch.arange(count)

    def get(self, key: int, default: Any = None) -> Any:
        return (self._rows, self._rows) if key >= len(self._rows) else default


def _output(
    matched: Matched, step: HfValue, index: int, outputs: Sequence[ttnn.Tensor]
) -> ttnn.Tensor | None:
    """The result of call `index` that is a step's value, None if none is."""
    place = matched.call_of(step.name)
    if place is None or place[0] != index or place[1] >= len(outputs):
        return None
    return outputs[place[1]]

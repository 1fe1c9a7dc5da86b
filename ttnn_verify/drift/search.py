"""The first bad step by halving: few evaluations of the model, each of which reads one place.

For a slow device. An evaluation is a walk of the model in which at most one value is read back, and at
most one is replaced by Hugging Face's. What is small hides in the bounds by which a whole layer is judged:
this finds what is plainly wrong, `isolated` finds the rest.
"""

import dataclasses

from ttnn_verify.drift.observation import layouts, reading, taps, tracing, walk
from ttnn_verify.numerics import metrics, tolerance


@dataclasses.dataclass(frozen=True)
class Found:
    """The first bad step and the operation that makes it; None if none is. How many evaluations it took."""

    step: object
    operation: str | None
    error: float
    allowed: float
    evaluations: int

    @property
    def line(self):
        if self.step is None:
            return f"no drift beyond what the layers' roundings explain ({self.evaluations} evaluations)"
        layer = "" if self.step.layer is None else f"layer {self.step.layer}, "
        return (
            f"first bad op: {layer}{self.step.part}, {self.operation} ({self.step.short}): relative L2 "
            f"{self.error:.2g} where {self.allowed:.2g} is explained ({self.evaluations} evaluations)"
        )


def search(model, sequences, steps):
    """Halve the layers, then the steps of the first bad one: a `Found`.

    At most 1 + log2(layers) + log2(steps of a layer) evaluations; the embedding counts to the first layer,
    the norm and the logits to the last.
    """
    logits = []
    traced = tracing.trace(
        model, sequences, steps, lambda piece, found: logits.append((piece, found[0].float()))
    )
    state = _Search(model, sequences, traced, steps)
    layers = max((step.layer for step in steps if step.layer is not None), default=0) + 1
    if not state.logits_off(logits):
        return Found(None, None, 0.0, 0.0, state.evaluations)
    ends = [step for step in steps if step.short == "output"]
    bad = _first(layers, lambda i: state.off(ends[i], None, i + 1))
    before = ends[bad - 1] if bad else None
    inside = [step for step in steps if _group(step, layers) == bad and step.kind != "heads"]
    inside = [step for step in inside if state.made(step)]
    return state.found(inside[_first(len(inside), lambda i: state.off(inside[i], before, 2))])


def _group(step, layers):
    """The layer that a step counts to."""
    if step.layer is not None:
        return step.layer
    return 0 if step.part == "embedding" else layers - 1


def _first(count, off):
    """The first of `count` places that is off, if all after it are, and the last one without asking."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        if off(middle):
            high = middle
        else:
            low = middle + 1
    return low


class _Search:
    def __init__(self, model, sequences, traced, steps):
        self.model, self.sequences, self.traced, self.steps = model, sequences, traced, steps
        self.pairs = tracing.paired_heads(traced, steps)
        # roundings that the output of a layer has more behind it than its input
        counts = tolerance.roundings(steps)
        self.layer = tolerance.bf16_relative_l2(counts["layers.0.output"] - counts["embedding"])
        self.evaluations = 1  # the traced run
        self.errors = {}

    def made(self, step):
        return any(one.call_of(step.name) for _, passes in self.traced for one in passes)

    def logits_off(self, logits):
        """Whether any logits `[(piece, [S, V])]` of the traced run are off."""
        last, errors = self.steps[-1], []
        for piece, found in logits:
            golden = self.sequences[piece.sequence].values.golden[last.name]
            errors.append(
                metrics.relative_l2(golden[piece.start : piece.start + len(found)], found)
            )
        allowed = tolerance.stand_in_relative_l2(self.steps)
        self.errors[last.name] = max(errors), allowed
        return not max(errors) <= allowed

    def off(self, step, given, layers):
        """Whether a step's value is farther off than the roundings of `layers` layers explain.

        Args:
            given: a step whose value is replaced by Hugging Face's, or None.
        """
        self.evaluations += 1
        allowed = self.layer * max(layers, 1) ** 0.5
        error = self._error(step, given)
        self.errors[step.name] = error, allowed
        return not error <= allowed

    def found(self, step):
        names = {
            calls[one.call_of(step.name)[0]].name
            for calls, passes in self.traced
            for one in passes
            if one.call_of(step.name)
        }
        error, allowed = self.errors.get(step.name, (float("nan"), float("nan")))
        return Found(step, " or ".join(sorted(names)) or None, error, allowed, self.evaluations)

    def _error(self, wanted, given):
        """The greatest relative L2 error of a value in the pieces of one walk, infinite where it is missing."""
        reader, errors, state = reading.Reader(), [], {}

        def begin(piece):
            state.update(piece=piece, index=0)
            if not any(one.call_of(wanted.name) for one in self.traced[piece.number][1]):
                errors.append(float("inf"))

        def observe(call, run):
            index, piece = state["index"], state["piece"]
            state["index"] += 1
            result = run()
            made = taps.device_tensors([result])
            for one in self.traced[piece.number][1]:
                for step in (wanted, given):
                    place = step and one.call_of(step.name)
                    if place and place[0] == index and place[1] < len(made):
                        errors.extend(
                            self._at(reader, piece, one, step, made[place[1]], step is given)
                        )
            return result

        with taps.tapped(observe):
            walk.lead(self.model, self.sequences, begin)
        return max(errors, default=float("inf"))

    def _at(self, reader, piece, one, step, tensor, give):
        values = self.sequences[piece.sequence].values
        at = slice(one.rows.start, one.rows.stop)
        found = layouts.of_step(step, tuple(tensor.shape), len(one.rows), self.pairs)
        if not found:
            return [float("inf")]
        reader.written(tensor)
        actual, golden = reader.read(tensor), values.golden[step.name][at]
        if give:
            reader.put(tensor, found[0].write(actual, values.given[step.name][at]))
            return []
        return [layouts.nearest(found, actual, golden)[1]]

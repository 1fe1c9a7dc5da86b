"""Each operation of a model fed with Hugging Face's own values, in one run.

After a call that makes one of Hugging Face's values, its result is compared with what Hugging Face's
step makes of the same inputs, and Hugging Face's value takes its place on the device: what follows is
not blamed for what came before. Every call, these and those between, is compared with what it ought to
make of its very operands as well. So a call whose own result is right and whose step is wrong was
*used* wrongly: with a wrong constant, argument or operand.
"""

import contextlib
import dataclasses
import math

from ttnn_verify.drift import finding
from ttnn_verify.drift.finding import Finding
from ttnn_verify.drift.judging import judged
from ttnn_verify.drift.observation import layouts, reading, taps, tracing, walk
from ttnn_verify.numerics import metrics, op_floors, tolerance
from ttnn_verify.ops import expected as dues
from ttnn_verify.ops import semantics

# A tensor whose relative L2 error is below this is the value it is compared with, and not another.
SAME = 0.1

# What the model returns has been the device's values a moment ago: it may be rounded once more.
RETURNED = 2.0**-7


class _Enough(Exception):
    """The first bad call has been found."""


def run(model, sequences, traced, steps, accurate=False, first=False):
    """Lead the model once, every step on Hugging Face's values: a list of `Finding`, one per call.

    Args:
        traced: of `tracing.trace` on the same walk.
        accurate: see `due.Made`.
        first: end with the first call that is bad.

    Raises:
        tracing.Untold: the model makes other calls than in the traced run.
    """
    observer = _Observer(sequences, traced, steps, accurate, first)
    with taps.tapped(observer.call), contextlib.suppress(_Enough):
        walk.lead(model, sequences, observer.begin, observer.end)
    return sorted(observer.findings, key=lambda one: one.place)


@dataclasses.dataclass
class _Origin:
    """Where a buffer's contents come from.

    Attributes:
        name: of the value of Hugging Face's that it holds; None of what lies between.
        noise: relative L2 error that the calls since the last such value explain.
        call: (index, operation) that made it; source: the `_Origin` of that call's first operand.
    """

    name: str | None
    noise: float
    call: tuple[int, str]
    source: "_Origin | None" = None


class _Observer:
    def __init__(self, sequences, traced, steps, accurate, first):
        self.sequences, self.traced = sequences, traced
        self.accurate, self.first = accurate, first
        self.steps = {step.name: step for step in steps}
        self.reader = reading.Reader()
        self.findings = []
        self.owners = {}  # cache -> (layer, "k" or "v")
        self.written = {}  # piece, layer, "k" or "v" -> whether a call wrote it
        self.columns = {}  # kind of value -> name of the layout in which its columns were found
        self.pairs = tracing.paired_heads(traced, steps)

    # --- pieces -------------------------------------------------------------------------------------

    def begin(self, piece):
        self.piece, self.index = piece, 0
        self.values = self.sequences[piece.sequence].values
        self.calls, self.passes = self.traced[piece.number]
        self.origins = {}  # buffer -> _Origin, of what is made in this piece

    def end(self, piece, logits):
        if self.index != len(self.calls):
            raise tracing.Untold(
                f"{piece}: {self.index} calls, {len(self.calls)} when it was traced."
            )
        if any("logits" == step.name for p in self.passes for step in p.steps.values()):
            self._returned(piece, logits)

    def _returned(self, piece, logits):
        """The model's own last steps, on the host, from the values that its last call made."""
        due = self.values.given["logits"][piece.start : piece.start + piece.count]
        found = logits[0].float()[-len(due) :]
        due = due[-len(found) :]
        comparison = metrics.compare(due, found)
        verdict = tolerance.judge(comparison, op_floors.Floor(RETURNED, RETURNED), k=1)
        if not verdict.passed:
            note = "the model returns other rows or values than its last operation made"
            self._say(
                finding.UNEQUAL, self.index, "ttnn.to_torch", None, "logits", "head",
                step=verdict, note=note,
            )  # fmt: skip

    # --- calls --------------------------------------------------------------------------------------

    def call(self, call, run):
        index, self.index = self.index, self.index + 1
        if index >= len(self.calls) or self.calls[index].name != call.name:
            due = self.calls[index].name if index < len(self.calls) else "none"
            raise tracing.Untold(
                f"{self.piece}: call {index} is {call.name}, it was {due} when it was traced."
            )
        if self.calls[index].short in semantics.NOT_JUDGED:
            result = run()
            for tensor in tracing.rewritten(call):
                self.reader.written(tensor)
            return result
        operands = call.operands
        arguments = (
            self.reader.held(call.args),
            {name: self.reader.held(value) for name, value in call.kwargs.items()},
        )
        pairs = tracing.written_pairs(call)
        table = tracing.page_table(call)
        self.pages = (
            None if table is None else self.reader.read(table).reshape(-1, table.shape[-1])[0]
        )
        inherited = [self.origins.get(tensor.buffer_unique_id()) for tensor in operands]
        inputs = [(tensor, self.reader.read(tensor)) for tensor in operands]
        result = run()
        made = [cache for cache, _ in pairs] or taps.device_tensors([result])
        for tensor in (*made, *taps.device_tensors([result])):
            self.reader.written(tensor)
        own, floors, status, note = self._own(call, arguments, made)
        worst = next((one for one in own if not one.passed), own[0] if own else None)
        if worst is not None and not worst.passed:
            status = finding.WRONG
        steps = self._steps_at(index, len(made), bool(pairs))
        source = next((one for one in inherited if one), None)
        before = math.hypot(*(one.noise for one in inherited if one))
        said = False
        for output, tensor in enumerate(made):
            step = steps.get(output)
            own_noise = own[output].comparison.relative_l2 if output < len(own) else 0.0
            if pairs:
                self._cache(index, call, output, tensor, pairs[output][1], before, worst, status)
                said = True
                continue
            kept = self.origins.get(tensor.buffer_unique_id())
            if step is None and kept and semantics.moves(call.name):
                continue  # a view
            origin = _Origin(None, math.hypot(before, own_noise), (index, call.name), source)
            if step is not None:
                floor = floors[output] if floors else None
                floor = self._step_floor(floor, before, inputs)
                said |= self._step(
                    index, call, step, tensor, inputs, inherited, floor, worst, status
                )
                origin = _Origin(step.name, 0.0, (index, call.name), source)
            self.origins[tensor.buffer_unique_id()] = origin
        if not said:
            where = self._near(index)
            self._say(status, index, call.name, *where, own=worst, note=note)
        return result

    def _own(self, call, arguments, made):
        """(verdicts, floors, status, note) of the results against what the operands ought to make."""
        args, kwargs = arguments
        names = tuple(reading.dtype_name(tensor) for tensor in made)
        shapes = tuple(tuple(tensor.shape) for tensor in made)
        try:
            found = semantics.due(
                call.name,
                call.operation,
                dues.Made(names, shapes, self.accurate),
                args,
                kwargs,
            )
            if len(found) != len(made):
                raise ValueError(f"{len(made)} results, the golden function makes {len(found)}.")
            verdicts = []
            for one, tensor, dtype in zip(found, made, names, strict=True):
                actual = self.reader.read(tensor)
                verdicts.append(judged(one.value, actual[one.region], dtype, one.floor))
            return verdicts, [one.floor for one in found], finding.OK, ""
        except dues.NoGolden as error:
            return [], [], finding.NO_GOLDEN, str(error)
        except Exception as error:  # noqa: BLE001 - a golden function's failure is no finding about the model
            return [], [], finding.TOOL_ERROR, f"{type(error).__name__}: {error}"

    # --- steps --------------------------------------------------------------------------------------

    def _steps_at(self, index, outputs, writes):
        one = self._pass_of(index)
        if one is None or writes:
            return {}
        return {n: one.steps[index, n] for n in range(outputs) if (index, n) in one.steps}

    def _pass_of(self, index):
        return next((one for one in self.passes if one.first <= index < one.last), None)

    def _step(self, index, call, step, tensor, inputs, inherited, floor, own, status):
        """Compare a call's result with Hugging Face's step, put Hugging Face's value in its place."""
        rows = self._pass_of(index).rows
        at = slice(rows.start, rows.stop)
        due = self.values.isolated[step.name][at]
        actual = self.reader.read(tensor)
        where = (step.layer, step.short, step.part)
        found = self._layouts(step, tuple(tensor.shape), len(rows))
        if not found:
            note = f"no {list(due.shape)} is to be found in a result of {list(tensor.shape)}"
            self._say(finding.TOOL_ERROR, index, call.name, *where, own=own, note=note)
            return True
        layout, error = layouts.nearest(found, actual, due)
        if error > SAME:
            layout = self._usual(step, found)
        else:
            self.columns[step.short] = layout.name
        dtype = reading.dtype_name(tensor)
        verdict = judged(due, layout.read(actual), dtype, floor)
        self.reader.put(tensor, layout.write(actual, self.values.given[step.name][at]))
        if verdict.passed or status == finding.WRONG:
            self._say(status, index, call.name, *where, own=own, step=verdict)
        else:
            self._blame(index, call, step, rows, inputs, inherited, own, verdict)
        return True

    def _step_floor(self, own, before, inputs):
        """Makes the noise floor of a step: that of its call, and of what lies before; None for none.

        Args:
            own: makes the call's floor, None for data that only moves.
            before: relative L2 error of the calls since Hugging Face's values.
        """
        blocks = [
            op_floors.block_float(values, reading.dtype_name(tensor)).relative_l2
            for tensor, values in inputs
            if reading.dtype_name(tensor) in metrics.BLOCK_BITS
        ]
        before = math.hypot(before, *blocks)
        if own is None and not before:
            return None
        inherited = op_floors.Floor(before, before)
        return lambda: op_floors.chain(own() if own else op_floors.EXACT, inherited)

    def _layouts(self, step, shape, rows):
        return layouts.of_step(step, shape, rows, self.pairs)

    def _usual(self, step, found):
        """The layout of a value that is like nothing: as it was found elsewhere, or as rope wants it."""
        name = self.columns.get(step.short, "pairs" if self.pairs else "")
        return next((layout for layout in found if layout.name == name), found[0])

    # --- caches -------------------------------------------------------------------------------------

    def _cache(self, index, call, number, cache, source, before, own, status):
        """Compare a cache's rows so far with Hugging Face's keys or values."""
        one = self._pass_of(index)
        place = one and one.writes.get((index, number))
        if place is None:
            self._say(status, index, call.name, *self._near(index), own=own)
            return
        layer, which = place
        self.written[self.piece.number, one.rows.start, layer, which] = True
        where = (layer, f"{which} cache", "attention")
        owner = self.owners.setdefault(cache.buffer_unique_id(), place)
        if owner != place and status != finding.WRONG:
            note = f"it writes into the {owner[1]} cache of layer {owner[0]}"
            self._say(finding.MISUSED, index, call.name, *where, own=own, note=note)
            return
        verdict = self._cached(cache, layer, which, one.rows, before)
        if verdict is None or verdict.passed or status == finding.WRONG:
            self._say(status, index, call.name, *where, own=own, step=verdict)
            return
        # what is written may already be something else than Hugging Face's
        step = self.steps[f"layers.{layer}.{which}"]
        values = self.reader.read(source)
        found = self._layouts(step, tuple(source.shape), len(one.rows))
        given = self.values.given[step.name][one.rows.start : one.rows.stop]
        same = bool(found) and layouts.nearest(found, values, given)[1] < SAME
        if not same and any(step.name == missing.name for missing in one.missing):
            self._missing(index, step, verdict)
            return
        origin = self.origins.get(source.buffer_unique_id())
        named = self._named(origin)
        note = "" if same or named is None else f"{named} is written, {step.name} is due"
        self._say(finding.MISUSED, index, call.name, *where, own=own, step=verdict, note=note)

    def _cached(self, cache, layer, which, rows, before):
        """The verdict of a cache's rows so far; None where they are not to be found."""
        step = self.steps[f"layers.{layer}.{which}"]
        actual = self.reader.read(cache)
        found, first = self._rows_in_cache(step, tuple(cache.shape), rows)
        if not found:
            return None
        given = self.values.given[step.name][first : rows.stop]
        layout, _ = layouts.nearest(found, actual, given)
        floor = op_floors.Floor(before, before)
        dtype = reading.dtype_name(cache)
        if dtype in metrics.BLOCK_BITS:
            floor = op_floors.chain(floor, op_floors.output(given.double(), dtype))
        return judged(given, layout.read(actual), dtype, lambda: floor)

    def _rows_in_cache(self, step, shape, rows):
        """(layouts, first row) of keys or values in a cache: from row 0 on as far as its pages are known."""
        permuted = step.shape[0] if self.pairs and step.short == "k" else 0
        pages, first = self.pages, 0
        if pages is not None:
            if len(pages) * shape[2] < rows.stop:  # those of this pass alone
                first = rows.start
            pages = pages[: -(-(rows.stop - first) // shape[2])]
        return layouts.in_cache(shape, rows.stop - first, step.shape, permuted, pages), first

    # --- who is to blame ----------------------------------------------------------------------------

    def _blame(self, index, call, step, rows, inputs, inherited, own, verdict):
        """A step is wrong whose call computes rightly: find the call that was used wrongly."""
        where = (step.layer, step.short, step.part)
        one = self._pass_of(index)
        pccs = []
        for name in step.inputs:
            if name.startswith("model."):
                continue
            best = self._best_input(name, step, rows, inputs)
            if best is not None and best[0] < SAME:
                pccs.append(best[1])
                continue
            wanted = self.steps[name]
            cached = step.kind == "attention" and wanted.short in "kv"
            if cached and self._unwritten(index, wanted, rows, verdict):
                return
            if any(missing.name == name for missing in one.missing):
                self._missing(index, wanted, verdict)
                return
            self._input(index, call, step, wanted, inherited, own, verdict)
            return
        worst = min(pccs, default=None)
        note = "it computes rightly from what it is given: a constant or an argument is wrong"
        self._say(
            finding.MISUSED,
            index,
            call.name,
            *where,
            own=own,
            step=verdict,
            inputs=worst,
            note=note,
        )

    def _best_input(self, name, step, rows, inputs):
        """(relative L2 error, PCC) of the operand that is nearest to a value; None without one."""
        wanted = self.steps[name]
        cached = step.kind == "attention" and wanted.short in "kv"
        found = []
        for tensor, values in inputs:
            if values.is_floating_point():
                found += self._as_input(wanted, values, rows, cached)
        return min(found, default=None)

    def _as_input(self, wanted, values, rows, cached):
        given = self.values.given[wanted.name]
        due = given[rows.start : rows.stop]
        choices = [(due, self._layouts(wanted, tuple(values.shape), len(rows)))]
        if cached:
            found, first = self._rows_in_cache(wanted, tuple(values.shape), rows)
            choices.append((given[first : rows.stop], found))
        if wanted.short == "gate_up":  # its halves may come as two tensors
            half = due.shape[-1] // 2
            found = layouts.candidates(tuple(values.shape), len(rows), (half,))
            choices += [(due[:, :half], found), (due[:, half:], found)]
        best = []
        for expected, found in choices:
            if found:
                layout, error = layouts.nearest(found, values, expected)
                best.append((error, metrics.pcc(expected, layout.read(values))))
        return best

    def _unwritten(self, index, wanted, rows, verdict):
        """Whether the cache lacks rows because no call wrote them: that is said then."""
        for number, start in self._pieces_up_to(rows):
            if (number, start, wanted.layer, wanted.short) not in self.written:
                self._say(
                    finding.MISSING, index, "a cache update", wanted.layer, f"{wanted.short} cache",
                    "attention", step=verdict, note=f"no call writes position {start} on",
                )  # fmt: skip
                return True
        return False

    def _pieces_up_to(self, rows):
        """(piece, first row) of the passes of this sequence so far."""
        number = 0
        for which, sequence in enumerate(self.sequences):
            for _ in sequence.pieces:
                if which == self.piece.sequence and number <= self.piece.number:
                    for one in self.traced[number][1]:
                        yield number, one.rows.start
                number += 1

    def _input(self, index, call, step, wanted, inherited, own, verdict):
        """An operand is not what Hugging Face has there, though a call makes that."""
        where = (step.layer, step.short, step.part)
        for origin in inherited:
            since = [] if origin is None else self._since(origin)
            if not since or self._named(origin) != wanted.name:
                continue
            changed = [call for call in since if not semantics.moves(call[1])]
            picked = [call for call in since if semantics.picks(call[1])]
            if changed or picked:
                index, name = (changed or picked)[-1]
                note = f"it changes {wanted.name}, which Hugging Face hands on as it is"
                if not changed:
                    note = f"it takes other rows or columns of {wanted.name} than are due"
                self._say(finding.MISUSED, index, name, *where[:1], wanted.short, where[2],
                          step=verdict, note=note)  # fmt: skip
                return
        names = [name for name in map(self._named, inherited) if name]
        given = ", ".join(names) or "something else"
        note = f"it is given {given}; {wanted.name} is due"
        self._say(finding.MISUSED, index, call.name, *where, own=own, step=verdict, note=note)

    def _since(self, origin):
        """(index, operation) of the calls between a buffer and the value it stems from, latest first."""
        found = []
        while origin is not None and origin.name is None:
            found.append(origin.call)
            origin = origin.source
        return found

    def _named(self, origin):
        while origin is not None and origin.name is None:
            origin = origin.source
        return None if origin is None else origin.name

    def _missing(self, index, step, verdict):
        self._say(
            finding.MISSING, index, f"a call of kind {step.kind}", step.layer, step.short, step.part,
            step=verdict, note=f"no call makes {step.name}; it is missed here",
        )  # fmt: skip

    # --- findings -----------------------------------------------------------------------------------

    def _near(self, index):
        """(layer, value, part) of the call: those of the step before it, without its value."""
        one = self._pass_of(index)
        if one is None:
            return None, None, None
        before = [(place, step) for place, step in one.steps.items() if place[0] <= index]
        if not before:
            return None, None, "embedding"
        step = max(before, key=lambda pair: pair[0])[1]
        return step.layer, None, step.part

    def _say(self, status, index, operation, layer, value, part, **more):
        self.findings.append(
            Finding(
                status, self.piece, index, operation, layer=layer, part=part, value=value, **more
            )
        )
        if self.first and self.findings[-1].bad:
            raise _Enough

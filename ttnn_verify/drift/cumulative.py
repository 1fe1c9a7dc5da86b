"""A model on its own results: how far each layer's output is off, and each layer's own part of it.

The residual stream hides what a layer adds: its *update*, output minus input, is compared as well. The
*gain* is the error of a layer's output over that of its input: a wrong layer and one that amplifies what
it is given look different in it, and so does the error of the layer fed with Hugging Face's input.
"""

import dataclasses
import math

import torch

from ttnn_verify.drift.observation import layouts, reading, taps, tracing, walk
from ttnn_verify.numerics import metrics


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table over depth; relative L2 errors and PCC, NaN where nothing was read.

    Attributes:
        name: "embedding", "layer 0", ..., "norm", "logits".
        prompt, tokens: error of the output, of the prompt's rows and of those given one at a time.
        pcc: of all rows of the output.
        update: error of output minus input, of all rows.
        gain: error of the output over that of the row before.
        isolated: error of the output when the layer is given Hugging Face's input.
    """

    name: str
    prompt: float
    tokens: float
    pcc: float
    update: float
    gain: float
    isolated: float = math.nan


def run(model, sequences, traced, steps, isolate=False):
    """Lead the model once: a list of `Row`.

    Args:
        isolate: hand on Hugging Face's value after each output that is read, so that each layer is
            fed with Hugging Face's.

    Raises:
        tracing.Untold: the model makes other calls than in the traced run.
    """
    places = [step for step in steps if on_the_way(step)]
    read = outputs(model, sequences, traced, places, isolate)
    return _rows(sequences, places, read)


def on_the_way(step):
    """Whether a step's value is one of the residual stream between layers, or of the head."""
    return step.short == "output" or step.layer is None


def outputs(model, sequences, traced, places, isolate=False):
    """name -> [(sequence, rows, [R, ...] value of the model)], of one run.

    Args:
        places: the steps whose values are read.
    """
    wanted = {step.name for step in places}
    read = {name: [] for name in wanted}
    reader, state = reading.Reader(), {}

    def begin(piece):
        state.update(piece=piece, index=0)

    def observe(call, run):
        index, piece = state["index"], state["piece"]
        state["index"] += 1
        calls, passes = traced[piece.number]
        if index >= len(calls) or calls[index].name != call.name:
            raise tracing.Untold(f"{piece}: call {index} is {call.name}; another run had another.")
        result = run()
        made = taps.device_tensors([result])
        for tensor in (*made, *tracing.rewritten(call)):
            reader.written(tensor)
        for one in passes:
            for output, tensor in enumerate(made):
                step = one.steps.get((index, output))
                if step is None or step.name not in wanted:
                    continue
                values = sequences[piece.sequence].values
                at = slice(one.rows.start, one.rows.stop)
                golden = values.golden[step.name][at]
                found = layouts.candidates(tuple(tensor.shape), len(one.rows), step.shape)
                if not found:
                    continue
                actual = reader.read(tensor)
                layout, _ = layouts.nearest(found, actual, golden)
                read[step.name].append((piece.sequence, one.rows, layout.read(actual)))
                if isolate:
                    reader.put(tensor, layout.write(actual, values.given[step.name][at]))
        return result

    with taps.tapped(observe):
        walk.lead(model, sequences, begin)
    return read


def _rows(sequences, places, read):
    table, before, input_name = [], math.nan, None
    for step in places:
        found = read[step.name]
        if not found:
            table.append(Row(label(step), *[math.nan] * 5))
            continue
        golden = [sequences[s].values.golden[step.name][r.start : r.stop] for s, r, _ in found]
        mine = [value for _, _, value in found]
        many = [i for i, (_, rows, _) in enumerate(found) if len(rows) > 1]
        single = [i for i, (_, rows, _) in enumerate(found) if len(rows) == 1]
        error = _error(golden, mine, range(len(found)))
        update = math.nan
        if step.short == "output" and len(read[input_name]) == len(found):
            inputs = [(sequences[s].values.golden[input_name][r.start : r.stop], value)
                      for s, r, value in read[input_name]]  # fmt: skip
            update = _error(
                [g - x for g, (x, _) in zip(golden, inputs, strict=True)],
                [v - x for v, (_, x) in zip(mine, inputs, strict=True)],
                range(len(found)),
            )
        pcc = metrics.pcc(torch.cat(golden), torch.cat(mine))
        gain = error / before if before else math.nan
        table.append(
            Row(
                label(step),
                _error(golden, mine, many),
                _error(golden, mine, single),
                pcc,
                update,
                gain,
            )
        )
        before, input_name = error, step.name
    return table


def label(step):
    return step.short if step.layer is None else f"layer {step.layer}"


def _error(golden, mine, which):
    if not len(which):
        return math.nan
    return metrics.relative_l2(
        torch.cat([golden[i] for i in which]), torch.cat([mine[i] for i in which])
    )


def with_isolated(table, isolated):
    """The table with the errors of another one, in which each layer was fed with Hugging Face's values."""

    def error(row):
        return max((x for x in (row.prompt, row.tokens) if not math.isnan(x)), default=math.nan)

    return [
        dataclasses.replace(row, isolated=error(other))
        for row, other in zip(table, isolated, strict=True)
    ]

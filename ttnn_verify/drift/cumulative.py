"""A model on its own results: the error of each layer's output, and the layer's own part of it.

The residual stream hides what a layer adds, so its *update*, output minus input, is compared as
well. The *gain* is the error of a layer's output over that of its input. The gain, and the error of
the layer on Hugging Face's input, tell a wrong layer from one that amplifies its input's error.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ttnn_verify.drift.candidates import LOGITS
from ttnn_verify.drift.isolated import Walked
from ttnn_verify.drift.mesh import found_parts
from ttnn_verify.drift.observation import reading, taps, walk
from ttnn_verify.drift.observed import read as read_tensor
from ttnn_verify.drift.observed import rewritten
from ttnn_verify.drift.progress import Run
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.numerics import metrics

# Phases of a run of drift.
CUMULATIVE, LAYERS_ALONE = "cumulative run", "layer by layer"


@dataclasses.dataclass(frozen=True)
class DepthRow:
    """A line of the table over depth; relative L2 errors and PCC, NaN where nothing was read.

    Attributes:
        name: "embedding", "layer 0", ..., "norm", "logits".
        prompt, tokens: error of the output, over the prompt's rows and over the decoded ones.
        pcc: of all rows of the output.
        update: error of output minus input, of all rows.
        gain: error of the output over that of the row before.
        isolated: error of the output when the layer is given Hugging Face's input.
    """

    name: str
    prompt: float = math.nan
    tokens: float = math.nan
    pcc: float = math.nan
    update: float = math.nan
    gain: float = math.nan
    isolated: float = math.nan


class ReadRows(NamedTuple):
    """Rows of a value as the model computed them.

    Attributes:
        prompt: whether they are of a prompt, not of a single token.
        expected: `[R, ...]`, Hugging Face's.
        values: `[R, ...]`.
    """

    prompt: bool
    expected: torch.Tensor
    values: torch.Tensor


def run(model: Callable[..., Any], walked: Walked, isolate: bool = False) -> list[DepthRow]:
    """Run the model once: the table over depth.

    Args:
        walked: of the same walk, it says where the values are.
        isolate: replace each output that is read by Hugging Face's value, so that each layer gets
            Hugging Face's input.

    Raises:
        DriftUndetermined: the model does not make the same calls.
    """
    places = [step for step in walked.reference.steps if on_the_way(step)]
    read = outputs(model, walked, {step.name for step in places}, isolate)
    return _table(places, read)


def on_the_way(step: HfValue) -> bool:
    """Whether a step's value is one of the residual stream between layers, or of the head."""
    return step.within is None and (step.short == "output" or step.layer is None)


def outputs(
    model: Callable[..., Any],
    walked: Walked,
    names: Collection[str],
    isolate: bool = False,
) -> dict[str, list[ReadRows]]:
    """The model's values of these names, from one run.

    Args:
        isolate: see `run`.
    """
    read: dict[str, list[ReadRows]] = {name: [] for name in names}
    reader = reading.Reader()
    seen: set[tuple[int, str, int]] = set()  # (call of the model, value, position)
    model_call, index = walk.model_calls(walked.sequences)[0], 0

    def begin(call: walk.ModelCall) -> None:
        nonlocal model_call, index
        model_call, index = call, 0

    def observe(call: taps.TtnnCall, run: Callable[[], Any]) -> Any:
        nonlocal index
        at, index = index, index + 1
        walked.check(model_call, at, call.name)
        result = run()
        tensors = taps.device_tensors([result])
        for tensor in (*tensors, *rewritten(call)):
            reader.note_write(tensor)
        for output, tensor in enumerate(tensors):
            found = walked.places[model_call.number].get((at, output))
            if found is None or found.name not in read or found.factor != 1.0:
                continue
            step = walked.blame.step(found.name)
            rows = {
                (model_call.number, step.name, position) for position in found.positions.tolist()
            }
            if rows <= seen:
                continue  # a part of a value that was read before
            seen.update(rows)
            expected = walked.candidates.expected(step, call=model_call).rows[found.positions]
            contents = read_tensor(tensor, reader, {}, found.spread)
            actual = contents.values
            read[step.name].append(ReadRows(model_call.count > 1, expected, found.read(actual)))
            if isolate:
                values = found.write(actual, expected.bfloat16().float())
                reader.write(tensor, *found_parts.written(contents, found, values))
        return result

    phase = LAYERS_ALONE if isolate else CUMULATIVE
    told = Run(walked.session.progress, phase, walked.sequences[:1])
    with taps.intercept(told.observing(observe)):
        walk.lead(
            model, walked.sequences[:1], told.beginning(begin), _adds_returned(walked, read, seen)
        )
    return read


def _adds_returned(
    walked: Walked, read: dict[str, list[ReadRows]], seen: set[tuple[int, str, int]]
) -> Callable[[walk.ModelCall, torch.Tensor], None]:
    """For `walk.lead`: adds logits that no call makes as one, such as are joined on the host."""

    def end(call: walk.ModelCall, logits: torch.Tensor) -> None:
        if LOGITS in read and (call.number, LOGITS) not in {entry[:2] for entry in seen}:
            expected = walked.candidates.expected(walked.blame.step(LOGITS), call=call)
            read[LOGITS] += [ReadRows(call.count > 1, *rows) for rows in expected.beside(logits)]

    return end


def _by_count(rows: Sequence[ReadRows]) -> tuple[list[int], list[int]]:
    """(indices of rows of a prompt, of those of a token)."""
    return (
        [i for i, read in enumerate(rows) if read.prompt],
        [i for i, read in enumerate(rows) if not read.prompt],
    )


def _differences(
    first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    return [x - y for x, y in zip(first, second, strict=True)]


def _table(places: Sequence[HfValue], read: Mapping[str, Sequence[ReadRows]]) -> list[DepthRow]:
    table: list[DepthRow] = []
    before, input_name = math.nan, ""
    for step in places:
        rows = read[step.name]
        if not rows:
            table.append(DepthRow(label(step)))
            continue
        golden, actual = [part.expected for part in rows], [part.values for part in rows]
        many, single = _by_count(rows)
        error = _error(golden, actual, range(len(rows)))
        update = math.nan
        inputs = read.get(input_name, ())
        same = [part.expected.shape for part in inputs] == [part.expected.shape for part in rows]
        if step.short == "output" and same:
            update = _error(
                _differences(golden, [part.expected for part in inputs]),
                _differences(actual, [part.values for part in inputs]),
                range(len(rows)),
            )
        table.append(
            DepthRow(
                label(step),
                prompt=_error(golden, actual, many),
                tokens=_error(golden, actual, single),
                pcc=metrics.pcc(torch.cat(golden), torch.cat(actual)),
                update=update,
                gain=error / before if before else math.nan,
            )
        )
        before, input_name = error, step.name
    return table


def label(step: HfValue) -> str:
    """The name of a step's row."""
    return step.short if step.layer is None else f"layer {step.layer}"


def _error(
    golden: Sequence[torch.Tensor], actual: Sequence[torch.Tensor], indices: Sequence[int]
) -> float:
    if not len(indices):
        return math.nan
    return metrics.relative_l2(
        torch.cat([golden[i] for i in indices]), torch.cat([actual[i] for i in indices])
    )


def with_isolated(
    table: Sequence[DepthRow], isolated: Sequence[DepthRow], drifts: bool
) -> list[DepthRow]:
    """The table with the `isolated` column from one made with `isolate`.

    Args:
        drifts: whether a call is bad. What is computed from it is not recognised, and so not
            replaced: a row counts where the one before it was read, in the prompt or the tokens.
    """

    def error(row: DepthRow, before: DepthRow | None) -> float:
        phases = (row.prompt, row.tokens)
        given = (0.0, 0.0) if before is None or not drifts else (before.prompt, before.tokens)
        known = (x for x, y in zip(phases, given, strict=True) if not math.isnan(x + y))
        return max(known, default=math.nan)

    return [
        dataclasses.replace(row, isolated=error(other, before))
        for row, other, before in zip(table, isolated, (None, *isolated[:-1]), strict=True)
    ]

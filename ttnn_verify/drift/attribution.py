"""Attributes the logits' error to families of operations, by making one family exact at a time.

Exact means that results are replaced by what is expected from the operands in float64, rounded once
to the format in which they are stored. This needs no support from the model or the device.
"""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from ttnn_verify.drift.expected_values import ExpectedValues
from ttnn_verify.drift.mesh import spread
from ttnn_verify.drift.observation import reading, taps, walk
from ttnn_verify.drift.observed import Operands, operands_of, rewritten, written_pairs
from ttnn_verify.drift.progress import Progress, Run
from ttnn_verify.numerics import metrics
from ttnn_verify.ops import table
from ttnn_verify.ops.expected import CallContext, NoGolden


@dataclasses.dataclass(frozen=True)
class Share:
    """The logits' relative L2 error with a family of operations made exact, and the share removed.

    Shares are of squared errors, as independent errors add; they need not add up to 1. A call that
    has no golden stays as it is.
    """

    family: str
    error: float
    share: float


def run(
    model: Callable[..., Any],
    sequence: walk.TokenSequence,
    reference: ExpectedValues,
    progress: Progress | None = None,
) -> list[Share]:
    """A share per family, and one of all together; the error left then is that of the formats."""

    def _error(family: str, names: Collection[str]) -> float:
        told = Run(progress, f"{family} exact", [sequence])
        return _error_with(model, sequence, reference, names, told)

    full_error = _error("none", frozenset())
    families = table.FAMILIES | {"all of them": frozenset().union(*table.FAMILIES.values())}
    shares = []
    for family, names in families.items():
        error = _error(family, names)
        shares.append(Share(family, error, 1 - (error / full_error) ** 2 if full_error else 0.0))
    return [Share("none", full_error, 0.0), *shares]


def _error_with(
    model: Callable[..., Any],
    sequence: walk.TokenSequence,
    reference: ExpectedValues,
    exact: Collection[str],
    told: Run,
) -> float:
    """Relative L2 error of the logits with some operations made exact."""
    reader = reading.Reader()
    errors: list[tuple[torch.Tensor, torch.Tensor]] = []

    def observe(call: taps.TtnnCall, run: Callable[[], Any]) -> Any:
        if table.short_name(call.name) in exact:
            return _exact(call, run, reader)
        result = run()
        caches = [cache for cache, _ in written_pairs(call)]
        outputs = taps.device_tensors([result])
        for tensor in (*outputs, *caches, *rewritten(call)):
            reader.note_write(tensor)
        return result

    def end(model_call: walk.ModelCall, logits: torch.Tensor) -> None:
        last = next(step for step in reference.steps if step.name == "logits")
        expected = reference.expected(last, sequence.rows, model_call.starts, model_call.ends)
        new = expected.rows[model_call.start :][-logits.shape[1] :]
        errors.append((new, logits[0].float()[-len(new) :]))

    with taps.intercept(told.observing(observe)):
        walk.lead(model, [sequence], told.beginning(lambda model_call: None), end)
    golden, actual = (torch.cat(part) for part in zip(*errors, strict=True))
    return metrics.relative_l2(golden, actual)


def _exact(call: taps.TtnnCall, run: Callable[[], Any], reader: reading.Reader) -> Any:
    """Run a call and replace its results by the exact ones."""
    given = operands_of(call, reader, {})
    result = run()
    outputs = taps.device_tensors([result])
    for tensor in outputs:
        reader.note_write(tensor)
    actual = [reader.parts(tensor) for tensor in outputs]
    rows, columns = reading.mesh_of(outputs[0]) if outputs else spread.ONE_CHIP
    context = CallContext(
        tuple(reading.dtype_name(tensor) for tensor in outputs),
        tuple(tuple(tensor.shape) for tensor in outputs),
        mesh=(rows, columns),
    )
    try:
        exact = [_exact_on(call, context, given, actual, chip) for chip in range(rows * columns)]
    except NoGolden:
        return result
    for tensor, parts in zip(outputs, zip(*exact, strict=True), strict=True):
        reader.write(tensor, *parts)
    return result


def _exact_on(
    call: taps.TtnnCall,
    context: CallContext,
    given: Operands,
    actual: Sequence[Sequence[torch.Tensor]],
    chip: int,
) -> list[torch.Tensor]:
    """The exact results on a chip."""
    context = dataclasses.replace(context, chip=chip)
    own = given if table.spec_of(call.name).spans_chips else given.on(chip)
    expected = table.expected_results(call.name, call.operation, context, own.args, own.kwargs)
    results = []
    for exact, parts in zip(expected, actual, strict=True):
        values = parts[chip].clone()
        values[exact.region] = exact.value.float()
        results.append(values)
    return results

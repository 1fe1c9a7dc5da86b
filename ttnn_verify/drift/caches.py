"""Verdicts on calls that write a cache: whether it is the right cache, and its rows so far."""

import torch

from ttnn_verify.drift import finding
from ttnn_verify.drift.finding import OpFinding
from ttnn_verify.drift.judging import SAME_VALUE, OwnVerdicts, result_verdict
from ttnn_verify.drift.observation import layouts
from ttnn_verify.drift.observation.hf_values import HfValue
from ttnn_verify.drift.observation.walk import model_calls
from ttnn_verify.drift.observed import Observed, ReadTensor, WalkPlan, WalkState, Where
from ttnn_verify.numerics import metrics, op_floors, tolerance
from ttnn_verify.ops import table

OTHER_PART = "it takes other rows or columns of {} than are expected"


def cache_finding(
    plan: WalkPlan, memory: WalkState, observed: Observed, number: int, own: OwnVerdicts
) -> OpFinding:
    """Compare a cache's rows so far with Hugging Face's keys or values.

    Args:
        number: index of the cache among those that the call writes.
    """
    place = (
        None if observed.matched is None else observed.matched.writes.get((observed.index, number))
    )
    if place is None:
        return observed.finding(own.status, observed.nearby, own=own.worst, note=own.note)
    layer, kind = place
    memory.written.add((observed.model_call.number, observed.rows.start, layer, kind))
    where = Where(layer, f"{kind} cache", "attention")
    owner = memory.owners.setdefault(observed.results[number].buffer, place)
    if own.unknown:
        return observed.finding(own.status, where, note=own.note)
    if owner != place and not own.wrong:
        note = f"it writes into the {owner[1]} cache of layer {owner[0]}"
        return observed.finding(finding.MISUSED, where, own=own.worst, note=note)
    step = plan.steps[f"layers.{layer}.{kind}"]
    verdict = _rows_verdict(plan, observed, number, step)
    if verdict is None or verdict.passed or own.wrong:
        return observed.finding(own.status, where, own=own.worst, step=verdict)
    return _wrong_rows(plan, observed, number, own, verdict)


def _wrong_rows(
    plan: WalkPlan, observed: Observed, number: int, own: OwnVerdicts, verdict: tolerance.Verdict
) -> OpFinding:
    """The finding on wrong rows: was the call given the step's value, or already another one?"""
    assert observed.matched is not None
    layer, kind = observed.matched.writes[observed.index, number]
    step = plan.steps[f"layers.{layer}.{kind}"]
    source = observed.operands.sources[number]
    expected = plan.values(observed.model_call).bf16[step.name][
        observed.rows.start : observed.rows.stop
    ]
    candidates = plan.layouts(step, source.shape, len(observed.rows))
    is_expected = (
        bool(candidates) and layouts.nearest(candidates, source.values, expected)[1] < SAME_VALUE
    )
    if not is_expected and is_missing(observed, step):
        return missing_step(observed, step, verdict)
    picked = None if is_expected else _picked_on_the_way(source, step)
    if picked is not None:
        index, operation = picked
        return observed.finding(
            finding.MISUSED,
            Where(layer, step.short, "attention"),
            index=index,
            operation=operation,
            step=verdict,
            note=OTHER_PART.format(step.name),
        )
    value = source.origin.value if source.origin else None
    note = "" if is_expected or value is None else f"{value} is written, {step.name} is expected"
    where = Where(layer, f"{kind} cache", "attention")
    return observed.finding(finding.MISUSED, where, own=own.worst, step=verdict, note=note)


def _picked_on_the_way(source: ReadTensor, step: HfValue) -> tuple[int, str] | None:
    """(index, operation) of the first call since a value that takes a part of it; None if none."""
    if source.origin is None or source.origin.value != step.name:
        return None
    picks = [c for c in source.origin.calls_since if table.spec_of(c[1]).data == "picks"]
    return picks[-1] if picks else None


def is_missing(observed: Observed, step: HfValue) -> bool:
    """Whether no call of the pass computes a step's value."""
    return observed.matched is not None and any(
        missing.name == step.name for missing in observed.matched.missing
    )


def missing_step(observed: Observed, step: HfValue, verdict: tolerance.Verdict) -> OpFinding:
    """The finding on a step that no call computes, at the call where it is missed."""
    return observed.finding(
        finding.MISSING,
        Where(step.layer, step.short, step.part),
        operation=f"a call of kind {step.kind}",
        step=verdict,
        note=f"no call makes {step.name}; it is missed here",
    )


def _rows_verdict(
    plan: WalkPlan, observed: Observed, number: int, step: HfValue
) -> tolerance.Verdict | None:
    """The verdict on a cache's rows so far; None where no layout fits them."""
    cache, before = observed.results[number], observed.operands.noise
    candidates, expected = rows_in_cache(plan, observed, step, cache.shape)
    if not candidates:
        return None
    layout, _ = layouts.nearest(candidates, cache.values, expected)
    floor = op_floors.Floor(before, before)
    if cache.dtype in metrics.BLOCK_BITS:
        floor = op_floors.chain(floor, op_floors.output(expected.double(), cache.dtype))
    return result_verdict(expected, layout.read(cache.values), cache.dtype, lambda: floor)


def rows_in_cache(
    plan: WalkPlan, observed: Observed, step: HfValue, shape: tuple[int, ...]
) -> tuple[list[layouts.Layout], torch.Tensor]:
    """(layouts of keys or values in a cache, the values): from row 0 on, if all pages are known."""
    permuted = step.shape[0] if plan.pairs and step.short == "k" else 0
    pages, first, rows = observed.operands.pages, 0, observed.rows
    if pages is not None:
        if len(pages) * shape[2] < rows.stop:  # pages of this pass alone
            first = rows.start
        pages = pages[: -(-(rows.stop - first) // shape[2])]
    order = plan.found.order if step.short == "k" else None
    candidates = layouts.in_cache(shape, rows.stop - first, step.shape, permuted, pages, order)
    return candidates, plan.values(observed.model_call).bf16[step.name][first : rows.stop]


def first_unwritten(
    plan: WalkPlan, memory: WalkState, observed: Observed, step: HfValue
) -> int | None:
    """The first position of the sequence so far whose keys or values no call has written."""
    for call in model_calls(plan.sequences):
        if (
            call.sequence != observed.model_call.sequence
            or call.number > observed.model_call.number
        ):
            continue
        for matched in plan.traced[call.number].passes:
            start = matched.rows.start
            if (call.number, start, step.layer, step.short) not in memory.written:
                return start
    return None

"""Finds the call to blame for a wrong step whose own call computes correctly."""

import torch

from ttnn_verify.drift import finding
from ttnn_verify.drift.caches import (
    OTHER_PART,
    first_unwritten,
    is_missing,
    missing_step,
    rows_in_cache,
)
from ttnn_verify.drift.finding import OpFinding
from ttnn_verify.drift.judging import SAME_VALUE
from ttnn_verify.drift.observation import layouts
from ttnn_verify.drift.observation.hf_values import HfValue
from ttnn_verify.drift.observed import Observed, ReadTensor, WalkPlan, WalkState, Where, where_of
from ttnn_verify.numerics import metrics, tolerance
from ttnn_verify.ops import table

CONSTANT = "it computes rightly from what it is given: a constant or an argument is wrong"


def blame(
    plan: WalkPlan,
    memory: WalkState,
    observed: Observed,
    step: HfValue,
    own: tolerance.Verdict | None,
    verdict: tolerance.Verdict,
) -> OpFinding:
    """The finding on a result that is correct for its operands and wrong for its step.

    Args:
        step: whose value the result is.
        own: the verdict on the result given its operands; verdict: as the step's value.
    """
    pccs = []
    for name in step.inputs:
        if name.startswith("model."):
            continue
        expected = plan.steps[name]
        nearest = _nearest_operand(plan, observed, step, expected)
        if nearest is None or nearest[0] >= SAME_VALUE:
            return _wrong_input(plan, memory, observed, (step, expected), own, verdict)
        pccs.append(nearest[1])
    worst = min(pccs, default=None)
    return observed.finding(
        finding.MISUSED, where_of(step), own=own, step=verdict, inputs=worst, note=CONSTANT
    )


def _nearest_operand(
    plan: WalkPlan, observed: Observed, step: HfValue, expected: HfValue
) -> tuple[float, float] | None:
    """(relative L2 error, PCC) of the operand that is nearest to a value; None without one."""
    errors = [
        error
        for operand in observed.operands.tensors
        if operand.values.is_floating_point()
        for error in _errors(plan, observed, operand, expected, in_cache=_cached(step, expected))
    ]
    return min(errors, default=None)


def _cached(step: HfValue, expected: HfValue) -> bool:
    """Whether a step may take a value from a cache."""
    return step.kind == "attention" and expected.short in "kv"


def _errors(
    plan: WalkPlan, observed: Observed, operand: ReadTensor, expected: HfValue, in_cache: bool
) -> list[tuple[float, float]]:
    """(relative L2 error, PCC) of an operand against each form that the value may have."""
    rows = observed.rows
    values = plan.values(observed.model_call).bf16[expected.name][rows.start : rows.stop]
    forms: list[tuple[torch.Tensor, list[layouts.Layout]]]
    forms = [(values, plan.layouts(expected, operand.shape, len(rows)))]
    if in_cache:
        candidates, cached = rows_in_cache(plan, observed, expected, operand.shape)
        forms.append((cached, candidates))
    if expected.short == "gate_up":  # its halves may come as two tensors
        half = values.shape[-1] // 2
        candidates = layouts.candidates(operand.shape, len(rows), (half,))
        forms += [(values[:, :half], candidates), (values[:, half:], candidates)]
    result = []
    for form, candidates in forms:
        if candidates:
            layout, error = layouts.nearest(candidates, operand.values, form)
            result.append((error, metrics.pcc(form, layout.read(operand.values))))
    return result


def _wrong_input(
    plan: WalkPlan,
    memory: WalkState,
    observed: Observed,
    steps: tuple[HfValue, HfValue],
    own: tolerance.Verdict | None,
    verdict: tolerance.Verdict,
) -> OpFinding:
    """The finding where no operand is the value that the step is computed from.

    Args:
        steps: the step, and the value.
    """
    step, expected = steps
    if _cached(step, expected):
        start = first_unwritten(plan, memory, observed, expected)
        if start is not None:
            return observed.finding(
                finding.MISSING,
                Where(expected.layer, f"{expected.short} cache", "attention"),
                operation="a cache update",
                step=verdict,
                note=f"no call writes position {start} on",
            )
    if is_missing(observed, expected):
        return missing_step(observed, expected, verdict)
    changed = _changed_on_the_way(observed, step, expected, verdict)
    if changed is not None:
        return changed
    values = [value for value in (origin.value for origin in observed.operands.origins) if value]
    actual = ", ".join(values) or "something else"
    note = f"it is given {actual}; {expected.name} is expected"
    return observed.finding(finding.MISUSED, where_of(step), own=own, step=verdict, note=note)


def _changed_on_the_way(
    observed: Observed, step: HfValue, expected: HfValue, verdict: tolerance.Verdict
) -> OpFinding | None:
    """The finding on a call between value and step that changes the value or picks other parts."""
    for origin in observed.operands.origins:
        since = origin.calls_since
        if not since or origin.value != expected.name:
            continue
        changed = [call for call in since if not table.spec_of(call[1]).moves]
        picked = [call for call in since if table.spec_of(call[1]).data == "picks"]
        if not changed and not picked:
            continue
        index, operation = (changed or picked)[-1]
        note = f"it changes {expected.name}, which Hugging Face hands on as it is"
        if not changed:
            note = OTHER_PART.format(expected.name)
        return observed.finding(
            finding.MISUSED,
            Where(step.layer, expected.short, step.part),
            index=index,
            operation=operation,
            step=verdict,
            note=note,
        )
    return None

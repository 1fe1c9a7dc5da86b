"""Verdicts on a result: given its own operands, and as one of Hugging Face's values."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import torch

from ttnn_verify.drift import finding
from ttnn_verify.drift.judgement import amplification
from ttnn_verify.drift.judgement.expecting import expected_results
from ttnn_verify.drift.mesh import found_parts
from ttnn_verify.drift.observation.identification import Found
from ttnn_verify.drift.observed import Observed, ReadTensor
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.numerics import floors, metrics, op_floors, tolerance
from ttnn_verify.ops import table
from ttnn_verify.ops.expected import Expected, NoGolden

# Relative L2 error of one rounding to bfloat16.
ROUNDING = 2.0**-8 / 3**0.5
# What follows may amplify the error of intermediate values, which nothing replaces: a softmax that
# of its scores, say. November 2026.
NOISY = 4.0
# And where a step is made by several calls, its inputs' one rounding more or less. November 2026.
ABSENT = 2.0
# How much larger the error of a row may be then, whose terms nearly cancel each other; that of the
# scores of a query with few keys is not bounded.
CANCELLED = 8.0

# A constant that is rounded to bfloat16 is nearer than this, relatively.
SAME_CONSTANT = 2.0**-9

# Half of what bfloat16 and float32 reach.
LARGEST = 2.0**127

ERRATUM = "left out: off by the matrix unit's erratum"  # so many elements

FloorMaker = Callable[[], op_floors.Floor]  # called late: floors are expensive, and rarely needed


@dataclasses.dataclass(frozen=True)
class OwnVerdicts:
    """A call's results against what is expected from its operands.

    Attributes:
        verdicts, floors: per result; empty if nothing is known.
        unknown: `finding.NO_GOLDEN` or `finding.TOOL_ERROR`, None if everything is known.
        reason: why something is unknown.
        accurate: see `ops.expected.CallContext`.
        wrong_on: the chips of a mesh on which results are wrong.
    """

    verdicts: tuple[tolerance.Verdict, ...] = ()
    floors: tuple[FloorMaker | None, ...] = ()
    unknown: str | None = None
    reason: str = ""
    accurate: bool = False
    wrong_on: tuple[int, ...] = ()

    @property
    def worst(self) -> tolerance.Verdict | None:
        """The first verdict that failed, or the first one."""
        failed = [verdict for verdict in self.verdicts if not verdict.passed]
        return next(iter([*failed, *self.verdicts]), None)

    @property
    def note(self) -> str:
        """The reason, or what of the results was left out."""
        count = sum(len(verdict.errata) for verdict in self.verdicts)
        return self.reason or (f"{count} {ERRATUM}" if count else "")

    @property
    def wrong(self) -> bool:
        """Whether a result is not what is expected from the operands."""
        return any(not verdict.passed for verdict in self.verdicts)

    @property
    def status(self) -> str:
        """The status of a finding, as far as it depends on the call's own results."""
        return finding.WRONG if self.wrong else self.unknown or finding.OK

    def noise(self, output: int) -> float:
        """Relative L2 error of a result; infinite if nothing is known of it."""
        if self.unknown:
            return math.inf
        return self.verdicts[output].comparison.relative_l2


def own_verdicts(observed: Observed, accurate: bool) -> OwnVerdicts:
    """Compare a call's results with what is expected from its own operands."""
    try:
        expected = expected_results(observed, accurate)
        verdicts = tuple(
            own_verdict(golden, result.values, result.dtype)
            for golden, result in zip(expected, observed.results, strict=True)
        )
        floors = tuple(golden.floor for golden in expected)
        return OwnVerdicts(verdicts, floors, accurate=accurate)
    except NoGolden as error:
        return OwnVerdicts(unknown=finding.NO_GOLDEN, reason=str(error))
    except Exception as error:  # noqa: BLE001 - a golden's failure says nothing about the model
        return OwnVerdicts(unknown=finding.TOOL_ERROR, reason=f"{type(error).__name__}: {error}")


def own_verdict(expected: Expected, values: torch.Tensor, dtype: str) -> tolerance.Verdict:
    """The verdict on a result, where it is compared with what its operands make."""
    return result_verdict(expected.value, values[expected.region], dtype, expected.floor)


def step_verdict(
    observed: Observed,
    output: int,
    found: Found,
    expected: torch.Tensor,
    own: OwnVerdicts,
    inputs: int,
    step: HfValue,
) -> tolerance.Verdict | None:
    """Compare the rows of a result with what Hugging Face's step makes of Hugging Face's values.

    Args:
        expected: `[R, ...]`, of the rows that were found.
        inputs: of the step that the operands do not hold: each may have been rounded once more or
            once less.
        step: that computes the value.

    Returns:
        None if too little is known to judge.
    """
    result = observed.results[output]
    if own.unknown or math.isinf(observed.operands.noise) or found.factor != 1.0:
        return None
    composed = inputs > 0 and observed.kind != step.kind  # of several calls, this is the last one
    noise = math.hypot(
        NOISY * observed.operands.noise, (ABSENT if composed else 1.0) * ROUNDING * inputs**0.5
    )
    floor = _step_floor(own.floors[output], observed, noise, own.accurate)
    if floor is not None:
        floor = functools.cache(_as_step(floor, observed, result, step, expected, composed))

    def judged(floor: FloorMaker | None) -> tolerance.Verdict:
        verdicts = [
            result_verdict(expected, found.read(values), result.dtype, floor)
            for values in found_parts.replicas(result, found)
        ]
        return max(verdicts, key=lambda verdict: (not verdict.passed, verdict.used))

    verdict = judged(floor)
    if verdict.passed or floor is None:
        return verdict
    given = math.hypot(observed.operands.noise, ROUNDING * inputs**0.5)
    amplified = amplification.of_noise(observed, output, given, own.accurate)
    measured = _step_floor(own.floors[output], observed, 0.0, own.accurate)
    wider = op_floors.chain(measured() if measured else op_floors.EXACT, amplified)
    wider = _as_step(lambda: wider, observed, result, step, expected, composed)()
    return judged(lambda: floors.larger(floor(), wider))


def _as_step(
    floor: FloorMaker,
    observed: Observed,
    result: ReadTensor,
    step: HfValue,
    expected: torch.Tensor,
    composed: bool,
) -> FloorMaker:
    """The floor of a call's result where it is compared with a step's."""
    if expected.numel() < result.values.numel() or expected.isnan().any():
        floor = _of_some_rows(floor)
    if step.kind == observed.kind == "rope":
        floor = _of_rounded_tables(floor, expected)
    if composed:
        floor = _of_cancelled_rows(floor, math.inf if step.keys else CANCELLED)
    return floor


def _of_cancelled_rows(floor: FloorMaker, times: float) -> FloorMaker:
    """The floor with so much more for the worst row."""

    def of_rows() -> op_floors.Floor:
        whole = floor()
        return dataclasses.replace(whole, worst_row=times * whole.worst_row)

    return of_rows


def _of_rounded_tables(floor: FloorMaker, expected: torch.Tensor) -> FloorMaker:
    """The floor of a rotation by cos and sin in bfloat16, where Hugging Face's are not rounded."""
    return lambda: op_floors.chain(floor(), op_floors.rotary_tables(expected))


def _of_some_rows(floor: FloorMaker) -> FloorMaker:
    """The floor of a part of a result's rows: any of them may be the worst one."""

    def of_rows() -> op_floors.Floor:
        whole = floor()
        return dataclasses.replace(whole, relative_l2=max(whole.relative_l2, whole.worst_row))

    return of_rows


def _step_floor(
    own: FloorMaker | None, observed: Observed, noise: float, accurate: bool
) -> FloorMaker | None:
    """The noise floor of a step: that of its call and of the calls before it; None for no noise.

    Args:
        own: makes the call's floor, None for data that only moves.
        noise: of what it is given.
        accurate: whether operands in block formats are judged as if they had not been rounded.
    """
    blocks = [
        op_floors.block_float(tensor.values, tensor.dtype).relative_l2
        for tensor in observed.operands.tensors
        if tensor.dtype in metrics.BLOCK_BITS and not accurate
    ]
    before = math.hypot(noise, *blocks)
    if own is None and not before:
        return None
    inherited = op_floors.Floor(before, before)
    return lambda: op_floors.chain(own() if own else op_floors.EXACT, inherited)


def other_constant(observed: Observed, step: HfValue, found: Found) -> str:
    """What constant of a call is not that of the step whose value it makes; "" if none.

    Nothing is said where the call is not the whole step: a constant may be spread over several.
    """
    whole = found.factor == 1.0 and _exactly(observed, step.inputs)
    return constant_differs(observed, step) if whole else ""


def constant_differs(observed: Observed, step: HfValue) -> str:
    """What constant of a call is not that of a step of its kind, in words; "" if none.

    Nor where an operand is a multiple of a value: the constant may make up for that.
    """
    spec = table.spec_of(observed.name)
    expected = step.constants.get(spec.constant or "") if spec.kind == step.kind else None
    if expected is None or not _exactly(observed, ()):
        return ""
    operands = observed.operands.on(0)
    actual = spec.constant_of(operands.args, operands.kwargs)
    if actual is None or abs(actual - expected) <= SAME_CONSTANT * abs(expected):
        return ""
    return f"its {spec.constant} is {actual:.6g} where Hugging Face's is {expected:.6g}"


def _exactly(observed: Observed, names: Sequence[str]) -> bool:
    """Whether operands hold these values, and no multiple of any."""
    given = [one for origin in observed.operands.origins for one in origin.found]
    return all(one.factor == 1.0 for one in given) and {one.name for one in given} >= set(names)


def result_verdict(
    expected: torch.Tensor, actual: torch.Tensor, dtype: str, floor: FloorMaker | None
) -> tolerance.Verdict:
    """The verdict on a result; a `Brief` one where one rounding explains it, which is frequent.

    Args:
        expected: NaN where nothing is expected.
        dtype: of the result on the device.
        floor: None for data that only moves.
    """
    if expected.shape == actual.shape:
        unknown = expected.isnan() | _overflown(expected, actual)
        if unknown.any():
            expected, actual = (x.masked_fill(unknown, 0.0) for x in (expected, actual))
        brief = _brief(expected, actual, dtype, floor)
        if brief is not None:
            return brief
    allowed = op_floors.EXACT if floor is None else floor()
    return tolerance.judge_values(expected, actual, allowed)


def _overflown(expected: torch.Tensor, actual: torch.Tensor) -> torch.Tensor:
    """The rows in which something overflows, which is no evidence: nobody reads them.

    Where a sequence has no token a model computes with whatever there is; NaN may have become
    numbers. Where somebody does read them, the value is not Hugging Face's.
    """
    beyond = ~(expected.abs() <= LARGEST)
    if beyond.any():  # hardly ever
        beyond &= expected.double() != actual.double()
    return beyond.any(-1, keepdim=True) if expected.dim() else beyond


def _brief(
    expected: torch.Tensor, actual: torch.Tensor, dtype: str, floor: FloorMaker | None
) -> tolerance.Verdict | None:
    """The verdict on equal values, or on values that are one rounding apart; None on others."""
    if torch.equal(expected.to(actual.dtype), actual):
        return _passed(0.0, "equal", finding.Brief(0.0, 1.0))
    if floor is None:
        return None
    x, y = metrics.rows(expected), metrics.rows(actual)
    error, size, quick = (y - x).norm(dim=-1), x.norm(dim=-1), op_floors.output(x, dtype)
    relative_l2 = float(error.norm() / size.norm())
    allowed = [tolerance.K * figure for figure in (quick.relative_l2, quick.worst_row)]
    if not (relative_l2 <= allowed[0] and bool((error <= allowed[1] * size).all())):
        return None
    used = max(relative_l2 / allowed[0], float((error / size).nan_to_num(0).max()) / allowed[1])
    return _passed(used, "", finding.Brief(relative_l2, metrics.pcc(expected, actual)))


def _passed(used: float, line: str, brief: finding.Brief) -> tolerance.Verdict:
    # of a passed verdict only those figures are read that `Brief` has
    return tolerance.Verdict("ok", used, used * tolerance.K, None, line, brief)  # type: ignore[arg-type]

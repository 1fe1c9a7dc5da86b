"""What the result of a bad call should be: by its own operands, or by Hugging Face."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import torch
import ttnn

from ttnn_verify.drift import finding
from ttnn_verify.drift.finding import Intended, OpFinding
from ttnn_verify.drift.isolated import Walked
from ttnn_verify.drift.judgement import expecting, judging
from ttnn_verify.drift.mesh import spread
from ttnn_verify.drift.observation import arrangements
from ttnn_verify.drift.observation.identification import Found
from ttnn_verify.drift.observed import Observed
from ttnn_verify.numerics import metrics, op_floors, tolerance
from ttnn_verify.ops import table
from ttnn_verify.ops.expected import Expected


class NotReproducible(RuntimeError):
    """No program can make the call again; the message is a sentence that says why."""


@dataclasses.dataclass(frozen=True, eq=False)
class Wanted:
    """What a call's result should be, and how far off it may be.

    Attributes:
        result: which of the call's results.
        shape: that it should have.
        rows: float64 `[..., W]`, NaN where anything is right.
        index: int64 of the same shape, into the flattened result; None for all of it, in order.
        allowed: relative L2 of all rows and of the worst one; 0 for data that only moves.
        name: of Hugging Face's value; None where it is what the operands make.
    """

    result: int
    shape: tuple[int, ...]
    rows: torch.Tensor
    index: torch.Tensor | None
    allowed: tuple[float, float]
    name: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class WantedOfChips:
    """What a collective's result should be on each of C chips, and how far off it may be.

    Attributes:
        result: which of the call's results.
        shape: that it should have on a chip.
        values: float64 `[C, ..., W]`, NaN where anything is right.
        allowed: float64 `[C, 2]`, relative L2 of a chip's whole and of its worst row; 0 for data
            that only moves.
        mesh: (rows, columns) of the chips.
        fabric: that links them.
        name: of Hugging Face's value; None where it is what the operands make.
    """

    result: int
    shape: tuple[int, ...]
    values: torch.Tensor
    allowed: torch.Tensor
    mesh: tuple[int, int]
    fabric: ttnn.FabricConfig
    name: str | None = None


def of(op_finding: OpFinding, walked: Walked) -> tuple[Observed, Wanted | WantedOfChips]:
    """The bad call, and what its result should be. To be asked while the model runs.

    Raises:
        NotReproducible: there is no call, or too little is known of what it should make.
    """
    if op_finding.status == finding.UNEQUAL:
        raise NotReproducible("the model returns what no call made, so no call is to be repeated.")
    observed = walked.observed_at(op_finding.place)
    if op_finding.status == finding.MISSING or observed is None:
        raise NotReproducible("what is wrong is that a call is missing, which cannot be repeated.")
    several = observed.mesh != spread.ONE_CHIP
    exchange = several and table.spec_of(observed.name).spans_chips
    if op_finding.status != finding.WRONG:
        intended = op_finding.intended
        if several and not exchange:
            observed, intended = _on_chip(observed, intended)
        intended = _complete(observed, intended, walked)
        wanted = _of_value_on_chips if exchange else _of_huggingface
        return observed, wanted(observed, intended)
    if exchange:
        return observed, _of_operands_on_chips(observed, walked.session.accurate)
    observed = observed.on(observed.wrong_on[0]) if several else observed
    return observed, _of_operands(observed, walked.session.accurate)


def _on_chip(observed: Observed, intended: Intended | None) -> tuple[Observed, Intended | None]:
    """A call as the first chip that is off makes it, and its part of what is intended.

    Raises:
        NotReproducible: it is not known which part of the value a chip should have.
    """
    if intended is None or intended.expected is None or intended.index is None:
        raise NotReproducible("it is not known which part of the value the chip should have made.")
    chip = observed.off_on[0] if observed.off_on else 0
    found = observed.found.get(intended.result, ())
    if not found:
        raise NotReproducible("it is not known how the value lies over the chips.")
    lies, whole = found[0].spread, observed.results[intended.result]
    piece = lies.split(_placed(intended, whole.shape))[chip]
    assert piece is not None
    rows = piece.reshape(-1, piece.shape[-1])
    kept = ~rows.isnan().all(-1)
    places = torch.arange(piece.numel()).reshape(rows.shape)[kept]
    own = dataclasses.replace(intended, expected=rows[kept], index=places)
    return observed.on(chip), own


# --- by its own operands --------------------------------------------------------------------------


def _of_operands(observed: Observed, accurate: bool) -> Wanted:
    """The golden of the first result that is wrong."""
    expected = expecting.expected_results(observed, accurate)
    for number, (golden, result) in enumerate(zip(expected, observed.results, strict=True)):
        verdict = judging.own_verdict(golden, result.values, result.dtype)
        if not verdict.passed:
            shape = result.shape
            if golden.region is Ellipsis:
                shape = tuple(golden.value.shape)
            return Wanted(number, shape, *_rows(golden, result.shape), verdict.allowed)
    raise NotReproducible("the call's result is right when it is compared once more.")


def _rows(golden: Expected, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A golden as `Wanted.rows` and `Wanted.index`."""
    if golden.region is Ellipsis:
        return metrics.rows(golden.value), None
    if isinstance(golden.region, torch.Tensor):  # compared as one row, as drift does
        whole = torch.full(shape, torch.nan, dtype=torch.float64)
        whole[golden.region] = golden.value.double()
        return whole.reshape(1, -1), None
    rows = metrics.rows(golden.value)
    places = torch.arange(math.prod(shape)).reshape(shape)[golden.region]
    return rows, places.reshape(rows.shape)


def _of_operands_on_chips(observed: Observed, accurate: bool) -> WantedOfChips:
    """The golden of the first result of a collective that is wrong on a chip, on all chips."""
    each = [observed.on(chip) for chip in range(math.prod(observed.mesh))]
    first = each[observed.wrong_on[0]]
    wrong = _of_operands(first, accurate)
    values, allowed = [], []
    for one in each:
        golden = expecting.expected_results(one, accurate)[wrong.result]
        whole = torch.full(wrong.shape, torch.nan, dtype=torch.float64)
        whole[golden.region] = golden.value.double()
        values.append(whole)
        floor = op_floors.EXACT if golden.floor is None else golden.floor()
        allowed.append((tolerance.K * floor.relative_l2, tolerance.K * floor.worst_row))
    return _of_chips(observed, wrong.result, values, allowed)


def _of_chips(
    observed: Observed,
    result: int,
    values: Sequence[torch.Tensor],
    allowed: Sequence[tuple[float, float]],
    name: str | None = None,
) -> WantedOfChips:
    """What a result should be, by what it should be on each chip."""
    return WantedOfChips(
        result,
        tuple(values[0].shape),
        torch.stack([metrics.rows(one) for one in values]),
        torch.tensor(allowed, dtype=torch.float64),
        observed.mesh,
        ttnn.get_fabric_config(),
        name,
    )


# --- by Hugging Face ------------------------------------------------------------------------------


def _of_huggingface(observed: Observed, intended: Intended) -> Wanted:
    assert intended.expected is not None
    assert intended.index is not None
    assert intended.allowed is not None
    rows = metrics.rows(intended.expected)
    return Wanted(
        intended.result,
        observed.results[intended.result].shape,
        rows,
        intended.index.reshape(rows.shape),
        intended.allowed,
        intended.names[0],
    )


def _complete(observed: Observed, intended: Intended | None, walked: Walked) -> Intended:
    """What a call should have made, with all that is needed to compare it.

    Raises:
        NotReproducible: too little of it is known.
    """
    if intended is None:
        raise NotReproducible("it is not known what the call should have made.")
    if intended.expected is None:
        intended = _likeliest(observed, intended, walked)
    if intended.allowed is None:
        intended = dataclasses.replace(intended, allowed=_allowed(observed, intended, walked))
    return intended


def _of_value_on_chips(observed: Observed, intended: Intended) -> WantedOfChips:
    """Each chip's part of a value that a collective should have made; all of it if none did."""
    assert intended.allowed is not None
    result, found = observed.results[intended.result], observed.found.get(intended.result, ())
    chips = len(result.parts)
    lies = found[0].spread if found else spread.whole(0, chips)
    pieces = lies.split(_placed(intended, result.shape))
    anything = torch.full(result.on(0).shape, torch.nan, dtype=torch.float64)
    values = [anything if piece is None else piece for piece in pieces]
    allowed = [intended.allowed] * chips
    return _of_chips(observed, intended.result, values, allowed, intended.names[0])


def _placed(intended: Intended, shape: tuple[int, ...]) -> torch.Tensor:
    """The value in float64 in its place in a result of that shape, NaN around it."""
    assert intended.expected is not None
    assert intended.index is not None
    values = torch.full(shape, torch.nan, dtype=torch.float64).flatten()
    values[intended.index] = intended.expected.double()
    return values.reshape(shape)


def _likeliest(observed: Observed, intended: Intended, walked: Walked) -> Intended:
    """Where a result should have one of Hugging Face's values that it does not hold.

    The place and the value that come nearest. Rows lie where other values of this call of the model
    were found or, where none were, in their order from the first row on.
    """
    best, least = None, math.inf
    for one in _places(observed, intended.names, walked):
        assert one.expected is not None
        actual = observed.results[one.result].values.flatten()[one.index]
        error = metrics.relative_l2(*(x.nan_to_num(0.0) for x in (one.expected, actual)))
        if error < least:
            best, least = one, error
    if best is None:
        meant = " or ".join(intended.names)
        raise NotReproducible(f"it is not known where the call's result should have {meant}.")
    return best


def _places(observed: Observed, names: tuple[str, ...], walked: Walked) -> Iterator[Intended]:
    """The ways in which a call's results may have these values."""
    orders = tuple(walked.candidates.finder.orders)
    for name in names:
        step = walked.blame.step(name)
        computed = all(given in observed.operands.names for given in step.inputs)
        expected = walked.candidates.expected(step, isolated=computed and not observed.moves)
        new = torch.cat([torch.arange(first + start, end) for first, end, start in expected.runs()])
        for number, result in enumerate(observed.results):
            for where in arrangements.of(result.shape, tuple(expected.rows.shape[1:]), orders):
                count = min(len(new), len(where.index))  # fewer rows are those of the last tokens
                rows, positions = walked.candidates.finder.rows.get(
                    len(where.index), (torch.arange(count), new[-count:])
                )
                yield Intended((name,), number, expected.rows[positions], where.index[rows])


def _allowed(observed: Observed, intended: Intended, walked: Walked) -> tuple[float, float]:
    """How far off a result may be from Hugging Face's value.

    Raises:
        NotReproducible: it is not known, or the result is no farther off.
    """
    assert intended.expected is not None
    assert intended.index is not None
    result = observed.results[intended.result]
    if table.spec_of(observed.name).writes:  # Hugging Face's value in bfloat16, as the cache has it
        rounding = op_floors.Floor(judging.ROUNDING, judging.ROUNDING)
        floor = op_floors.chain(
            op_floors.output(intended.expected.double(), result.dtype), rounding
        )
        return tolerance.K * floor.relative_l2, tolerance.K * floor.worst_row
    own = judging.own_verdicts(observed, walked.session.accurate)
    rows = torch.arange(len(intended.index))
    found = Found(
        intended.names[0], arrangements.Arrangement("intended", intended.index), rows, rows
    )
    step = walked.blame.step(found.name)
    absent = sum(name not in observed.operands.names for name in step.inputs)
    verdict = judging.step_verdict(
        observed, intended.result, found, intended.expected, own, absent, step
    )
    if verdict is None:
        raise NotReproducible(f"it is not known how far the call may be off from {found.name}.")
    if verdict.passed:
        raise NotReproducible(f"the call's result is {found.name} where it was looked for.")
    return verdict.allowed

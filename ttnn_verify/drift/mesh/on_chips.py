"""The verdicts on a call on several chips: each chip's results by its own operands."""

import dataclasses
from collections.abc import Callable, Sequence

from ttnn_verify.drift.judgement.judging import FloorMaker, OwnVerdicts
from ttnn_verify.drift.observed import Observed
from ttnn_verify.numerics import op_floors, tolerance

Judge = Callable[[Observed], OwnVerdicts]


def own_verdicts(observed: Observed, judge: Judge) -> OwnVerdicts:
    """The verdicts on the worst chip; those that are given and make the same are judged once."""
    if observed.mesh == (1, 1):
        return judge(observed)
    judged = [(chips, judge(observed.on(chips[0]))) for chips in observed.alike]
    unknown = next((own for _, own in judged if own.unknown), None)
    if unknown is not None:
        return unknown
    wrong = sorted(chip for chips, own in judged if own.wrong for chip in chips)
    each = [own for _, own in judged]
    verdicts = zip(*(own.verdicts for own in each), strict=True)
    floors = zip(*(own.floors for own in each), strict=True)
    return dataclasses.replace(
        each[0],
        verdicts=tuple(map(_worst, verdicts)),
        floors=tuple(map(_largest, floors)),
        wrong_on=tuple(wrong),
    )


def _worst(verdicts: Sequence[tolerance.Verdict]) -> tolerance.Verdict:
    return max(verdicts, key=lambda verdict: (not verdict.passed, verdict.used))


def _largest(makers: Sequence[FloorMaker | None]) -> FloorMaker | None:
    """Of the floors of several chips' results, which are parts of one."""
    known = [make for make in makers if make is not None]
    if len(known) < 2:
        return known[0] if known else None

    def largest() -> op_floors.Floor:
        floors = [make() for make in known]
        return op_floors.Floor(
            max(floor.relative_l2 for floor in floors),
            max(floor.worst_row for floor in floors),
            any(floor.erratum for floor in floors),
        )

    return largest

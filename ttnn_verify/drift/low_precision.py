"""Calls that ask for less precision than others of their kind, and what it costs.

That is no drift: the model says so itself. `accurate` judges it as if it had asked for more.
"""

import collections
import dataclasses
import statistics
from collections.abc import Iterable, Sequence

from ttnn_verify.drift import finding
from ttnn_verify.drift.finding import OpFinding

# How many times the usual error a call must show to be named. A model's settings that differ by a
# step, as HiFi3 from HiFi4, stay below.
NAMED = 3.0


@dataclasses.dataclass(frozen=True)
class LowPrecision:
    """A place that declares low precision.

    Attributes:
        layer, part, value: the place, as `OpFinding` has them.
        operation: that computes it.
        declared: what it asks for, in words.
        times: how many times the error of the calls of its kind that ask for most.
    """

    layer: int | None
    part: str | None
    value: str | None
    operation: str
    declared: str
    times: float

    @property
    def line(self) -> str:
        """`layer 2, MLP, ttnn.linear (gate): LoFi, 12 x the error of the others`"""
        place = finding.place_in_words(self.layer, self.part)
        named = f"{self.operation} ({self.value})" if self.value else self.operation
        return f"{place}, {named}: {self.declared}, {self.times:.0f} x the error of the others"


def of(findings: Iterable[OpFinding]) -> list[LowPrecision]:
    """The places whose declared precision costs `NAMED` times the usual error, in their order."""
    kinds: dict[str, list[OpFinding]] = collections.defaultdict(list)
    for one in findings:
        if one.status == finding.OK and one.declared and _error(one):
            kinds[one.operation].append(one)
    found: dict[tuple, LowPrecision] = {}
    for calls in kinds.values():
        most, usual = _usual(calls)
        for one in calls:
            times = (_error(one) or 0.0) / usual
            place = one.layer, one.part, one.value
            if (
                one.declared != most
                and times >= NAMED
                and times > getattr(found.get(place), "times", 0.0)
            ):
                found[place] = LowPrecision(*place, one.operation, one.declared, times)
    return list(found.values())


def _usual(calls: Sequence[OpFinding]) -> tuple[str, float]:
    """What the calls declare that ask for most, and their median error, which is the least one."""
    errors: dict[str, list[float]] = collections.defaultdict(list)
    for one in calls:
        errors[one.declared].append(_error(one) or 0.0)
    medians = {declared: statistics.median(several) for declared, several in errors.items()}
    return min(medians.items(), key=lambda pair: pair[1])


def _error(one: OpFinding) -> float | None:
    """Relative L2 to what Hugging Face's step makes, which a block format changes, too."""
    return None if one.step is None else one.step.comparison.relative_l2

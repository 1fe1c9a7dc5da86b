"""What a search of precision found, as plain values: for `--json`, the terminal and the page."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ttnn_verify.precision import points as measured_points
from ttnn_verify.precision.configuration import as_json, in_lines
from ttnn_verify.precision.points import Point
from ttnn_verify.precision.searching import Budget, Sensitivity
from ttnn_verify.precision.sites import Sites

FORMAT = 1  # of the JSON


@dataclasses.dataclass(frozen=True)
class PrecisionResult:
    """A search, or the sensitivities alone.

    Attributes:
        sites: of the model.
        minimized: "bytes" or "time".
        points: all that were measured, the model as it is first.
        sensitivities: of the knobs alone.
        budget, chosen: of a search; None without one.
        checked: the model as it is and the chosen point on prompts that the search did not see.
        about: what ran, name -> in words.
        refused: what TTNN does not compute, as JSON -> why.
    """

    sites: Sites
    minimized: str
    points: Sequence[Point]
    sensitivities: Sequence[Sensitivity]
    budget: Budget | None = None
    chosen: Point | None = None
    checked: tuple[Point, Point] | None = None
    about: Mapping[str, str] = dataclasses.field(default_factory=dict)
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def front(self) -> list[Point]:
        """The points that no other one beats, the most expensive first."""
        return measured_points.front(self.points, self.minimized)

    @property
    def settings(self) -> list[str]:
        """The chosen configuration in lines; none where the model stays as it is."""
        return in_lines(self.chosen.configuration) if self.chosen else []

    @property
    def holds(self) -> bool:
        """Whether the chosen point is within the budget on the prompts of the check, too."""
        return not (self.budget and self.checked) or self.budget.allows(self.checked[1])

    def to_json(self) -> str:
        """As `FORMAT` has it; "settings" are the chosen configuration's."""
        record = {
            "format": FORMAT,
            "about": dict(self.about),
            "minimized": self.minimized,
            "budget": self.budget and dataclasses.asdict(self.budget),
            "settings": as_json(self.chosen.configuration) if self.chosen else [],
            "chosen": self.chosen and _point(self.chosen),
            "check": self.checked and [_point(point) for point in self.checked],
            "holds": self.holds,
            "sensitivities": [_sensitivity(one) for one in self.sensitivities],
            "front": [_point(point) for point in self.front],
            "points": [_point(point) for point in self.points],
            "refused": dict(self.refused),
            "unmatched": list(self.sites.unmatched),
        }
        return json.dumps(record, indent=1, allow_nan=False) + "\n"


def _point(point: Point) -> dict[str, Any]:
    measured = point.measured
    return {
        "step": point.step,
        "weight_bytes": point.cost.weights,
        "cache_bytes": point.cost.caches,
        "seconds": point.cost.seconds,
        **{name: _number(value) for name, value in measured.figures.items()},
        "kl_interval": [_number(x) for x in measured.kl_interval],
        "top1_interval": list(measured.top1_interval),
        "settings": as_json(point.configuration),
    }


def _sensitivity(one: Sensitivity) -> dict[str, Any]:
    gain, either = one.gain
    return {
        "knob": one.knob.name,
        "setting": one.knob.steps[one.step - 1].fields,
        "places": [place._asdict() for place in one.knob.places],
        "kl": _number(gain),
        "uncertainty": _number(either),
        "saved": one.saved,
        "refused": one.refused,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None

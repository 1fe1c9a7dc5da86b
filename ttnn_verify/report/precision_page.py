"""A search of precision as one self-contained HTML page: the front, a heat map, the steps."""

import math

from ttnn_verify.precision import precision_text
from ttnn_verify.precision.points import Point
from ttnn_verify.precision.result import PrecisionResult
from ttnn_verify.precision.searching import Sensitivity
from ttnn_verify.report import plots, templating

# Decades of KL over which the heat map's colours go from none to full.
DECADES = 3
UNITS = {"bytes": ("weights and caches, MB", 1e6), "time": ("roofline, ms", 1e-3)}


def render(result: PrecisionResult) -> str:
    """The page."""
    base = result.points[0]
    return templating.fill(
        "precision.html.jinja",
        result=result,
        base=base,
        says=_says(result),
        picture=picture(result) if result.budget else None,
        columns=list(dict.fromkeys(one.knob.part for one in result.sensitivities)),
        heat=heat(result),
        size=lambda point: precision_text.size(point, base),
        figures=precision_text.figures,
        front=result.front,
    )


def _says(result: PrecisionResult) -> tuple[str, str]:
    """The verdict, and how the page shows it."""
    if result.budget is None:
        return "sensitivities", "unknown"
    return ("within the budget", "good") if result.holds else ("beyond the budget", "bad")


def picture(result: PrecisionResult) -> str:
    """The points as an <svg> element, with the front as a line."""
    name, unit = UNITS[result.minimized]

    def place(point: Point) -> tuple[float, float]:
        return point.cost.of(result.minimized) / unit, point.measured.figures["kl"]

    shown = [point for point in result.points if place(point)[1] > 0]
    best = [(*place(point), *point.measured.kl_interval) for point in result.front]
    chosen = place(result.chosen) if result.chosen else None
    return plots.front([place(point) for point in shown], best, chosen, (name, "KL, nats"))


def heat(result: PrecisionResult) -> list[tuple[str, dict[str, list[tuple[str, float, str]]]]]:
    """Rows of layers, of each part (setting, share of the full colour, figure) for each step."""
    gains = [one.gain[0] for one in result.sensitivities if one.gain[0] > 0]
    most = math.log10(max(gains, default=1.0))
    rows: dict[str, dict[str, list[tuple[str, float, str]]]] = {}
    for one in result.sensitivities:
        cells = rows.setdefault(_layers(one), {})
        cells.setdefault(one.knob.part, []).append(_cell(one, most))
    return list(rows.items())


def _layers(one: Sensitivity) -> str:
    layers = [place.layer for place in one.knob.places if place.layer is not None]
    if not layers:
        return "outside of layers"
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]}-{layers[-1]}"


def _cell(one: Sensitivity, most: float) -> tuple[str, float, str]:
    gain, setting = one.gain[0], str(one.knob.steps[one.step - 1])
    if one.point is None:
        return setting, 0.0, "refused"
    share = 1 - (most - math.log10(gain)) / DECADES if gain > 0 else 0.0
    return setting, min(max(share, 0.0), 1.0), f"{gain:+.1e}"

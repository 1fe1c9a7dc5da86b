"""The page's pictures, as SVG that takes the page's fonts and colours, light or dark."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.figure
import matplotlib.ticker

from ttnn_verify.numerics import metrics

# Colours that stand in for the page's own: the SVG names its CSS variables in their place.
_PAGE = {"#010101": "--ink", "#020202": "--muted", "#030303": "--accent", "#040404": "--bad"}
INK, MUTED, ACCENT, BAD = _PAGE
_SERIES = {f"#0505{i:02x}": f"--series-{i}" for i in range(6)}

_STYLE: dict[Any, Any] = {  # matplotlib has a type of all its names
    "svg.fonttype": "none",  # text stays text, in the page's font
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
}


_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))

_POINTS: dict[str, Any] = {"marker": "o", "markersize": 3.5, "lw": 1.4}

# Of the histogram of shares: the bar of whatever is more, and where it stands, in bars.
BEYOND, APART = 22, 24.5

WIDE = (9, 2.8)  # inches: at 700 pixels of screen the text is still 8 pixels high

NAMED_PLACES = 30  # below a picture over depth, at most
MOST_SERIES = len(_SERIES)  # colours that can be told apart
LEGEND_COLUMNS = 4  # as many names as are as wide as a picture


def error_histogram(counts: Sequence[int], relative_l2: float, allowed: float | None = None) -> str:
    """How often which error occurs in a tensor, in shares of the reference's root mean square.

    Args:
        counts: `metrics.histogram`.
        relative_l2: of the tensor; the root mean square of its errors.
        allowed: the relative L2 that its tolerance allows, drawn as a line to either side.
    """
    with matplotlib.rc_context(_STYLE):
        figure = matplotlib.figure.Figure(figsize=(3.4, 1.7))
        axes = figure.add_subplot()
        reach = metrics.HISTOGRAM_REACH * relative_l2
        width = 2 * reach / len(counts)
        centres = [width * (i + 0.5) - reach for i in range(len(counts))]
        axes.bar(centres, counts, width=width * 0.88, color=ACCENT, linewidth=0)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0, max(counts) * 1.6)
        axes.minorticks_off()
        axes.axvline(0, color=MUTED, linewidth=0.6)
        for line in (-allowed, allowed) if allowed and allowed < reach else ():
            axes.axvline(line, color=BAD, linewidth=0.9, linestyle=(0, (3, 2)))
        axes.set_xlim(-reach, reach)
        axes.set_xticks([-reach, 0, reach], [f"{-reach:.2g}", "0", f"{reach:.2g}"])
        return _svg(figure, "Histogram of the errors of one comparison")


def over_depth(
    series: Mapping[str, Sequence[tuple[int, float]]], names: Sequence[str] | None = None
) -> str:
    """Relative L2 error over the layers, a line for each series, on a logarithmic scale.

    Only neighbours are joined: a line across a layer would show errors that nobody measured there.

    Args:
        series: name -> list of (layer, relative L2); at most `MOST_SERIES`.
        names: what stands below the axis at 0, 1, ..., where not the numbers themselves.
    """
    with matplotlib.rc_context(_STYLE):
        figure = matplotlib.figure.Figure(figsize=WIDE)
        axes = figure.add_subplot()
        for at, (colour, (name, points)) in enumerate(zip(_SERIES, series.items(), strict=False)):
            larger = len(series) - 1 - at  # or a point would hide an equal one
            size = _POINTS["markersize"] * (1 + 0.35 * larger)
            for number, part in enumerate(runs(points)):
                label = name if number == 0 else None  # in the legend once
                style = {**_POINTS, "markersize": size, "label": label}
                axes.plot(*zip(*part, strict=True), color=colour, **style)
        if any(error > 0 for points in series.values() for _, error in points):
            axes.set_yscale("log")
        axes.grid(axis="y", color=MUTED, alpha=0.25, linewidth=0.5)
        axes.set_xlabel("layer")
        axes.set_ylabel("relative L2 error")
        if names is None:
            axes.xaxis.set_major_locator(
                matplotlib.ticker.MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True)
            )
        else:
            places = range(0, len(names), -(-len(names) // NAMED_PLACES))
            axes.set_xticks(places, [names[place] for place in places])
        columns = min(len(series), LEGEND_COLUMNS)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns)
        return _svg(figure, "Relative L2 error over the layers")


def front(
    points: Sequence[tuple[float, float]],
    best: Sequence[tuple[float, float, float, float]],
    chosen: tuple[float, float] | None,
    names: tuple[str, str],
) -> str:
    """What configurations cost against how far off the model is, on a logarithmic scale.

    Args:
        points: (cost, error) of all.
        best: (cost, error, and the ends of its interval) of those that no other one beats.
        chosen: one of them.
        names: of the axes.
    """
    with matplotlib.rc_context(_STYLE):
        figure = matplotlib.figure.Figure(figsize=WIDE)
        axes = figure.add_subplot()
        axes.plot(*zip(*points, strict=True), color=MUTED, linestyle="", marker="o", markersize=3)
        costs, errors, lows, highs = zip(*best, strict=True)
        either = [
            [max(error - low, 0.0) for error, low in zip(errors, lows, strict=True)],
            [max(high - error, 0.0) for error, high in zip(errors, highs, strict=True)],
        ]
        axes.errorbar(costs, errors, yerr=either, color=ACCENT, elinewidth=0.7, **_POINTS)
        if chosen is not None:
            axes.plot(*chosen, color=BAD, marker="o", markersize=8, fillstyle="none")
        axes.set_yscale("log")
        axes.grid(axis="y", color=MUTED, alpha=0.25, linewidth=0.5)
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
        return _svg(figure, f"{names[1]} against {names[0]}")


def runs(points: Sequence[tuple[int, float]]) -> list[list[tuple[int, float]]]:
    """The points sorted, in parts whose places follow each other."""
    parts: list[list[tuple[int, float]]] = []
    for point in sorted(points):
        if parts and point[0] == parts[-1][-1][0] + 1:
            parts[-1].append(point)
        else:
            parts.append([point])
    return parts


def shares(values: Sequence[float]) -> str:
    """How much of their tolerance the comparisons used: a histogram over shares in percent.

    Whatever used more than 110 % is counted in one bar, apart from the scale.
    """
    with matplotlib.rc_context(_STYLE):
        figure = matplotlib.figure.Figure(figsize=(WIDE[0], 1.6))
        axes = figure.add_subplot()
        step = 0.05
        counts: dict[int, int] = {}
        for value in values:
            place = min(math.floor(value / step), BEYOND)
            counts[place] = counts.get(place, 0) + 1
        for place, count in counts.items():
            colour = BAD if place * step >= 1 else ACCENT
            at = (place + 0.5 if place < BEYOND else APART) * step
            axes.bar(at, count, width=step * 0.88, color=colour, linewidth=0)
        axes.axvline(1, color=BAD, linewidth=0.9, linestyle=(0, (3, 2)))
        ticks = {0: "0", 0.25: "25 %", 0.5: "50 %", 0.75: "75 %", 1: "100 %", APART * step: "more"}
        axes.set_xlim(0, (APART + 1) * step)
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.set_xlabel("share of the tolerance")
        axes.set_ylabel("comparisons")
        axes.yaxis.set_major_locator(
            matplotlib.ticker.MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True)
        )
        return _svg(figure, "How much of their tolerance the comparisons used")


def _svg(figure: matplotlib.figure.Figure, title: str) -> str:
    """The figure as an <svg> element that fills its place."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, bbox_inches="tight", metadata=_NO_METADATA)
    text = file.getvalue()
    # inside HTML an SVG needs no addresses of XML's vocabularies
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text[text.index("<svg") :])
    text = text.replace("xlink:href", "href")
    for colour, variable in (_PAGE | _SERIES).items():
        text = text.replace(colour, f"var({variable})")
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)

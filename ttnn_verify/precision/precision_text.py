"""A search of precision on a terminal: sensitivities, the front, what was chosen, the check."""

import math
from collections.abc import Iterable, Iterator, Sequence

from ttnn_verify.precision.points import Point
from ttnn_verify.precision.result import PrecisionResult
from ttnn_verify.precision.searching import Sensitivity


def lines(result: PrecisionResult) -> Iterator[str]:
    """All of it, in lines of at most 100 columns where names are not longer."""
    base = result.points[0]
    yield f"as it is: {figures(base)}, {size(base, base)}"
    for product in result.sites.unmatched:
        yield f"not matched, stays as it is: {product}"
    if result.sensitivities:
        yield ""
        yield f"KL that a knob adds alone, in nats, and what it saves of {result.minimized}:"
        yield from columns(_sensitivity(result, one) for one in result.sensitivities)
    if result.budget is None:
        return
    yield ""
    yield f"the front of {len(result.points)} points, {result.minimized} against KL:"
    yield from columns((size(point, base), figures(point), point.step) for point in result.front)
    if result.chosen is not None:
        yield ""
        yield f"within {result.budget}: {size(result.chosen, base)}, {figures(result.chosen)}"
        yield from (f"  {line}" for line in result.settings or ["as it is"])
    if result.checked is not None:
        yield from _check(result, *result.checked)


def _check(result: PrecisionResult, base: Point, chosen: Point) -> Iterator[str]:
    gain, either = chosen.measured.gain(base.measured)
    yield (
        f"on other prompts: {figures(chosen)}; {gain:+.2g} nats to what it is unchanged, "
        f"95 % within {either:.1g}"
    )
    if not result.holds:
        yield f"there it misses the budget, {result.budget}"


def _sensitivity(result: PrecisionResult, one: Sensitivity) -> tuple[str, ...]:
    name, setting = one.knob.name, str(one.knob.steps[one.step - 1])
    if one.point is None:
        return name, setting, "refused:", one.refused[:60], ""
    gain, either = one.gain
    before = result.points[0].cost.of(result.minimized)
    return name, setting, f"{gain:+.2e}", f"± {either:.0e}", f"{one.saved / before:.1%}"


def figures(point: Point) -> str:
    """`KL 0.00038 (0.00030-0.00046), top-1 98.2 %, PCC 0.999956`"""
    measured = point.measured
    low, high = measured.kl_interval
    values = measured.figures
    interval = f" ({low:.2g}-{high:.2g})" if math.isfinite(high) else ""
    return (
        f"KL {values['kl']:.3g}{interval}, top-1 {values['top1']:.1%}, PCC {values['pcc']:.6f}"
    ).replace("%", " %")


def size(point: Point, base: Point) -> str:
    """`weights 4.16 MB (54 %), roofline 12.3 us`"""
    share = point.cost.weights / base.cost.weights
    return (
        f"weights {in_bytes(point.cost.weights)} ({share:.0%}), caches "
        f"{in_bytes(point.cost.caches)}, roofline {point.cost.seconds * 1e3:.3g} ms"
    ).replace("%", " %")


def in_bytes(count: int) -> str:
    """`4.16 MB`"""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"


def columns(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Rows of texts, below each other."""
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield ("  " + "  ".join(cells)).rstrip()

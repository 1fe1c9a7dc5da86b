"""What was found of a model as one HTML page that needs nothing else: verdict, picture, tables."""

import html as escape
import math

WIDTH, HEIGHT, EDGE = 760, 300, 56
LINES = {  # of the picture: key of a row, its name, its colour
    "prompt": ("own results, prompt", "#2563eb"),
    "tokens": ("own results, tokens", "#7c3aed"),
    "update": ("update (output - input)", "#d97706"),
    "isolated": ("isolated (fed with HF's)", "#059669"),
}

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid #8884; }
th:first-child, td:first-child, td.text { text-align: left; }
.verdict { padding: .8rem 1rem; border-left: .4rem solid; }
.status0 { border-color: #059669; } .status1 { border-color: #dc2626; } .status2 { border-color: #d97706; }
svg { width: 100%; height: auto; }
svg text { fill: currentColor; font-size: 12px; }
"""


def html(record):
    """The page of a `text.record`."""
    about = " &middot; ".join(
        f"{name}: {escape.escape(str(record[name]))}"
        for name in ("checkpoint", "backend", "tokens")
        if name in record
    )
    counts = ", ".join(f"{name} {count}" for name, count in record["counts"].items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Drift</title><style>{STYLE}</style></head><body>
<h1>Drift</h1><p>{about}</p>
<p class="verdict status{record["status"]}">{escape.escape(record["verdict"])}</p>
<h2>Error over depth</h2>{picture(record["depth"])}{_depth(record["depth"])}
<h2>Operations</h2><p>{counts}</p>{_findings(record["findings"])}
</body></html>
"""


def picture(depth):
    """An SVG of the relative L2 errors over depth, on a logarithmic scale."""
    values = [row[key] for row in depth for key in LINES if row[key]]
    if not values:
        return "<p>Nothing was read.</p>"
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    step = (WIDTH - 2 * EDGE) / max(len(depth) - 1, 1)

    def y(value):
        return EDGE / 2 + (high - math.log10(value)) / (high - low) * (HEIGHT - 1.5 * EDGE)

    parts = []
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(
            f'<line x1="{EDGE}" x2="{WIDTH - EDGE}" y1="{at:.1f}" y2="{at:.1f}" stroke="#8884"/>'
            f'<text x="{EDGE - 8}" y="{at + 4:.1f}" text-anchor="end">1e{power}</text>'
        )
    every = -(-len(depth) // 16)
    for i, row in enumerate(depth):
        if i % every == 0:
            name = escape.escape(row["name"].replace("layer ", ""))
            parts.append(
                f'<text x="{EDGE + i * step:.1f}" y="{HEIGHT - 22}" text-anchor="middle">{name}</text>'
            )
    for number, (key, (name, colour)) in enumerate(LINES.items()):
        points = [(EDGE + i * step, y(row[key])) for i, row in enumerate(depth) if row[key]]
        path = " ".join(f"{x:.1f},{at:.1f}" for x, at in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{at:.1f}" r="3" fill="{colour}"/>' for x, at in points]
        left = EDGE + number * (WIDTH - 2 * EDGE) / len(LINES)
        parts.append(
            f'<rect x="{left:.1f}" y="{HEIGHT - 12}" width="10" height="10" fill="{colour}"/>'
            f'<text x="{left + 14:.1f}" y="{HEIGHT - 3}">{name}</text>'
        )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>'


def _depth(depth):
    columns = ("prompt", "tokens", "pcc", "update", "gain", "isolated")
    head = "".join(f"<th>{name}</th>" for name in ("", *columns))
    rows = "".join(
        f"<tr><td>{escape.escape(row['name'])}</td>"
        + "".join(f"<td>{_number(row[name])}</td>" for name in columns)
        + "</tr>"
        for row in depth
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def _findings(findings):
    """The bad ones, then those that used most of their tolerance."""
    bad = [one for one in findings if one["status"] not in ("ok", "no-golden", "tool-error")]
    rest = sorted(
        (one for one in findings if one not in bad and one["used"] is not None),
        key=lambda one: -one["used"],
    )
    rows = "".join(
        f"<tr><td class='text'>{one['status']}</td><td class='text'>{escape.escape(one['piece'])}</td>"
        f"<td>{'' if one['layer'] is None else one['layer']}</td>"
        f"<td class='text'>{escape.escape(one['operation'])} ({escape.escape(one['value'] or '')})</td>"
        f"<td>{_number(one['pcc'])}</td><td>{_number(one['relative_l2'])}</td>"
        f"<td>{_share(one['used'])}</td><td class='text'>{escape.escape(one['note'])}</td></tr>"
        for one in [*bad, *rest[:20]]
    )
    names = ("status", "where", "layer", "operation", "PCC", "relative L2", "tolerance used", "")
    head = "".join(f"<th>{name}</th>" for name in names)
    return f"<table><tr>{head}</tr>{rows}</table>"


def _number(value):
    return "-" if value is None else f"{value:.4g}" if abs(value) < 0.9 else f"{value:.6f}"


def _share(used):
    return "-" if used is None else f"{used:.0%}"

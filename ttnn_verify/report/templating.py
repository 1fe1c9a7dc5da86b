"""The pages' templates: what they share, and how figures are written in them."""

import math
import pathlib

import jinja2

from ttnn_verify.report.glossary import Glossary

FOLDER = pathlib.Path(__file__).parent / "templates"
PRINTED = 100  # rows of a table on paper, beside those that failed


def fill(name: str, **values: object) -> str:
    """A page of `templates/`, self-contained, with the values that its template names.

    Raises:
        jinja2.UndefinedError: the template names another value.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "pcc": pcc,
        "figure": figure,
        "number": number,
        "gain": gain,
        "share": share,
        "ratio": ratio,
        "duration": duration,
        "sortable": sortable,
        "combined": lambda first, second: {**first, **second},
    }
    glossary = Glossary()
    environment.globals |= {
        "term": glossary.term,
        "explained": glossary.explained,
        "words": glossary.used,
        "printed": PRINTED,
    }
    return environment.get_template(name).render(**values)


def pcc(value: float | None) -> str:
    """A PCC; empty for None."""
    return "" if value is None else f"{value:.6f}"


def figure(value: float | None) -> str:
    """A figure in three digits; empty for None."""
    return "" if value is None else f"{value:.3g}"


def number(value: float | None) -> str:
    """A figure of a column where there are PCCs and errors: more digits near 1; - for None."""
    if value is None:
        return "-"
    return f"{value:.4g}" if abs(value) < 0.9 else f"{value:.6f}"


def gain(value: float | None) -> str:
    """A ratio of two errors; - for None."""
    return "-" if value is None else f"{value:.2f}"


def share(value: float | None) -> str:
    """A share of a tolerance or of an error, as a percentage; empty for None."""
    if value is None:
        return ""
    return f"{value:.0%}" if math.isfinite(value) else "all and more"


def ratio(value: float | None) -> str:
    """An error in terms of the baseline's; empty for None."""
    if value is None:
        return ""
    return f"\u00d7{value:.2f}" if math.isfinite(value) else "was 0"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def sortable(value: float | None) -> str:
    """A number as the page's script reads it; empty for None and NaN, which sort last."""
    if value is None or math.isnan(value):
        return ""
    return "1e999" if value == math.inf else f"{value:.9g}"

"""Writes tables of MODEL_BRINGUP.md, between the two marks of each."""

import pathlib
import re
from collections.abc import Iterable, Sequence

MODEL = pathlib.Path(__file__).parent.parent / "models/microsoft/Phi-3-mini-128k-instruct/n150"
MODEL_PY = MODEL / "functional" / "model.py"
PAGE = MODEL / "functional" / "MODEL_BRINGUP.md"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Markdown lines of a table of texts."""
    line = "| " + " | ".join(header) + " |"
    return [line, "|---" * len(header) + "|", *("| " + " | ".join(row) + " |" for row in rows)]


def write(name: str, lines: Iterable[str]) -> None:
    """Put lines between `<!-- name -->` and `<!-- end of name -->` of the page."""
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = PAGE.read_text()
    if text.count(first) != 1 or text.count(last) != 1:
        raise ValueError(f"{PAGE} has no place for a table: {first} and {last}, once each.")
    content = "\n".join([first, *lines, last])
    PAGE.write_text(re.sub(f"{first}.*{last}", lambda _: content, text, flags=re.DOTALL))
